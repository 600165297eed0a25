"""Where a run's kept states and diagnostics go: into memory here, into a store in `store`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from isotherm._arithmetic.arrays import Array, empty, move
from isotherm._backends.protocol import Backend, Outputs, State
from isotherm._plans.plan import Plan
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Divergence


class Recorder(Protocol):
    """Receives what a run keeps, piece by piece."""

    def outputs(self, start: int, stop: int) -> Outputs:
        """Where the states kept in the steps start..stop-1 go."""

    def full_at(self) -> int:
        """The step beyond which there is no room before `advanced` is told of it."""

    def advanced(self, state: State, n_steps: int, divergence: Divergence | None) -> None:
        """The chains have done `n_steps` and are at `state`; all outputs up to there are there."""

    def close(
        self, state: State, n_steps: int, divergence: Divergence | None
    ) -> tuple[Any, Diagnostics | None]:
        """The run has ended: trajectory, if wanted, and diagnostics of what it has kept."""


class InMemory:
    """Keeps everything in arrays of the backend's library.

    Parameters
    ----------
    plan : Plan
    allocate : callable
        Number of kept states → `Outputs` for so many.
    moments_dtype : str, optional
        Of mean and variance; the plan's by default.
    """

    def __init__(
        self, plan: Plan, allocate: Callable[[int], Outputs], moments_dtype: str | None = None
    ) -> None:
        self._plan = plan
        self._moments_dtype = moments_dtype
        self._outputs = allocate(plan.n_kept)

    def outputs(self, start: int, stop: int) -> Outputs:
        return self._outputs.between(self._plan.kept_before(start), self._plan.kept_before(stop))

    def full_at(self) -> int:
        return self._plan.n_total

    def advanced(self, state: State, n_steps: int, divergence: Divergence | None) -> None:
        pass

    def close(
        self, state: State, n_steps: int, divergence: Divergence | None
    ) -> tuple[Any, Diagnostics | None]:
        plan, back = self._plan, mover(self._plan)
        n_kept = plan.kept_before(n_steps)
        outputs = self._outputs.between(0, n_kept)
        if outputs.mean is None:
            return back(outputs.trajectory), None
        held = mover(plan, self._moments_dtype)
        diagnostics = Diagnostics(
            held(outputs.mean),
            held(outputs.variance),
            back(outputs.energy),
            plan.kept_steps(0, n_kept),
            energy_error=back(outputs.energy_error),
            divergence_threshold=plan.divergence_threshold,
            sample_stats=plan.sample_stats(n_kept),
        )
        return back(outputs.trajectory), diagnostics


def allocator(
    plan: Plan, backend: Backend, moments_dtype: str | None = None
) -> Callable[[int], Outputs]:
    """A function: number of kept states → arrays for what the plan keeps of so many."""

    def array(*shape: int, dtype: str | None = None) -> Array:
        return empty(backend.library, shape, dtype or plan.dtype, plan.device)

    def allocate(n_kept: int) -> Outputs:
        outputs = Outputs()
        if plan.return_trajectory:
            outputs.trajectory = array(plan.n_samples, n_kept, *plan.event_shape)
        if plan.return_diagnostics:
            outputs.mean = array(n_kept, *plan.event_shape, dtype=moments_dtype)
            outputs.variance = array(n_kept, *plan.event_shape, dtype=moments_dtype)
            outputs.energy = array(n_kept, plan.n_samples)
            if plan.is_adjusted:
                outputs.energy_error = array(n_kept, plan.n_samples)
        return outputs

    return allocate


def mover(plan: Plan, dtype: str | None = None) -> Callable[[Array | None], Any]:
    """A function: an array of the backend → the same in the library in which results come back."""
    device = "cpu" if plan.library == "numpy" else plan.device
    wanted = dtype or plan.dtype

    def back(x: Array | None) -> Array | None:
        return None if x is None else move(x, plan.library, wanted, device)

    return back
