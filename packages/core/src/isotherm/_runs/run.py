"""Running a plan, in this process or on the workers of an executor."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, to_numpy
from isotherm._arithmetic.sums import moments
from isotherm._backends import registry
from isotherm._backends.protocol import Outputs, Runner, on_device
from isotherm._energies.origin import is_declared
from isotherm._energies.protocol import numbers_digests, planned
from isotherm._planning.arguments import as_seconds
from isotherm._planning.keywords import knows_keywords
from isotherm._plans.plan import Plan
from isotherm._results.recorder import InMemory, Recorder, mover
from isotherm._results.result import Info, Progress, Result, RunInterrupted
from isotherm._runs.advance import Snapshot, advance, count_diverged, describe
from isotherm._runs.callbacks import Callback, Callbacks, collect_callbacks
from isotherm._runs.checks import (
    begin,
    check_belongs,
    check_given,
    checked_allocator,
    initial_state,
    probe_energy,
    store_module,
    with_keywords,
)
from isotherm._runs.executors import ExecutorLike, run_on_executor
from isotherm._runs.prepared import Prepared
from isotherm.errors import (
    DivergenceWarning,
    InputError,
    SamplingWarning,
    StoreError,
    caller_stacklevel,
)

# Of the steps of all chains, of which less is said where there are few. None of 20 is accepted by
# chance once in a hundred runs at a rate of 20 %, and once in a billion at one of 65 %.
_FEW_STEPS, _LEAST_REJECTED = 1000, 20
_LEAST_ACCEPTED, _MOST_ACCEPTED = 0.01, 0.9999
_MANY_DIVERGENCES = 0.001
_OFTEN, _LONG = 0.1, 20  # of a chain's steps; one step that diverged is no chain that is caught
# Of the chains: as many would reject everything if all were alike, and so many may be at an edge.
_SELDOM, _SHARE = 1e-3, 1e-3


@knows_keywords
def run(
    plan: Plan,
    energy: Any,
    x: Array | None = None,
    *,
    momentum: Array | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callable[[Progress], object] | None = None,
    callback_every: int | None = None,
    store: str | os.PathLike[str] | None = None,
    flush_every: float = 5.0,
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
    energy : callable or sampler
        The energy for which it was made, or the sampler.
    x : array, optional
        Where the chains start, as given to `make_plan`.
    momentum : array, optional
        With which they start, of the shape of `x`, where the sampler carries one; by default drawn
        from N(0, noise_scale² M), from the noise stream.
    model_kwargs : mapping of str to anything, optional
        Keywords that the energy receives at every call, as they are: a network's conditioning, with
        one row per chain. A ``gradient`` of the energy's own receives them too.
    progress : bool or callable
        True shows a bar on stderr, which needs ``isotherm[progress]``; a callable is called now and
        then with the number of steps taken and of steps in all.
    callback : callable, optional
        Called now and then with a `Progress`. Where it returns something true, the run ends, and
        the result holds what was done: ``info.n_steps`` steps and the states kept in them.
    callback_every : int, optional
        Call it at every multiple of so many steps, and at the end; by default about four times a
        second.
    store : path, optional
        A folder, not yet there, in which all kept states (whatever ``plan.return_trajectory``) and
        the diagnostics asked for are kept while the chains run, so that memory holds only a chunk
        of them. It is a Zarr group that xarray and ArviZ read; `open_run` opens it, `resume` goes
        on. Needs ``isotherm[store]``.
    flush_every : float
        Seconds after which what is done is written to the store, though it fills no chunk; what a
        run that is killed has not written is lost.
    executor : concurrent.futures.Executor, or callable that makes one, optional
        Whose workers the chains are shared out among: ``ProcessPoolExecutor``, Dask's
        ``client.get_executor()``, ``MPIPoolExecutor``. The result does not depend on the workers:
        it is to the bit that of a run without, diagnostics included, of energies whose value for a
        chain does not depend on how many there are (where a library multiplies matrices, to
        rounding). A share whose worker dies is run again: by a new executor, where this is a
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
    StoreError
        The store was moved, removed or made anew while the run was writing to it.
    OSError
        The store cannot be written, the disk is full; what was written before can be gone on with.
    """
    x = as_state(x)
    if x is not None and plan.has_start:
        check_given(plan, x, "x", plan.effective_bounds)
    return run_prepared(
        Prepared(), plan, energy, x, momentum, model_kwargs, progress, callback, callback_every,
        store, flush_every, executor, n_shares,
    )  # fmt: skip


