"""A store's folder: making it, looking at it, reading and writing its files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import platform
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import filelock
import google_crc32c
import numpy as np
import xarray
import zarr
from zarr.storage import LocalStore

from isotherm._arithmetic.arrays import dtype_name, move, round_to
from isotherm._backends.protocol import State
from isotherm._planning.extend_plan import validate_plan
from isotherm._plans.plan import Plan, Schedule
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Info, Result
from isotherm._store.layout import (
    CHECKSUM_BYTES,
    DOCUMENT,
    FORMAT,
    LOCK,
    File,
    Header,
    arrays_of,
    attributes_of,
    documents,
    draws_in_chunk,
    energies,
    files,
    header_of,
    leftovers,
    mark,
    stored_dtype,
    sum_as_text,
)
from isotherm._store.plan_fields import Document, scheduled
from isotherm.errors import InputError, StoreError, short_repr

# What a system says where no folder can be made, as in /proc; that a disk is full is another thing.
_NO_FOLDERS = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
_LONGEST_DOCUMENT = 2**24  # bytes; a thousand times what is written, for what users add
_PARTIAL = ".partial"  # ends the names of files that are being written
_SHAPES = {"step": (-1,), "chain": (-1, 1)}  # of schedules, by their axes
_TRIES = 100  # to read a store while a run commits to it


class Store:
    """A folder that holds a run.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: os.stat_result | None = None
        self._digest: str | None = None  # of what is committed
        self._final_marks = 0  # of the chunks to which nothing will be written any more

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else may write here meanwhile.

        Raises
        ------
        StoreError
            Somebody else is writing, or the folder is no store.
        """
        self._lock_status()
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise StoreError(f"another run is writing to {self.path}; let it end first") from None
        try:
            # As long as the file is open no other is given its number.
            self._lock = self._lock_status()
            yield
        finally:
            self._lock = None
            lock.release()

    def snapshot(self) -> tuple[Header, State]:
        """Which run this is, how far it is and the chains' states there, after a look at all files.

        A run may be writing meanwhile: header and states are of one commit.

        Raises
        ------
        StoreError
            The folder is not a run of Isotherm's, or a part of it is missing or was changed.
        """
        for _ in range(_TRIES):
            root = self._root()
            try:
                return self._read(root)
            except StoreError:
                if self._root() == root:
                    raise
        raise StoreError(f"{self.path} is written to faster than it can be read; try again later")

    def reopen(self, header: Header, state: State, plan: Plan, path: str) -> Header:
        """Make ready to go on with a run; what one that was killed had begun to write goes away.

        Parameters
        ----------
        header, state
            As they were read.
        plan : Plan
            By which the run goes on.
        path : str
            How the chains will run.
        """
        self._check_held()
        is_old = header.format != FORMAT
        if is_old and plan.dtype != plan.state_dtype:
            raise InputError(
                f"{self.path} was begun when states of {plan.dtype} were rounded at each step; now "
                f"they are {plan.state_dtype} between steps, and the run would go on with other "
                "numbers; go on with the Isotherm that began it"
            )
        found = [file for file in self.path.rglob("*") if file.is_symlink() or file.is_file()]
        names = [file.relative_to(self.path).as_posix() for file in found]
        for name in leftovers(header, names):
            (self.path / name).unlink()
        header = replace(header, plan=plan, path=path, scheduled=scheduled(plan), format=FORMAT)
        if is_old:
            header = replace(header, id=uuid.uuid4().hex)
            self.write_state(header, state)
        self._write_schedules(header)
        self.commit(header)
        return header

    def write(self, header: Header, name: str, first: int, values: np.ndarray[Any, Any]) -> None:
        """Write rows (or draws, where there are) from `first` on; they do not count yet."""
        whole = replace(header, n_steps=header.plan.n_total)
        array = zarr.open_array(_Folder(self, whole, read_only=False), path=name, mode="r+")
        # A chunk of nothing but the fill value is a file like any other.
        filled: Any = {"write_empty_chunks": True}
        array = zarr.Array(zarr.AsyncArray(array.metadata, array.store_path, filled))
        dimensions = arrays_of(header)[name]["dimension_names"]
        axis = dimensions.index("draw") if "draw" in dimensions else 0
        stop = first + values.shape[axis]
        array[(*(slice(None),) * axis, slice(first, stop))] = values

    def write_state(self, header: Header, state: State) -> None:
        """Write what will be the last state; it does not count yet."""
        for name, array in header.states(header.state).items():
            dtype, _ = header.carried[name]
            self.write(header, array, 0, move(state[name], "numpy", dtype, "cpu"))

    def commit(self, header: Header, since: Header | None = None) -> None:
        """From now on the store is what the header says, and what was written counts.

        Parameters
        ----------
        header : Header
        since : Header, optional
            What was committed last, where the plan is the same.
        """
        final, other = self._final_marks if since else 0, 0
        for file in files(header, since):
            if file.is_final:
                final += self._mark(header, file)
            else:
                other += self._mark(header, file)
        root = self._document("")
        if _attributes(root).get("digest") != self._digest:
            raise self._lost()
        old = {} if since is None else documents(since)
        attributes = attributes_of(header, final + other)
        for name, document in documents(header).items():
            # The root, which is the first, counts; the others are for who opens a part alone.
            if not name:
                document["attributes"] = attributes
            elif document == old.get(name):
                continue
            kept = _with_attributes(document, self._document(name) if name else root)
            path = f"{name}/{DOCUMENT}".lstrip("/")
            self._put(path, json.dumps(kept).encode(), flush=not name)
        self._digest, self._final_marks = attributes["digest"], final

    def lazily(self, header: Header) -> tuple[xarray.DataArray, Diagnostics | None]:
        """Trajectory and diagnostics, which stay on the disk until they are read."""
        plan = header.plan
        trajectory = self._xarray(header, None)["x"]
        if not plan.return_diagnostics:
            return trajectory, None
        held = self._xarray(header, "diagnostics")
        per_chain = {name: held[name].transpose("draw", "chain") for name in energies(plan)}
        return trajectory, Diagnostics(
            held["mean"],
            held["variance"],
            per_chain["energy"],
            plan.kept_steps(0, header.n_kept),
            energy_error=per_chain.get("energy_error"),
            divergence_threshold=plan.divergence_threshold,
            sample_stats=plan.sample_stats(header.n_kept),
        )

    def result(self, header: Header, state: State) -> Result:
        """The run as a result."""
        plan = header.plan
        trajectory, diagnostics = self.lazily(header)
        return Result(
            # What is carried is of the state's dtype, which may have more digits.
            samples=round_to(state["x"], plan.dtype).astype(stored_dtype(plan.dtype)),
            state=state,
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
                sampler=plan.sampler,
                tuning=plan.tuning,
                **plan.law(header.n_steps),
            ),
        )

    def _read(self, root: Document) -> tuple[Header, State]:
        """What the root's document says, once all files bear it out."""
        try:
            header = header_of(root["attributes"])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self._unsound(f"its attributes do not describe a run: {error}") from None
        own = documents(header)
        if not _holds(root, own[""]):
            raise self._unsound("its metadata are not those of the arrays of this run")
        ours = {name.partition("/")[0] for name in own if name}
        self._check_plain([*ours, f"{DOCUMENT}{_PARTIAL}"])
        marks = {file.path: self._mark(header, file) for file in files(header)}
        if header.format > 1 and root["attributes"]["files"] != sum_as_text(sum(marks.values())):
            raise self._unsound(
                "its files do not belong together: some were changed, or they were copied while a "
                "run was writing; copy them again when it has ended, or take another copy"
            )
        arrays = header.states(header.state)
        state = {name: self._values(header, array) for name, array in arrays.items()}
        # A run that went on meanwhile may have written later states in the place of these.
        for file in files(header):
            if file.array in arrays.values() and self._mark(header, file) != marks[file.path]:
                raise self._unsound(f"{file.path} was changed while it was read")
        schedules: dict[str, Any] = {
            name: Schedule(self._values(header, f"checkpoint/{name}").reshape(_SHAPES[axis]))
            for name, axis in header.scheduled.items()
        }
        try:
            plan = validate_plan(replace(header.plan, **schedules))
        except InputError as error:
            raise self._unsound(str(error)) from None
        self._digest = root["attributes"].get("digest")
        return replace(header, plan=plan), state

    def _check_plain(self, names: Iterable[str]) -> None:
        """Refuse links, by which files elsewhere would be read and written."""
        paths = [self.path / name for name in names]
        for top in tuple(paths):
            for parent, folders, held in os.walk(top):
                paths += (Path(parent, name) for name in (*folders, *held))
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # which a run was about to rename
                mode = os.lstat(path).st_mode
                is_folder = stat.S_ISDIR(mode) and path.suffix != _PARTIAL
                if not (stat.S_ISREG(mode) or is_folder):
                    raise self._unsound(f"{short_repr(path.name)} is a link, or no plain file")

    def _mark(self, header: Header, file: File) -> int:
        """Which chunk this is and what is in it; its own checksum says so, where it is full."""
        try:
            with (self.path / file.path).open("rb") as opened:
                if os.fstat(opened.fileno()).st_size != file.size:
                    raise self._unsound(f"not all of {file.path} is there")
                opened.seek(-CHECKSUM_BYTES, os.SEEK_END)
                content = opened.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._unsound(f"{file.path} is missing") from None
        if file.begun is not None:  # what a run that is killed adds to it does not count
            values = self._values(header, file.array, file.begun)
            content = values.astype(values.dtype.newbyteorder("<")).tobytes()
        return mark(file.path, content)

    def _values(self, header: Header, name: str, region: Any = ...) -> np.ndarray[Any, Any]:
        array = zarr.open_array(_Folder(self, header), path=name, mode="r")
        return np.asarray(array[region])

    def _write_schedules(self, header: Header) -> None:
        for name in header.scheduled:
            values = getattr(header.plan, name).values.reshape(-1)
            self.write(header, f"checkpoint/{name}", 0, values)

    def _xarray(self, header: Header, group: str | None) -> xarray.Dataset:
        opened: xarray.Dataset = xarray.open_zarr(
            _Folder(self, header, is_lasting=True), group=group, chunks=None, consolidated=True
        )
        return opened

    def _root(self) -> Document:
        if not self.path.is_dir():
            raise StoreError(f"there is no folder {self.path}")
        root = self._document("")
        if not _attributes(root):
            raise self._unsound(f"its {DOCUMENT} is missing, or not that of a run")
        return root

    def _document(self, name: str) -> Document:
        """The metadata of a group or an array as they are on the disk; empty if they are none."""
        file = self.path / name / DOCUMENT
        try:
            if not stat.S_ISREG(os.lstat(file).st_mode):
                return {}
            with file.open("rb") as opened:
                text = opened.read(_LONGEST_DOCUMENT + 1)
            document = json.loads(text) if len(text) <= _LONGEST_DOCUMENT else None
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def _put(self, name: str, content: bytes, *, flush: bool) -> None:
        """Replace a file as a whole; flushed, it is on the disk afterwards."""
        file = self.path / name
        new = file.with_name(f"{file.name}{_PARTIAL}")
        try:
            self._check_held()
            for parent in reversed(PurePosixPath(name).parents[:-1]):
                _make_folder(self.path / parent, flush=flush)
            new.unlink(missing_ok=True)  # which a write that failed may have left
            with new.open("xb") as opened:  # and no link to elsewhere is followed
                opened.write(content)
                if flush:
                    opened.flush()
                    os.fsync(opened.fileno())
            self._check_held()
            new.replace(file)
        except FileNotFoundError as error:
            raise error if self._lock is None else self._lost() from None
        except IsADirectoryError:
            raise self._unsound(f"{name} is a folder, or {new.name} beside it") from None
        if flush:
            _flush_folder(file.parent)

    def _lock_status(self) -> os.stat_result:
        """Of the file that is locked, which is no link to another."""
        try:
            status = os.lstat(self.path / LOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise self._unsound(f"{LOCK} is missing") from None
        if not stat.S_ISREG(status.st_mode):
            raise self._unsound(f"{LOCK} is a link, or no plain file")
        return status

    def _check_held(self) -> None:
        """Refuse to write to a folder that is not the one that was locked."""
        if self._lock is None:  # a new store, of which nobody knows yet
            return
        try:
            is_same = os.path.samestat(self._lock, os.lstat(self.path / LOCK))
        except (FileNotFoundError, NotADirectoryError):
            is_same = False
        if not is_same:
            raise self._lost()

    def _check_id(self, header: Header) -> None:
        if header.id not in ("", _attributes(self._root()).get("id")):
            raise StoreError(f"{self.path} holds another run by now; open it again")

    def _lost(self) -> StoreError:
        return StoreError(
            f"{self.path} is no longer the store that this run writes to: it was moved, removed or "
            "made anew; what was stored until then is in the folder that was moved, and "
            "isotherm.resume goes on from there"
        )

    def _unsound(self, reason: str) -> StoreError:
        return StoreError(f"{self.path} is not a sound store of a run: {reason}")


def create(
    store: str | os.PathLike[str],
    plan: Plan,
    probe: float | None,
    path: str,
    state: State,
    numbers: str | None = None,
) -> tuple[Store, Header]:
    """Make a new store, with nothing kept yet: all of it appears at once.

    Parameters
    ----------
    store : path
        As the user gave it.
    plan : Plan
    probe, path
        See `Header`.
    state : mapping of str to array
        Where the chains start: what is carried from step to step, each with a row a chain.
    numbers
        See `Header`.

    Raises
    ------
    InputError
        There is something of this name, or it cannot be the name of a folder.
    """
    folder = local_path(store)
    is_taken = InputError(
        f"{folder} exists; go on with it by isotherm.resume, or name another store"
    )
    if folder.name == "..":
        raise InputError(f"{folder} cannot be made, as it names no new folder; name another store")
    try:
        os.lstat(folder)
    except FileNotFoundError:
        pass
    except OSError as error:  # a parent that is no folder
        raise _unmakable(folder, error) from None
    else:
        raise is_taken
    plan = validate_plan(plan)
    carried = {name: (stored_dtype(dtype_name(x.dtype)), (*x.shape,)) for name, x in state.items()}
    header = Header(
        plan, draws_in_chunk(plan), probe, path, carried, uuid.uuid4().hex, numbers, scheduled(plan)
    )
    new = Store(folder.with_name(f".isotherm-{header.id}.partial"))
    try:
        try:
            new.path.mkdir(parents=True)
        except OSError as error:
            if error.errno not in _NO_FOLDERS:
                raise
            raise _unmakable(folder, error) from None
        new._put(LOCK, b"", flush=True)
        new.write_state(header, state)
        new.write(header, "chain", 0, plan.chain_offset + np.arange(plan.n_samples))
        new._write_schedules(header)
        new.commit(header)
        try:
            new.path.rename(folder)
        except OSError as error:
            raise is_taken if error.errno in (errno.ENOTEMPTY, errno.EEXIST) else error from None
        _flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(new.path, ignore_errors=True)
        raise
    new.path = folder
    return new, header


def _unmakable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be made: {error.strerror}; name another store")


def local_path(store: Any) -> Path:
    """The absolute path of a store that a user named; ``~`` is the user's home.

    Raises
    ------
    InputError
        It is not the name of a folder.
    """
    name = os.fspath(store) if isinstance(store, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name or "\0" in name or "://" in name:
        raise InputError(f"store must be the path of a local folder, not {short_repr(store)}")
    try:
        folder = Path(name).expanduser().absolute()
    except RuntimeError as error:  # a user of whom nobody knows
        raise InputError(f"store is {short_repr(name)}: {error}") from None
    try:
        os.lstat(folder)
    except UnicodeEncodeError:
        raise InputError(
            f"store is {name!a}, which holds what no name of a folder can; name another"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(
                f"{folder} cannot be a store: {error.strerror}; name another"
            ) from None
    return folder


class _Folder(LocalStore):
    """The files of a store as Zarr sees them: with the metadata that belong to a header.

    What it writes is on the disk when it returns. One that lasts is read at any later time.
    """

    def __init__(
        self, store: Store, header: Header, *, read_only: bool = True, is_lasting: bool = False
    ) -> None:
        super().__init__(store.path, read_only=read_only)
        self._is_open = True  # opened otherwise, it would make a folder where there is none
        self._store, self._header, self._is_lasting = store, header, is_lasting
        self._documents = {
            f"{name}/{DOCUMENT}".lstrip("/"): json.dumps(document).encode()
            for name, document in documents(header).items()
        }

    def with_read_only(self, read_only: bool = False) -> _Folder:
        return _Folder(self._store, self._header, read_only=read_only, is_lasting=self._is_lasting)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        if key in self._documents:
            prototype = prototype or zarr.core.buffer.default_buffer_prototype()
            return prototype.buffer.from_bytes(self._documents[key])
        content = await super().get(key, prototype, byte_range)
        if "/c/" in key and byte_range is None:
            self._check_chunk(key, content)
        return content

    async def set(self, key: str, value: Any) -> None:
        await asyncio.to_thread(self._store._put, key, value.to_bytes(), flush=True)

    def _check_chunk(self, key: str, content: Any) -> None:
        """Name the store and the file, which Zarr does not; it takes what is missing for NaN."""
        if content is not None:
            held = content.as_numpy_array()
            checksum = google_crc32c.value(held[:-CHECKSUM_BYTES])
            if checksum != int.from_bytes(held[-CHECKSUM_BYTES:].tobytes(), "little"):
                raise self._store._unsound(
                    f"{key} was damaged: it has not the checksum of its content"
                )
        elif self.read_only:
            raise self._store._unsound(f"{key} is missing")
        if self._is_lasting:
            self._store._check_id(self._header)


def _attributes(document: Document) -> Document:
    held = document.get("attributes")
    return held if isinstance(held, dict) else {}


def _with_attributes(document: Document, held: Document) -> Document:
    """A document with the attributes that users gave it on the disk, or what stands in it."""
    kept = document | {"attributes": _attributes(held) | document["attributes"]}
    if "consolidated_metadata" in document:
        parts = document["consolidated_metadata"]["metadata"]
        known = held.get("consolidated_metadata", {}).get("metadata", {})
        kept["consolidated_metadata"] = document["consolidated_metadata"] | {
            "metadata": {
                name: _with_attributes(part, known.get(name, {})) for name, part in parts.items()
            }
        }
    return kept


def _holds(held: Any, own: Any) -> bool:
    """Whether all of a document is in another, to which users may have added."""
    if isinstance(own, dict):
        return isinstance(held, dict) and all(
            name in held and _holds(held[name], value) for name, value in own.items()
        )
    return bool(held == own)


def _make_folder(folder: Path, *, flush: bool) -> None:
    """Make a folder, but none above it."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    if flush:
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk, where the system lets folders be opened."""
    if platform.system() != "Windows":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
