"""Runs on disk: a Zarr store of a run's kept states, its diagnostics, and where it stands.

A store is a folder, a Zarr group of format 3::

    zarr.json                  what the run is and how far it is; the metadata of all arrays
    x                          (chain, draw, *event)    the kept states
    chain, draw, step          their coordinates; step counts the run's steps, burn-in included
    diagnostics/mean           (draw, *event)
    diagnostics/variance       (draw, *event)
    diagnostics/energy         (chain, draw)
    checkpoint/state_0, _1     (chain, *event)          the chains' last states, in turn
    checkpoint/step_size       (step,)                  the plan's, where it is no constant
    checkpoint/noise_scale     (step,)                  likewise

Chunks and the state are written where no metadata speaks of them yet; then the one file
``zarr.json`` is replaced, and with it all of them count at once. So a process may end at any
moment: the store is what it was before, or what it is after. Each file is on the disk before
``zarr.json`` speaks of it, and each chunk carries a checksum.

Needs the extra ``isotherm[store]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import operator
import os
import platform
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray
import zarr
from zarr.storage import LocalStore

from isotherm.arrays import Array, move
from isotherm.backend import Outputs
from isotherm.diagnostics import Diagnostics
from isotherm.errors import InputError, StoreError, shown
from isotherm.plan import ITEMSIZE, Plan, Schedule
from isotherm.planning import checked
from isotherm.result import Divergence, Info, Result

#: What the files mean; another layout has another number.
FORMAT = 1

_CHUNK_BYTES = 2**24  # of kept states: large enough for a disk, small enough to hold two
_LEAST_CHUNK_BYTES = 2**20  # a run that is gone on with may be longer than it was planned
_LONG_CHUNK = 2**13  # elements, of arrays that have one number a draw or a step
_COMMIT_SECONDS = 30.0  # a chunk in the making is written after this time
_LONGEST_DOCUMENT = 2**20  # bytes; a hundred times what is written

_DOCUMENT = "zarr.json"
_LOCK = "checkpoint/lock"
_SCHEDULES = ("step_size", "noise_scale")
_CHECKSUM_BYTES = 4

Document = dict[str, Any]


@dataclass(frozen=True)
class Header:
    """What the root's document says: which run, and how far it is.

    Attributes
    ----------
    plan : Plan
    chunk : int
        Draws in a chunk.
    probe : float or None
        The energy at a state that depends on the plan alone, to tell energies apart.
    path : str
        How the chains ran.
    scheduled : tuple of str
        The plan's schedules that are no constants.
    n_steps : int
        Steps done, burn-in included.
    state : int
        Which of the two states is the last.
    seconds : float
        Wall-clock time so far.
    divergence : Divergence or None
    """

    plan: Plan
    chunk: int
    probe: float | None
    path: str
    scheduled: tuple[str, ...] = ()
    n_steps: int = 0
    state: int = 0
    seconds: float = 0.0
    divergence: Divergence | None = None

    @property
    def n_kept(self) -> int:
        return self.plan.kept_before(self.n_steps)


class Store:
    """A folder that holds a run.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else may write here meanwhile.

        Raises
        ------
        StoreError
            Somebody else is writing, or the folder is no store.
        """
        if not (self.path / _LOCK).is_file():
            raise self._unsound(f"{_LOCK} is missing")
        lock = filelock.FileLock(self.path / _LOCK)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise StoreError(f"another run is writing to {self.path}; let it end first") from None
        try:
            yield
        finally:
            lock.release()

    def header(self) -> Header:
        """Which run this is and how far it is, after a look at every file.

        Raises
        ------
        StoreError
            The folder is not a run of Isotherm's, or a part of it is missing.
        """
        if not self.path.is_dir():
            raise StoreError(f"there is no folder {self.path}")
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                mode = os.lstat(os.path.join(folder, name)).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise self._unsound(f"{shown(name)} is a link, or no plain file")
        root = self._root()
        try:
            header = _header(root["attributes"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._unsound(f"its attributes do not describe a run: {error}") from None
        expected = _documents(header)[""]["consolidated_metadata"]["metadata"]
        held = root.get("consolidated_metadata")
        metadata = held.get("metadata") if isinstance(held, dict) else None
        if not isinstance(metadata, dict) or metadata.keys() != expected.keys():
            raise self._unsound("it does not hold the arrays of a run and no others")
        for name, document in expected.items():
            if not isinstance(metadata[name], dict) or any(
                metadata[name].get(key) != value for key, value in document.items()
            ):
                raise self._unsound(f"the metadata of {name} do not fit the run")
        for file, size in _chunks(header):
            if not (self.path / file).is_file() or (self.path / file).stat().st_size != size:
                raise self._unsound(f"{file} is missing, or not all of it is there")
        try:
            return replace(header, plan=checked(self._with_schedules(header)))
        except InputError as error:
            raise self._unsound(str(error)) from None

    def read(self, header: Header, name: str) -> np.ndarray[Any, Any]:
        """The values of one array.

        Raises
        ------
        StoreError
            A chunk is not what was written.
        """
        try:
            return np.asarray(self._array(header, name)[...])
        except ValueError as error:
            raise self._unsound(f"{name} cannot be read: {error}") from None

    def state(self, header: Header) -> np.ndarray[Any, Any]:
        """The chains' last states, shape (n_samples, *event_shape)."""
        return self.read(header, f"checkpoint/state_{header.state}")

    def reopen(self, header: Header, plan: Plan, path: str) -> Header:
        """Make ready to go on with a run; what one that was killed had begun to write goes away.

        Parameters
        ----------
        header : Header
            As it was read.
        plan : Plan
            By which the run goes on.
        path : str
            How the chains will run.
        """
        files = {file for file, _ in _chunks(header)}
        files |= {_LOCK, *(f"{name}/{_DOCUMENT}".lstrip("/") for name in _documents(header))}
        for folder, _, names in os.walk(self.path):
            for name in names:
                if Path(folder, name).relative_to(self.path).as_posix() not in files:
                    Path(folder, name).unlink()
        header = replace(header, plan=plan, path=path, scheduled=_scheduled(plan))
        self.write_schedules(header)
        self.commit(header)
        return header

    def write(self, header: Header, name: str, first: int, values: np.ndarray[Any, Any]) -> None:
        """Write rows (or draws, where there are) from `first` on; they do not count yet."""
        whole = replace(header, n_steps=header.plan.n_total)
        array = self._array(whole, name)
        dimensions = _arrays(header)[name]["dimension_names"]
        axis = dimensions.index("draw") if "draw" in dimensions else 0
        stop = first + values.shape[axis]
        array[(*(slice(None),) * axis, slice(first, stop))] = values

    def write_schedules(self, header: Header) -> None:
        for name in header.scheduled:
            self.write(header, f"checkpoint/{name}", 0, getattr(header.plan, name).values)

    def commit(self, header: Header, before: Header | None = None) -> None:
        """From now on the store is what the header says; before, it was what another said."""
        old = {} if before is None else _documents(before)
        for name, document in _documents(header).items():
            if document != old.get(name):
                # The root, which is the first, counts; the others are for who opens a part alone.
                content = json.dumps(document).encode()
                _replace(self.path / name / _DOCUMENT, content, flush=not name)

    def lazily(self, header: Header) -> tuple[xarray.DataArray, Diagnostics | None]:
        """Trajectory and diagnostics, which stay on the disk until they are read."""
        plan, n_kept = header.plan, header.n_kept
        trajectory = self._xarray(header, None)["x"]
        if not plan.return_diagnostics:
            return trajectory, None
        held = self._xarray(header, "diagnostics")
        energy = held["energy"].transpose("draw", "chain")
        return trajectory, Diagnostics(
            held["mean"], held["variance"], energy, steps=plan.kept_steps(n_kept)
        )

    def result(self, header: Header) -> Result:
        """The run as a result."""
        plan = header.plan
        trajectory, diagnostics = self.lazily(header)
        return Result(
            samples=self.state(header),
            trajectory=trajectory,
            diagnostics=diagnostics,
            info=Info(
                seed=plan.seed,
                backend=plan.backend,
                device=plan.device,
                path=header.path,
                n_steps=header.n_steps,
                seconds=header.seconds,
                divergence=header.divergence,
            ),
        )

    def _with_schedules(self, header: Header) -> Plan:
        held: dict[str, Any] = {
            name: Schedule(self.read(header, f"checkpoint/{name}")) for name in header.scheduled
        }
        return replace(header.plan, **held)

    def _array(self, header: Header, name: str) -> zarr.Array[Any]:
        array = zarr.open_array(_Folder(self.path, header), path=name, mode="r+")
        # A chunk of nothing but the fill value is a file like any other.
        return array.with_config({"write_empty_chunks": True})

    def _xarray(self, header: Header, group: str | None) -> xarray.Dataset:
        folder = _Folder(self.path, header)
        opened: xarray.Dataset = xarray.open_zarr(
            folder, group=group, chunks=None, consolidated=True
        )
        return opened

    def _root(self) -> Document:
        file = self.path / _DOCUMENT
        if not file.is_file():
            raise self._unsound(f"it has no {_DOCUMENT}")
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_DOCUMENT + 1)
        if len(text) > _LONGEST_DOCUMENT:
            raise self._unsound(f"its {_DOCUMENT} is longer than {_LONGEST_DOCUMENT} bytes")
        try:
            root = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._unsound(f"its {_DOCUMENT} cannot be read: {error}") from None
        if not isinstance(root, dict) or not isinstance(root.get("attributes"), dict):
            raise self._unsound(f"its {_DOCUMENT} is not that of a group with attributes")
        return root

    def _unsound(self, reason: str) -> StoreError:
        return StoreError(f"{self.path} is not a sound store of a run: {reason}")


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
    """

    def __init__(self, store: Store, header: Header, allocate: Callable[[int], Outputs]) -> None:
        self._store = store
        self._header = header
        size = min(header.chunk, header.plan.n_kept - header.n_kept)
        self._buffers = itertools.cycle([allocate(size) for _ in range(2)])
        self._buffer = next(self._buffers)
        self._began = self._committed = time.perf_counter()
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

    def advanced(self, x: Array, n_steps: int, divergence: Divergence | None) -> None:
        """Told after every piece."""
        if n_steps == self.full_at() or time.perf_counter() - self._committed > _COMMIT_SECONDS:
            self._write(x, n_steps, divergence)

    def close(
        self, x: Array, n_steps: int, divergence: Divergence | None
    ) -> tuple[xarray.DataArray, Diagnostics | None]:
        """Write what is left."""
        try:
            if n_steps > self._header.n_steps:
                self._write(x, n_steps, divergence)
            self._wait()
        finally:
            self._pool.shutdown()
        return self._store.lazily(self._header)

    def _write(self, x: Array, n_steps: int, divergence: Divergence | None) -> None:
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
            name: move(array, "numpy", _stored_dtype(plan), "cpu")
            for name, array in {
                "x": made.trajectory,
                "diagnostics/mean": made.mean,
                "diagnostics/variance": made.variance,
                "diagnostics/energy": None if made.energy is None else made.energy.T,
            }.items()
            if array is not None
        }
        draws = np.arange(before.n_kept, header.n_kept)
        rows |= {"draw": draws, "step": plan.kept_steps(header.n_kept)[before.n_kept :]}
        state = move(x, "numpy", _stored_dtype(plan), "cpu")
        self._writing = self._pool.submit(self._commit, rows, state, header, before)
        self._header, self._committed = header, now
        self._buffer = next(self._buffers)

    def _commit(
        self,
        rows: dict[str, np.ndarray[Any, Any]],
        state: np.ndarray[Any, Any],
        header: Header,
        before: Header,
    ) -> None:
        if header.n_kept > before.n_kept:
            for name, values in rows.items():
                self._store.write(header, name, before.n_kept, values)
        self._store.write(header, f"checkpoint/state_{header.state}", 0, state)
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


def create(
    store: str | os.PathLike[str], plan: Plan, probe: float | None, path: str, x: Array
) -> tuple[Store, Header]:
    """Make a new store, with nothing kept yet: all of it appears at once.

    Parameters
    ----------
    store : path
        As the user gave it.
    plan : Plan
    probe, path
        See `Header`.
    x : array, shape (n_samples, *event_shape)
        Where the chains start.

    Raises
    ------
    InputError
        There is something of this name.
    """
    folder = local_path(store)
    if os.path.lexists(folder):
        raise InputError(
            f"{folder} exists; go on with it by isotherm.resume, or name another store"
        )
    header = Header(plan, _chunk_of(plan), probe, path, _scheduled(plan))
    made = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        for name in _documents(header):
            (made / name).mkdir(parents=True, exist_ok=True)
        (made / _LOCK).touch()
        new = Store(made)
        state = move(x, "numpy", _stored_dtype(plan), "cpu")
        for name in ("checkpoint/state_0", "checkpoint/state_1"):
            new.write(header, name, 0, state)
        new.write(header, "chain", 0, plan.chain_offset + np.arange(plan.n_samples))
        new.write_schedules(header)
        new.commit(header)
        made.rename(folder)
        _flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return Store(folder), header


def buffer_bytes(plan: Plan) -> int:
    """Memory that a run into a store needs: two chunks and two copies of the states."""
    draws = min(_chunk_of(plan), plan.n_kept)
    elements = draws * plan.n_samples * plan.n_coordinates
    if plan.return_diagnostics:
        elements += draws * (2 * plan.n_coordinates + plan.n_samples)
    return 2 * (elements * ITEMSIZE[plan.dtype] + _state_bytes(plan))


def _chunk_of(plan: Plan) -> int:
    """Draws in a chunk of a new store: so many that its files have a good size."""
    least = _LEAST_CHUNK_BYTES // _state_bytes(plan)
    chunk = min(_most_draws(plan), max(least, plan.n_kept))
    # Whole blocks of the noise stream, where there are: none is then made twice.
    return max(1, chunk // plan.steps_per_block * plan.steps_per_block)


def local_path(store: Any) -> Path:
    """The absolute path of a store that a user named.

    Raises
    ------
    InputError
        It is not the name of a folder.
    """
    if not isinstance(store, (str, os.PathLike)) or "://" in (name := os.fspath(store)):
        raise InputError(f"store must be the path of a local folder, not {shown(store)}")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"store must be the path of a local folder, not {shown(store)}")
    return Path(name).absolute()


class _Folder(LocalStore):
    """The files of a store as Zarr sees them: with the metadata that belong to a header.

    What it writes is on the disk when it returns.
    """

    def __init__(self, root: Path, header: Header) -> None:
        super().__init__(root)
        self._header = header
        self._documents = {
            f"{name}/{_DOCUMENT}".lstrip("/"): json.dumps(document).encode()
            for name, document in _documents(header).items()
        }

    def with_read_only(self, read_only: bool = False) -> _Folder:
        return self if read_only == self.read_only else _Folder(self.root, self._header)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        if key in self._documents:
            prototype = prototype or zarr.core.buffer.default_buffer_prototype()
            return prototype.buffer.from_bytes(self._documents[key])
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Any) -> None:
        await asyncio.to_thread(_replace, self.root / key, value.to_bytes(), flush=True)


def _replace(file: Path, content: bytes, *, flush: bool) -> None:
    """Replace a file as a whole; flushed, it is on the disk afterwards."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.partial")
    with new.open("wb") as opened:
        opened.write(content)
        if flush:
            opened.flush()
            os.fsync(opened.fileno())
    new.replace(file)
    if flush:
        _flush_folder(file.parent)


