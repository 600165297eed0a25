"""The first ten minutes on a card: what is most in doubt first, and nothing lost.

    python benchmarks/wheels.py wheels        # before, where there is a network
    python benchmarks/gpu.py --wheels wheels --commit HASH --out FOLDER [--seconds 570]

Each part runs in a process of its own with a limit of time, so that one that hangs or crashes takes
no other with it. What it finds is written as it finds it: ``records.jsonl`` has a line for each
check and figure, ``gpu.json`` is the whole and is written anew after each part, ``parts.log`` is
what the parts print, ``tests.log`` what pytest prints, test by test. The exit status is 0 where
every part ended well.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--durations=5"]


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
    """

    name: str
    seconds: float
    command: tuple[str, ...]
    log: str = "parts.log"


def own(name: str, seconds: float, *prefix: str) -> Part:
    """One of the functions of gpu_parts.py."""
    label = f"{name} under {' '.join(prefix[:3])}" if prefix else name
    return Part(label, seconds, (*prefix, sys.executable, str(HERE / "gpu_parts.py"), name))


def tests(seconds: float, *paths: str) -> Part:
    return Part(f"tests: {', '.join(paths)}", seconds, (*PYTEST, *paths), "tests.log")


SANITIZER = ("compute-sanitizer", "--error-exitcode=9", "--tool")
PARTS = (
    own("versions", 30),
    own("kernels", 150),
    own("arrays", 75),
    tests(50, "tests/torch/test_cuda.py", "--deselect=tests/torch/test_cuda.py::TestTorchOnCuda"),
    tests(50, "tests/cupy/test_networks.py", "tests/cupy/test_noise.py"),
    own("times", 80),
    own("tiny", 45, *SANITIZER, "memcheck"),
    own("tiny", 40, *SANITIZER, "racecheck"),
    own("peers", 45),
    tests(150, "tests/cupy", "tests/torch"),
    tests(300, "tests/agreement", "tests/conformance", "tests/noise"),
)


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
    records.unlink(missing_ok=True)
    began, ended = time.monotonic(), []
    for part in parts:
        left = began + seconds - time.monotonic()
        offset = records.stat().st_size if records.exists() else 0
        started = time.monotonic()
        try:
            how = run(part, min(part.seconds, left), out, {**environment, "RECORDS": str(records)})
        except KeyboardInterrupt:
            how = "interrupted"
        told = {"part": part.name, "ended": how, "seconds": round(time.monotonic() - started, 1)}
        ended.append({**told, "records": read(records, offset), **counted(part, out)})
        print(json.dumps(told), flush=True)
        whole = {**about, "seconds": round(time.monotonic() - began, 1), "parts": ended}
        write(out / "gpu.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        if how == "interrupted":
            break
    return len(ended) == len(parts) and all(part["ended"] == "well" for part in ended)


def run(part: Part, seconds: float, out: Path, environment: dict[str, str]) -> str:
    """How a part ended, in words."""
    if seconds <= 0:
        return "not begun: no time was left"
    if shutil.which(part.command[0]) is None:
        return f"missing: {part.command[0]}"
    with (out / part.log).open("ab") as log:
        log.write(f"\n=== {part.name}\n".encode())
        log.flush()
        process = subprocess.Popen(
            part.command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=HERE.parent,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,  # its own children end with it
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"cut off after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status < 0:
        return f"crashed: {signal.Signals(-status).name}"
    return "well" if status == 0 else f"failed: status {status}"


def read(records: Path, offset: int) -> list[Any]:
    """The lines that were added, but for a last one that is not whole."""
    if not records.exists():
        return []
    lines = records.read_bytes()[offset:].splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def counted(part: Part, out: Path) -> dict[str, Any]:
    """How many tests of a part ended how, and which did not pass, by what pytest wrote of it."""
    if part.log != "tests.log" or not (out / part.log).exists():
        return {}
    text = (out / part.log).read_text(encoding="utf-8", errors="replace")
    found = []
    for line in text.rpartition(f"\n=== {part.name}\n")[2].splitlines():
        words = line.split()
        if len(words) > 1 and "::" in words[0] and words[1].isupper():
            found.append((words[1], words[0]))
    bad = [name for how, name in found if how in ("FAILED", "ERROR")]
    return {"tests": Counter(how for how, _ in found), "bad": bad}


def write(path: Path, text: str) -> None:
    """All or nothing: the machine may be taken away at any moment."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


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
    parser.add_argument("--seconds", type=float, default=570.0, help="for all parts together")
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
        paths += [path for path in [os.environ.get("PYTHONPATH")] if path]
        well = session(
            chosen, arguments.out, arguments.seconds, about,
            PYTHONPATH=os.pathsep.join(paths), ISOTHERM_TEST_BACKENDS="numpy,torch,cupy",
        )  # fmt: skip
    sys.exit(not well)


if __name__ == "__main__":
    main()
