"""Kills a run into a store at every write, and looks at what is left. Not a test by itself.

``python kills.py FOLDER``: prints at how many writes were killed a run, one that is gone on with,
and one that was begun in a store of format 1. Each attempt is a forked child; this process itself
reads and writes no store, so that it has no thread that a child would lack.
"""

import os
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
import xarray

import isotherm
from isotherm._limits import LIMITS
from isotherm._store import folder, writer

KILLED = 17  # the exit status

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
RUN = {
    "dim": 2, "n_samples": 3, "n_steps": 11, "burn_in": 2, "thinning": 2, "step_size": 0.05,
    "seed": 3, "backend": "numpy", "return_trajectory": True, "return_diagnostics": True,
}  # fmt: skip
# What format_1.zip was made with; it was ended after 47 of 67 steps.
RUN_OF_FORMAT_1 = RUN | {
    "n_samples": 5, "n_steps": 60, "burn_in": 7, "thinning": 3, "noise_scale": 0.5,
    "step_size": [0.05 / (1 + 0.01 * i) for i in range(67)],
}  # fmt: skip


def small_chunks() -> None:
    """Pieces of 4 steps; chunks of 4 draws; all is written after each piece."""
    LIMITS.piece_seconds = 0.0
    LIMITS.least_chunk_bytes = 0
    LIMITS.chunk_bytes = 240  # which gives format_1.zip its chunks
    writer.Writer._is_due = lambda self: True


def kill_at(write: int) -> None:
    """End the process at a write, when half of the file is written, or before a file is removed."""
    put, unlink, count = folder.Store._put, Path.unlink, 0

    def is_last() -> bool:
        nonlocal count
        count += 1
        return count > write

    def put_or_die(self, name: str, content: bytes, *, flush: bool) -> None:
        if is_last():
            file = self.path / f"{name}.partial"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content[: len(content) // 2])
            os._exit(KILLED)
        put(self, name, content, flush=flush)

    def unlink_or_die(self, missing_ok: bool = False) -> None:
        if self.exists() and is_last():
            os._exit(KILLED)
        unlink(self, missing_ok)

    folder.Store._put = put_or_die
    Path.unlink = unlink_or_die


def child(work) -> int:
    """The exit status of a fork that does this work."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(path: Path, make: dict) -> None:
    """What is left is sound, a beginning of the whole run, and can be gone on with."""
    if not path.exists():  # killed before there was a run
        return
    whole = isotherm.run(isotherm.make_plan(WELL, **make), WELL)
    part = isotherm.open_run(path)
    n_kept = max(0, part.info.n_steps - make["burn_in"]) // make["thinning"]
    same = np.testing.assert_array_equal
    same(part.trajectory, whole.trajectory[:, :n_kept])
    same(part.diagnostics.energy, whole.diagnostics.energy[:n_kept])
    with xarray.open_zarr(path, chunks=None) as read:
        same(read.x, whole.trajectory[:, :n_kept])
        same(read.step, whole.diagnostics.steps[:n_kept])
    with xarray.open_zarr(path, group="diagnostics", chunks=None) as read:
        n_kept = read.sizes["draw"]
        same(read["mean"], whole.diagnostics.mean[:n_kept])
    if part.info.n_steps == whole.info.n_steps:
        part = isotherm.resume(path, WELL, n_steps=1, step_size=0.05)
        make = make | {"n_steps": make["n_steps"] + 1}
        if isinstance(make["step_size"], list):
            make["step_size"] = [*make["step_size"], 0.05]
        whole = isotherm.run(isotherm.make_plan(WELL, **make), WELL)
    else:
        part = isotherm.resume(path, WELL)
    same(part.samples, whole.samples)
    same(part.trajectory, whole.trajectory)
    same(part.diagnostics, whole.diagnostics)
    left = {file.name for file in path.rglob("*") if file.is_file()}
    assert not any(name.endswith(".partial") for name in left), left


def kill_at_each_write(where: Path, name: str, begin, work, make: dict, most: int) -> int:
    """How many writes this work has, or `most`; each is the last of one attempt."""
    status, write = KILLED, 0
    while status == KILLED and write <= most:
        path = where / f"{name} {write}.zarr"
        begin(path)

        def killed(write=write, path=path):
            kill_at(write)
            work(path)

        status = child(killed)
        assert status in (0, KILLED), f"{name}, write {write}: {status}"
        assert child(lambda path=path: check(path, make)) == 0, f"{name}, write {write}"
        write += 1
    return write - 1


def main(where: Path) -> None:
    small_chunks()
    # What a run imports and compiles, and xarray looks for, is there once for all children.
    isotherm.run(isotherm.make_plan(WELL, **RUN), WELL)
    xarray.backends.list_engines()

    def run(path, **options):
        isotherm.run(isotherm.make_plan(WELL, **RUN), WELL, store=path, **options)

    def stop(path):
        assert child(lambda: run(path, callback=lambda status: status.n_steps >= 8)) == 0

    def unpack(path):
        with zipfile.ZipFile(Path(__file__).with_name("format_1.zip")) as packed:
            packed.extractall(path.with_suffix(""))
        (path.with_suffix("") / "format_1.zarr").rename(path)

    def resume(path):
        isotherm.resume(path, WELL)

    print(
        kill_at_each_write(where, "run", lambda path: None, run, RUN, 1000),
        kill_at_each_write(where, "resume", stop, resume, RUN, 20),
        kill_at_each_write(where, "format 1", unpack, resume, RUN_OF_FORMAT_1, 20),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
