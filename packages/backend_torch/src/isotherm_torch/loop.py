"""The array loop on tensors, with gradients by autograd for energies that have none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeAlias

import torch

from isotherm.backend import (
    ArrayLoop,
    FillNormals,
    FormulaEnergy,
    GaussianEnergy,
    InputError,
    Outputs,
    Plan,
    RunSegment,
    Segment,
    Segments,
    State,
    TransitionProgram,
    Values,
    host_noise,
    kind_of,
    noise,
)
from isotherm_torch.graph import LEAST_STEPS, GraphGradient


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
        fill, run_segment, about = _fast_parts(plan, program)
        self._graph: GraphGradient | None = None
        both: Both | None = None
        if hasattr(energy, "gradient"):
            gradient, path = energy.gradient, f"array loop{about}"
        else:
            both = value_and_gradient_of(energy)
            gradient, path = gradient_of(energy), f"array loop, autograd{about}"
            if plan.device != "cpu" and plan.n_total >= LEAST_STEPS:
                self._graph = GraphGradient(gradient, energy)
                gradient = self._graph
        self._step, about = _fused_step(plan, program)
        path += about
        super().__init__(plan, energy, gradient, fill, run_segment, both, path)
        self._without_graph = self.path
        self._is_built_in = isinstance(energy, (FormulaEnergy, GaussianEnergy))

    def advance(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        device = state["x"].device
        with ExitStack() as surroundings:
            surroundings.enter_context(torch.no_grad())
            if self._is_built_in:
                surroundings.enter_context(torch.autocast(device.type, enabled=False))
            if device.type == "cuda":  # Triton launches on the current device
                surroundings.enter_context(torch.cuda.device(device))
            advance = super().advance if self._step is None else self._advance_fused
            if self._graph is None:
                return advance(state, start, stop, outputs)
            self._graph.check()
            state = advance(state, start, stop, outputs)
            self.path = f"{self._without_graph}, {self._graph.status}"
            return state

    def _advance_fused(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        """The steps with noise and update in one kernel."""
        plan, x = self._plan, state["x"].clone()
        first = plan.kept_before(start)
        self._step.start(start, stop)
        for step in range(start, stop):
            gradient = self._gradient(self._seen(x))
            x = self._step(x, gradient.reshape(plan.shape), step)
            if plan.is_kept(step):
                self._record(x, {}, plan.kept_before(step) - first, outputs)
        return {"x": x}


Gradient: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Both: TypeAlias = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def gradient_of(energy: Callable[[torch.Tensor], torch.Tensor]) -> Gradient:
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
        When called, if the energy's value does not depend on x.
    """
    both = value_and_gradient_of(energy)
    return lambda x: both(x)[1]


def value_and_gradient_of(energy: Callable[[torch.Tensor], torch.Tensor]) -> Both:
    """U of each chain and ∇U, by one pass of autograd; see `gradient_of`."""

    def differentiate(leaf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = energy(leaf.requires_grad_(True))
        result = None
        if value.requires_grad:
            (result,) = torch.autograd.grad(value, leaf, torch.ones_like(value), allow_unused=True)
        if result is None:
            raise InputError(
                "the energy's value is not connected to x for autograd; calculate it from x with "
                "torch operations, or give the energy a method gradient(x)"
            )
        return value.detach(), result

    def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if x.is_inference():  # autograd takes no such tensor, but takes a copy
            with torch.inference_mode(False), torch.enable_grad():
                return differentiate(x.clone())
        with torch.enable_grad():
            return differentiate(x.detach())

    return both


def _fast_parts(plan: Plan, program: TransitionProgram) -> tuple[FillNormals, RunSegment, str]:
    """The sources of noise and of segments, and what the path says about them."""
    if plan.device != "cpu":
        return noise.fill_normals, Segments(program, plan.state_dtype), ""
    run = host_noise.run_segment(program, plan.state_dtype)
    if isinstance(run, Segments):
        return _fill_on_host, run, ""
    return _fill_on_host, _OnHost(run), ", fused step"


def _fused_step(plan: Plan, program: TransitionProgram) -> tuple[Any, str]:
    """On CUDA the step as one kernel where that can be had, and what the path says about it."""
    if plan.device == "cpu" or program.name != "langevin" or program.vectors:
        return None, ""
    try:
        from isotherm_torch import kernel
    except ImportError as error:
        why_not: str | None = f"Triton cannot be imported: {error}"
    else:
        why_not = kernel.why_not(plan.state_dtype)
        if why_not is None:
            return kernel.FusedLangevin(plan), ", fused step"
    return None, f", no fused step ({why_not})"


class _OnHost:
    """Segments on NumPy arrays, on the tensors' own memory."""

    def __init__(self, run: RunSegment) -> None:
        self._run = run

    def __call__(self, segment: Segment, values: Values) -> list[torch.Tensor]:
        given = {index: _as_numpy(values[index]) for index in segment.inputs}
        return [torch.from_numpy(result) for result in self._run(segment, given)]


def _as_numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


def _fill_on_host(out: torch.Tensor, **counter: Any) -> None:
    """The fastest source of noise for NumPy, on the tensor's own memory."""
    host_noise.fill_normals()(out.numpy(), **counter)
