"""Kills a run into a store at every write, and looks at what is left. Not a test by itself.

``python kills.py FOLDER``: prints how many writes the run makes. Each attempt is a forked child;
this process itself reads and writes no store, so that it has no thread that a child would lack.
"""

import os
import sys
import traceback
from pathlib import Path

import numpy as np
import xarray

import isotherm
from isotherm._runs import advance as pieces
from isotherm._store import folder, layout, writer

KILLED = 17  # the exit status

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
RUN = {
    "dim": 2, "n_samples": 3, "n_steps": 11, "burn_in": 2, "thinning": 2, "step_size": 0.05,
    "seed": 3, "backend": "numpy", "return_trajectory": True, "return_diagnostics": True,
}  # fmt: skip


def small_chunks() -> None:
    """Pieces of 4 steps; chunks of 4 draws, written when they are full and after each piece."""
    pieces._PIECE_SECONDS = 0.0
    layout._LEAST_CHUNK_BYTES = 0
    layout._CHUNK_BYTES = 4 * 3 * 2 * 4
    writer._COMMIT_SECONDS = -1.0


def kill_at(write: int) -> None:
    """End the process at a write, when half of the file is written."""
    replace, count = folder._replace, 0

    def replace_or_die(file: Path, content: bytes, *, flush: bool) -> None:
        nonlocal count
        if count == write:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_name(f"{file.name}.partial").write_bytes(content[: len(content) // 2])
            os._exit(KILLED)
        count += 1
        replace(file, content, flush=flush)

    folder._replace = replace_or_die


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


def check(path: Path, whole: isotherm.Result) -> None:
    """What is left is sound, a beginning of the whole run, and can be gone on with."""
    if not path.exists():  # killed before there was a run
        return
    part = isotherm.open_run(path)
    n_kept = max(0, part.info.n_steps - RUN["burn_in"]) // RUN["thinning"]
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
        part = isotherm.resume(path, WELL, n_steps=1)
        whole = isotherm.run(isotherm.make_plan(WELL, **RUN | {"n_steps": 12}), WELL)
    else:
        part = isotherm.resume(path, WELL)
    same(part.samples, whole.samples)
    same(part.trajectory, whole.trajectory)
    same(part.diagnostics, whole.diagnostics)
    left = {file.name for file in path.rglob("*") if file.is_file()}
    assert not any(name.endswith(".partial") for name in left), left


def main(where: Path) -> None:
    small_chunks()
    xarray.backends.list_engines()  # looked for once here, not in every child
    plan = isotherm.make_plan(WELL, **RUN)
    whole = isotherm.run(plan, WELL)
    status, write = KILLED, 0
    while status == KILLED:
        path = where / f"{write}.zarr"

        def run(write=write, path=path):
            kill_at(write)
            isotherm.run(plan, WELL, store=path)

        status = child(run)
        assert status in (0, KILLED), f"write {write}: {status}"
        assert child(lambda path=path: check(path, whole)) == 0, f"write {write}"
        write += 1
    print(write - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
