"""Warm-up: pilot chains, window after window, and the numbers that come of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from isotherm._arithmetic.arrays import Array, as_state
from isotherm._planning.arguments import as_count, as_number
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.sampler_arguments import LARGEST_DENSE_MASS
from isotherm._plans.plan import Plan
from isotherm._warmup.advice import reasons
from isotherm._warmup.pilots import Pilots, pilots_start
from isotherm._warmup.search import TARGETS, Search
from isotherm._warmup.starts import Starts
from isotherm._warmup.tuning import (
    MASS_RANGE,
    MOST_LEAPFROG,
    Tunable,
    Tuning,
    is_in_range,
)
from isotherm._warmup.unadjusted import unbiased
from isotherm._warmup.windows import BLOCK
from isotherm.errors import InputError, WarmUpWarning, caller_stacklevel, short_repr

_LEAST_STEPS = 20


@knows_keywords
def warm_up(
    sampler: Tunable,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_warmup: int = 500,
    n_pilot: int = 64,
    target_accept: float | None = None,
    mass: str | None = "diagonal",
    seed: object = None,
    *,
    relative_bias: float = 0.05,
    frozen: object = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Tuning:
    """Find a sampler's step size, inverse mass and trajectory length, or friction.

    Pilot chains of a fixed number run on noise streams of their own, so that what is found depends
    on the seed and on nothing of the run that follows. Windows are as in Stan: step size alone,
    then windows of growing length, after each of which the inverse mass is made of the pilots'
    states in it, then step size alone. The step size follows the counted part of proposals that
    the pilots accept, by dual averaging (Hoffman and Gelman, JMLR 15, 2014).

    Trajectories of ``"hmc"`` get a mean length of 1.1 σ, with σ the standard deviation along the
    widest direction, in the metric of the inverse mass. Of a Gaussian's direction trajectories of
    lengths uniform on (0, T) leave a correlation sin(T/σ)/(T/σ) of the coordinate and 1/2 +
    sin(2T/σ)/(4T/σ) of its square; at T = 2.2 σ the fewer of the two's effective draws a gradient
    are most. So are they on posteriors, where ChEES (Hoffman, Radul and Sountsov, AISTATS 2021),
    which must search, would choose the same number of substeps: ``benchmarks/posteriors/
    lengths.py``. The friction of ``"underdamped"`` is 2/σ, at which that direction is critically
    damped.

    Pilots are of ``"hmc"`` for every sampler, for they find wide directions soonest; but in the
    last windows those of the others are of ``"mala"``, for its step size. An unadjusted sampler's
    step size is the largest not above that
    at which the variances of a Gaussian of the same curvature, averaged over directions, are
    off by `relative_bias`: for Langevin steps 1/(1 - ηκ/2) - 1 with κ = ⟨∇U·M⁻¹∇U⟩/(noise_scale²
    dim), the mean curvature, with bounds at least that of a Gaussian of the variances found; for
    ``"underdamped"`` h²κ/4, the error of leapfrog steps, which BAOAB,
    free of it for Gaussians, stays below (Leimkuhler and Matthews, 2013).

    Nor may Langevin steps shift the mean of a coordinate by more than `relative_bias` of its
    standard deviation, as they do where many others tell of its value: the scale in a hierarchical
    model. Their density is exp(-U) (1 + η (|∇U|²/4 - ∇²U/2)) to the first order, and by parts the
    mean of x_i is off by -η Cov(x_i, ∇U·M⁻¹∇U)/(4 noise_scale²).

    Parameters
    ----------
    sampler : LangevinDynamics, UnderdampedLangevin, MALA or HamiltonianMonteCarlo
        What it was given stands: an `inverse_mass`, an `n_leapfrog` of up to 1024, a `friction`;
        the rest is found with it. Only its step size is sought in any case, and begins the search.
        Each is a number, not a schedule. What an earlier warm-up found is sought anew.
    x : array, optional
        Where the pilots start: pilot i in row i modulo their number; of more rows than pilots,
        in those of as many `frozen` values as can be. N(0, I) by default.
    dim : int or tuple of int, optional
        The shape of one chain's state; needed where neither `x` nor the energy tells it.
    n_warmup : int
        Steps of each pilot; at least 20, and 40 for the pilots to tell whether they agree.
    n_pilot : int
        At least 4.
    target_accept : float, optional
        In (0, 1): 0.574 for ``"mala"`` and 0.8 for ``"hmc"`` by default. On most posteriors
        0.8 gives more effective draws a second than 0.651, which is best in high dimension.
    mass : {"diagonal", "dense", None}
        The inverse mass that is sought: a variance a coordinate, or the covariance of up to 64
        coordinates; with None the sampler keeps its own, as it does where it was given one.
    seed : int, generator or key, optional
        See `isotherm.make_plan`; by default that of the sampler, else a fresh one.
    relative_bias : float
        Of unadjusted samplers; see above.
    frozen : bool array, optional
        Of the shape of a chain's state: True where the pilots, and the chains that are to follow,
        do not move a coordinate; what is found is of the others, and the inverse mass there 1. Give
        it to the run, too. Pilots whose frozen coordinates have other values have other laws, each
        with a mean of its own, and one inverse mass and step size serve them all: a step that
        the narrowest can take. Where widths differ by 10 times, a draw of ``"hmc"`` takes some 5
        times as many gradients, and one of ``"mala"`` hardly moves in the widest: warm up each by
        itself, from its own rows of `x`.
    model_kwargs : mapping of str to anything, optional
        Keywords that the energy receives at every call; see `isotherm.run`.

    Returns
    -------
    Tuning

    Warns
    -----
    WarmUpWarning
        It did not settle; the message says why, and so does ``tuning.advice``.

    Raises
    ------
    InputError
        An argument is not usable, no pilot can leave where it starts, that is too far out, or U is
        flat or linear.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.GaussianEnergy(mean=[1.0, -1.0], cov=[[1.0, 0.5], [0.5, 2.0]])
    >>> tuning = isotherm.warm_up(isotherm.HamiltonianMonteCarlo(energy), seed=0)
    >>> draws = tuning.sampler.sample_chain(x=tuning.x, n_samples=1000, n_steps=10, seed=0)
    >>> draws.shape
    (1000, 2)
    """
    started = time.perf_counter()
    if not hasattr(sampler, "pilot"):
        raise InputError(
            "warm_up needs a sampler, for example isotherm.HamiltonianMonteCarlo(energy); got "
            f"{type(sampler).__name__}"
        )
    n_warmup = as_count("n_warmup", n_warmup, _LEAST_STEPS)
    n_pilot = as_count("n_pilot", n_pilot, 4)
    wanted_bias = _fraction("relative_bias", relative_bias)
    target = None if target_accept is None else _fraction("target_accept", target_accept)
    x = pilots_start(as_state(x), dim, n_pilot, frozen)
    plan = sampler.pilot(
        x,
        {
            "dim": dim,
            "n_samples": n_pilot,
            "n_steps": BLOCK,
            "seed": sampler.seed if seed is None else seed,
            "frozen": frozen,
        },
    )
    _check(plan, sampler, mass)
    pilots = Pilots(plan, sampler.energy_function, x, model_kwargs)
    word = sampler.name
    if sampler.given("inverse_mass") is not None:
        mass = None
    search = Search(pilots, target or TARGETS[sampler.exact], mass)
    first_step = _given("step_size", sampler.step_size)
    substeps, friction = (_given(name, sampler.given(name)) for name in ("n_leapfrog", "friction"))
    found = search.found(n_warmup, first_step or 1.0, sampler.exact, substeps)
    step_size, advice = found.step_size, reasons(search, found)
    if word != sampler.exact:
        step_size, doubt = unbiased(word, found, search, wanted_bias)
        advice += [doubt] if doubt else []
    if word == "underdamped" and friction is None:
        friction = 2.0 / search.slowest
    tuning = Tuning(
        word=word,
        step_size=step_size,
        inverse_mass=pilots.mass_of_all(search.inverse_mass, frozen=1.0).values,
        n_leapfrog=search.lengths(step_size).get("n_leapfrog"),
        friction=friction if word == "underdamped" else None,
        acceptance=found.acceptance,
        target_accept=search.target,
        r_hat=found.worst_r_hat,
        slowest=search.slowest,
        n_warmup=n_warmup,
        n_pilot=n_pilot,
        seed=plan.seed,
        seconds=time.perf_counter() - started,
        advice=tuple(advice),
        event_shape=plan.event_shape,
        _starts=Starts(pilots.samples),
    )
    if tuning.advice:
        warnings.warn(
            f"the warm-up did not settle: {'; '.join(tuning.advice)}",
            WarmUpWarning,
            stacklevel=caller_stacklevel(),
        )
    return replace(tuning, _tuned=sampler.tuned(tuning.arguments, tuning.to_json()))


def _check(plan: Plan, sampler: Tunable, mass: str | None) -> None:
    if mass not in ("diagonal", "dense", None):
        raise InputError(f"mass must be 'diagonal', 'dense' or None, not {short_repr(mass)}")
    own = sampler.given("inverse_mass")
    if mass == "dense" and own is not None:
        raise InputError(
            "mass='dense' would replace the inverse_mass that the sampler was given; leave out one "
            "of them"
        )
    if own is not None and plan.inverse_mass is not None:
        values = plan.inverse_mass.values
        moving = values if plan.frozen is None else values[~plan.frozen.reshape(-1)]
        if not is_in_range(moving):
            raise InputError(f"a warm-up is for an inverse_mass {MASS_RANGE}")
    if mass == "dense" and plan.n_coordinates > LARGEST_DENSE_MASS:
        raise InputError(
            f"mass='dense' is for up to {LARGEST_DENSE_MASS} coordinates, not "
            f"{plan.n_coordinates}; take mass='diagonal'"
        )
    if mass == "dense" and plan.bounds is not None:
        raise InputError("bounds go with a mass a coordinate; take mass='diagonal'")
    if mass == "dense" and plan.frozen is not None:
        raise InputError("frozen coordinates go with a mass a coordinate; take mass='diagonal'")
    if not plan.noise_scale.is_constant:
        raise InputError("a warm-up is for one noise_scale, not for a schedule; give a number")


def _given(name: str, value: Any) -> float | None:
    """A number of the sampler's own; None where it was given none."""
    if value is None:
        return None
    try:
        number = as_number(value)
    except TypeError:
        raise InputError(
            f"a warm-up is for one {name}, not for a schedule; give a number"
        ) from None
    if name == "n_leapfrog" and number > MOST_LEAPFROG:
        raise InputError(
            f"a warm-up is for trajectories of up to {MOST_LEAPFROG} substeps; got n_leapfrog = "
            f"{number:g}"
        )
    return number


def _fraction(name: str, given: object) -> float:
    try:
        number = as_number(given)
    except TypeError:
        raise InputError(f"{name} must be a number in (0, 1), not {short_repr(given)}") from None
    if not 0.0 < number < 1.0:
        raise InputError(f"{name} must be in (0, 1), not {short_repr(given)}")
    return number
