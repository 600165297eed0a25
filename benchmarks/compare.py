"""Our backends beside other programs that do the same work.

    python benchmarks/compare.py [--rounds 7] [--out benchmarks/results] [--quick]
    python benchmarks/compare.py --only MALA --beside numba mala --out mala

Each program has a process of its own. A workload is run once by each, which compiles, and then in
rounds: in each round every program in turn, beginning with another one every time. Ratios are taken
within a round, so that a machine that slows down slows both sides. What a program keeps in memory
is the peak of a process that runs one workload and nothing else.

Writes ``compare.json``, and from it ``compare.md`` and ``scaling.png`` (see ``report.py``). A
program whose library is not installed (``requirements.txt``) is named as missing.

Nothing but the standard library is imported before all is measured: a new process counts what its
parent held as its own peak.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peers import PEERS
from workloads import MAIN, MEMORY, SCALING, Workload, tiny

HERE = Path(__file__).parent

# Shorter runs are repeated until they last so long, in seconds: clocks and interruptions then do
# not matter.
_LEAST = 0.1
# Before each measurement: the threads of the program before spin for a while, waiting for more.
_PAUSE = 0.3
# Processes that run before ours: with one more than there are cores, threads that share a piece of
# work wait for each other many times as long as they work.
_BUSY = 0.5


class Worker:
    """The process of one program; see `worker`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, HERE / "worker.py", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()

    def run(self, workload: Workload, repeats: int) -> dict[str, Any]:
        return self._ask({"workload": asdict(workload), "repeats": repeats})

    def peak_bytes(self) -> int:
        return self._ask({})["peak_bytes"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.name} ended; its error stands above")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def time_in_rounds(
    workers: list[Worker], workload: Workload, rounds: int, pause: float
) -> dict[str, Any]:
    """Seconds of each program: of its first run, and in each round."""
    first, repeats, squares, unsupported = {}, {}, {}, {}
    for worker in workers:
        began = worker.run(workload, 1)
        if "unsupported" in began:
            unsupported[worker.name] = began["unsupported"]
            continue
        first[worker.name] = began["seconds"]
        warm = worker.run(workload, 1)
        repeats[worker.name] = max(1, math.ceil(_LEAST / warm["seconds"])) if pause else 1
        squares[worker.name] = warm["square"]
    check_same_work(workload, squares)
    able = [worker for worker in workers if worker.name in first]
    seconds: dict[str, list[float]] = {worker.name: [] for worker in able}
    for i in range(rounds):
        turn = i % len(able)
        for worker in able[turn:] + able[:turn]:
            time.sleep(pause)
            seconds[worker.name].append(worker.run(workload, repeats[worker.name])["seconds"])
    print(f"{workload.name}: ", end="", file=sys.stderr)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        *(f"{name} {median:.3g} s" for name, median in medians.items()), sep=", ", file=sys.stderr
    )
    return {
        "size": workload.size, "first_seconds": first, "seconds": seconds,
        "unsupported": unsupported, "mean_square": squares,
    }  # fmt: skip


def check_same_work(workload: Workload, squares: dict[str, float]) -> None:
    """Programs that sample different laws are not to be compared."""
    middle = statistics.median(squares.values())
    # Ten standard errors of the mean square of normals, and some for what varies more.
    tolerance = (0.05 + 10 * math.sqrt(2 / (workload.n_chains * workload.dim))) * middle
    for name, square in squares.items():
        if abs(square - middle) > tolerance:
            raise SystemExit(
                f"{workload.name}: the mean square of {name}'s samples is {square:.4g} and the "
                f"programs' median {middle:.4g}; one of them does other work"
            )


def memory(names: list[str], workload: Workload) -> dict[str, dict[str, int]]:
    """Bytes of each program at most: when it has started, and after one run."""
    found = {}
    for name in names:
        with Worker(name) as worker:
            started = worker.peak_bytes()
            if "seconds" in worker.run(workload, 1):
                found[name] = {"started": started, "after": worker.peak_bytes()}
    return found


def git(*arguments: str) -> str:
    process = subprocess.run(
        ["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False
    )
    return process.stdout.strip()


def is_asked(name: str, parts: list[str] | None) -> bool:
    return parts is None or any(part in name for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="benchmarks/results, if not --quick")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--only", nargs="+", help="parts of the names of workloads")
    parser.add_argument("--beside", nargs="+", help="parts of the names of programs")
    options = parser.parse_args()
    # Nobody wants the figures of a trial, or of a part, among the results.
    is_trial = options.quick or options.only or options.beside
    out = options.out or (Path(tempfile.mkdtemp()) if is_trial else HERE / "results")
    rounds, pause = (2, 0.0) if options.quick else (options.rounds, _PAUSE)

    def sized(workloads: tuple[Workload, ...], tried: int) -> list[Workload]:
        asked = [one for one in workloads if is_asked(one.name, options.only)]
        return [tiny(workload) for workload in asked[-tried:]] if options.quick else asked

    load = os.getloadavg()[0]
    if load > _BUSY:
        print(f"the machine is busy (load {load:.1f}): no figure will mean much", file=sys.stderr)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with ExitStack() as stack:
        asked = [name for name in PEERS if is_asked(name, options.beside)]
        everyone = [stack.enter_context(Worker(name)) for name in asked]
        workers = [worker for worker in everyone if "missing" not in worker.about]
        timed = {
            group: {
                workload.name: time_in_rounds(workers, workload, rounds, pause)
                for workload in sized(workloads, 4 if group == "main" else 2)
            }
            for group, workloads in {"main": MAIN, **SCALING}.items()
        }
    present = [worker.name for worker in workers]
    peaks = {workload.name: memory(present, workload) for workload in sized(MEMORY, 1)}

    import report
    from reference import machine

    result = {
        "date": date,
        "machine": machine(),
        "load_before": load,
        "python": sys.version.split()[0],
        "commit": git("rev-parse", "HEAD") + (" with changes" if git("status", "-s") else ""),
        "rounds": rounds,
        "programs": {worker.name: worker.about for worker in everyone},
        "times": timed,
        "memory": peaks,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    report.write(result, out)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
