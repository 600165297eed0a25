"""The first minutes on a card: what is most in doubt first, and nothing lost.

    python benchmarks/wheels.py wheels        # before, where there is a network
    python benchmarks/gpu.py --wheels wheels --commit HASH --out FOLDER [--seconds 420]

Each part runs in processes of its own with a limit of time, so that one that hangs or crashes takes
no other with it. What it finds is written as it finds it: ``records.jsonl`` has a line for each
check, test and figure, with the traceback of what failed; ``gpu.json`` is the whole and is written
anew after each part; ``parts.log`` and ``tests.log`` are what they print. Last, and in
``summary.txt``, comes what one has to know: which parts ended well, what failed and how, figures.
The exit status is 0 where every part ended well.

This file needs nothing but Python itself. The parts need NumPy, CuPy and torch where they are, and
Isotherm, from the folder of wheels or as it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORES = max(1, min(12, (os.cpu_count() or 1) - 2))
FINISHED = (0, 1)  # exit statuses of processes that have done all they had to
MOST_STARTS = 20  # of one process that crashes again and again
SECONDS_TO_DIE = 5.0
MOST_LOGGED = 2**23  # bytes of a log that are kept: larger files may not come back from a machine
MOST_PRINTED = 11_000  # characters of the summary: some see no more than the end of an output


@dataclass(frozen=True)
class Part:
    """A command that is given so many seconds.

    Attributes
    ----------
    name : str
    seconds : float
        At most; less where the whole session has less left.
    command : tuple of str
        Started in the repository's root. A program that is not there makes the part missing.
    log : str
        The file for what it prints.
    copies : int
        So many processes at once, each of which takes its share of the checks. One that crashes is
        started again, and goes on behind the check that it was at.
    """

    name: str
    seconds: float
    command: tuple[str, ...]
    log: str = "parts.log"
    copies: int = 1


def own(name: str, seconds: float, *prefix: str, copies: int = 1) -> Part:
    """One of the functions of gpu_parts.py."""
    label = f"{name} under {prefix[-1]}" if prefix else name
    command = (*prefix, sys.executable, str(HERE / "gpu_parts.py"), name)
    return Part(label, seconds, command, copies=copies)


def tests(name: str, seconds: float, select: str, *paths: str) -> Part:
    """Some of the test suite. Other plugins of pytest and new warnings are not what is tested."""
    parallel = ["-p", "xdist", "-n", str(CORES)] if find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "gpu_records"]
    command += [*parallel, "-W", "default", "--continue-on-collection-errors", "-k", select, *paths]
    return Part(name, seconds, tuple(command), "tests.log")


SANITIZER = ("compute-sanitizer", "--error-exitcode=9", "--tool")
#: The tests that use a card; the same source built for the host is tested where there is none.
ON_A_CARD = "not cupy_on_host and not HostBuild"
PARTS = (
    own("versions", 30),
    own("kernels", 100, copies=CORES),
    tests(
        "tests of streams and graphs", 60, f"{ON_A_CARD} and not TestTorchOnCuda",
        "tests/torch/test_cuda.py", "tests/cupy/test_networks.py", "tests/cupy/test_noise.py",
    ),
    own("times", 75),
    own("tiny", 60, *SANITIZER, "memcheck", copies=CORES),
    own("tiny", 60, *SANITIZER, "racecheck", copies=CORES),
    own("peers", 40),
    tests(
        "tests of CuPy", 120, ON_A_CARD, "tests/cupy", "--ignore=tests/cupy/test_compile.py",
        "--ignore=tests/cupy/test_networks.py", "--ignore=tests/cupy/test_noise.py",
    ),
    tests("tests of torch", 120, "TestTorchOnCuda", "tests/torch/test_cuda.py"),
    tests(
        "tests of all backends", 200, "cupy and not cupy_on_host", "tests/agreement",
        "tests/conformance", "tests/noise", "tests/arithmetic", "tests/core", "tests/samplers",
        "tests/transitions", "tests/warmup", "tests/training",
    ),
)  # fmt: skip


def session(
    parts: tuple[Part, ...], out: Path, seconds: float, about: dict[str, Any], **environment: str
) -> bool:
    """Run the parts one after another; whether all ended well.

    Parameters
    ----------
    parts : tuple of Part
    out : path
        The folder for the files.
    seconds : float
        For all together; a part for which nothing is left is not begun.
    about : dict
        Stands first in ``gpu.json``.
    **environment : str
        Of the parts, besides this process's.
    """
    out.mkdir(parents=True, exist_ok=True)
    records = (out / "records.jsonl").resolve()
    for old in (records, *{out / part.log for part in parts}):
        old.unlink(missing_ok=True)
    began, ended = time.monotonic(), []
    for part in parts:
        left = began + seconds - time.monotonic()
        started = time.monotonic()
        given = {**environment, "RECORDS": str(records), "PART": part.name}
        try:
            how = run(part, min(part.seconds, left), out, given)
        except KeyboardInterrupt:
            how = "interrupted"
        except OSError as error:
            how = f"not run: {error}"
        told = {"part": part.name, "ended": how, "seconds": round(time.monotonic() - started, 1)}
        ended.append({**told, "records": read(records, part.name)})
        print(json.dumps(told), flush=True)
        whole = {**about, "seconds": round(time.monotonic() - began, 1), "parts": ended}
        try:
            shorten(out / part.log)
            write(out / "gpu.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
            write(out / "summary.txt", summary(whole))
        except OSError as error:  # as of a full disk: the other parts can still be told of
            print(f"not written: {error}", flush=True)
        if how == "interrupted":
            break
    print(summary(whole), flush=True)
    return len(ended) == len(parts) and all(part["ended"] == "well" for part in ended)


def run(part: Part, seconds: float, out: Path, environment: dict[str, str]) -> str:
    """How a part ended, in words."""
    if seconds <= 0:
        return "not begun: no time was left"
    if shutil.which(part.command[0]) is None:
        return f"missing: {part.command[0]}"
    deadline = time.monotonic() + seconds
    running: dict[int, subprocess.Popen[bytes]] = {}
    starts, bad = Counter[int](), []
    with (out / part.log).open("ab") as log:
        log.write(f"\n=== {part.name}\n".encode())
        log.flush()

        def start(copy: int) -> None:
            starts[copy] += 1
            share = {"SHARE": f"{copy}/{part.copies}", "PYTHONUNBUFFERED": "1"}
            running[copy] = subprocess.Popen(
                part.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=HERE.parent,
                env={**os.environ, **share, **environment},
                start_new_session=True,  # its own children end with it
            )

        try:
            for copy in range(part.copies):
                start(copy)
            while running and time.monotonic() < deadline:
                time.sleep(0.02)
                for copy, process in list(running.items()):
                    status = process.poll()
                    if status is None:
                        continue
                    del running[copy]
                    if status:
                        bad.append(named(status))
                    goes_on = part.log == "parts.log" and starts[copy] < MOST_STARTS
                    if status not in FINISHED and goes_on:
                        start(copy)
        finally:
            for process in running.values():
                os.killpg(process.pid, signal.SIGKILL)
            for process in running.values():
                with suppress(subprocess.TimeoutExpired):  # one that waits within the driver
                    process.wait(SECONDS_TO_DIE)
    if running:
        bad.append(f"cut off after {seconds:.0f} s")
    return "; ".join(f"{how} ({n} times)" if n > 1 else how for how, n in Counter(bad).items()) or (
        "well"
    )


def named(status: int) -> str:
    return f"crashed: {signal.Signals(-status).name}" if status < 0 else f"failed: status {status}"


def read(records: Path, part: str) -> list[Any]:
    """What a part has noted, each thing once; of a process that was killed not its last line."""
    found = {}
    for line in records.read_bytes().splitlines() if records.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.pop("part") == part:
            found[record["name"]] = record
    return list(found.values())


def summary(whole: dict[str, Any]) -> str:
    """What failed, and how, before what was measured; cut where nobody would see it.

    A line for each part, then one for each check and test that failed or did not end.
    """
    parts = whole["parts"]
    bad = [
        f"{'UNENDED' if one.get('ok') is None else 'FAILED'} {part['part']}: {one['name']}: "
        f"{' '.join(str(one.get('error', 'begun, and not ended')).split())[:500]}"
        for part in parts
        for one in part["records"]
        if one.get("ok") is False or "begun" in one
    ]
    n_bad = sum(part["ended"] != "well" for part in parts)
    lines = [
        f"{n_bad} of {len(parts)} parts did not end well; {len(bad)} checks and tests failed; "
        f"commit {whole.get('commit')}, {whole['seconds']} s"
    ]
    for part in parts:
        how = Counter(_how(one) for one in part["records"])
        counts = ", ".join(f"{n} {name}" for name, n in sorted(how.items()))
        lines.append(f"{part['part']}: {part['ended']}, {part['seconds']} s; {counts}"[:300])
    figures = [
        f"{one['name']}: {_told(one)}"
        for part in parts
        for one in part["records"]
        if _how(one) == "noted" or {"call", "path", "output"} & one.keys()
    ]
    room = MOST_PRINTED - sum(len(line) + 1 for line in lines)
    # A third of the room is for figures, at least, if there are so many.
    kept = _fitting(bad, room - min(room // 3, sum(len(line) + 1 for line in figures)))
    room -= sum(len(line) + 1 for line in kept)
    return "\n".join([*lines, *kept, *_fitting(figures, room)]) + "\n"


def _how(record: dict[str, Any]) -> str:
    if "begun" in record:
        return "not ended"
    if "ok" not in record:
        return "noted"
    return {True: "good", False: "failed", None: "skipped"}[record["ok"]]


def _told(record: dict[str, Any]) -> str:
    """A record's figures, in the fewest characters."""

    def short(value: Any) -> str:
        if isinstance(value, dict):
            return "/".join(map(short, value.values()))
        return f"{value:.3g}" if isinstance(value, float) else " ".join(str(value).split())

    left_out = {"name", "ok", "seconds"}
    return ", ".join(f"{k} {short(v)}" for k, v in record.items() if k not in left_out)[:250]


