"""Running a plan: the initial state, the pieces in which chains advance, and what comes out."""

from __future__ import annotations

import functools
import inspect
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm import noise, registry
from isotherm.arrays import Array, empty, is_array, move
from isotherm.backend import Backend, Outputs, Runner
from isotherm.diagnostics import Diagnostics
from isotherm.energies import GaussianEnergy
from isotherm.errors import DivergenceError, DivergenceWarning, InputError, shown
from isotherm.formulas import FormulaEnergy
from isotherm.host_noise import fill_normals
from isotherm.plan import Plan
from isotherm.planning import as_energy, as_state
from isotherm.result import Divergence, Info, Progress, Result

# Chains advance in pieces, so that Ctrl-C is answered, progress shown and divergence noticed. The
# first is small enough not to be felt whatever the energy costs; the next ones last this long.
_FIRST_PIECE = 2**21  # coordinates times steps, at most
_FIRST_STEPS = 1024  # at most
_PIECE_SECONDS = 0.25


def run(
    plan: Plan,
    energy: Any,
    x: Array | None = None,
    *,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callable[[Progress], object] | None = None,
) -> Result:
    """Run a plan.

    Ctrl-C is answered between two pieces of about a quarter of a second: `KeyboardInterrupt` is
    raised and nothing is kept. To keep what is done, end the run with a `callback`.

    Parameters
    ----------
    plan : Plan
        Of `isotherm.make_plan`.
    energy : callable
        The energy for which it was made.
    x : array, optional
        Where the chains start, as given to `make_plan`.
    model_kwargs : mapping of str to anything, optional
        Keywords that the energy receives at every call, as they are: a network's conditioning, with
        one row per chain. For energies without a ``gradient``.
    progress : bool or callable
        True shows a bar on stderr, which needs ``isotherm[progress]``; a callable is called now and
        then with the number of steps taken and of steps in all.
    callback : callable, optional
        Called now and then with a `Progress`. Where it returns something true, the run ends, and
        the result holds what was done: ``info.n_steps`` steps and the states kept in them.

    Returns
    -------
    Result

    Raises
    ------
    DivergenceError
        Chains left the finite numbers, and the plan says ``on_divergence="raise"``.
    InputError
        `x` or what the energy returns does not have the plan's shape, the energy does not take
        `model_kwargs`, or `progress` or `callback` is not what is asked for.
    """
    started = time.perf_counter()
    energy = _with_keywords(as_energy(energy), model_kwargs)
    backend = registry.usable(plan.backend)
    x = _initial_state(plan, backend, as_state(x))
    _check_energy(plan, energy, x)
    runner = backend.prepare(plan, energy)
    outputs = _allocate(plan, backend)
    with ExitStack() as stack:
        reports = _reports(progress, callback, stack)
        x, done, divergence = _advance(plan, runner, x, outputs, reports, started)
    n_kept = plan.kept_before(done)
    outputs = outputs.between(0, n_kept)
    if divergence is not None and plan.on_divergence == "warn":
        warnings.warn(_describe(plan, divergence), DivergenceWarning, stacklevel=_users_level())
    back = _mover(plan)
    return Result(
        samples=back(x),
        trajectory=back(outputs.trajectory),
        diagnostics=None
        if outputs.mean is None
        else Diagnostics(
            back(outputs.mean),
            back(outputs.variance),
            back(outputs.energy),
            steps=plan.burn_in + plan.thinning * np.arange(1, n_kept + 1),
        ),
        info=Info(
            seed=plan.seed,
            backend=plan.backend,
            device=plan.device,
            path=runner.path,
            n_steps=done,
            seconds=time.perf_counter() - started,
            divergence=divergence,
        ),
    )


Report = Callable[[Progress], object]


