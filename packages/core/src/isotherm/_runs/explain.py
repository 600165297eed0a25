"""Which way an energy's chains will run, and what a step of it costs, before they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import Array, as_state
from isotherm._backends import registry
from isotherm._backends.protocol import Outputs, on_device
from isotherm._energies.protocol import as_energy, planned
from isotherm._planning.arguments import SamplerName, ScheduleLike
from isotherm._planning.make_plan import make_plan
from isotherm._plans.plan import Plan
from isotherm._runs.checks import begin, check_belongs, check_given, initial_state

_PATIENCE = 0.2  # seconds of steps to measure, about


@dataclass(frozen=True)
class Explanation:
    """How a plan will run; print it.

    Attributes
    ----------
    energy, backend, device, dtype : str
    path : str
        Which way the chains run, and where they are not fused, why.
    n_samples : int
    n_steps : int
        Of the plan, burn-in included.
    seconds_to_prepare : float
        To compile, or to find what was compiled before.
    seconds_a_step : float
        Measured on the first steps from the plan's start.
    steps_measured : int
    """

    energy: str
    backend: str
    device: str
    dtype: str
    path: str
    n_samples: int
    n_steps: int
    seconds_to_prepare: float
    seconds_a_step: float
    steps_measured: int

    @property
    def seconds(self) -> float:
        """What the plan's steps will take."""
        return self.seconds_a_step * self.n_steps

    def __str__(self) -> str:
        a_chain = self.seconds_a_step / self.n_samples
        return (
            f"{self.energy} in {self.dtype} on {self.backend} ({self.device}): {self.path}; "
            f"ready in {self.seconds_to_prepare:.2g} s, {1e6 * a_chain:.3g} µs a chain and step "
            f"(measured over {self.steps_measured}), about {self.seconds:.2g} s for "
            f"{self.n_samples} chains and {self.n_steps} steps"
        )


def explain(
    energy: Any,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_steps: int = 100,
    n_samples: int | None = None,
    *,
    sampler: SamplerName | str = "langevin",
    step_size: ScheduleLike | None = None,
    dtype: object = None,
    device: object = None,
    backend: str | None = None,
    plan: Plan | None = None,
) -> Explanation:
    """Tell which path an energy's chains will take and what it costs, by taking a few steps.

    Parameters
    ----------
    energy, x, dim, n_steps, n_samples, sampler, step_size, dtype, device, backend
        As in `isotherm.make_plan`.
    plan : Plan, optional
        One that there is; the other arguments but `energy` and `x` are then left out.

    Returns
    -------
    Explanation
        Print it.

    Examples
    --------
    >>> import isotherm
    >>> print(isotherm.explain(isotherm.DoubleWellEnergy(), dim=3, backend="numpy").path)
    array loop
    """
    if plan is None:
        plan = make_plan(
            as_energy(energy), x, dim, n_steps, n_samples, sampler=sampler, step_size=step_size,
            dtype=dtype, device=device, backend=backend, on_divergence="ignore",
        )  # fmt: skip
    energy, x = planned(energy, plan.event_shape, plan.sampler), as_state(x)
    check_belongs(plan, energy, x)
    if x is not None:
        check_given(plan, x, "x", plan.effective_bounds)
    chosen = registry.usable(plan.backend)
    with ExitStack() as stack:
        stack.enter_context(on_device(chosen, plan))
        state = initial_state(plan, chosen, x)
        start = time.perf_counter()
        runner = chosen.prepare(plan, energy)
        begin(plan, runner, state)
        ready = time.perf_counter() - start

        def take(n_steps: int) -> float:
            began = time.perf_counter()
            with np.errstate(all="ignore"):
                after = runner.advance(state, 0, n_steps, Outputs())
            _wait_for(after["x"])
            return time.perf_counter() - began

        seconds, measured = _measured(take, plan.n_total)
    return Explanation(
        energy=plan.energy,
        backend=plan.backend,
        device=plan.device,
        dtype=plan.dtype,
        path=runner.path,
        n_samples=plan.n_samples,
        n_steps=plan.n_total,
        seconds_to_prepare=ready,
        seconds_a_step=seconds,
        steps_measured=measured,
    )


def _measured(take: Callable[[int], float], most: int) -> tuple[float, int]:
    """Seconds a step, of as many steps as are worth it, and how many these were."""
    n_steps, seconds = 1, take(1)
    if seconds > _PATIENCE:  # once more would not tell much else
        return seconds, n_steps
    while (seconds := take(n_steps)) < _PATIENCE / 4 and n_steps < most:
        n_steps = min(4 * n_steps, most)
    return seconds / n_steps, n_steps


def _wait_for(x: Array) -> None:
    """Until the device has done what was asked."""
    float(x.reshape(-1)[0])