def run_prepared(
    prepared: Prepared,
    plan: Plan,
    energy: Any,
    x: Array | None,
    momentum: Array | None,
    model_kwargs: Mapping[str, Any] | None,
    progress: bool | Callable[[int, int], object],
    callback: Callback | None,
    callback_every: int | None,
    store: str | os.PathLike[str] | None,
    flush_every: float,
    executor: ExecutorLike | None,
    n_shares: int | None = None,
) -> Result:
    """`run` of a start that is checked, with what the run before left ready for the one after."""
    if executor is not None:
        result = _run_on_executor(
            plan, energy, x, momentum, executor, n_shares, model_kwargs, progress, callback, store
        )
    elif n_shares is not None:
        raise InputError("n_shares shares out chains among the workers of an executor; give both")
    else:
        result = run_here(
            plan,
            energy,
            x,
            model_kwargs,
            momentum,
            progress,
            callback,
            store,
            callback_every,
            flush_every,
            prepared=prepared,
        )
    return warn_of_divergence(plan, result)


def run_here(
    plan: Plan,
    energy: Any,
    x: Array | None,
    model_kwargs: Mapping[str, Any] | None,
    momentum: Array | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callback | None = None,
    store: str | os.PathLike[str] | None = None,
    callback_every: int | None = None,
    flush_every: float = 5.0,
    moments_dtype: str | None = None,
    prepared: Prepared | None = None,
) -> Result:
    """Run a plan in this process, from a start that is checked; nothing is warned of."""
    started = time.perf_counter()
    energy = planned(energy, plan.event_shape, plan.sampler)
    check_belongs(plan, energy, x)
    energy = with_keywords(energy, model_kwargs)
    backend = registry.usable(plan.backend)
    flush_every = as_seconds("flush_every", flush_every)
    if store is not None:
        plan = replace(plan, return_trajectory=True)
    with on_device(backend, plan), ExitStack() as stack:
        allocate = checked_allocator(
            plan, backend, is_stored=store is not None, moments_dtype=moments_dtype
        )
        state = initial_state(plan, backend, x, momentum)
        prepared = prepared or Prepared()
        loan = prepared.take(backend, plan, energy)
        runner = loan.runner
        numbers = frozenset() if store is None else numbers_digests(energy)
        begin(plan, runner, state)
        callbacks = collect_callbacks(progress, callback, stack, callback_every)
        recorder: Recorder
        if store is None:
            recorder = InMemory(plan, allocate, moments_dtype)
        else:
            disk = store_module()
            probe = probe_energy(plan, energy)
            # What the first call changed counts calls, or is a network's running mean.
            lasting = " ".join(sorted(numbers & numbers_digests(energy))) or None
            folder, header = disk.create(store, plan, probe, runner.path, state, lasting)
            stack.enter_context(folder.locked())
            recorder = disk.Writer(folder, header, allocate, flush_every)
        result = advance_to(
            plan, runner, Snapshot(state), plan.n_total, recorder, callbacks, started, energy
        )
        prepared.give_back(loan)
        return result


def _run_on_executor(
    plan: Plan,
    energy: Any,
    x: Array | None,
    momentum: Array | None,
    executor: ExecutorLike,
    n_shares: int | None,
    model_kwargs: Mapping[str, Any] | None,
    progress: bool | Callable[[int, int], object],
    callback: Callback | None,
    store: str | os.PathLike[str] | None,
) -> Result:
    """Run a plan on the workers of an executor."""
    for name, given in {"callback": callback, "store": store}.items():
        if given is not None:
            raise InputError(
                f"{name}= follows all chains step by step, and the workers of an executor are not "
                f"in step; leave out {name} or executor"
            )
    energy = planned(energy, plan.event_shape, plan.sampler)
    check_belongs(plan, energy, x)
    with_keywords(energy, model_kwargs)
    with ExitStack() as stack:
        if plan.device == "cpu":  # cards are the workers' own, who may be forked here
            stack.enter_context(on_device(registry.usable(plan.backend), plan))
        callbacks = collect_callbacks(progress, None, stack)
        return run_on_executor(
            partial(run_here, moments_dtype="float64"), plan, energy, x, executor,
            momentum=as_state(momentum, "momentum"),
            model_kwargs=model_kwargs, n_shares=n_shares, callbacks=callbacks.functions,
        )  # fmt: skip


