"""How far a step size leads an unadjusted sampler from its law: the same run at half of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, to_numpy
from isotherm._planning.arguments import as_count
from isotherm._planning.keywords import knows_keywords
from isotherm._plans.plan import Plan, Schedule
from isotherm._runs.run import run
from isotherm._runs.significance import most_errors
from isotherm._transitions.catalogue import find, names
from isotherm.errors import InputError, short_repr

_MOST_KEPT = 64  # states of a chain, whose means are taken
_SMALL = 0.1  # a relative bias of the variance that a run must be able to see

Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Runnable(Protocol):
    """What is needed of a sampler."""

    name: str
    energy_function: Any
    seed: Any

    def plan(self, x: Array | None = None, **options: Any) -> Plan:
        """The plan of a run."""


@dataclass(frozen=True)
class Bias:
    """What the step size does to the moments of a sampler's law.

    Attributes
    ----------
    mean, mean_error : array, shape (*event_shape)
        By how much the sampler's mean is too large, and the Monte Carlo error of that.
    variance, variance_error : array, shape (*event_shape)
        The same of the variance.
    relative : array, shape (*event_shape)
        `variance` as a part of the variance at half the step, which is exact of Langevin steps of a
        Gaussian, else right to the first power of the bias: above about 0.5 take it as a lower
        bound.
    relative_error : array, shape (*event_shape)
    n_chains, n_diverged : int
        Chains, and those of them that left the finite numbers; with any there are no moments.
    """

    mean: Numbers
    mean_error: Numbers
    variance: Numbers
    variance_error: Numbers
    relative: Numbers
    relative_error: Numbers
    n_chains: int
    n_diverged: int

    @property
    def is_seen(self) -> bool:
        """Whether chains diverged, or some bias is more than chance and 4 of its errors explain."""
        pairs = (self.mean, self.mean_error), (self.variance, self.variance_error)
        most = most_errors(2 * self.mean.size, self.n_chains)
        return self.n_diverged > 0 or any(
            bool((np.abs(bias) > most * error).any()) for bias, error in pairs
        )

    def __str__(self) -> str:
        if self.n_diverged:
            return (
                f"the bias is not known: {self.n_diverged} of {self.n_chains} chains diverged; "
                "take a smaller step_size"
            )
        i = int(np.argmax(np.abs(self.relative)))
        value, error = (float(np.ravel(of)[i]) for of in (self.relative, self.relative_error))
        seen = most_errors(2 * self.mean.size, self.n_chains) * float(self.relative_error.max())
        if self.is_seen:
            said = "bias is seen"
        elif seen <= _SMALL:
            said = "no bias is seen"
        else:
            said = (
                f"cannot tell, as one of {seen:.0%} would not be seen (take more chains or steps)"
            )
        return (
            f"{said} over {self.n_chains} chains; the variance is off by {value:+.2%} ± "
            f"{error:.2%} at the worst coordinate"
        )


@knows_keywords
def bias(
    sampler: Runnable,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_steps: int = 1000,
    n_samples: int | None = None,
    burn_in: int = 1000,
    seed: object = None,
    *,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Bias:
    """How far an unadjusted sampler's moments are off for the step size that it has.

    The chains run twice, with the sampler's steps and with half of them, from the same start and
    with the same noise at the same steps, which keeps the two near each other: of a slow direction
    with the correlation 2√2/3 under Langevin dynamics, so that differences have a ninth of the
    variance that they would have else. Where the bias grows with the power p of the step size, it
    is 2ᵖ/(2ᵖ - 1) of the difference (Talay and Tubaro, Stochastic Analysis and Applications 8,
    1990): p is 1 for `LangevinDynamics` and 2 for `UnderdampedLangevin`, and the ``bias_order`` of
    a transition of your own. So it is right to the first order in ηᵖ. Chains that diverge leave
    nothing to compare, and `str` says so.

    Parameters
    ----------
    sampler : LangevinDynamics or UnderdampedLangevin
    x, dim, n_samples, seed
        See `LangevinDynamics.sample_chain`; 1000 chains where neither `x` nor `n_samples` says how
        many. Errors are over chains, so that steps need not be independent; chains must be.
    n_steps, burn_in : int
        Steps of which the moments are, and those before. With half the step size the same number of
        steps is half the time, and that must be enough to forget the start.
    model_kwargs : mapping of str to anything, optional
        See `isotherm.run`.

    Returns
    -------
    Bias

    Raises
    ------
    InputError
        The sampler has none, or an argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> sampler = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), step_size=0.2)
    >>> found = isotherm.bias(sampler, dim=2, seed=0)  # exactly 1/(1 - 0.1) - 1 = 0.111
    >>> found.is_seen, bool(abs(found.variance.mean() - 0.111) < 0.02)
    (True, True)
    """
    name = getattr(sampler, "name", None)
    order = find(name).bias_order if name in names() else None
    if order is None:
        raise InputError(
            "bias is for samplers without a Metropolis decision, LangevinDynamics and "
            f"UnderdampedLangevin; {type(sampler).__name__} has none"
        )
    if isinstance(sampler, type) or not hasattr(sampler, "plan"):
        raise InputError(f"bias needs a sampler, made of an energy, not {short_repr(sampler)}")
    n_steps = as_count("n_steps", n_steps, 1)
    x = as_state(x)
    is_one = x is None or x.ndim < 2 or x.shape[0] == 1
    if x is not None and isinstance(dim, (tuple, list)):
        is_one |= x.ndim == len(dim)
    if n_samples is None and is_one:
        n_samples = 1000
    plan = sampler.plan(
        x,
        dim=dim,
        n_steps=n_steps,
        n_samples=n_samples,
        burn_in=burn_in,
        thinning=-(-n_steps // _MOST_KEPT),
        return_trajectory=True,
        on_divergence="ignore",
        seed=sampler.seed if seed is None else seed,
    )
    if plan.n_samples < 2:
        raise InputError("bias needs at least 2 chains, of which it makes its errors")
    if not (plan.noise_scale.ends > 0.0).all():
        raise InputError(
            "bias is of a law, and a run without noise has none; noise_scale must be > 0"
        )
    halved = replace(plan, step_size=_half(plan.step_size))
    trajectories = [
        to_numpy(run(one, sampler.energy_function, x, model_kwargs=model_kwargs).trajectory).astype(
            np.float64
        )
        for one in (plan, halved)
    ]
    axes = tuple(range(1, trajectories[0].ndim))
    is_finite = np.logical_and(*(np.isfinite(states).all(axis=axes) for states in trajectories))
    factor = 2.0**order / (2.0**order - 1.0)
    with np.errstate(all="ignore"):
        whole, half = map(_moments, trajectories)
        (mean, mean_error), (variance, variance_error) = (
            (factor * (a - b).mean(axis=0), factor * (a - b).std(axis=0, ddof=1) / np.sqrt(len(a)))
            for a, b in zip(whole, half, strict=True)
        )
        finer = half[1].mean(axis=0)
        relative, relative_error = np.asarray(variance / finer), np.asarray(variance_error / finer)
    return Bias(
        mean, mean_error, variance, variance_error, relative, relative_error, plan.n_samples,
        int((~is_finite).sum()),
    )  # fmt: skip


def _moments(states: Numbers) -> tuple[Numbers, Numbers]:
    """Of each chain the mean, and the mean square deviation from that of all."""
    deviations = states - states.mean(axis=(0, 1))
    return states.mean(axis=1), (deviations * deviations).mean(axis=1)


def _half(steps: Schedule) -> Schedule:
    if steps.decay:
        return Schedule(0.5 * steps.start, steps.decay, steps.first, steps.size)
    return Schedule(0.5 * steps.values)