def _flush_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk, where the system lets folders be opened."""
    if platform.system() != "Windows":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _documents(header: Header) -> dict[str, Document]:
    """The metadata of the groups and arrays by their path, the root first.

    Each group's document holds those below it, so that whoever reads it reads one moment.
    """
    arrays = _arrays(header)
    groups = {"checkpoint": _group({}), "diagnostics": _group({})}
    for name in groups:
        below = {
            path.removeprefix(f"{name}/"): document
            for path, document in arrays.items()
            if path.startswith(f"{name}/")
        }
        groups[name] = _group({}, below)
    bare = {name: _group({}) for name in groups}
    return {"": _group(_attributes(header), bare | arrays)} | groups | arrays


def _group(attributes: Document, below: dict[str, Document] | None = None) -> Document:
    group: Document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if below is not None:
        group["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": below,
        }
    return group


def _arrays(header: Header) -> dict[str, Document]:
    """The metadata of the arrays, as long as the header says."""
    plan = header.plan
    event = {f"x_dim_{i}": size for i, size in enumerate(plan.event_shape)}
    event_chunks = tuple(plan.event_shape)
    rows = max(1, min(plan.n_samples, _CHUNK_BYTES // _chain_bytes(plan)))
    chain, draw = {"chain": plan.n_samples}, {"draw": header.n_kept}
    dtype = _stored_dtype(plan)

    def long(name: str, size: int, dtype: str) -> Document:
        return _array({name: size}, (_LONG_CHUNK,), dtype)

    arrays = {
        "x": _array(chain | draw | event, (rows, header.chunk, *event_chunks), dtype),
        "chain": long("chain", plan.n_samples, "int64"),
        "draw": long("draw", header.n_kept, "int64"),
        "step": long("draw", header.n_kept, "int64"),
    }
    arrays["x"]["attributes"] = {"coordinates": "step"}
    if plan.return_diagnostics:
        for name in ("mean", "variance"):
            arrays[f"diagnostics/{name}"] = _array(
                draw | event, (header.chunk, *event_chunks), dtype
            )
        arrays["diagnostics/energy"] = _array(chain | draw, (rows, header.chunk), dtype)
    for name in ("state_0", "state_1"):
        arrays[f"checkpoint/{name}"] = _array(chain | event, (rows, *event_chunks), dtype)
    for name in header.scheduled:
        arrays[f"checkpoint/{name}"] = long("step", plan.n_total, "float64")
    return arrays


def _array(dimensions: dict[str, int], chunks: tuple[int, ...], dtype: str) -> Document:
    """Metadata of an array (Zarr core specification, version 3) whose chunks have a checksum."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(dimensions.values()),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0 if dtype == "int64" else "NaN",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "attributes": {},
        "dimension_names": list(dimensions),
    }


