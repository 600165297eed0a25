"""Chains shared out among the workers of an executor, and put together again.

A shard of the chains is a run of its own, whose ``chain_offset`` says which random numbers are its
chains'. The shards depend on the plan alone, not on who takes them.
"""

from __future__ import annotations

import inspect
import math
import pickle
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple, cast

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, is_array, to_numpy
from isotherm._arithmetic.sums import JoinedNodes, Moments, nodes
from isotherm._backends.memory import host_memory
from isotherm._plans.plan import Plan, format_bytes
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.recorder import mover
from isotherm._results.result import Info, Progress, Result, joined
from isotherm._runs.advance import count_diverged
from isotherm._transitions.catalogue import find
from isotherm.errors import InputError, IsothermError, caller_stacklevel, short_repr, text_of

#: An executor of the kind of `concurrent.futures`, or a function that makes one.
ExecutorLike = Executor | Callable[[], Executor]

_SHARDS = 64  # several for each worker of one machine, so that all end at about the same time
_BREAKDOWNS = 3  # of executors, one after another, in which no shard was finished
_NOT_SENT = (pickle.PicklingError, AttributeError, TypeError)  # what pickle raises

Task = tuple[Any, ...]
Done = Generator[tuple[int, object], None, BrokenExecutor | None]
Numbers = np.ndarray[Any, Any]


class Outcome(NamedTuple):
    """What came of a shard: its results in NumPy arrays, or what it raised.

    An executor that remembers or confuses what it was given would hand back that of another: the
    `name`, which no other shard of any run has, tells.
    """

    name: str
    found: list[Result] | Exception


def run_on_executor(
    run: Callable[..., Result],
    plan: Plan,
    energy: Any,
    x: Array | None,
    executor: ExecutorLike,
    *,
    momentum: Array | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    n_shares: int | None = None,
    callbacks: Collection[Callable[[Progress], object]] = (),
) -> Result:
    """The result of a plan whose chains are shared out among workers.

    Parameters
    ----------
    run : callable
        ``run(plan, energy, x, model_kwargs, momentum)`` → `Result` of one node, with mean and
        variance in float64: a function at the top level of a module, by whose name workers find it.
    plan, energy, x, model_kwargs, executor, n_shares
        See `isotherm.run`.
    callbacks : collection of callable
        Are told whenever a shard is done, of the mean of the chains' steps.

    Returns
    -------
    Result
        To the bit that of a run without executor. A shard is run node by node of the tree that mean
        and variance are put together by, so that theirs are those of its nodes.

    Raises
    ------
    InputError
        The energy cannot be sent to a worker, the result does not fit into memory, or an argument
        is not usable.
    BrokenExecutor
        Executors broke time after time.
    Exception
        What a shard raised first; those that have not begun are called off. What the executor
        raised in its place has a note that says so.
    """
    started = time.perf_counter()
    if not (_is_executor(executor) or _makes_executors(executor)):
        raise InputError(
            "executor must be an executor of concurrent.futures' kind, with submit and shutdown, "
            f"or a function without arguments that makes one, not {short_repr(executor)}"
        )
    available = host_memory()
    if available is not None and plan.result_bytes > available:
        raise InputError(
            f"the result needs {format_bytes(plan.result_bytes)} and this process can have "
            f"{format_bytes(available)}; keep fewer states (a larger thinning) or run fewer chains"
        )
    shards = _shards(plan, n_shares)
    rows = None if x is None else _rows(plan, x)
    kicks = None if momentum is None else _rows(plan, momentum)
    names = [uuid.uuid4().hex for _ in shards]
    tasks = {
        i: (names[i], run, energy, [_part(plan, rows, model_kwargs, kicks, part) for part in shard])
        for i, shard in enumerate(shards)
    }
    whole = _Whole(plan, shards)
    with closing(_results(tasks, executor)) as results:
        for i, outcome in results:
            whole.put(i, _checked(outcome, names[i], len(shards[i])))
            if callbacks:
                status = whole.progress(time.perf_counter() - started)
                for report in callbacks:
                    report(status)
    return whole.result(time.perf_counter() - started)


