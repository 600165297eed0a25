"""The pilots of a warm-up: chains of a fixed number, on noise streams of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, to_numpy
from isotherm._arithmetic.noise import FIRST_PILOT
from isotherm._arithmetic.sums import moments
from isotherm._energies.protocol import as_energy, fixed
from isotherm._planning.sampler_arguments import LARGEST_DENSE_MASS, Flags, as_frozen
from isotherm._plans.masses import InverseMass
from isotherm._plans.plan import Plan
from isotherm._results.result import Info, Result
from isotherm._runs.gradients import gradients
from isotherm._runs.run import run
from isotherm._warmup.scales import Numbers, half_log_determinant, log_volume

_FAR_ABOVE = 5.0  # the median energy, times dim + 10; see `leave_behind`
_DRAWS_OF_ROOM = 12  # of a pilot, from which they tell it


class Pilots:
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
    """Which pilots of a law are to be left behind; see `Pilots.leave_behind`."""
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


def pilots_start(x: Array | None, dim: Any, n_pilot: int, frozen: Any) -> Array | None:
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
