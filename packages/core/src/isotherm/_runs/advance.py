"""Chains on their way: the pieces in which they advance, and where they leave the finite numbers.

Chains advance in pieces, so that Ctrl-C is answered, progress short_repr and divergence noticed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, all_finite, to_numpy
from isotherm._backends.protocol import Outputs, Runner, State
from isotherm._limits import LIMITS
from isotherm._plans.plan import Plan
from isotherm._results.recorder import Recorder
from isotherm._results.result import Divergence
from isotherm._transitions.catalogue import find, names
from isotherm.errors import DivergenceError

_FIRST_STEPS = 4  # of the first piece: a block of the noise stream, or two
_TRANSFORM = "sample a transformed variable (the logarithm of one that is positive)"
_MOST_STEPS = 2**20  # of a piece, for whose coefficients there must be memory


@dataclass(frozen=True)
class Snapshot:
    """Chains at the end of a piece of their run.

    Attributes
    ----------
    state : mapping of str to array, each of shape (n_samples, *event_shape)
        What the transition carries.
    n_steps : int
        Steps that they have behind them.
    first_bad : int or None
        The step, counted from 1, after which a chain was first not finite.
    outputs : Outputs
        Of what was kept in this snapshot.
    energies : array or None
        The last energies that are at hand, shape (n_samples,) or terms.
    """

    state: State
    n_steps: int = 0
    first_bad: int | None = None
    outputs: Outputs = field(default_factory=Outputs)
    energies: Array | None = None

    @cached_property  # asked for by several, and counts on all chains
    def divergence(self) -> Divergence | None:
        if self.first_bad is None:
            return None
        return divergence_of(self.first_bad, self.state["x"], self.energies)


_log = logging.getLogger(__name__)
_reasons_told: set[str] = set()


def tell_once_if_slow(runner: Runner, seconds: float) -> None:
    """Say why a run that will take long is not fused where others are, once for each reason."""
    reason = getattr(runner, "why_not_fused", None)
    if reason is not None and seconds > LIMITS.worth_a_word and reason not in _reasons_told:
        _reasons_told.add(reason)
        _log.warning("about %.0f s to go, as the chains are not fused: %s", seconds, reason)


def advance(
    plan: Plan,
    runner: Runner,
    snapshot: Snapshot,
    last: int,
    recorder: Recorder,
    *,
    has_callbacks: bool,
    counts: Outputs | None = None,
    energy_at_end: Callable[[Array], Array] | None = None,
    every: int | None = None,
) -> Iterator[Snapshot]:
    """The pieces from the end of `snapshot` to the step `last`.

    Parameters
    ----------
    plan : Plan
    runner : Runner
    snapshot : Snapshot
    last : int
    recorder : Recorder
        Gives the room for what is kept.
    has_callbacks : bool
        Whether something is to be done between pieces even where the plan does not ask for it.
    counts : Outputs, optional
        Whose ``accepted`` and ``diverging`` the steps are added to.
    energy_at_end : callable, optional
        U, with which chains that end outside of its support are found.
    every : int, optional
        A piece ends at every multiple of so many steps.

    Raises
    ------
    DivergenceError
        Chains left the finite numbers, and the plan says ``on_divergence="raise"``.
    """
    checks_divergence = plan.on_divergence != "ignore"
    starts_outside = False
    if checks_divergence and energy_at_end is not None and not snapshot.n_steps:
        with np.errstate(all="ignore"):
            starts_outside = count_nan(energy_at_end(snapshot.state["x"])) > 0
    # Between pieces the host waits; where nothing needs it, a device is left to run on.
    is_asynchronous = plan.device != "cpu" and not checks_divergence and not has_callbacks
    length = _MOST_STEPS if is_asynchronous else first_length(plan, runner, snapshot.n_steps)
    while snapshot.n_steps < last:
        start, before, first_bad = snapshot.n_steps, snapshot.state, snapshot.first_bad
        stop = min(start + length, last, recorder.full_at())
        if every is not None:
            stop = min(stop, (start // every + 1) * every)
        outputs = recorder.outputs(start, stop)
        if counts is not None:
            # Counted apart, so that steps that Ctrl-C takes back do not count.
            zeros = compat.array_namespace(counts.accepted).zeros_like
            own = {"accepted": zeros(counts.accepted), "diverging": zeros(counts.diverging)}
            outputs = replace(outputs, **own)
        began = time.perf_counter()
        with np.errstate(all="ignore"):  # a chain that overflows is reported as a divergence
            state = runner.advance(before, start, stop, outputs)
            x, energies = state["x"], _energies(plan, runner, outputs)
            if checks_divergence and stop == last and energy_at_end is not None:
                energies = energy_at_end(x)
            if checks_divergence and first_bad is None:
                first_bad = _first_bad(plan, runner, before, x, outputs, energies, start, stop)
                if first_bad is not None and starts_outside and not count_diverged(x):
                    first_bad = 0
                if first_bad is not None and plan.on_divergence == "raise":
                    raise DivergenceError(describe(plan, divergence_of(first_bad, x, energies)))
            elif plan.device != "cpu" and not is_asynchronous:
                all_finite(x)  # what is asked for an answer is done when the clock is read
        if stop < last:
            taken = time.perf_counter() - began
            tell_once_if_slow(runner, taken * (last - stop) / (stop - start))
        if stop < last and not is_asynchronous:
            length = next_length(plan, length, stop - start, time.perf_counter() - began)
        for name in () if counts is None else ("accepted", "diverging"):
            total = getattr(counts, name)
            total += getattr(outputs, name)
        snapshot = Snapshot(state, stop, first_bad, outputs, energies)
        yield snapshot


def not_finite(x: Array) -> Array:
    """Which chains are not finite; shape (n_samples,)."""
    xp = compat.array_namespace(x)
    return ~xp.all(xp.isfinite(xp.reshape(x, (x.shape[0], -1))), axis=1)


def count_diverged(x: Array) -> int:
    """How many chains are not finite."""
    return int(compat.array_namespace(x).count_nonzero(not_finite(x)))


def without_energy(energies: Array) -> Array:
    """Which chains have no energy; `energies` have shape (n_samples,) or () or are terms."""
    xp = compat.array_namespace(energies)
    n_chains = energies.shape[0] if energies.ndim else 1
    return xp.any(xp.isnan(xp.reshape(energies, (n_chains, -1))), axis=1)


def count_nan(energies: Array) -> int:
    """How many chains have no energy."""
    return int(compat.array_namespace(energies).count_nonzero(without_energy(energies)))


def divergence_of(first_step: int, x: Array, energies: Array | None) -> Divergence:
    """What is known of chains that are not finite, or that have no energy."""
    chains = np.flatnonzero(to_numpy(not_finite(x)))
    if chains.size or energies is None:
        return Divergence(first_step, chains.size, chains=chains)
    chains = np.flatnonzero(to_numpy(without_energy(energies)))
    return Divergence(first_step, max(1, chains.size), of_energy=True, chains=chains)


def describe(plan: Plan, divergence: Divergence) -> str:
    """A divergence as a sentence that says what to do."""
    sampler = find(plan.sampler)
    bounds = "set bounds=(low, high), " if "bounds" in sampler.arguments else ""
    which = f"{divergence.n_chains} of {plan.n_samples} chains"
    if divergence.of_energy and not divergence.first_step:
        return (
            f"{which} start where the energy is NaN, outside of its support; start them inside of "
            f"it, or {_TRANSFORM}"
        )
    if divergence.of_energy:
        exact = " or ".join(repr(name) for name in names() if find(name).is_adjusted)
        return (
            f"{which} are where the energy is NaN, seen first at step {divergence.first_step} of "
            f"{plan.n_total}: their samples are outside of its support; {bounds}take a smaller "
            f"step_size or sampler={exact}, which does not go there, or {_TRANSFORM}"
        )
    return (
        f"{which} left the finite numbers, the first at step {divergence.first_step} of "
        f"{plan.n_total}; take a smaller step_size (it is {plan.step_size}), {bounds}or check the "
        "energy with isotherm.check_gradient"
    )


def first_length(plan: Plan, runner: Runner, start: int) -> int:
    """Steps of the first piece from the step `start` on: few, where the runner does not know."""
    knows: Callable[[int], int] | None = getattr(runner, "steps_at_first", None)
    length = _FIRST_STEPS if knows is None else knows(start)
    if start + length < plan.n_total:
        length -= length % plan.steps_per_block
    return max(_FIRST_STEPS, length)


def next_length(plan: Plan, length: int, taken: int, seconds: float) -> int:
    """Steps of the piece after one that was to have `length` steps.

    Parameters
    ----------
    plan : Plan
    length, taken : int
        Steps that the piece was to have, and those that it had: fewer where it was cut, by the end
        of a chunk that it fills.
    seconds : float
        That it took.
    """
    if taken < length and seconds < LIMITS.piece_seconds:
        return length  # so few steps tell nothing of many
    # At most fourfold at a time: the first piece may have been quick for lack of divergence. Where
    # even sixteenfold is but a quarter of what it may last, small runs are spared two pieces.
    most = 16.0 if 64.0 * seconds < LIMITS.piece_seconds else 4.0
    wanted = taken * min(most, LIMITS.piece_seconds / max(seconds, 1e-6))
    blocks = int(min(wanted, _MOST_STEPS)) // plan.steps_per_block
    return max(1, blocks) * plan.steps_per_block


def _energies(plan: Plan, runner: Runner, outputs: Outputs) -> Array | None:
    """The last energies at hand: of a state that was kept, else of one before the last step."""
    if outputs.energy is not None and outputs.energy.shape[0]:
        return outputs.energy[-1, ...]
    # What an adjusted sampler asked for last was a proposal, which may be outside.
    return None if plan.is_adjusted else getattr(runner, "seen", None)


def _first_outside(
    plan: Plan, outputs: Outputs, energies: Array, start: int, stop: int
) -> int | None:
    """The first step, counted from 1, after which a chain is known to be outside of the support.

    0 where an adjusted sampler's is, which goes nowhere that has no energy.
    """
    if plan.is_adjusted:
        return 0 if count_nan(energies) else None
    kept = outputs.energy
    if kept is not None and kept.shape[0]:
        xp = compat.array_namespace(kept)
        is_outside = xp.any(xp.isnan(kept), axis=1)
        if bool(xp.any(is_outside)):
            row = plan.kept_before(start) + int(xp.argmax(xp.astype(is_outside, xp.uint8)))
            return int(plan.kept_steps(row, row + 1)[0])
    return stop if count_nan(energies) else None


def _first_bad(
    plan: Plan,
    runner: Runner,
    before: State,
    x: Array,
    outputs: Outputs,
    energies: Array | None,
    start: int,
    stop: int,
) -> int | None:
    """The first step, counted from 1, after which a chain was not finite or had no energy."""
    told = _told(runner)
    if told:
        return told
    if told is None and not all_finite(x):
        return _first_bad_step(runner, before, start, stop)
    if energies is None or (told == 0 and outputs.energy is None):
        return None
    return _first_outside(plan, outputs, energies, start, stop)


def _told(runner: Runner) -> int | None:
    """The first step that was not finite of those last taken, or 0, by a runner that watches."""
    tell: Callable[[], int | None] | None = getattr(runner, "first_bad_step", None)
    return None if tell is None else tell()


def _first_bad_step(runner: Runner, before: State, start: int, stop: int) -> int:
    """The step, counted from 1, after which the state is first not finite.

    Chains are pure functions, so the piece is run again, in halves: that costs as much as the piece
    did, and nothing where no chain diverges.
    """
    while stop - start > 1:
        middle = (start + stop) // 2
        state = runner.advance(before, start, middle, Outputs())
        if all_finite(state["x"]):
            before, start = state, middle
        else:
            stop = middle
    return stop
