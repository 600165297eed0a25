"""A store's folder: making it, looking at it, reading and writing its files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import stat
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray
import zarr
from zarr.storage import LocalStore

from isotherm._arithmetic.arrays import move
from isotherm._backends.protocol import State
from isotherm._planning.extend_plan import validate_plan
from isotherm._plans.plan import Plan, Schedule
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Info, Result
from isotherm._store.layout import (
    DOCUMENT,
    LOCK,
    Document,
    Header,
    arrays_of,
    chunks,
    documents,
    draws_in_chunk,
    header_of,
    scheduled,
    stored_dtype,
)
from isotherm.errors import InputError, StoreError, short_repr

_LONGEST_DOCUMENT = 2**20  # bytes; a hundred times what is written


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
        if not (self.path / LOCK).is_file():
            raise self._unsound(f"{LOCK} is missing")
        lock = filelock.FileLock(self.path / LOCK)
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
                    raise self._unsound(f"{short_repr(name)} is a link, or no plain file")
        root = self._root()
        try:
            header = header_of(root["attributes"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._unsound(f"its attributes do not describe a run: {error}") from None
        expected = documents(header)[""]["consolidated_metadata"]["metadata"]
        held = root.get("consolidated_metadata")
        metadata = held.get("metadata") if isinstance(held, dict) else None
        if not isinstance(metadata, dict) or metadata.keys() != expected.keys():
            raise self._unsound("it does not hold the arrays of a run and no others")
        for name, document in expected.items():
            if not isinstance(metadata[name], dict) or any(
                metadata[name].get(key) != value for key, value in document.items()
            ):
                raise self._unsound(f"the metadata of {name} do not fit the run")
        for file, size in chunks(header):
            if not (self.path / file).is_file() or (self.path / file).stat().st_size != size:
                raise self._unsound(f"{file} is missing, or not all of it is there")
        try:
            return replace(header, plan=validate_plan(self._with_schedules(header)))
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
        files = {file for file, _ in chunks(header)}
        files |= {LOCK, *(f"{name}/{DOCUMENT}".lstrip("/") for name in documents(header))}
        for folder, _, names in os.walk(self.path):
            for name in names:
                if Path(folder, name).relative_to(self.path).as_posix() not in files:
                    Path(folder, name).unlink()
        header = replace(header, plan=plan, path=path, scheduled=scheduled(plan))
        self.write_schedules(header)
        self.commit(header)
        return header

    def write(self, header: Header, name: str, first: int, values: np.ndarray[Any, Any]) -> None:
        """Write rows (or draws, where there are) from `first` on; they do not count yet."""
        whole = replace(header, n_steps=header.plan.n_total)
        array = self._array(whole, name)
        dimensions = arrays_of(header)[name]["dimension_names"]
        axis = dimensions.index("draw") if "draw" in dimensions else 0
        stop = first + values.shape[axis]
        array[(*(slice(None),) * axis, slice(first, stop))] = values

    def write_schedules(self, header: Header) -> None:
        for name in header.scheduled:
            self.write(header, f"checkpoint/{name}", 0, getattr(header.plan, name).values)

    def commit(self, header: Header, before: Header | None = None) -> None:
        """From now on the store is what the header says; before, it was what another said."""
        old = {} if before is None else documents(before)
        for name, document in documents(header).items():
            if document != old.get(name):
                # The root, which is the first, counts; the others are for who opens a part alone.
                content = json.dumps(document).encode()
                _replace(self.path / name / DOCUMENT, content, flush=not name)

    def lazily(self, header: Header) -> tuple[xarray.DataArray, Diagnostics | None]:
        """Trajectory and diagnostics, which stay on the disk until they are read."""
        plan = header.plan
        trajectory = self._xarray(header, None)["x"]
        if not plan.return_diagnostics:
            return trajectory, None
        held = self._xarray(header, "diagnostics")
        energy = held["energy"].transpose("draw", "chain")
        return trajectory, Diagnostics(
            held["mean"], held["variance"], energy, steps=plan.kept_steps(0, header.n_kept)
        )

    def result(self, header: Header) -> Result:
        """The run as a result."""
        plan = header.plan
        trajectory, diagnostics = self.lazily(header)
        return Result(
            samples=self.state(header),
            state={"x": self.state(header)},
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
        file = self.path / DOCUMENT
        if not file.is_file():
            raise self._unsound(f"it has no {DOCUMENT}")
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_DOCUMENT + 1)
        if len(text) > _LONGEST_DOCUMENT:
            raise self._unsound(f"its {DOCUMENT} is longer than {_LONGEST_DOCUMENT} bytes")
        try:
            root = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._unsound(f"its {DOCUMENT} cannot be read: {error}") from None
        if not isinstance(root, dict) or not isinstance(root.get("attributes"), dict):
            raise self._unsound(f"its {DOCUMENT} is not that of a group with attributes")
        return root

    def _unsound(self, reason: str) -> StoreError:
        return StoreError(f"{self.path} is not a sound store of a run: {reason}")


def create(
    store: str | os.PathLike[str], plan: Plan, probe: float | None, path: str, state: State
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
    header = Header(plan, draws_in_chunk(plan), probe, path, scheduled(plan))
    made = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        for name in documents(header):
            (made / name).mkdir(parents=True, exist_ok=True)
        (made / LOCK).touch()
        new = Store(made)
        x = move(state["x"], "numpy", stored_dtype(plan), "cpu")
        for name in ("checkpoint/state_0", "checkpoint/state_1"):
            new.write(header, name, 0, x)
        new.write(header, "chain", 0, plan.chain_offset + np.arange(plan.n_samples))
        new.write_schedules(header)
        new.commit(header)
        made.rename(folder)
        _flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return Store(folder), header


def local_path(store: Any) -> Path:
    """The absolute path of a store that a user named.

    Raises
    ------
    InputError
        It is not the name of a folder.
    """
    if not isinstance(store, (str, os.PathLike)) or "://" in (name := os.fspath(store)):
        raise InputError(f"store must be the path of a local folder, not {short_repr(store)}")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"store must be the path of a local folder, not {short_repr(store)}")
    return Path(name).absolute()


class _Folder(LocalStore):
    """The files of a store as Zarr sees them: with the metadata that belong to a header.

    What it writes is on the disk when it returns.
    """

    def __init__(self, root: Path, header: Header) -> None:
        super().__init__(root)
        self._header = header
        self._documents = {
            f"{name}/{DOCUMENT}".lstrip("/"): json.dumps(document).encode()
            for name, document in documents(header).items()
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
