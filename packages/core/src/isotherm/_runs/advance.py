"""Chains on their way: the pieces in which they advance, and where they leave the finite numbers.

Chains advance in pieces, so that Ctrl-C is answered, progress short_repr and divergence noticed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array
from isotherm._backends.protocol import Outputs, Runner, State
from isotherm._plans.plan import Plan
from isotherm._results.recorder import Recorder
from isotherm._results.result import Divergence
from isotherm.errors import DivergenceError

# The first piece takes no longer than a second where a chain's step takes 10 microseconds, as a
# compiled energy with a loop may; the next ones are made to last this long.
_FIRST_PIECE = 2**21  # coordinates times steps, at most
_FIRST_CHAINS = 2**17  # chains times steps, at most
_FIRST_STEPS = 1024  # at most
_PIECE_SECONDS = 0.25


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
    """

    state: State
    n_steps: int = 0
    first_bad: int | None = None
    outputs: Outputs = field(default_factory=Outputs)

    @cached_property  # asked for by several, and counts on all chains
    def divergence(self) -> Divergence | None:
        if self.first_bad is None:
            return None
        return Divergence(self.first_bad, count_diverged(self.state["x"]))


_log = logging.getLogger(__name__)
_SLOW = 1.0  # seconds that are worth a word
_told: set[str] = set()


def tell_once_if_slow(runner: Runner, seconds: float) -> None:
    """Say why a run that will take long is not fused where others are, once for each reason."""
    reason = getattr(runner, "why_not_fused", None)
    if reason is not None and seconds > _SLOW and reason not in _told:
        _told.add(reason)
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

    Raises
    ------
    DivergenceError
        Chains left the finite numbers, and the plan says ``on_divergence="raise"``.
    """
    checks_divergence = plan.on_divergence != "ignore"
    # Between pieces the host waits; where nothing needs it, a device is left to run on.
    is_asynchronous = plan.device != "cpu" and not checks_divergence and not has_callbacks
    length = last if is_asynchronous else _first_length(plan)
    while snapshot.n_steps < last:
        start, before, first_bad = snapshot.n_steps, snapshot.state, snapshot.first_bad
        stop = min(start + length, last, recorder.full_at())
        outputs = recorder.outputs(start, stop)
        if counts is not None:
            outputs = replace(outputs, accepted=counts.accepted, diverging=counts.diverging)
        began = time.perf_counter()
        with np.errstate(all="ignore"):  # a chain that overflows is reported as a divergence
            state = runner.advance(before, start, stop, outputs)
            if checks_divergence and first_bad is None and not _is_finite(state["x"]):
                first_bad = _first_bad_step(runner, before, start, stop)
                if plan.on_divergence == "raise":
                    found = Divergence(first_bad, count_diverged(state["x"]))
                    raise DivergenceError(describe(plan, found))
        if stop < last:
            taken = time.perf_counter() - began
            tell_once_if_slow(runner, taken * (last - stop) / (stop - start))
        if stop < last and not is_asynchronous:
            length = _next_length(plan, length, time.perf_counter() - began)
        snapshot = Snapshot(state, stop, first_bad, outputs)
        yield snapshot


def count_diverged(x: Array) -> int:
    """How many chains are not finite."""
    xp = compat.array_namespace(x)
    finite = xp.all(xp.isfinite(xp.reshape(x, (x.shape[0], -1))), axis=1)
    return int(x.shape[0] - xp.count_nonzero(finite))


def describe(plan: Plan, divergence: Divergence) -> str:
    """A divergence as a sentence that says what to do."""
    return (
        f"{divergence.n_chains} of {plan.n_samples} chains left the finite numbers, the first at "
        f"step {divergence.first_step} of {plan.n_total}; take a smaller step_size (it is "
        f"{plan.step_size}), set clamp=(low, high), or check the energy with "
        "isotherm.check_gradient"
    )


def _first_length(plan: Plan) -> int:
    """Steps of the first snapshot: whole blocks of the noise stream."""
    coordinates = plan.n_samples * plan.n_coordinates
    length = min(_FIRST_STEPS, _FIRST_CHAINS // plan.n_samples, _FIRST_PIECE // coordinates)
    return _whole_blocks(plan, length)


def _next_length(plan: Plan, length: int, seconds: float) -> int:
    """Steps of a piece that lasts about `_PIECE_SECONDS`, by the time of the one before."""
    # At most fourfold at a time: the first piece may have been quick for lack of divergence.
    return _whole_blocks(plan, int(length * min(4.0, _PIECE_SECONDS / max(seconds, 1e-6))))


def _whole_blocks(plan: Plan, length: int) -> int:
    return max(1, length // plan.steps_per_block) * plan.steps_per_block


def _is_finite(x: Array) -> bool:
    xp = compat.array_namespace(x)
    return bool(xp.all(xp.isfinite(x)))


def _first_bad_step(runner: Runner, before: State, start: int, stop: int) -> int:
    """The step, counted from 1, after which the state is first not finite.

    Chains are pure functions, so the piece is run again, in halves: that costs as much as the piece
    did, and nothing where no chain diverges.
    """
    while stop - start > 1:
        middle = (start + stop) // 2
        state = runner.advance(before, start, middle, Outputs())
        if _is_finite(state["x"]):
            before, start = state, middle
        else:
            stop = middle
    return stop
