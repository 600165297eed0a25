"""∇U of states, on whatever backend the chains run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import Array, to_numpy
from isotherm._plans.plan import Plan, Schedule
from isotherm._runs.run import run

_FAR = 2.0**40  # so long a step leaves nothing of where it began, and multiplies without rounding


def gradients(
    plan: Plan,
    energy: Any,
    x: Array,
    model_kwargs: Mapping[str, Any] | None = None,
    size: float = 1.0,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """∇U at each row of `x`, in float64 in host memory.

    As (x - x')/η of one step x' = x - η ∇U(x) of Langevin dynamics without noise: a backend that
    differentiates by itself has no other way to tell.

    Parameters
    ----------
    plan : Plan
        Of a run of this energy.
    energy : callable
    x : array, shape (n, *event_shape)
    model_kwargs : mapping, optional
        See `isotherm.run`.
    size : float
        A power of two, by which the step is larger where U is small in numbers.
    """
    far = size * _FAR
    step = replace(
        plan, sampler="langevin", n_samples=int(x.shape[0]), n_steps=1, burn_in=0, thinning=1,
        step_size=Schedule(far), noise_scale=Schedule(0.0), clamp=None, bounds=None,
        gradient_clip=None, gradient_clip_norm=None, friction=None, n_leapfrog=None,
        inverse_mass=None, return_trajectory=False, return_diagnostics=False,
        on_divergence="ignore", has_start=True,
    )  # fmt: skip
    after = run(step, energy, x, model_kwargs=model_kwargs).state["x"]
    with np.errstate(all="ignore"):  # what is not finite is the caller's to judge
        moved = to_numpy(x).astype(np.float64) - to_numpy(after).astype(np.float64)
    return np.asarray(moved / far)