def _reports(
    progress: bool | Callable[[int, int], object], callback: Report | None, stack: ExitStack
) -> list[Report]:
    """What is told of the run after every piece; what is true of any answer ends it."""
    if not (isinstance(progress, bool) or callable(progress)):
        raise InputError(
            f"progress must be True, False or a callable of (done, total), not {shown(progress)}"
        )
    if not (callback is None or callable(callback)):
        raise InputError(f"callback must be a callable of one Progress, not {shown(callback)}")
    reports: list[Report] = []
    if progress is True:
        reports.append(stack.enter_context(_bar()))
    elif progress is not False:
        told = progress

        def tell(status: Progress) -> None:
            told(status.n_steps, status.n_total)

        reports.append(tell)
    if callback is not None:
        reports.append(callback)
    return reports


def _bar() -> AbstractContextManager[Report]:
    try:
        from isotherm.progress import bar
    except ImportError:
        raise InputError("a progress bar needs rich; pip install 'isotherm[progress]'") from None
    return bar()


def _with_keywords(energy: Any, keywords: Mapping[str, Any] | None) -> Any:
    """The energy as a function of x alone."""
    if keywords is None:
        return energy
    if hasattr(energy, "gradient"):
        raise InputError(
            "model_kwargs are for an energy that is differentiated by autograd; "
            f"{type(energy).__name__} has a gradient of its own, so put them into the object"
        )
    if not isinstance(keywords, Mapping):
        raise InputError(
            "model_kwargs must map the names of keywords to their values; got "
            f"{type(keywords).__name__}"
        )
    # A module's own call takes anything and hands it to `forward`.
    function = getattr(energy, "forward", energy)
    try:
        inspect.signature(function).bind(None, **keywords)
    except TypeError as error:
        raise InputError(f"the energy does not take these model_kwargs: {error}") from None
    except ValueError:  # a function written in C may not tell its signature
        pass
    return functools.partial(energy, **keywords)


def _initial_state(plan: Plan, backend: Backend, x: Array | None) -> Array:
    """The state before the first step: `x` moved to the backend, or drawn from N(0, I)."""
    if x is None:
        shape = (plan.steps_per_block, plan.n_samples, plan.n_coordinates)
        normals = empty(backend.library, shape, plan.dtype, plan.device)
        fill = fill_normals() if backend.library == "numpy" else noise.fill_normals
        fill(
            normals,
            seed=plan.seed,
            stream=noise.Stream.INITIAL,
            block=0,
            chain_offset=plan.chain_offset,
        )
        return compat.array_namespace(normals).reshape(normals[0, ...], plan.shape)
    rows = x if x.ndim > 1 else x[None, ...]
    if tuple(rows.shape) not in (plan.shape, (1, *plan.event_shape)):
        raise InputError(f"x has shape {tuple(x.shape)} but the plan was made for {plan.shape}")
    state = move(rows, backend.library, plan.dtype, plan.device)
    return compat.array_namespace(state).broadcast_to(state, plan.shape)


def _check_energy(plan: Plan, energy: Any, x: Array) -> None:
    """Refuse a user's energy whose outputs have the wrong shapes, before the first step."""
    if isinstance(energy, (FormulaEnergy, GaussianEnergy)):
        return  # checked when the plan was made
    checks: list[tuple[str, Any, tuple[tuple[int, ...], ...], str]] = []
    if plan.return_diagnostics or not hasattr(energy, "gradient"):
        per_chain = ((plan.n_samples,), (plan.n_samples, 1), plan.shape)
        checks.append(("energy(x)", energy, per_chain, f"({plan.n_samples},) or that of x"))
    if hasattr(energy, "gradient"):
        checks.append(("energy.gradient(x)", energy.gradient, (plan.shape,), "that of x"))
    for name, function, shapes, expected in checks:
        value = function(x)
        if not is_array(value) or tuple(value.shape) not in shapes:
            shape = f"shape {tuple(value.shape)}" if is_array(value) else type(value).__name__
            raise InputError(
                f"{name} returned {shape} for x of shape {plan.shape}; its shape must be {expected}"
            )


def _allocate(plan: Plan, backend: Backend) -> Outputs:
    def array(*shape: int) -> Array:
        return empty(backend.library, shape, plan.dtype, plan.device)

    outputs = Outputs()
    if plan.return_trajectory:
        outputs.trajectory = array(plan.n_samples, plan.n_kept, *plan.event_shape)
    if plan.return_diagnostics:
        outputs.mean = array(plan.n_kept, *plan.event_shape)
        outputs.variance = array(plan.n_kept, *plan.event_shape)
        outputs.energy = array(plan.n_kept, plan.n_samples)
    return outputs