def warn_of_divergence(plan: Plan, result: Result, n_before: int = 0) -> Result:
    """The result itself, after the warning that the plan asks for.

    Parameters
    ----------
    plan : Plan
    result : Result
    n_before : int
        Steps that were done before the run was gone on with, of which its rates do not tell.
    """
    divergence = result.info.divergence
    if divergence is not None and plan.on_divergence == "warn":
        warnings.warn(describe(plan, divergence), DivergenceWarning, stacklevel=caller_stacklevel())
        return result
    doubt = _doubt(plan, result.info, result.info.n_steps - max(n_before, plan.burn_in))
    if doubt is not None and plan.on_divergence == "warn":
        warnings.warn(doubt, SamplingWarning, stacklevel=caller_stacklevel())
    return result


def _doubt(plan: Plan, info: Info, of_a_chain: int) -> str | None:
    """What speaks against the samples of an adjusted sampler, in a sentence."""
    rate, n_bad, n_chains = info.acceptance_rate, info.n_divergences, info.n_diverging_chains
    n_stuck = info.n_stuck_chains
    if rate is None or n_bad is None or n_chains is None or n_stuck is None:
        return None
    n_steps = of_a_chain * plan.n_samples
    if n_bad == n_steps:
        return (
            f"all {n_steps} proposals diverged, and chains did not move: they start where the "
            "energy is infinite or NaN, or too steep for step_size; start elsewhere (x=), or take "
            f"a smaller step_size than {plan.step_size}"
        )
    if rate < _LEAST_ACCEPTED and n_steps >= (_FEW_STEPS if rate else _LEAST_REJECTED):
        return (
            f"{rate:.1%} of the proposals were accepted, so that chains hardly move; take a "
            f"smaller step_size than {plan.step_size}, or let isotherm.warm_up find one"
        )
    is_strange = plan.n_samples * (1.0 - rate) ** of_a_chain < _SELDOM
    if n_stuck > _SHARE * plan.n_samples and is_strange:
        return (
            f"{n_stuck} of {plan.n_samples} chains rejected each of their {of_a_chain} proposals, "
            f"where {rate:.0%} of all were accepted: they are where the energy is infinite or NaN, "
            "at an edge of its support, or where it is too steep for step_size; start them "
            f"elsewhere (x=), or take a smaller step_size than {plan.step_size}"
        )
    if n_steps < _FEW_STEPS:
        return None
    if rate > _MOST_ACCEPTED and not n_bad:
        return (
            f"{rate:.3%} of the proposals were accepted, so that chains move slower than they "
            f"could; take a larger step_size than {plan.step_size}, or let isotherm.warm_up find "
            "one"
        )
    is_caught = of_a_chain >= _LONG and n_bad >= _OFTEN * n_chains * of_a_chain
    is_many = n_bad >= _MANY_DIVERGENCES * n_steps
    if is_caught and is_many:
        return (
            f"{n_bad} steps diverged, all in {n_chains} of {plan.n_samples} chains, which are "
            "caught where the energy is too steep for step_size; take a smaller one, other starts, "
            "or sample another parametrisation"
        )
    return None


