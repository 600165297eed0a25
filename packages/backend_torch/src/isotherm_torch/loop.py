"""The array loop on tensors, with gradients by autograd for energies that have none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

from isotherm.backend import (
    ArrayLoop,
    InputError,
    Outputs,
    Plan,
    RunSegment,
    Segments,
    State,
    TransitionProgram,
    Values,
    as_values,
    calls_of,
    has_row_a_chain,
    host_noise,
    is_portable,
    kind_of,
    state_dtype,
    to_numpy,
    warn_of_terms,
)
from isotherm_torch import devices
from isotherm_torch.blocks import BlockLoop, Steps, coefficients_in_memory, why_not
from isotherm_torch.graph import LEAST_STEPS, Graph, GraphGradient
from isotherm_torch.normals import exponentials, fill_normals


class TorchLoop(ArrayLoop):
    """Chains on tensors; see `isotherm.backend.Runner`.

    An energy that has no gradient of its own is differentiated by autograd, and called as it is
    found: in its mode, and under the autocast that is active when the chains run. The state keeps
    its dtype. Built-in energies never run under autocast, whose matrix products would change their
    chains.

    Parameters
    ----------
    plan : Plan
    energy : callable
    """

    def __init__(self, plan: Plan, energy: Any) -> None:
        program = plan.transition(kind_of(energy))
        parts, about = _fast_parts(plan, program)
        self._graph: Graph | None = None
        self._blocks: BlockLoop | None = None
        self._is_portable = is_portable(energy)
        calls, path = None, f"array loop{about}"
        in_graph: tuple[Any, RunSegment] | str | None = None
        value: Any
        joint: Any = None  # a gradient that tells what the energy returned
        gradient: Any = getattr(energy, "gradient", None)
        if not self._is_portable:
            if hasattr(energy, "gradient"):
                value, gradient = InGradMode(energy), InGradMode(energy.gradient)
            else:
                path = f"array loop, autograd{about}"
                value, joint = InGradMode(energy, is_leaf=True), gradient_of(energy)
                gradient = joint
                if devices.kind(plan.device) == "cuda" and plan.n_total >= LEAST_STEPS:
                    in_graph = _kernels_in_graph(plan, program)
                if isinstance(in_graph, str):
                    gradient = joint = self._graph = GraphGradient(gradient, energy)
            calls = calls_of(energy, value, gradient, state_dtype(energy, plan.dtype), joint)
            if isinstance(in_graph, tuple):
                self._blocks = BlockLoop(plan, energy, calls, *in_graph)
                self._graph = self._blocks.graph
        self._is_on_host = plan.device == "cpu"
        self._first_replayed: int | None = None
        super().__init__(plan, energy, gradient, calls=calls, path=path, **parts)
        self._without_graph = self.path
        self._about_graph = f", as {in_graph}" if isinstance(in_graph, str) else ""

    def begin(self, state: State) -> None:
        with self._surroundings(state["x"]):
            super().begin(state)

    def advance(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        with self._surroundings(state["x"]):
            if self._graph is None:
                return super().advance(state, start, stop, outputs)
            self._graph.check()
            state = super().advance(state, start, stop, outputs)
            self.path = f"{self._without_graph}, {self._graph.status}{self._about_graph}"
            return state

    @property
    def seen(self) -> torch.Tensor | None:
        """As of every array loop; of steps in a graph it is where the graph has left it."""
        in_graph = None if self._blocks is None else self._blocks.last_seen
        return super().seen if in_graph is None else in_graph

    def first_bad_step(self) -> int | None:
        """As of every array loop; of steps in a graph nobody looks at each."""
        found = super().first_bad_step()
        replayed = self._first_replayed if self._blocks is None else self._blocks.first_replayed
        return found if replayed is None or (found and found <= replayed) else None

    def _steps(
        self,
        values: Values,
        start: int,
        stop: int,
        outputs: Outputs,
        note: Callable[[Any, int], None] | None,
    ) -> Steps:
        steps = super()._steps
        if self._blocks is not None:
            return self._blocks.steps(steps, values, start, stop, outputs, note)
        if self._graph is not None and note is not None:
            note = self._unless_pure(note, self._graph)
        return steps(values, start, stop, outputs, note)

    def _unless_pure(
        self, note: Callable[[Any, int], None], graph: Graph
    ) -> Callable[[Any, int], None]:
        """Notes steps but those that can be taken again, if one is to be found among them."""
        self._first_replayed = None

        def note_it(x: torch.Tensor, step: int) -> None:
            if not graph.is_pure:
                note(x, step)
            elif self._first_replayed is None:
                self._first_replayed = step

        return note_it

    def _surroundings(self, x: torch.Tensor) -> AbstractContextManager[Any]:
        if not self._is_portable and self._is_on_host:
            return _grad_mode()  # once, as our own operations are none of torch's
        stack = ExitStack()
        stack.enter_context(torch.no_grad())
        if self._is_portable:
            stack.enter_context(torch.autocast(x.device.type, enabled=False))
        if x.device.type == "cuda":  # Triton launches on the current device
            stack.enter_context(torch.cuda.device(x.device))
        return stack


class InGradMode:
    """A user's function of tensors, called with a copy of the state and with autograd at hand.

    It may differentiate inside, whatever mode the chains run in.

    Parameters
    ----------
    function : callable
    is_leaf : bool
        Whether autograd is to follow what is done to the state.
    """

    hands_copies = True

    def __init__(self, function: Callable[[Any], Any], *, is_leaf: bool = False) -> None:
        self._function = function
        self._is_leaf = is_leaf

    def __call__(self, x: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            return self._function(x.clone().requires_grad_(self._is_leaf))
        with _grad_mode():
            return self(x)


def gradient_of(energy: Callable[[torch.Tensor], torch.Tensor]) -> AutogradGradient:
    """∇U by autograd, for the state only.

    Parameters
    ----------
    energy : callable
        x, shape (n_samples, *event_shape) → (n_samples,), (n_samples, 1) or terms to be summed. The
        energy of a chain must not depend on the other chains.

    Returns
    -------
    callable
        x → ∇U(x), of the shape and dtype of x. Parameters of a module receive no ``.grad``, and
        neither its mode nor any ``requires_grad`` is changed.

    Raises
    ------
    InputError
        When called, if the energy's value has the wrong shape, does not depend on x, or, as its
        first call shows, mixes chains.
    """
    return AutogradGradient(energy)


class AutogradGradient:
    """See `gradient_of`.

    Attributes
    ----------
    seen : tensor or None
        What the energy returned at the last call.
    """

    hands_copies = True

    def __init__(self, energy: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.seen: torch.Tensor | None = None
        self._energy = energy
        self._looked_at = torch.empty(0)  # of the shape and dtype of values that have been

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            with _grad_mode():
                return self(x)
        leaf = x.clone().requires_grad_(True)
        value = self._energy(leaf)
        known = self._looked_at
        if not (
            torch.is_tensor(value) and value.shape == known.shape and value.dtype == known.dtype
        ):
            value = self._look_at(value, leaf)
        # The weights are new: a hook may keep them, and what a backward pass does to their memory
        # cannot always be seen.
        result = _slope(value, leaf, torch.ones_like(value)) if value.requires_grad else None
        if result is None:
            raise InputError(
                "the energy's value is not connected to x for autograd; calculate it from x with "
                "torch operations, or give the energy a method gradient(x)"
            )
        self.seen = value.detach()
        return result

    def _look_at(self, value: Any, leaf: torch.Tensor) -> torch.Tensor:
        """Check what the energy returned; it is called no more often for that."""
        if not torch.is_tensor(value):
            raise InputError(
                f"energy(x) returned {type(value).__name__}, through which autograd does not see; "
                "return a tensor, or give the energy a method gradient(x)"
            )
        if value.is_complex() or not has_row_a_chain(value, leaf):
            as_values(value, leaf)  # which says what is wrong
        self._looked_at = torch.empty_like(value, requires_grad=False)
        if value.shape == leaf.shape and leaf[0].numel() > 1 and value.requires_grad:
            _look_at_terms(value, leaf)
        return value


_engine = getattr(torch.autograd.Variable, "_execution_engine", None)


def _slope(value: torch.Tensor, leaf: torch.Tensor, weights: torch.Tensor) -> torch.Tensor | None:
    """The gradient of Σ weights·value for a leaf; None where that has no part in it.

    What `torch.autograd.grad` asks of its arguments takes as long as a small network's backward
    pass. On the CPU, where the engine needs nothing of the calling thread, it is called at once.
    """
    slope: torch.Tensor | None
    if _engine is not None and leaf.is_cpu and type(value) is torch.Tensor:
        (slope,) = _engine.run_backward(
            (value,), (weights,), False, False, (leaf,), True, accumulate_grad=False
        )
    else:
        (slope,) = torch.autograd.grad(value, leaf, weights, allow_unused=True)
    return slope


def _look_at_terms(value: torch.Tensor, leaf: torch.Tensor) -> None:
    """Whether one number a coordinate can be terms of U: they may be a broadcast, or a score."""

    def reached(part: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(part, leaf, retain_graph=True, allow_unused=True)
        return torch.zeros_like(leaf) if slope is None else slope

    n = leaf.shape[0]
    if n > 1 and bool((reached(value[0].sum())[1:] != 0).any()):
        raise InputError(
            f"energy(x) returned shape {tuple(value.shape)} for x of that shape, and its first row "
            "depends on other chains: that is what (n, 1) and (n,) broadcast to, or a mean over "
            f"the chains; its shape must be ({n},), one energy a chain"
        )
    n_coupled = int((reached(value.reshape(n, -1)[:, 0].sum())[0] != 0).sum())
    if n_coupled > 1:
        warn_of_terms(n_coupled)


def _grad_mode() -> AbstractContextManager[Any]:
    """Autograd at hand; what a run in inference mode makes can then be used outside of it."""
    if not torch.is_inference_mode_enabled():
        return torch.enable_grad()
    stack = ExitStack()
    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(torch.enable_grad())
    return stack


def _fast_parts(plan: Plan, program: TransitionProgram) -> tuple[dict[str, Any], str]:
    """What an array loop takes of the fastest that there is, and what its path says about it."""
    if plan.device == "cpu":
        run = host_noise.run_segment(program, plan.state_dtype)
        # Tensors in host memory are stepped as NumPy arrays, whose calls take a part of the time.
        on_host = {
            "run_segment": run,
            "fill_normals": host_noise.fill_normals(),
            "stepped_as": (_as_numpy, torch.from_numpy),
        }
        return on_host, "" if isinstance(run, Segments) else ", fused step"
    parts: dict[str, Any] = {"fill_normals": fill_normals, "exponentials": exponentials}
    if devices.kind(plan.device) != "cuda":
        return parts, ", noise from the host"
    kernels = _kernels(plan, program)
    if isinstance(kernels, str):
        return parts, f", no fused step ({kernels})"
    return {**parts, "run_segment": kernels[1], "matvec": kernels[0].matvec}, ", fused step"


def _kernels(
    plan: Plan, program: TransitionProgram, in_memory: Collection[int] = ()
) -> tuple[Any, RunSegment] | str:
    """Triton's kernels, of noise a module of them and of segments, or why there are none."""
    try:
        from isotherm_torch import kernel
    except ImportError as error:
        return f"Triton cannot be imported: {error}"
    reason = kernel.why_not(plan.state_dtype)
    if reason is not None:
        return reason
    segments = kernel.segments_of(program, plan.state_dtype, in_memory)
    return segments if isinstance(segments, str) else (kernel, segments)


def _kernels_in_graph(plan: Plan, program: TransitionProgram) -> tuple[Any, RunSegment] | str:
    """The same for steps in a graph, or why they are not in one."""
    reason = why_not(plan, program)
    if reason is not None:
        return reason
    kernels = _kernels(plan, program, coefficients_in_memory(plan, program))
    return "there is no fused step" if isinstance(kernels, str) else kernels


def _as_numpy(x: torch.Tensor) -> Any:
    return to_numpy(x) if x.requires_grad or x.is_neg() else x.numpy()
