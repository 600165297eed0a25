"""Running a plan: the initial state, the pieces in which chains advance, and what comes out."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import ModuleType
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm import noise, registry
from isotherm.arrays import Array, empty, is_array, move
from isotherm.backend import Backend, Outputs, Runner, on_device
from isotherm.energies import GaussianEnergy
from isotherm.errors import (
    DivergenceWarning,
    InputError,
    RunInterrupted,
    users_level,
)
from isotherm.executors import ExecutorLike, spread
from isotherm.formulas import FormulaEnergy
from isotherm.host_noise import fill_normals
from isotherm.kept import InMemory, Kept, allocator, mover
from isotherm.pieces import Piece, advance, count_diverged, describe
from isotherm.plan import Plan, format_bytes
from isotherm.planning import ScheduleLike, as_energy, as_state, continued
from isotherm.reports import Report, reports
from isotherm.result import Info, Progress, Result

# A run that needs no more than Python itself is begun without asking how much there is.
_SMALL_RUN = 2**26

# Relative, of energies whose parameters may have been rounded to float32.
_PROBE_TOLERANCE = 1e-3


def run(
    plan: Plan,
    energy: Any,
    x: Array | None = None,
    *,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callable[[Progress], object] | None = None,
    store: str | os.PathLike[str] | None = None,
    executor: ExecutorLike | None = None,
    n_shares: int | None = None,
) -> Result:
    """Run a plan.

    Ctrl-C is answered between two pieces of about a quarter of a second: `RunInterrupted`, which is
    a `KeyboardInterrupt`, is raised and holds the result so far.

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
    store : path, optional
        A folder, not yet there, in which all kept states (whatever ``plan.return_trajectory``) and
        the diagnostics asked for are kept while the chains run, so that memory holds only a chunk
        of them. It is a Zarr group that xarray and ArviZ read; `open_run` opens it, `resume` goes
        on. Needs ``isotherm[store]``.
    executor : concurrent.futures.Executor, or callable that makes one, optional
        Whose workers the chains are shared out among: ``ProcessPoolExecutor``, Dask's
        ``client.get_executor()``, ``MPIPoolExecutor``. Chains and their energies do not depend on
        the workers: they are to the bit those of a run without, of energies whose value for a chain
        does not depend on how many there are (where a library multiplies matrices, to rounding).
        Mean and variance are those of a run without to rounding, and do not depend on the number of
        workers either. A share whose worker dies is run again: by a new executor, where this is a
        function that makes them; by Dask itself; else in this process. `progress` is told whenever
        a share is done. Arrays in `model_kwargs` with a row a chain are shared out likewise. Ctrl-C
        raises `KeyboardInterrupt` and nothing is kept; shares that have begun go on to their end.
    n_shares : int, optional
        Into how many the chains are divided, 64 by default; on cards, as many as there are.

    Returns
    -------
    Result
        With a store, trajectory and diagnostics are ``xarray.DataArray`` that are read when used.

    Raises
    ------
    BrokenExecutor
        Three executors, one after another, broke without finishing a share.
    DivergenceError
        Chains left the finite numbers, and the plan says ``on_divergence="raise"``.
    InputError
        `x` or what the energy returns does not have the plan's shape, the energy does not take
        `model_kwargs`, the result does not fit into memory, or another argument is not what is
        asked for.
    RunInterrupted
        Ctrl-C.
    OSError
        The store cannot be written, the disk is full; what was written before can be gone on with.
    """
    if executor is not None:
        result = _spread(
            plan, energy, x, executor, n_shares, model_kwargs, progress, callback, store
        )
    elif n_shares is not None:
        raise InputError("n_shares shares out chains among the workers of an executor; give both")
    else:
        result = _run(plan, energy, x, model_kwargs, progress, callback, store)
    return _warned(plan, result)


def _run(
    plan: Plan,
    energy: Any,
    x: Array | None,
    model_kwargs: Mapping[str, Any] | None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Report | None = None,
    store: str | os.PathLike[str] | None = None,
) -> Result:
    """Run a plan in this process; nothing is warned of."""
    started = time.perf_counter()
    energy = _with_keywords(as_energy(energy), model_kwargs)
    backend = registry.usable(plan.backend)
    if store is not None:
        plan = replace(plan, return_trajectory=True)
    with ExitStack() as stack:
        stack.enter_context(on_device(backend, plan.device))
        allocate = _checked_allocator(plan, backend, is_stored=store is not None)
        x = _initial_state(plan, backend, as_state(x))
        _check_energy(plan, energy, x)
        runner = backend.prepare(plan, energy)
        told = reports(progress, callback, stack)
        kept: Kept
        if store is None:
            kept = InMemory(plan, allocate)
        else:
            disk = _disk()
            folder, header = disk.create(store, plan, _probe(plan, energy), runner.path, x)
            stack.enter_context(folder.locked())
            kept = disk.Writer(folder, header, allocate)
        return _go(plan, runner, Piece(x), plan.n_total, kept, told, started)


def _spread(
    plan: Plan,
    energy: Any,
    x: Array | None,
    executor: ExecutorLike,
    n_shares: int | None,
    model_kwargs: Mapping[str, Any] | None,
    progress: bool | Callable[[int, int], object],
    callback: Report | None,
    store: str | os.PathLike[str] | None,
) -> Result:
    """Run a plan on the workers of an executor."""
    for name, given in {"callback": callback, "store": store}.items():
        if given is not None:
            raise InputError(
                f"{name}= follows all chains step by step, and the workers of an executor are not "
                f"in step; leave out {name} or executor"
            )
    energy = as_energy(energy)
    _with_keywords(energy, model_kwargs)
    with ExitStack() as stack:
        told = reports(progress, None, stack)
        return spread(
            _run, plan, energy, as_state(x), executor,
            model_kwargs=model_kwargs, n_shares=n_shares, told=told,
        )  # fmt: skip


def _warned(plan: Plan, result: Result) -> Result:
    divergence = result.info.divergence
    if divergence is not None and plan.on_divergence == "warn":
        warnings.warn(describe(plan, divergence), DivergenceWarning, stacklevel=users_level())
    return result


def open_run(store: str | os.PathLike[str]) -> Result:
    """A run that is kept in a store, whether or not it is at its end.

    Parameters
    ----------
    store : path
        As given to `run` or `sample_chain`.

    Returns
    -------
    Result
        The last states as a NumPy array; trajectory (dimensions ``chain``, ``draw``, ``x_dim_0``,
        ...) and diagnostics are ``xarray.DataArray`` that are read when used. ``info.n_steps`` are
        the steps that are done.

    Raises
    ------
    StoreError
        It is not a run's, or a part of it is missing.
    InputError
        The extra ``isotherm[store]`` is not installed.
    """
    disk = _disk()
    folder = disk.Store(disk.local_path(store))
    result: Result = folder.result(folder.header())
    return result


def resume(
    store: str | os.PathLike[str],
    energy: Any,
    n_steps: int | None = None,
    *,
    backend: str | None = None,
    device: Any = None,
    step_size: ScheduleLike | None = None,
    noise_scale: ScheduleLike | None = None,
    decay: float = 0.0,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callable[[Progress], object] | None = None,
) -> Result:
    """Go on with a run that is kept in a store, as if it had never stopped.

    Whichever backend does so, the result is that of a run that was not interrupted: to the bit,
    where backends are equal to the bit.

    Parameters
    ----------
    store : path
    energy : callable
        The run's energy.
    n_steps : int, optional
        Steps to take now; by default those that were planned and are not yet done.
    backend : str, optional
        The run's by default.
    device : str or device, optional
        The run's by default, or that backend's first.
    step_size, noise_scale : float, array or callable, optional
        Of the steps beyond those that were planned (a callable is given the step's number in the
        noise stream); by default as before, which can only be said where that was constant.
    decay : float
        Of this `step_size`: step t of the noise stream uses step_size·(1 - decay)^t.
    model_kwargs, progress, callback
        See `run`.

    Returns
    -------
    Result
        The whole run: trajectory and diagnostics are ``xarray.DataArray`` that are read when used.

    Raises
    ------
    StoreError
        The store is not a run's, a part of it is missing, or another run is writing to it.
    InputError
        The energy is not the run's, nothing is left to do, or an argument is not usable.
    BackendError, BackendNotFoundError
        The backend cannot run this, or is not installed.
    DivergenceError, RunInterrupted, OSError
        See `run`.
    """
    started = time.perf_counter()
    disk = _disk()
    folder = disk.Store(disk.local_path(store))
    with ExitStack() as stack:
        stack.enter_context(folder.locked())
        header = folder.header()
        plan, last = continued(
            header.plan, header.n_steps, as_energy(energy), n_steps=n_steps, step_size=step_size,
            noise_scale=noise_scale, decay=decay, backend=backend, device=device,
        )  # fmt: skip
        _check_same(_probe(plan, as_energy(energy)), header.probe, folder.path)
        energy = _with_keywords(as_energy(energy), model_kwargs)
        runs_on = registry.usable(plan.backend)
        stack.enter_context(on_device(runs_on, plan.device))
        allocate = _checked_allocator(plan, runs_on, is_stored=True)
        x = move(folder.state(header), runs_on.library, plan.dtype, plan.device)
        _check_energy(plan, energy, x)
        runner = runs_on.prepare(plan, energy)
        told = reports(progress, callback, stack)
        header = folder.reopen(header, plan, runner.path)
        kept = disk.Writer(folder, header, allocate)
        first_bad = None if header.divergence is None else header.divergence.first_step
        result = _go(plan, runner, Piece(x, header.n_steps, first_bad), last, kept, told, started)
    return _warned(plan, result)


def _disk() -> ModuleType:
    try:
        from isotherm import store
    except ImportError as error:
        raise InputError(
            f"a store needs {error.name}, which is not installed; pip install 'isotherm[store]'"
        ) from None
    return store


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


def _checked_allocator(
    plan: Plan, backend: Backend, *, is_stored: bool
) -> Callable[[int], Outputs]:
    """What makes room for kept states; refuses a run that does not fit into memory."""
    needed = _disk().buffer_bytes(plan) if is_stored else plan.result_bytes
    # The first states are drawn with their whole block of the noise stream.
    needed += plan.steps_per_block * plan.state_bytes
    if needed > _SMALL_RUN:
        available = backend.available_memory(plan.device)
        if available is not None and needed > available:
            remedy = "run fewer chains"
            if not is_stored and (plan.return_trajectory or plan.return_diagnostics):
                remedy = (
                    "keep what is kept on the disk (store='run.zarr'), keep less (a larger "
                    f"thinning), or {remedy}"
                )
            raise InputError(
                f"the run needs {format_bytes(needed)} and {plan.device} has "
                f"{format_bytes(available)} available; {remedy}"
            )
    return allocator(plan, backend)


def _probe(plan: Plan, energy: Any) -> float | None:
    """The energy at one state, to tell energies apart; None where it cannot be had on the host."""
    if not isinstance(energy, (FormulaEnergy, GaussianEnergy)):
        return None
    normals = np.empty((noise.steps_per_block("float64"), 1, plan.n_coordinates))
    noise.fill_normals(normals, seed=plan.seed, stream=noise.Stream.INITIAL, block=0)
    with np.errstate(all="ignore"):
        return float(energy(normals[0].reshape(1, *plan.event_shape))[0])


def _check_same(probe: float | None, held: float | None, path: os.PathLike[str]) -> None:
    """Refuse an energy that is known not to be the one of the run."""
    if probe is None or held is None:
        return
    if not np.isclose(probe, held, rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE, equal_nan=True):
        raise InputError(
            f"the energy is not that of {path}: at one state it is {probe:g}, and it was {held:g} "
            "there; pass the energy that the run had"
        )


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


def _go(
    plan: Plan,
    runner: Runner,
    piece: Piece,
    last: int,
    kept: Kept,
    told: list[Report],
    started: float,
) -> Result:
    """Let the chains advance from the end of a piece to the step `last`; what comes out."""
    n_before, interrupted = piece.n_steps, False
    n_kept, mean_energy = plan.kept_before(n_before), None
    pieces = advance(plan, runner, piece, last, kept, waits=bool(told))
    try:
        for piece in pieces:
            kept.advanced(piece.x, piece.n_steps, piece.divergence)
            if told:
                if plan.kept_before(piece.n_steps) > n_kept:
                    n_kept = plan.kept_before(piece.n_steps)
                    mean_energy = _mean_energy(piece.outputs)
                status = Progress(
                    n_steps=piece.n_steps,
                    n_total=last,
                    n_kept=n_kept,
                    seconds=time.perf_counter() - started,
                    energy=mean_energy,
                    n_diverged=count_diverged(piece.x),
                    n_before=n_before,
                )
                answers = [report(status) for report in told]  # all are told
                if any(answers):
                    break
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        with contextlib.suppress(OSError):  # the error that came first is raised
            kept.close(piece.x, piece.n_steps, piece.divergence)
        raise
    trajectory, diagnostics = kept.close(piece.x, piece.n_steps, piece.divergence)
    result = Result(
        samples=mover(plan)(piece.x),
        trajectory=trajectory,
        diagnostics=diagnostics,
        info=Info(
            seed=plan.seed,
            backend=plan.backend,
            device=plan.device,
            path=runner.path,
            n_steps=piece.n_steps,
            seconds=time.perf_counter() - started,
            divergence=piece.divergence,
        ),
    )
    if interrupted:
        raise RunInterrupted(
            f"after {piece.n_steps} of {last} steps; what was done is in this error's .result",
            result,
        )
    return result


def _mean_energy(outputs: Outputs) -> float | None:
    """The mean over the chains at the last state kept in a piece."""
    if outputs.energy is None:
        return None
    row = outputs.energy[-1, ...]
    with np.errstate(all="ignore"):
        return float(compat.array_namespace(row).mean(row))