def _chunks(header: Header) -> Iterator[tuple[str, int]]:
    """The files of the arrays' values, and how many bytes each has."""
    for name, document in _arrays(header).items():
        chunk: list[int] = document["chunk_grid"]["configuration"]["chunk_shape"]
        size = math.prod(chunk) * np.dtype(document["data_type"]).itemsize + _CHECKSUM_BYTES
        counts = [-(-length // part) for length, part in zip(document["shape"], chunk, strict=True)]
        for indices in itertools.product(*map(range, counts)):
            yield "/".join([name, "c", *map(str, indices)]), size


def _attributes(header: Header) -> Document:
    """The header as numbers and strings, which attributes are in every file format."""
    plan, divergence = header.plan, header.divergence
    fields = {
        key: value
        for key, value in vars(plan).items()
        if key not in ("library", "return_trajectory")
    }
    for name in _SCHEDULES:
        is_constant = name not in header.scheduled
        fields[name] = float(getattr(plan, name).values) if is_constant else None
    run = {key: value for key, value in vars(header).items() if key not in ("plan", "scheduled")}
    run["divergence"] = None if divergence is None else [divergence.first_step, divergence.n_chains]
    versions = {name: version(name) for name in ("isotherm", "numpy", "zarr")}
    return {
        "isotherm_store": FORMAT,
        "energy": plan.energy,
        "seed": plan.seed,
        "n_steps": header.n_steps,
        "plan": json.dumps(fields),
        "run": json.dumps(run),
        "versions": json.dumps({"python": platform.python_version(), **versions}),
    }


def _header(attributes: Document) -> Header:
    """The header of attributes; of schedules that are arrays only that they are.

    Raises
    ------
    KeyError, TypeError, ValueError, RecursionError
        They are not those of a run.
    """
    if attributes["isotherm_store"] != FORMAT:
        raise ValueError(f"isotherm_store is {shown(attributes['isotherm_store'])}, not {FORMAT}")
    fields, run = (json.loads(attributes[name]) for name in ("plan", "run"))
    run["scheduled"] = tuple(name for name in _SCHEDULES if fields[name] is None)
    for name in _SCHEDULES:
        fields[name] = Schedule(1.0 if fields[name] is None else float(fields[name]))
    fields["event_shape"] = tuple(fields["event_shape"])
    plan = checked(Plan(**fields, library="numpy", return_trajectory=True))
    if run["divergence"] is not None:
        run["divergence"] = Divergence(*map(operator.index, run["divergence"]))
    header = Header(plan, **run)
    numbers = {"chunk": header.chunk, "n_steps": header.n_steps, "state": header.state}
    limits = {"chunk": (1, _most_draws(plan)), "n_steps": (0, plan.n_total), "state": (0, 1)}
    for name, number in numbers.items():
        least, most = limits[name]
        if type(number) is not int or not least <= number <= most:
            raise ValueError(f"{name} is {shown(number)}, not an integer in {least}..{most}")
    if not isinstance(header.path, str) or not all(
        type(number) is float for number in (header.seconds, header.probe or 0.0)
    ):
        raise TypeError("path, seconds and probe are not a name and two numbers")
    return header


def _scheduled(plan: Plan) -> tuple[str, ...]:
    return tuple(name for name in _SCHEDULES if getattr(plan, name).values.ndim)


def _stored_dtype(plan: Plan) -> str:
    """Zarr has no bfloat16; float32 holds each of its numbers."""
    return "float32" if plan.dtype == "bfloat16" else plan.dtype


def _chain_bytes(plan: Plan) -> int:
    return plan.n_coordinates * ITEMSIZE[_stored_dtype(plan)]


def _state_bytes(plan: Plan) -> int:
    return plan.n_samples * _chain_bytes(plan)


def _most_draws(plan: Plan) -> int:
    return max(1, _CHUNK_BYTES // _state_bytes(plan))