def _shards(plan: Plan, n_shares: int | None) -> list[list[range]]:
    """The chains of each shard, about as many in each, as nodes of the tree of the moments."""
    if n_shares is not None and (
        isinstance(n_shares, bool) or not isinstance(n_shares, (int, np.integer)) or n_shares < 1
    ):
        raise InputError(f"n_shares must be an integer of at least 1, not {short_repr(n_shares)}")
    n = plan.n_samples
    # Two chains at least: an energy may squeeze its result, or normalise over the chains.
    count = min(n, n_shares or min(_SHARDS, max(1, n // 2)))
    run = range(plan.chain_offset, plan.chain_offset + n)
    # Cut at multiples of a power of two, a shard has a few large nodes, not many small ones.
    step = 1 << max(0, (n // count // 8).bit_length() - 1)
    cuts = [(run.start + i * n // count) // step * step for i in range(1, count)]
    shards = [range(*bounds) for bounds in pairwise([run.start, *cuts, run.stop])]
    return [nodes(shard, run) if plan.return_diagnostics else [shard] for shard in shards]


def _part(
    plan: Plan,
    rows: Numbers | None,
    model_kwargs: Mapping[str, Any] | None,
    kicks: Numbers | None,
    chains: range,
) -> tuple[Any, ...]:
    """What some of the chains are run with: plan, start, keywords and momenta of their own."""
    own = range(chains.start - plan.chain_offset, chains.stop - plan.chain_offset)
    return (
        plan.of_chains(own.start, own.stop),
        None if rows is None else _cut(rows, own),
        None if model_kwargs is None else _keywords(plan, model_kwargs, own),
        None if kicks is None else _cut(kicks, own),
    )


def _rows(plan: Plan, x: Array) -> Numbers:
    rows = to_numpy(x[None, ...] if x.ndim == len(plan.event_shape) else x)
    if rows.shape not in (plan.shape, (1, *plan.event_shape)):
        raise InputError(f"x has shape {tuple(x.shape)} but the plan was made for {plan.shape}")
    return rows


def _cut(rows: Array, shard: range) -> Array:
    return rows if len(rows) == 1 else rows[shard.start : shard.stop]


def _keywords(plan: Plan, keywords: Mapping[str, Any], shard: range) -> dict[str, Any]:
    """The keywords of a shard: of arrays with a row a chain, the rows of its chains."""
    cut = {}
    for name, value in keywords.items():
        has_rows = is_array(value) and value.ndim > 0 and len(value) == plan.n_samples > 1
        if has_rows and plan.n_samples in plan.event_shape:
            raise InputError(
                f"model_kwargs[{name!r}] has as many rows as there are chains, and as the state "
                f"{plan.event_shape} has coordinates, so that it is not clear whether it has one "
                "row a chain; put it into the energy, or run another number of chains"
            )
        cut[name] = value
        if has_rows:  # a copy: torch pickles all that a view is part of
            cut[name] = compat.array_namespace(value).asarray(_cut(value, shard), copy=True)
    return cut


def _run_shard(
    name: str, run: Callable[..., Result], energy: Any, parts: Iterable[tuple[Any, ...]]
) -> Outcome:
    """What comes of a shard's parts.

    The error is returned, so that what a future raises is the executor's own trouble.
    """
    try:
        return Outcome(name, [_on_host(run(plan, energy, *given)) for plan, *given in parts])
    except Exception as error:
        return Outcome(name, _sendable(error))
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # without the result of a shard, which is of no use


def _on_host(result: Result) -> Result:
    """A result with its arrays as NumPy's."""
    diagnostics = None
    if result.diagnostics is not None:
        found = result.diagnostics
        mean, variance, energies = map(to_numpy, (found.mean, found.variance, found.energy))
        errors = None if found.energy_error is None else to_numpy(found.energy_error)
        diagnostics = Diagnostics(mean, variance, energies, found.steps, energy_error=errors)
    return Result(
        samples=to_numpy(result.samples),
        trajectory=None if result.trajectory is None else to_numpy(result.trajectory),
        diagnostics=diagnostics,
        info=result.info,
        state={name: to_numpy(part) for name, part in result.state.items()},
    )


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; one that cannot be pickled, in words."""
    if not isinstance(error, IsothermError):
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # which it may raise in pickling is as free as what it holds
        said = RuntimeError(f"{type(error).__name__}: {text_of(error)}")
        for note in getattr(error, "__notes__", ()):
            said.add_note(note)
        return said
    return error


def _results(tasks: dict[int, Task], executor: ExecutorLike) -> Done:
    """What comes of numbered tasks, in the order in which they are done."""
    left = dict(tasks)
    make = _maker(executor)
    if make is None:
        broken = yield from _work(cast(Executor, executor), left)
        if broken is not None:
            warnings.warn(
                f"a worker died and broke the executor: {broken}. The {len(left)} of {len(tasks)} "
                "shards that are left run in this process, one after another; give a function that "
                "makes executors, and they run in a new one",
                RuntimeWarning,
                stacklevel=caller_stacklevel(),
            )
            for i in list(left):
                task = left.pop(i)
                yield i, _run_shard(*task)
        return None
    breakdowns = 0
    while left:
        count = len(left)
        pool = make()
        if not _is_executor(pool):
            raise InputError(
                "the function given as executor must return one of concurrent.futures' kind; it "
                f"returned {short_repr(pool)}"
            )
        try:
            broken = yield from _work(pool, left)
        except BaseException:
            pool.shutdown(wait=False)
            raise
        pool.shutdown()
        breakdowns = breakdowns + 1 if len(left) == count else 0
        if broken is not None and breakdowns == _BREAKDOWNS:
            broken.add_note(
                f"{len(left)} of {len(tasks)} shards are left, and {_BREAKDOWNS} executors in turn "
                "broke before one of them was done: a shard needs more memory than a worker has, "
                "or ends its process, or its energy is one that workers cannot import"
            )
            raise broken
    return None


def _work(executor: Executor, left: dict[int, Task]) -> Done:
    """What comes of the tasks that one executor does, which then are no longer left; how it broke.

    What an executor raises in place of a shard is handed on like what a shard raised.
    """
    broken: BrokenExecutor | None = None
    futures: dict[Future[Outcome], int] = {}
    try:
        try:
            with _sending():
                for i, task in left.items():
                    future = _submitted(executor, task)
                    if not isinstance(future, Future):
                        raise InputError(
                            "executor.submit must return a concurrent.futures.Future, not "
                            f"{short_repr(future)}; of Dask give client.get_executor()"
                        )
                    futures[future] = i
        except BrokenExecutor as error:
            broken = error
        for future in as_completed(futures):
            try:
                trouble = future.exception()
            except CancelledError:
                raise BrokenExecutor(
                    f"the executor called off shards of the run, {len(left)} of which were left: "
                    "it was shut down, or their futures were cancelled; run again with one that "
                    "is left to work"
                ) from None
            if isinstance(trouble, BrokenExecutor):
                broken = trouble
                continue
            i = futures.pop(future)
            del left[i]
            if trouble is None:
                yield i, future.result()
                continue
            with _sending():
                if isinstance(trouble, _NOT_SENT):
                    raise trouble
            trouble.add_note(f"raised by the executor in place of shard {i} of the run")
            yield i, trouble
    finally:
        for future in futures:
            future.cancel()
    return broken


def _submitted(executor: Executor, task: Task) -> Any:
    """The future of a task."""
    try:
        return executor.submit(_run_shard, *task)
    except (BrokenExecutor, IsothermError, *_NOT_SENT):
        raise
    except Exception as error:
        raise InputError(
            f"the executor takes no shard of the run ({type(error).__name__}: {text_of(error)}); "
            "give one that was not shut down, or a function that makes one"
        ) from error


@contextmanager
def _sending() -> Iterator[None]:
    try:
        yield
    except _NOT_SENT as error:
        raise InputError(
            f"the energy cannot be sent to a worker: {error}; define it at the top level of a "
            "module, or take an executor that pickles by value, as Dask's does with cloudpickle"
        ) from error


def _checked(outcome: object, name: str, n_parts: int) -> list[Result]:
    """The results of the shard of this name, where they are that."""
    if isinstance(outcome, BaseException):
        raise outcome
    if isinstance(outcome, Outcome) and outcome.name == name:
        if isinstance(outcome.found, Exception):
            raise outcome.found
        results = outcome.found
        if len(results) == n_parts and all(isinstance(result, Result) for result in results):
            return results
    what = "what another call returned" if isinstance(outcome, Outcome) else short_repr(outcome)
    raise InputError(
        "the executor's futures must hold what the functions given to submit returned, each for "
        f"the arguments given with it; one holds {what}"
    )


def _is_executor(given: object) -> bool:
    parts = (getattr(given, name, None) for name in ("submit", "shutdown"))
    return all(map(callable, parts)) and not isinstance(given, type)


def _makes_executors(given: object) -> bool:
    """Whether it may be called without arguments; what it returns is seen then."""
    if not callable(given) or (isinstance(given, type) and not hasattr(given, "submit")):
        return False
    try:
        inspect.signature(given).bind()
    except TypeError:
        return False
    except ValueError:  # a function written in C may not tell its signature
        pass
    return True


def _maker(executor: ExecutorLike) -> Callable[[], Executor] | None:
    """The function that makes executors, where one was given."""
    return None if _is_executor(executor) else cast(Callable[[], Executor], executor)


class _Whole:
    """All chains' result, as it fills with those of the shards.

    Parameters
    ----------
    plan : Plan
    shards : list of list of range
        The chains of each one's parts, by their numbers.
    """

    def __init__(self, plan: Plan, shards: list[list[range]]) -> None:
        self._plan = plan
        self._shards = shards
        dtype = "float32" if plan.dtype == "bfloat16" else plan.dtype  # as NumPy holds it
        self._samples = np.empty(plan.shape, dtype)
        self._state = {
            name: np.empty(plan.shape, plan.state_dtype) for name in find(plan.sampler).carried
        }
        self._trajectory = self._energy = self._energy_error = None
        if plan.return_trajectory:
            self._trajectory = np.empty((plan.n_samples, plan.n_kept, *plan.event_shape), dtype)
        if plan.return_diagnostics:
            self._energy = np.empty((plan.n_kept, plan.n_samples), dtype)
            if plan.is_adjusted:
                self._energy_error = np.empty_like(self._energy)
        # Joined by the shards' numbers, so that the order in which they are done does not show.
        self._moments = JoinedNodes()
        self._early: dict[int, list[tuple[int, Moments]]] = {}
        self._next = 0
        self._infos: list[tuple[int, Info]] = []  # with the number of chains
        self._n_done = self._n_diverged = 0
        self._last_energies = 0.0

    def put(self, i: int, results: list[Result]) -> None:
        self._early[i] = []
        with np.errstate(all="ignore"):  # of chains that diverged
            for chains, result in zip(self._shards[i], results, strict=True):
                self._put_part(chains, result)
                if result.diagnostics is not None:
                    mean, variance = result.diagnostics.mean, result.diagnostics.variance
                    for moments in (mean, variance):
                        _check_fits(
                            moments, (self._plan.n_kept, *self._plan.event_shape), np.float64
                        )
                    node = Moments(float(len(chains)), mean, variance)
                    self._early[i].append((chains.start, node))
            while self._next in self._early:
                for first, node in self._early.pop(self._next):
                    self._moments.add(first, node)
                self._next += 1

    def _put_part(self, chains: range, result: Result) -> None:
        offset, found = self._plan.chain_offset, result.diagnostics
        rows = slice(chains.start - offset, chains.stop - offset)
        _fill(self._samples[rows], result.samples)
        for name, part in self._state.items():
            _fill(part[rows], result.state[name])
        if self._trajectory is not None:
            _fill(self._trajectory[rows], result.trajectory)
        if self._energy is not None and found is not None:
            _fill(self._energy[:, rows], found.energy)
            if self._energy_error is not None:
                _fill(self._energy_error[:, rows], found.energy_error)
            self._last_energies += float(found.energy[-1:].sum(dtype=np.float64))
        self._infos.append((len(chains), result.info))
        self._n_done += len(chains)
        self._n_diverged += count_diverged(result.samples)

    def progress(self, seconds: float) -> Progress:
        plan = self._plan
        n_steps = math.ceil(plan.n_total * self._n_done / plan.n_samples)
        return Progress(
            n_steps=n_steps,
            n_total=plan.n_total,
            n_kept=plan.kept_before(n_steps),
            seconds=seconds,
            energy=None if self._energy is None else self._last_energies / self._n_done,
            n_diverged=self._n_diverged,
        )

    def result(self, seconds: float) -> Result:
        plan, back = self._plan, mover(self._plan)
        diagnostics = None
        if self._energy is not None:
            with np.errstate(all="ignore"):
                total = self._moments.moments()
            mean, variance = back(total.mean), back(total.variance)
            steps = plan.kept_steps(0, plan.n_kept)
            diagnostics = Diagnostics(
                mean,
                variance,
                back(self._energy),
                steps,
                energy_error=back(self._energy_error),
                divergence_threshold=plan.divergence_threshold,
                sample_stats=plan.sample_stats(plan.n_kept),
            )
        return Result(
            samples=back(self._samples),
            trajectory=back(self._trajectory),
            diagnostics=diagnostics,
            info=replace(
                joined(self._infos, plan.n_total - plan.burn_in),
                n_steps=plan.n_total,
                seconds=seconds,
                **plan.law(plan.n_total),
            ),
            state={name: mover(plan, plan.state_dtype)(x) for name, x in self._state.items()},
        )


def _fill(rows: Numbers, values: Any) -> None:
    """Put a shard's numbers in their place; what does not fit exactly is not of this run."""
    _check_fits(values, rows.shape, rows.dtype)
    rows[...] = values


def _check_fits(values: Any, shape: tuple[int, ...], dtype: Any) -> None:
    if np.shape(values) != shape or getattr(values, "dtype", None) != dtype:
        raise InputError(
            f"a shard came back with an array of shape {np.shape(values)} where one of {dtype} and "
            f"{shape} belongs; the executor must hand on what its workers returned"
        )
