"""Writing a run to its store while it goes on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import xarray

from isotherm._arithmetic.arrays import move, to_numpy
from isotherm._backends.protocol import Outputs, State
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Divergence
from isotherm._store.folder import Store
from isotherm._store.layout import Header, energies, stored_dtype


class Writer:
    """Keeps a run's states and diagnostics in its store, a chunk at a time, in a thread.

    While one chunk is written the next is made; so two are in memory.

    Parameters
    ----------
    store : Store
        Locked.
    header : Header
        Where the run stands.
    allocate : callable
        Number of kept states → `Outputs` for so many.
    flush_every : float
        Seconds after which a chunk is written though it is not full.
    """

    def __init__(
        self,
        store: Store,
        header: Header,
        allocate: Callable[[int], Outputs],
        flush_every: float,
    ) -> None:
        self._store = store
        self._flush_every = flush_every
        self._header = header
        size = min(header.chunk, header.plan.n_kept - header.n_kept)
        self._buffers = itertools.cycle([allocate(size) for _ in range(2)])
        self._buffer = next(self._buffers)
        self._committed = time.perf_counter()
        self._pool = ThreadPoolExecutor(1, "isotherm-store")
        self._writing: Future[None] | None = None

    def outputs(self, start: int, stop: int) -> Outputs:
        """Where the states kept in the steps start..stop-1 go."""
        plan, first = self._header.plan, self._header.n_kept
        return self._buffer.between(plan.kept_before(start) - first, plan.kept_before(stop) - first)

    def full_at(self) -> int:
        """The step after which the chunk is full; no piece may go beyond."""
        plan, chunk = self._header.plan, self._header.chunk
        last = (self._header.n_kept // chunk + 1) * chunk
        return min(plan.burn_in + plan.thinning * last, plan.n_total)

    def advanced(self, state: State, n_steps: int, divergence: Divergence | None) -> None:
        """Told after every piece."""
        if n_steps == self.full_at() or self._is_due():
            self._write(state, n_steps, divergence)

    def close(
        self, state: State, n_steps: int, divergence: Divergence | None
    ) -> tuple[xarray.DataArray, Diagnostics | None]:
        """Write what is left."""
        try:
            if n_steps > self._header.n_steps:
                self._write(state, n_steps, divergence)
            self._wait()
        finally:
            self._pool.shutdown()
        return self._store.lazily(self._header)

    def _is_due(self) -> bool:
        """Whether to write what there is; where the disk is slow, not before it is done."""
        if self._writing is not None and not self._writing.done():
            return False
        return time.perf_counter() - self._committed >= self._flush_every

    def _write(self, state: State, n_steps: int, divergence: Divergence | None) -> None:
        self._wait()
        plan, before = self._header.plan, self._header
        now = time.perf_counter()
        header = replace(
            before,
            n_steps=n_steps,
            state=1 - before.state,
            seconds=before.seconds + now - self._committed,
            divergence=divergence,
        )
        made = self._buffer.between(0, header.n_kept - before.n_kept)
        rows = {
            name: move(array, "numpy", stored_dtype(plan.dtype), "cpu")
            for name, array in {
                "x": made.trajectory,
                "diagnostics/mean": made.mean,
                "diagnostics/variance": made.variance,
                **{f"diagnostics/{name}": getattr(made, name).T for name in energies(plan)},
            }.items()
            if array is not None
        }
        draws = np.arange(before.n_kept, header.n_kept)
        rows |= {"draw": draws, "step": plan.kept_steps(before.n_kept, header.n_kept)}
        host = {name: to_numpy(array) for name, array in state.items()}
        self._writing = self._pool.submit(self._commit, rows, host, header, before)
        self._header, self._committed = header, now
        self._buffer = next(self._buffers)

    def _commit(
        self,
        rows: dict[str, np.ndarray[Any, Any]],
        state: State,
        header: Header,
        before: Header,
    ) -> None:
        if header.n_kept > before.n_kept:
            for name, values in rows.items():
                self._store.write(header, name, before.n_kept, values)
        self._store.write_state(header, state)
        self._store.commit(header, before)

    def _wait(self) -> None:
        """Let the last chunk be written; what went wrong is raised, now and at every later call."""
        if self._writing is None:
            return
        try:
            self._writing.result()
        except OSError as error:
            if not hasattr(error, "__notes__"):
                error.add_note(
                    f"{self._store.path} holds what was written before; isotherm.resume goes on "
                    "from there"
                )
            raise