def _fitting(lines: list[str], room: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 40 and line is not lines[-1]:
            return [*kept, f"... and {len(lines) - len(kept)} more, in gpu.json"]
        kept.append(line)
    return kept


def write(path: Path, text: str) -> None:
    """All or nothing: the machine may be taken away at any moment."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)


def shorten(log: Path) -> None:
    """Leave out the middle of a log that is long."""
    if not log.exists() or log.stat().st_size <= MOST_LOGGED:
        return
    with log.open("r+b") as file:
        begin = file.read(MOST_LOGGED // 4)
        file.seek(-MOST_LOGGED // 2, os.SEEK_END)
        end = file.read()
        file.seek(0)
        file.write(begin + b"\n... (left out) ...\n" + end)
        file.truncate()


def unpacked(wheels: Path, folder: str) -> str:
    """A folder with the content of pure Python wheels, which is all that installing them does."""
    found = sorted(wheels.glob("*.whl"))
    if not found:
        sys.exit(f"there are no wheels in {wheels}; see benchmarks/wheels.py")
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to use")
    parser.add_argument("--commit", default="unknown", help="that the wheels were built of")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu")
    parser.add_argument("--seconds", type=float, default=420.0, help="for all parts together")
    parser.add_argument("--only", nargs="*", help="parts whose names begin so")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = tuple(
        part
        for part in PARTS
        if arguments.only is None or part.name.startswith(tuple(arguments.only))
    )
    about = {"commit": arguments.commit, "started": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    with tempfile.TemporaryDirectory() as folder:
        paths = [] if arguments.wheels is None else [unpacked(arguments.wheels, folder)]
        paths += [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        well = session(
            chosen, arguments.out, arguments.seconds, about,
            PYTHONPATH=os.pathsep.join(paths), ISOTHERM_TEST_BACKENDS="numpy,torch,cupy",
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            # Many processes at once; the tests of threads need two.
            NUMBA_NUM_THREADS="2", OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2",
        )  # fmt: skip
    sys.exit(not well)


if __name__ == "__main__":
    main()