def advance_to(
    plan: Plan,
    runner: Runner,
    snapshot: Snapshot,
    last: int,
    recorder: Recorder,
    callbacks: Callbacks,
    started: float,
    energy: Any = None,
) -> Result:
    """Let the chains advance from the end of a piece to the step `last`; what comes out."""
    n_before, interrupted = snapshot.n_steps, False
    n_kept, mean_energy = plan.kept_before(n_before), None
    has_limits = is_declared(energy) and energy.has_limited_support(plan.event_shape)
    counts = _counts(plan, snapshot.state["x"])
    snapshots = advance(
        plan, runner, snapshot, last, recorder,
        has_callbacks=bool(callbacks),
        counts=counts,
        every=callbacks.every,
        energy_at_end=energy if has_limits else None,
    )  # fmt: skip
    try:
        for snapshot in snapshots:
            recorder.advanced(snapshot.state, snapshot.n_steps, snapshot.divergence)
            if callbacks:
                n_now = plan.kept_before(snapshot.n_steps)
                if n_now > n_kept:
                    n_kept, mean_energy = n_now, _mean_energy(snapshot.outputs)
                status = Progress(
                    n_steps=snapshot.n_steps,
                    n_total=last,
                    n_kept=n_kept,
                    seconds=time.perf_counter() - started,
                    energy=mean_energy,
                    n_diverged=count_diverged(snapshot.state["x"]),
                    n_before=n_before,
                    _read=partial(_read, plan, snapshot),
                )
                if callbacks.tell(status):
                    break
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        with contextlib.suppress(OSError, StoreError):  # the error that came first is raised
            recorder.close(snapshot.state, snapshot.n_steps, snapshot.divergence)
        raise
    result = _result(plan, runner, snapshot, recorder, counts, n_before, started)
    if interrupted:
        raise RunInterrupted(
            f"after {snapshot.n_steps} of {last} steps; what was done is in this error's .result",
            result,
        )
    return result


def _result(
    plan: Plan,
    runner: Runner,
    snapshot: Snapshot,
    recorder: Recorder,
    counts: Outputs | None,
    n_before: int,
    started: float,
) -> Result:
    """What comes out of a run that has ended with this snapshot."""
    trajectory, diagnostics = recorder.close(snapshot.state, snapshot.n_steps, snapshot.divergence)
    return Result(
        samples=mover(plan)(snapshot.state["x"]),
        trajectory=trajectory,
        diagnostics=diagnostics,
        info=Info(
            seed=plan.seed,
            backend=plan.backend,
            device=plan.device,
            path=runner.path,
            n_steps=snapshot.n_steps,
            seconds=time.perf_counter() - started,
            divergence=snapshot.divergence,
            sampler=plan.sampler,
            tuning=plan.tuning,
            **plan.law(snapshot.n_steps),
            **_rates(plan, counts, n_before, snapshot.n_steps),
        ),
        state={name: mover(plan, plan.state_dtype)(x) for name, x in snapshot.state.items()},
    )


def _counts(plan: Plan, x: Array) -> Outputs | None:
    """Where the steps that were accepted, and that diverged, are counted, for each chain."""
    if not plan.is_adjusted:
        return None
    xp = compat.array_namespace(x)
    place = {"dtype": xp.int64, "device": compat.device(x)}
    return Outputs(
        accepted=xp.zeros(plan.n_samples, **place), diverging=xp.zeros(plan.n_samples, **place)
    )


def _rates(plan: Plan, counts: Outputs | None, first: int, last: int) -> dict[str, Any]:
    """What the info says of the steps first..last-1 of an adjusted sampler."""
    n_steps = last - max(first, plan.burn_in)
    if counts is None or n_steps <= 0:
        return {}
    accepted, diverging = (to_numpy(each) for each in (counts.accepted, counts.diverging))
    return {
        "acceptance_rate": int(accepted.sum()) / (n_steps * plan.n_samples),
        "n_divergences": int(diverging.sum()),
        "n_diverging_chains": int((diverging > 0).sum()),
        "n_stuck_chains": int((accepted == 0).sum()),
    }


def _read(plan: Plan, snapshot: Snapshot, name: str) -> Array | None:
    """What a callback asks for of the chains at the end of a piece."""
    x, back = snapshot.state["x"], mover(plan)
    xp = compat.array_namespace(x)
    if name == "samples":  # a copy: the run goes on from here
        return back(xp.asarray(x, copy=True))
    if name == "energies":
        rows = snapshot.outputs.energy
        if rows is None or not rows.shape[0]:
            return None
        return back(xp.asarray(rows[-1, ...], copy=True))
    with np.errstate(all="ignore"):  # of chains that diverged
        found = getattr(moments(x, plan.chain_offset), name)
        return back(xp.reshape(xp.astype(found, x.dtype), plan.event_shape))


def _mean_energy(outputs: Outputs) -> float | None:
    """The mean over the chains at the last state kept in a snapshot."""
    if outputs.energy is None:
        return None
    row = outputs.energy[-1, ...]
    with np.errstate(all="ignore"):
        return float(compat.array_namespace(row).mean(row))
