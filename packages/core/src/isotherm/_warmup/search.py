"""The search of a warm-up: window after window, the step size and the inverse mass."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from isotherm._backends.array_loop import matvec
from isotherm._plans.masses import InverseMass
from isotherm._plans.plan import Schedule
from isotherm._results.result import Info
from isotherm._warmup.dual_averaging import DualAveraging
from isotherm._warmup.pilots import Pilots
from isotherm._warmup.scales import Numbers, covariance, slowest, split_r_hat, variances
from isotherm._warmup.tuning import MOST_LEAPFROG, is_in_range
from isotherm._warmup.windows import BLOCK, windows
from isotherm.errors import InputError

# Of MALA what is best in high dimension (Roberts and Rosenthal, JRSS B 60, 1998). Of trajectories
# that is 0.651 (Beskos et al., Bernoulli 19, 2013), at which chains are caught in tails that are
# steep, and those of one or two substeps are near the limit of stability; see `warm_up`.
TARGETS = {"mala": 0.574, "hmc": 0.8}

_FIRST_LEAPFROG = 10
_MOST_DOUBLINGS = 60
_MEAN_LENGTH = 1.1  # of trajectories, in units of the slowest direction's time; see `warm_up`
_RELEASED_EVERY = 4  # blocks, of which one has steps smaller by these
_RELEASING = np.array([4.0, 16.0, 64.0, 256.0])
_MOST_NUMBERS = 2**24  # held of a window's states


class Found(NamedTuple):
    """What the pilots found, and how the last of them fared.

    Attributes
    ----------
    step_size : float
    info : Info
        Of the last steps, with all that was found.
    states : array, shape (n_draws, n_pilot, n_free)
        In the last window in which the inverse mass was learnt.
    r_hat : array, shape (n_free,)
        Of each coordinate that moves, over the pilots in that window; NaN of too few draws.
    """

    step_size: float
    info: Info
    states: Numbers
    r_hat: Numbers

    @property
    def acceptance(self) -> float:
        return self.info.acceptance_rate or 0.0

    @property
    def worst_r_hat(self) -> float:
        is_known = bool((self.r_hat == self.r_hat).any())
        return float(np.nanmax(self.r_hat)) if is_known else math.nan


class Search:
    """What is known so far of the target's scales, and the windows that make it known."""

    def __init__(self, pilots: Pilots, target: float, mass: str | None) -> None:
        plan = pilots.plan
        self.target = target
        self.slowest = 1.0
        self.inverse_mass = InverseMass(np.ones(len(pilots.free)))  # of what moves
        if plan.inverse_mass is not None:
            own = plan.inverse_mass.values
            self.inverse_mass = InverseMass(own[pilots.free] if own.ndim == 1 else own)
        self.noise_scale = plan.noise_scale.start
        self.has_bounds = plan.bounds is not None
        self.pilots = pilots
        self._mass = mass
        self._knows_scales = False
        self.n_leapfrog: int | None = None  # that stands

    def lengths(self, step_size: float) -> dict[str, int]:
        """The substeps of a trajectory, where there are any."""
        plan = self.pilots.plan
        if plan.n_leapfrog is None:
            return {}
        if self.n_leapfrog is not None:
            return {"n_leapfrog": self.n_leapfrog}
        if not self._knows_scales:
            return {"n_leapfrog": _FIRST_LEAPFROG}
        whole = _MEAN_LENGTH * self.slowest / (1.0 - 0.5 * plan.jitter)
        # Rounded down, as the ceiling of jittered lengths adds half a substep.
        return {"n_leapfrog": max(1, math.floor(min(whole / step_size, float(MOST_LEAPFROG))))}

    def found(self, n_warmup: int, first_step: float, word: str, n_leapfrog: float | None) -> Found:
        """The windows, one after the other; the last ones of the sampler of this word.

        They have their own trajectories, which find how wide directions are, but in the last, for
        whose step size it is, the `n_leapfrog` that was given.
        """
        steps, trajectories = windows(n_warmup), TARGETS["hmc"]
        is_mala = word == "mala"
        step_size = math.sqrt(2.0 * first_step) if is_mala else first_step
        target = trajectories if is_mala else self.target
        step_size, states = self._first_step_size(step_size), None
        for n_steps in (steps.first, *steps.slow):
            self.pilots.leave_behind(states, **self.numbers(step_size))
            step_size, states = self._adapt(step_size, n_steps, target)
            self._learn(states)
            step_size = self._first_step_size(step_size)
        assert states is not None
        self.pilots.leave_behind(states, **self.numbers(step_size))
        if is_mala:
            self.pilots.take_single_steps()
            step_size = 0.5 * step_size * step_size  # η of MALA, h of a substep: h = √(2η)
        self.n_leapfrog = None if n_leapfrog is None else int(n_leapfrog)
        step_size, _ = self._adapt(step_size, steps.last, self.target)
        info = self.pilots.run(steps.check, **self.numbers(step_size))
        with np.errstate(all="ignore"):
            is_enough = len(states) >= 4
            r_hat = split_r_hat(self.pilots.centred(states)) if is_enough else np.array([np.nan])
        return Found(step_size, info, states, r_hat)

    def numbers(self, step_size: float) -> dict[str, Any]:
        """The fields of the pilots' plan that have been found."""
        numbers: dict[str, Any] = {
            name: Schedule(float(n)) for name, n in self.lengths(step_size).items()
        }
        return {
            "step_size": Schedule(step_size),
            # Also where it is 1, for one kernel to serve all.
            "inverse_mass": self.pilots.mass_of_all(self.inverse_mass),
            **numbers,
        }

    def _first_step_size(self, start: float) -> float:
        """Doubled or halved until half of the proposals of one substep are accepted.

        Hoffman and Gelman, JMLR 15, 2014, algorithm 4, with the count of pilots.
        """
        one = {} if self.pilots.plan.n_leapfrog is None else {"n_leapfrog": Schedule(1.0)}

        def is_accepted(step_size: float) -> bool:
            tried = self.pilots.run(1, stays=True, **{**self.numbers(step_size), **one})
            return (tried.acceptance_rate or 0.0) > 0.5

        step_size, grows = start, is_accepted(start)
        for _ in range(_MOST_DOUBLINGS):
            before, step_size = step_size, step_size * 2.0 if grows else step_size / 2.0
            if is_accepted(step_size) != grows:
                return before if grows else step_size
        # With the mass that they started with: what they have learnt since may be without limit.
        tiny = Schedule(0.5**_MOST_DOUBLINGS)
        far_out = self.pilots.far_out(from_start=True, step_size=tiny)
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
        size = self.pilots.plan.n_samples * self.pilots.plan.n_coordinates
        n_blocks = -(-n_steps // BLOCK)
        every = -(-n_blocks * size // _MOST_NUMBERS)
        states = []
        for block in range(n_blocks):
            taken = min(BLOCK, n_steps - block * BLOCK)
            if block % _RELEASED_EVERY == 1:
                numbers = self.numbers(averaging.step_size)
                numbers["step_size"] = Schedule(averaging.step_size / _RELEASING[:taken])
                self.pilots.run(taken, **numbers)
            else:
                info = self.pilots.run(taken, **self.numbers(averaging.step_size))
                averaging.update(info.acceptance_rate or 0.0)
            if block % every == 0:
                states.append(self.pilots.states())
        return averaging.found, np.stack(states).astype(np.float64)

    def _learn(self, states: Numbers) -> None:
        """The inverse mass, in which all directions have the time 1, and how slow one is left."""
        states = self.pilots.centred(states)
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
