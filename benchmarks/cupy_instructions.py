"""How many instructions a coordinate and a step cost on a card, counted in the compiled kernels.

    python benchmarks/cupy_instructions.py [--architecture sm_90] [--out FILE.json]

Needs no card: NVRTC compiles, and nvdisasm (pip install nvidia-cuda-nvdisasm) reads. Counted is the
loop over whole blocks of steps of a run that keeps no state, without the slow path of square roots,
which they take for zero, infinity and numbers next to these. The time is what an H100 (132
multiprocessors, four instructions of a warp a clock each, 1.755 GHz) needs at least to issue so
many: a floor that follows from the count, not a measurement.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from reference import commit, tell

import isotherm
from isotherm_cupy.kernels import kernel_of
from isotherm_cupy.nvrtc import compiled

LANES_A_SECOND = 132 * 4 * 32 * 1.755e9

WORKLOADS: list[tuple[Any, int, int, int]] = [
    (isotherm.DoubleWellEnergy(), 32, 4096, 1000),
    (isotherm.GaussianEnergy(np.zeros(10), np.eye(10)), 10, 10_000, 500),
    (isotherm.HarmonicEnergy(), 32, 4096, 1000),
    (isotherm.RosenbrockEnergy(), 10, 10_000, 500),
]


def disassembler() -> str:
    """The program nvdisasm, of the PATH or of a Python package."""
    found = shutil.which("nvdisasm")
    for folder in sys.path:
        for candidate in Path(folder or ".").glob("nvidia/*/bin/nvdisasm"):
            found = found or str(candidate)
    if found is None:
        sys.exit("nvdisasm is not installed; pip install nvidia-cuda-nvdisasm")
    return found


def assembly(source: str, architecture: str) -> str:
    """The instructions of the kernel `advance`."""
    code = compiled(source, architecture).loadable
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        # CuPy cuts the last byte off, as of a text; nvdisasm wants all.
        file.write(code + b"\0")
        file.flush()
        command = [disassembler(), "-c", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    start = text.index("\n.text.advance:")
    end = text.find("\n.section", start)
    return text[start : end if end > 0 else None]


def longest_loop(text: str) -> int:
    """Instructions of the loop that has the most, from its label to the jump back to it.

    What a jump skips is left out if it calls a function: the slow path of a square root.
    """
    labels: dict[str, int] = {}
    skipped_from: dict[str, int] = {}
    count = longest = 0
    calls = False
    for line in text.splitlines():
        if line.startswith("."):
            label = line.strip().rstrip(":")
            if calls and label in skipped_from:
                count, calls = skipped_from[label], False
            labels[label] = count
        elif re.search(r"/\*[0-9a-f]{4,}\*/", line):
            count += 1
            calls |= "CALL.REL" in line
            jump = re.search(r"BRA `\((\S+)\)", line)
            if jump and jump[1] in labels:
                longest = max(longest, count - labels[jump[1]])
            elif jump and line.lstrip(" /*0123456789abcdef").startswith("@"):
                skipped_from[jump[1]] = count
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architecture", default="sm_90")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    counts = []
    for energy, dim, n_samples, n_steps in WORKLOADS:
        plan = isotherm.make_plan(
            energy, dim=dim, n_samples=n_samples, n_steps=n_steps, dtype="float32", backend="numpy"
        )
        kernel = kernel_of(plan, energy)
        assert kernel is not None
        loop = longest_loop(assembly(kernel.source, arguments.architecture))
        per_thread = plan.steps_per_block * n_samples * plan.n_coordinates / kernel.threads
        each = loop / round(per_thread)
        floor = each * n_samples * dim * n_steps / LANES_A_SECOND
        counts.append(
            {
                "workload": f"{energy.name}, {n_samples} × {dim} × {n_steps}",
                "instructions of the loop": loop,
                "per coordinate and step": round(each, 1),
                "floor on an H100, ms": round(1e3 * floor, 3),
            }
        )
    result = {"architecture": arguments.architecture, "commit": commit(), "counts": counts}
    tell(result, arguments.out)


if __name__ == "__main__":
    main()
