"""Warm-up: pilot chains, window after window, and the numbers that come of them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, to_numpy
from isotherm._arithmetic.noise import FIRST_PILOT
from isotherm._arithmetic.sums import moments, total
from isotherm._backends.array_loop import matvec
from isotherm._energies.protocol import as_energy, fixed
from isotherm._planning.arguments import as_count, as_number
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.sampler_arguments import LARGEST_DENSE_MASS, Flags, as_frozen
from isotherm._plans.masses import InverseMass
from isotherm._plans.plan import Plan, Schedule
from isotherm._results.result import Info, Result
from isotherm._runs.gradients import gradients
from isotherm._runs.run import run
from isotherm._runs.significance import most_errors
from isotherm._warmup.dual_averaging import DualAveraging
from isotherm._warmup.scales import (
    Numbers,
    correlated_r_hat,
    covariance,
    half_log_determinant,
    log_volume,
    slowest,
    split_r_hat,
    variances,
)
from isotherm._warmup.tuning import (
    MASS_RANGE,
    MOST_LEAPFROG,
    Starts,
    Tunable,
    Tuning,
    is_in_range,
)
from isotherm._warmup.windows import BLOCK, windows
from isotherm.errors import InputError, WarmUpWarning, caller_stacklevel, short_repr

# Of MALA what is best in high dimension (Roberts and Rosenthal, JRSS B 60, 1998). Of trajectories
# that is 0.651 (Beskos et al., Bernoulli 19, 2013), at which chains are caught in tails that are
# steep, and those of one or two substeps are near the limit of stability; see `warm_up`.
_TARGETS = {"mala": 0.574, "hmc": 0.8}

_LEAST_STEPS = 20
_FIRST_LEAPFROG = 10
_MOST_DOUBLINGS = 60
_MEAN_LENGTH = 1.1  # of trajectories, in units of the slowest direction's time; see `warm_up`
_RELEASED_EVERY = 4  # blocks, of which one has steps smaller by these
_RELEASING = np.array([4.0, 16.0, 64.0, 256.0])
_FAR_ABOVE = 5.0  # the median energy, times dim + 10; see `leave_behind`
_DRAWS_OF_ROOM = 12  # of a pilot, from which they tell it
_MOST_NUMBERS = 2**24  # held of a window's states
_MOST_SEEN = 2**22  # of which gradients are asked for

_WORST_R_HAT = 1.1
_DRAWS_THAT_TELL = 4  # in each half, of a disagreement, as ArviZ asks for of an R-hat
_FAR_BELOW, _TOO_HIGH = 0.15, 0.99  # of acceptances: below the target, and whatever it is
_MANY_DIVERGENCES = 0.1  # of steps
_SHRUNK = 1e-4  # of the variance in a window, what the pilots' last states have of it by no chance
_FAR_TOO_FLAT = 0.5  # of the least curvature that a law as narrow has


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
    x = _pilots_start(as_state(x), dim, n_pilot, frozen)
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
    pilots = _Pilots(plan, sampler.energy_function, x, model_kwargs)
    word = sampler.name
    if sampler.given("inverse_mass") is not None:
        mass = None
    search = _Search(pilots, target or _TARGETS[sampler.exact], mass)
    first_step = _given("step_size", sampler.step_size)
    substeps, friction = (_given(name, sampler.given(name)) for name in ("n_leapfrog", "friction"))
    found = search.found(n_warmup, first_step or 1.0, sampler.exact, substeps)
    step_size = found.step_size
    if word != sampler.exact:
        step_size = _unbiased(word, found, search, wanted_bias)
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
        r_hat=found.r_hat,
        slowest=search.slowest,
        n_warmup=n_warmup,
        n_pilot=n_pilot,
        seed=plan.seed,
        seconds=time.perf_counter() - started,
        advice=tuple(found.reasons),
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


class _Found(NamedTuple):
    step_size: float
    acceptance: float
    r_hat: float
    reasons: list[str]
    states: Numbers


class _Pilots:
    """The pilot chains: where they are, and plain runs that take them on."""

    def __init__(
        self, plan: Plan, energy: Any, x: Array | None, model_kwargs: Mapping[str, Any] | None
    ) -> None:
        self.plan = replace(plan, chain_offset=FIRST_PILOT)
        still = np.zeros(plan.event_shape, bool) if plan.frozen is None else plan.frozen
        self.free = np.flatnonzero(~still)
        self._frozen = np.flatnonzero(still)
        self._energy = fixed(as_energy(energy), plan.event_shape)
        self._model_kwargs = model_kwargs
        self._x: Any = x
        if x is not None:  # one state serves them all
            self._x = compat.array_namespace(x).broadcast_to(x, plan.shape)
        self._start = self._x
        self._step = 0
        self.samples: Any = x

    def run(self, n_steps: int, *, stays: bool = False, **numbers: Any) -> Info:
        """Some steps with these fields of the plan; `stays`: from where they are, for a try."""
        result = self._result(n_steps, **numbers)
        if not stays:
            self._x, self.samples = result.state["x"], result.samples
            self._step += n_steps
        return result.info

    def _result(self, n_steps: int, **numbers: Any) -> Result:
        plan = replace(
            self.plan,
            n_steps=n_steps,
            step_offset=self._step,
            has_start=self._x is not None,
            **numbers,
        )
        return run(plan, self._energy, self._x, model_kwargs=self._model_kwargs)

    def far_out(self, *, from_start: bool = False, **numbers: Any) -> str | None:
        """What to say where U is so large that decisions, which rest on differences of 1, fail."""
        if from_start:
            self._x = self._start
        height = np.abs(self._heights(**numbers))
        known = height[np.isfinite(height)]
        dtype = "float64" if self.plan.dtype == "float64" else "float32"
        if not known.size or np.median(known) * np.finfo(dtype).eps <= 1.0:
            return None
        return (
            f"the pilots are too far out: |U|/noise_scale² is {np.median(known):.2g} where they "
            f"{'start' if from_start else 'are'}, and {dtype} knows no differences of 1 in that; "
            "pass x, states nearer to the bulk, or take from U the constant that it has everywhere"
        )

    def _heights(self, **numbers: Any) -> np.ndarray[Any, Any]:
        """U/noise_scale² of each pilot, after a step from where they are; shape (n_pilot,)."""
        diagnostics = self._result(1, **{**numbers, "return_diagnostics": True}).diagnostics
        assert diagnostics is not None
        height: np.ndarray[Any, Any] = to_numpy(diagnostics.energy)[-1].astype(np.float64)
        return height / self.plan.noise_scale.start**2

    def leave_behind(self, states: Numbers | None, **numbers: Any) -> None:
        """Put those whose energies are far above the others' where others are.

        A chain of N(0, I) may start so far out that its way takes longer than the warm-up. Of a
        Gaussian U varies by about dim/2; what is above the median by ten times that, and by 50
        more, is left behind, and so is what has no energy.

        Where the pilots' `states` in a window, shape (n_draws, n_pilot, dim), tell how much room
        each has, that decides: U - ln(room) is minus the logarithm of the weight of its mode, up to
        a constant. A pilot is given the most room that its mode may have, and that of the median
        no more than its draws span, so that no correlation makes a mode seem light. Left behind is
        then what has e^-20 of the other's weight, with a margin of dim for what windows err.

        Energies are compared, and places taken, among pilots of one law alone.
        """
        plan = self.plan
        if self._x is None:  # nobody has taken a step
            return
        height = self._heights(**numbers)
        index = np.arange(plan.n_samples)
        for law in self._laws():
            is_far = _is_far(
                height[law], None if states is None else states[:, law], len(self.free)
            )
            if is_far.any() and not is_far.all():
                here = law[~is_far]
                index[law[is_far]] = here[np.arange(is_far.sum()) % len(here)]
        if (index != np.arange(plan.n_samples)).any():
            xp = compat.array_namespace(self._x)
            self._x = xp.take(self._x, xp.asarray(index, device=compat.device(self._x)), axis=0)

    def take_single_steps(self) -> None:
        """From now on they are of MALA."""
        self.plan = replace(self.plan, sampler="mala", n_leapfrog=None, jitter=0.0, friction=None)

    def states(self) -> np.ndarray[Any, Any]:
        """Where they are, in host memory, in what moves; shape (n_pilot, n_free)."""
        return np.take(self._rows(), self.free, axis=1)

    def _rows(self) -> np.ndarray[Any, Any]:
        return to_numpy(self._x).reshape(self.plan.n_samples, -1)

    def _laws(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """The pilots of each law: those whose frozen coordinates have the same values."""
        if not len(self._frozen):
            return [np.arange(self.plan.n_samples)]
        _, law = np.unique(self._rows()[:, self._frozen], axis=0, return_inverse=True)
        return [np.flatnonzero(law.reshape(-1) == one) for one in range(law.max() + 1)]

    def centred(self, states: Numbers) -> Numbers:
        """States about the mean of their law, where there are several; (n_draws, n_pilot, n_free).

        The spread of all of them together is that of none.
        """
        laws = self._laws()
        if len(laws) == 1:
            return states
        made = np.empty_like(states)
        for law in laws:
            own = states[:, law]
            made[:, law] = own - np.asarray(moments(own.reshape(-1, own.shape[2]), 0).mean)
        return made

    def mass_of_all(self, mass: InverseMass, frozen: float = 0.0) -> InverseMass:
        """The inverse mass of all coordinates, of that of those that move."""
        if not len(self._frozen):
            return mass
        made = np.full(self.plan.n_coordinates, frozen)
        made[self.free] = mass.values
        return InverseMass(made)

    def gradients(self, states: Numbers, pilot: np.ndarray[Any, np.dtype[np.int64]]) -> Numbers:
        """∇U in what moves, at some states of these pilots; shape (n, n_free)."""
        xp = compat.array_namespace(self._x)
        rows = self._rows()[pilot].astype(np.float64)
        rows[:, self.free] = states
        x = xp.asarray(
            rows.reshape(len(rows), *self.plan.event_shape),
            dtype=self._x.dtype, device=compat.device(self._x),
        )  # fmt: skip
        made = gradients(self.plan, self._energy, x, self._model_kwargs)
        return np.take(made.reshape(len(rows), -1), self.free, axis=1)


def _is_far(height: Numbers, states: Numbers | None, dim: int) -> Flags:
    """Which pilots of a law are to be left behind; see `_Pilots.leave_behind`."""
    known = height[np.isfinite(height)]
    if not known.size:
        return np.zeros(len(height), bool)
    with np.errstate(all="ignore"):
        is_far = ~(height <= np.median(known) + _FAR_ABOVE * (dim + 10.0))
        if states is not None and len(states) >= _DRAWS_OF_ROOM:
            is_far = _is_light(height, states, is_far)
    return is_far


def _is_light(height: Numbers, states: Numbers, otherwise: Flags) -> Flags:
    """Which pilots are in modes without weight; `otherwise` where states do not tell."""
    least = height - log_volume(states)
    order = np.argsort(least, kind="stable")
    order = order[np.isfinite(least[order])]
    dim = states.shape[2]
    if not order.size or dim > LARGEST_DENSE_MASS:
        return otherwise
    middle = order[len(order) // 2]
    of_others = height[middle] - half_log_determinant(states[:, middle])
    if not np.isfinite(of_others):
        return otherwise
    return np.where(np.isfinite(least), least > of_others + (dim + 20.0), otherwise)


class _Search:
    """What is known so far of the target's scales, and the windows that make it known."""

    def __init__(self, pilots: _Pilots, target: float, mass: str | None) -> None:
        plan = pilots.plan
        self.target = target
        self.slowest = 1.0
        self.inverse_mass = InverseMass(np.ones(len(pilots.free)))  # of what moves
        if plan.inverse_mass is not None:
            own = plan.inverse_mass.values
            self.inverse_mass = InverseMass(own[pilots.free] if own.ndim == 1 else own)
        self.noise_scale = plan.noise_scale.start
        self.has_bounds = plan.bounds is not None
        self._pilots = pilots
        self._mass = mass
        self._knows_scales = False
        self._n_leapfrog: int | None = None  # that stands

    def lengths(self, step_size: float) -> dict[str, int]:
        """The substeps of a trajectory, where there are any."""
        plan = self._pilots.plan
        if plan.n_leapfrog is None:
            return {}
        if self._n_leapfrog is not None:
            return {"n_leapfrog": self._n_leapfrog}
        if not self._knows_scales:
            return {"n_leapfrog": _FIRST_LEAPFROG}
        whole = _MEAN_LENGTH * self.slowest / (1.0 - 0.5 * plan.jitter)
        # Rounded down, as the ceiling of jittered lengths adds half a substep.
        return {"n_leapfrog": max(1, math.floor(min(whole / step_size, float(MOST_LEAPFROG))))}

    def found(
        self, n_warmup: int, first_step: float, word: str, n_leapfrog: float | None
    ) -> _Found:
        """The windows, one after the other; the last ones of the sampler of this word.

        They have their own trajectories, which find how wide directions are, but in the last, for
        whose step size it is, the `n_leapfrog` that was given.
        """
        steps, trajectories = windows(n_warmup), _TARGETS["hmc"]
        is_mala = word == "mala"
        step_size = math.sqrt(2.0 * first_step) if is_mala else first_step
        target = trajectories if is_mala else self.target
        step_size, states = self._first_step_size(step_size), None
        for n_steps in (steps.first, *steps.slow):
            self._pilots.leave_behind(states, **self._numbers(step_size))
            step_size, states = self._adapt(step_size, n_steps, target)
            self._learn(states)
            step_size = self._first_step_size(step_size)
        assert states is not None
        self._pilots.leave_behind(states, **self._numbers(step_size))
        if is_mala:
            self._pilots.take_single_steps()
            step_size = 0.5 * step_size * step_size  # η of MALA, h of a substep: h = √(2η)
        self._n_leapfrog = None if n_leapfrog is None else int(n_leapfrog)
        step_size, _ = self._adapt(step_size, steps.last, self.target)
        info = self._pilots.run(steps.check, **self._numbers(step_size))
        acceptance = info.acceptance_rate or 0.0
        worst, reasons = self._reasons(info, acceptance, states, step_size)
        return _Found(step_size, acceptance, worst, reasons, states)

    def _numbers(self, step_size: float) -> dict[str, Any]:
        numbers: dict[str, Any] = {
            name: Schedule(float(n)) for name, n in self.lengths(step_size).items()
        }
        return {
            "step_size": Schedule(step_size),
            # Also where it is 1, for one kernel to serve all.
            "inverse_mass": self._pilots.mass_of_all(self.inverse_mass),
            **numbers,
        }

    def _first_step_size(self, start: float) -> float:
        """Doubled or halved until half of the proposals of one substep are accepted.

        Hoffman and Gelman, JMLR 15, 2014, algorithm 4, with the count of pilots.
        """
        one = {} if self._pilots.plan.n_leapfrog is None else {"n_leapfrog": Schedule(1.0)}

        def is_accepted(step_size: float) -> bool:
            tried = self._pilots.run(1, stays=True, **{**self._numbers(step_size), **one})
            return (tried.acceptance_rate or 0.0) > 0.5

        step_size, grows = start, is_accepted(start)
        for _ in range(_MOST_DOUBLINGS):
            before, step_size = step_size, step_size * 2.0 if grows else step_size / 2.0
            if is_accepted(step_size) != grows:
                return before if grows else step_size
        # With the mass that they started with: what they have learnt since may be without limit.
        tiny = Schedule(0.5**_MOST_DOUBLINGS)
        far_out = self._pilots.far_out(from_start=True, step_size=tiny)
        if far_out:
            raise InputError(far_out)
        if grows or self._knows_scales:  # or the steps of a whole window were accepted
            raise InputError(
                "the pilots take steps without limit: U is flat or linear as far as they see, so "
                "that its law has no width (without bounds it is none at all); give it tails that "
                "rise, or choose a step_size yourself, of the order of the width between bounds"
            )
        raise InputError(
            "no step of the pilots was accepted, however small: U or its gradient is not "
            "finite where they start, or they do not belong to each other; pass x, states "
            "inside of the support, and see isotherm.check_gradient"
        )

    def _adapt(self, step_size: float, n_steps: int, target: float) -> tuple[float, Numbers]:
        """A window; the step size found, and the pilots' states in it, (n_draws, n_pilot, dim).

        The acceptance is one of all pilots, so that a few, which started where the energy is steep,
        may be caught while the others do well: now and then a block takes smaller and smaller
        steps, which let them go and which nothing is learnt from. Any sequence of step sizes leaves
        the law as it is.
        """
        averaging = DualAveraging(step_size, target)
        size = self._pilots.plan.n_samples * self._pilots.plan.n_coordinates
        n_blocks = -(-n_steps // BLOCK)
        every = -(-n_blocks * size // _MOST_NUMBERS)
        states = []
        for block in range(n_blocks):
            taken = min(BLOCK, n_steps - block * BLOCK)
            if block % _RELEASED_EVERY == 1:
                numbers = self._numbers(averaging.step_size)
                numbers["step_size"] = Schedule(averaging.step_size / _RELEASING[:taken])
                self._pilots.run(taken, **numbers)
            else:
                info = self._pilots.run(taken, **self._numbers(averaging.step_size))
                averaging.update(info.acceptance_rate or 0.0)
            if block % every == 0:
                states.append(self._pilots.states())
        return averaging.found, np.stack(states).astype(np.float64)

    def _learn(self, states: Numbers) -> None:
        """The inverse mass, in which all directions have the time 1, and how slow one is left."""
        states = self._pilots.centred(states)
        x = states.reshape(-1, states.shape[2])
        with np.errstate(all="ignore"):
            made = None
            if self._mass is not None:
                made = variances(x) if self._mass == "diagonal" else self._covariance(x)
                made = made / (self.noise_scale * self.noise_scale)
            if made is not None and is_in_range(made):
                self.inverse_mass = InverseMass(made)
            width = slowest(self.whitened(states))
        if math.isfinite(width) and width > 0.0:
            self.slowest, self._knows_scales = width, True

    def _covariance(self, x: Numbers) -> Numbers:
        before = self.inverse_mass.values
        return covariance(x, before if before.ndim == 2 else None)

    def whitened(self, states: Numbers) -> Numbers:
        """Rᵀx/noise_scale with R a root of the mass, of states of shape (..., dim)."""
        root = self.inverse_mass.factors()["mass_root"]
        if root.ndim == 1:
            return states * (root / self.noise_scale)
        flat = states.reshape(-1, states.shape[-1])
        made: Numbers = matvec(np.ascontiguousarray(root.T), flat) / self.noise_scale
        return made.reshape(states.shape)

    def least_curvature(self, states: Numbers) -> float:
        """What the curvature's mean is at least where U has no jumps and is not cut off.

        In one dimension ⟨U'²⟩/noise_scale² is not below noise_scale²/variance, nor is it in any
        direction: the Cramér-Rao bound of the location, which a Gaussian attains.
        """
        z = self.whitened(self._pilots.centred(states)).reshape(-1, states.shape[2])
        with np.errstate(all="ignore"):
            inverse = 1.0 / variances(z)
        return float(total(inverse, 0)) / len(inverse)

    def squared_forces(self, states: Numbers) -> tuple[Numbers, Numbers]:
        """Some of the draws, (n_draws, n_pilot, dim), and ∇U·M⁻¹∇U of each, (n_draws, n_pilot)."""
        draws = states[:: -(-states.size // _MOST_SEEN)]
        pilot = np.tile(np.arange(draws.shape[1]), len(draws))
        g = self._pilots.gradients(draws.reshape(-1, draws.shape[2]), pilot)
        mass = self.inverse_mass.values
        moved = mass * g if mass.ndim == 1 else matvec(mass, g)
        return draws, np.asarray(total(g * moved, 1)).reshape(draws.shape[:2])

    def curvature(self, draws: Numbers, square: Numbers) -> float:
        """⟨∇U·M⁻¹∇U⟩/(noise_scale² dim), the mean of M⁻¹∇²U over directions and draws."""
        mean = float(total(square.reshape(-1), 0)) / (square.size * draws.shape[2])
        return float(mean / (self.noise_scale * self.noise_scale))

    def mean_shift(self, draws: Numbers, square: Numbers) -> float:
        """By how many standard deviations Langevin steps shift a coordinate's mean, over η.

        The most of all coordinates, to the first order in η: see `warm_up`. What may be chance, by
        how the pilots differ, is none.
        """
        joined = self._pilots.centred(np.concatenate([draws, square[..., None]], axis=2))
        with np.errstate(all="ignore"):
            joined = joined - np.asarray(moments(joined.reshape(-1, joined.shape[2]), 0).mean)
            x, q = joined[..., :-1], joined[..., -1:]
            of_pilots = np.asarray(moments(x * q, 0).mean)
            n_pilot, dim = of_pilots.shape
            covariance = np.asarray(moments(of_pilots, 0).mean)
            error = np.sqrt(variances(of_pilots) / (n_pilot - 1))
            shift = np.abs(covariance) / np.sqrt(variances(x.reshape(-1, dim)))
            is_sure = np.abs(covariance) > most_errors(dim, n_pilot) * error
        most = float(shift[is_sure].max(initial=0.0))
        return most / (4.0 * self.noise_scale * self.noise_scale)

    def _reasons(
        self, info: Info, acceptance: float, states: Numbers, step_size: float
    ) -> tuple[float, list[str]]:
        """The worst R-hat, and why what was found is not to be trusted."""
        reasons = []
        pilots, plan = self._pilots, self._pilots.plan
        still = int((states == states[0]).all(axis=(0, 2)).sum()) if len(states) > 1 else 0
        if still:
            reasons.append(
                f"{still} of {plan.n_samples} pilots never moved: where they started a chain is "
                "caught, or outside of the support; pass x, states nearer to the bulk"
            )
        last = pilots.states().astype(np.float64)
        if not np.isfinite(last).all():
            reasons.append("pilots left the finite numbers; check the energy")
        far_out = pilots.far_out(**self._numbers(step_size))
        if far_out:
            reasons.append(far_out)
        with np.errstate(all="ignore"):
            has_shrunk = (last.var(axis=0) < _SHRUNK * states.var(axis=(0, 1))).any()
        if has_shrunk and not far_out:
            reasons.append(
                "the pilots came from far out in the window that tells how wide the law is; take a "
                "larger n_warmup, or start nearer to the bulk"
            )
        with np.errstate(all="ignore"):
            r_hat = split_r_hat(pilots.centred(states)) if len(states) >= 4 else np.array([np.nan])
        worst = float(np.nanmax(r_hat)) if (r_hat == r_hat).any() else math.nan
        half = len(states) // 2
        agrees = worst <= max(_WORST_R_HAT, correlated_r_hat(max(half, 2)))
        if not agrees and (half < _DRAWS_THAT_TELL or worst != worst):
            reasons.append("too few steps to tell whether the pilots agree; take a larger n_warmup")
        elif not agrees:
            at = np.unravel_index(pilots.free[int(np.nanargmax(r_hat))], plan.event_shape)
            where = ", ".join(map(str, at))
            reasons.append(
                f"the pilots disagree, R-hat is {worst:.2f} at coordinate {where}: they have not "
                "met yet, a direction is flat, or there are several modes; take a larger n_warmup, "
                "or start nearer to the bulk"
            )
        # In few dimensions the acceptance falls from high to nothing at the limit of stability, and
        # a step size shortly below is as good as one can be.
        if not self.target - _FAR_BELOW <= acceptance <= max(_TOO_HIGH, self.target):
            reasons.append(
                f"the acceptance is {acceptance:.2f}, far from {self.target:.2f}; take a larger "
                "n_warmup, or check the energy's gradient"
            )
        steps = plan.n_samples * info.n_steps
        if (info.n_divergences or 0) > _MANY_DIVERGENCES * steps:
            reasons.append(
                f"{info.n_divergences} of {steps} steps diverged; raise target_accept, or sample "
                "another parametrisation"
            )
        is_cut = self.lengths(step_size).get("n_leapfrog") == MOST_LEAPFROG
        if is_cut and self._n_leapfrog is None:
            reasons.append(
                f"trajectories were cut at {MOST_LEAPFROG} substeps: one direction is far wider "
                "than another; take mass='dense', or another parametrisation"
            )
        return worst, reasons


def _unbiased(word: str, found: _Found, search: _Search, bias: float) -> float:
    """The step size of an unadjusted sampler; see `warm_up`."""
    draws, square = search.squared_forces(found.states)
    curvature, least = search.curvature(draws, square), search.least_curvature(found.states)
    if search.has_bounds:  # which curb the chains where U does not
        curvature = max(curvature, least)
    elif curvature < _FAR_TOO_FLAT * least:
        found.reasons.append(
            "the gradient is too small for how near the pilots stay to each other: they have not "
            "spread yet, or U has jumps, or the gradient is of another function, and "
            f"{word!r}, which never looks at U, would sample another law; take a larger n_warmup, "
            "or sampler='mala' or 'hmc', and see isotherm.check_gradient"
        )
    if not 0.0 < curvature < math.inf:
        return found.step_size
    if word == "underdamped":
        exact = math.sqrt(2.0 * found.step_size)  # MALA's h = √(2η)
        return min(exact, 2.0 * math.sqrt(bias / curvature))
    step_size = min(found.step_size, 2.0 * bias / ((1.0 + bias) * curvature))
    # Between walls there is more to it, and from them less: the means are within them.
    shift = 0.0 if search.has_bounds else search.mean_shift(draws, square)
    return min(step_size, bias / shift) if 0.0 < shift < math.inf else step_size


def _pilots_start(x: Array | None, dim: Any, n_pilot: int, frozen: Any) -> Array | None:
    """A row for each pilot; one state serves them all."""
    if x is None or x.ndim < 2 or x.shape[0] in (0, n_pilot) or tuple(x.shape) == dim:
        return x
    index = np.arange(n_pilot) % int(x.shape[0])
    still = as_frozen(frozen, tuple(map(int, x.shape[1:])))
    if still is not None and x.shape[0] > n_pilot:
        index = _of_many_laws(to_numpy(x).reshape(-1, still.size)[:, still.reshape(-1)], n_pilot)
    return x[index.tolist()]


def _of_many_laws(rows: np.ndarray[Any, Any], n_pilot: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows for the pilots, of as many frozen values as can be, in whatever order these come."""
    _, law, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    order, first = np.argsort(law.reshape(-1), kind="stable"), np.cumsum(counts) - counts
    pilot, n = np.arange(n_pilot), len(counts)
    one = pilot * n // n_pilot if n > n_pilot else pilot % n
    return order[first[one] + pilot // n % counts[one]]


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