def _advance(
    plan: Plan,
    runner: Runner,
    x: Array,
    outputs: Outputs,
    reports: list[Report],
    started: float,
) -> tuple[Array, int, Divergence | None]:
    """The state at the end, the steps taken, and what diverged."""
    first_bad: int | None = None
    watches = plan.on_divergence != "ignore"
    # Between pieces the host waits; where nothing needs it, a device is left to run on.
    runs_on = plan.device != "cpu" and not watches and not reports
    length = plan.n_total if runs_on else _first_length(plan)
    start = 0
    while start < plan.n_total:
        stop = min(start + length, plan.n_total)
        began = time.perf_counter()
        kept = plan.kept_before(start), plan.kept_before(stop)
        before = x
        with np.errstate(all="ignore"):  # a chain that overflows is reported as a divergence
            x = runner.advance(x, start, stop, outputs.between(*kept))
            if watches and first_bad is None and not _is_finite(x):
                first_bad = _first_bad_step(runner, before, start, stop)
                if plan.on_divergence == "raise":
                    found = Divergence(first_bad, _count_diverged(x))
                    raise DivergenceError(_describe(plan, found))
        if reports:
            status = _status(plan, x, outputs, stop, time.perf_counter() - started)
        # What a callback takes does not count: a slow one would make pieces ever shorter.
        length = _next_length(plan, length, time.perf_counter() - began)
        start = stop
        if reports:
            answers = [report(status) for report in reports]  # all are told
            if any(answers):
                break
    return x, start, None if first_bad is None else Divergence(first_bad, _count_diverged(x))


def _status(plan: Plan, x: Array, outputs: Outputs, done: int, seconds: float) -> Progress:
    n_kept = plan.kept_before(done)
    energy = None
    if outputs.energy is not None and n_kept > 0:
        row = outputs.energy[n_kept - 1, ...]
        with np.errstate(all="ignore"):
            energy = float(compat.array_namespace(row).mean(row))
    return Progress(done, plan.n_total, n_kept, seconds, energy, _count_diverged(x))


def _first_length(plan: Plan) -> int:
    """Steps of the first piece: whole blocks of the noise stream."""
    length = min(_FIRST_STEPS, _FIRST_PIECE // (plan.n_samples * plan.n_coordinates))
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


def _count_diverged(x: Array) -> int:
    xp = compat.array_namespace(x)
    finite = xp.all(xp.isfinite(xp.reshape(x, (x.shape[0], -1))), axis=1)
    return int(x.shape[0] - xp.count_nonzero(finite))


def _first_bad_step(runner: Runner, x: Array, start: int, stop: int) -> int:
    """The step, counted from 1, after which the state is first not finite.

    Chains are pure functions, so the piece is run again, in halves: that costs as much as the piece
    did, and nothing where no chain diverges.
    """
    while stop - start > 1:
        middle = (start + stop) // 2
        state = runner.advance(x, start, middle, Outputs())
        if _is_finite(state):
            x, start = state, middle
        else:
            stop = middle
    return stop


def _describe(plan: Plan, divergence: Divergence) -> str:
    return (
        f"{divergence.n_chains} of {plan.n_samples} chains left the finite numbers, the first at "
        f"step {divergence.first_step} of {plan.n_total}; take a smaller step_size (it is "
        f"{plan.step_size}), set clamp=(low, high), or check the energy with "
        "isotherm.check_gradient"
    )


def _users_level() -> int:
    """The stack level of the caller outside this package: a warning shows the user's line."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    return level - 1


def _mover(plan: Plan) -> Callable[[Array | None], Any]:
    device = "cpu" if plan.library == "numpy" else plan.device
    dtype = plan.dtype

    def back(x: Array | None) -> Array | None:
        return None if x is None else move(x, plan.library, dtype, device)

    return back
