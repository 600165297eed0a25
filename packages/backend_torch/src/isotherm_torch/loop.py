"""The array loop on tensors, with gradients by autograd for energies that have none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from isotherm.backend import (
    ArrayLoop,
    FormulaEnergy,
    GaussianEnergy,
    InputError,
    LangevinTransition,
    Outputs,
    Plan,
    Transition,
    host_noise,
)
from isotherm_torch import devices
from isotherm_torch.graph import LEAST_STEPS, GraphGradient
from isotherm_torch.normals import fill_normals


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
        transition, about = _transition(plan)
        self._graph: GraphGradient | None = None
        if hasattr(energy, "gradient"):
            super().__init__(plan, energy, energy.gradient, transition, f"array loop{about}")
        else:
            gradient = gradient_of(energy)
            if devices.kind(plan.device) == "cuda" and plan.n_total >= LEAST_STEPS:
                self._graph = GraphGradient(gradient, energy)
                gradient = self._graph
            super().__init__(plan, energy, gradient, transition, f"array loop, autograd{about}")
        self._without_graph = self.path
        self._is_built_in = isinstance(energy, (FormulaEnergy, GaussianEnergy))

    def advance(self, x: torch.Tensor, start: int, stop: int, outputs: Outputs) -> torch.Tensor:
        with ExitStack() as surroundings:
            surroundings.enter_context(torch.no_grad())
            if self._is_built_in:
                surroundings.enter_context(torch.autocast(x.device.type, enabled=False))
            if x.device.type == "cuda":  # Triton launches on the current device
                surroundings.enter_context(torch.cuda.device(x.device))
            if self._graph is None:
                return super().advance(x, start, stop, outputs)
            self._graph.check()
            x = super().advance(x, start, stop, outputs)
            self.path = f"{self._without_graph}, {self._graph.status}"
            return x


def gradient_of(energy: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
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

    def differentiate(leaf: torch.Tensor) -> torch.Tensor:
        value = energy(leaf.requires_grad_(True))
        result = None
        if value.requires_grad:
            (result,) = torch.autograd.grad(value, leaf, torch.ones_like(value), allow_unused=True)
        if result is None:
            raise InputError(
                "the energy's value is not connected to x for autograd; calculate it from x with "
                "torch operations, or give the energy a method gradient(x)"
            )
        return result

    def gradient(x: torch.Tensor) -> torch.Tensor:
        if x.is_inference():  # autograd takes no such tensor, but takes a copy
            with torch.inference_mode(False), torch.enable_grad():
                return differentiate(x.clone())
        with torch.enable_grad():
            return differentiate(x.detach())

    return gradient


def _transition(plan: Plan) -> tuple[Transition, str]:
    """The step, on CUDA one kernel where that can be had, and what the path says about it."""
    if plan.device == "cpu":
        fused = host_noise.fused_transition(plan)
        if fused is not None:
            return _OnHost(fused), ", fused step"
        return LangevinTransition(plan, fill_normals), ""
    if not devices.is_exact(plan.device):
        return LangevinTransition(plan, fill_normals), ", noise from the host"
    try:
        from isotherm_torch import kernel
    except ImportError as error:
        why_not: str | None = f"Triton cannot be imported: {error}"
    else:
        why_not = kernel.why_not(plan.dtype)
        if why_not is None:
            return kernel.FusedLangevin(plan), ", fused step"
    return LangevinTransition(plan, fill_normals), f", no fused step ({why_not})"


class _OnHost:
    """A transition of NumPy arrays, on the tensors' own memory."""

    def __init__(self, transition: Transition) -> None:
        self.start = transition.start
        self._transition = transition

    def __call__(self, x: torch.Tensor, gradient: torch.Tensor, step: int) -> torch.Tensor:
        return torch.from_numpy(self._transition(x.numpy(), gradient.numpy(), step))
