"""How many instructions a coordinate and a step cost on a card, counted in the compiled kernels.

    python benchmarks/cupy_instructions.py [--architecture sm_90] [--out FILE.json]

Needs no card: NVRTC compiles, and nvdisasm (pip install nvidia-cuda-nvdisasm) reads. Counted is the
loop over steps of a run that keeps no state, a whole block of them, without the slow path of square
roots, which they take for zero, infinity and numbers next to these; and, of Hamiltonian Monte
Carlo, the loop over a trajectory's substeps. The time is what an H100 (132 multiprocessors, four
instructions of a warp a clock each, 1.755 GHz) needs at least to issue so many: a floor that
follows from the count, not a measurement.
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
    (isotherm.RosenbrockEnergy(), 32, 4096, 1000),
]

SUBSTEPS: list[Any] = [
    isotherm.DoubleWellEnergy(),
    isotherm.GaussianEnergy(np.zeros(10), np.eye(10)),
    isotherm.RosenbrockEnergy(),
]  # of 10 coordinates


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


def loops(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The instructions, and the first and last of each loop, from its label to the jump back to it.

    What a jump skips is left out if it calls a function: the slow path of a square root.
    """
    labels: dict[str, int] = {}
    skipped_from: dict[str, int] = {}
    instructions: list[str] = []
    found = []
    calls = False
    for line in text.splitlines():
        if line.startswith("."):
            label = line.strip().rstrip(":")
            if calls and label in skipped_from:
                del instructions[skipped_from[label] :]
                calls = False
            labels[label] = len(instructions)
        elif re.search(r"/\*[0-9a-f]{4,}\*/", line):
            instructions.append(line)
            calls |= "CALL.REL" in line
            jump = re.search(r"BRA `\((\S+)\)", line)
            if jump and jump[1] in labels:
                found.append((labels[jump[1]], len(instructions)))
            elif jump and line.lstrip(" /*0123456789abcdef").startswith("@"):
                skipped_from[jump[1]] = len(instructions)
    return instructions, found


def longest(some: list[tuple[int, int]]) -> tuple[int, int]:
    """The loop of the most instructions."""
    return max(some, key=lambda loop: loop[1] - loop[0], default=(0, 0))


def within(some: list[tuple[int, int]], outer: tuple[int, int]) -> list[tuple[int, int]]:
    """The loops inside of one."""
    first, last = outer
    return [one for one in some if first <= one[0] and one[1] <= last and one != outer]


def of_a_block(text: str, n_steps: int, coordinates: int) -> int:
    """How many instructions a thread that has so many coordinates takes for a block of steps.

    Either the loop is over blocks, or it is over steps, and a loop within it draws the normals of a
    whole block at the first of them, of a few coordinates at a time.
    """
    instructions, found = loops(text)
    first, last = outer = longest(found)
    inner = within(found, outer)
    if not inner:
        return last - first
    ((begin, end),) = inner
    stored = sum(" STS " in line for line in instructions[begin:end])
    passes = n_steps * coordinates / stored
    return round(n_steps * (last - first - (end - begin)) + passes * (end - begin))


def counts_of_steps(architecture: str) -> list[dict[str, Any]]:
    """Of overdamped Langevin dynamics."""
    counts = []
    for energy, dim, n_samples, n_steps in WORKLOADS:
        plan = isotherm.make_plan(
            energy, dim=dim, n_samples=n_samples, n_steps=n_steps, dtype="float32", backend="numpy"
        )
        kernel = kernel_of(plan, energy)
        assert kernel is not None
        coordinates = round(n_samples * dim / kernel.threads)
        text = assembly(kernel.source, architecture)
        instructions = of_a_block(text, plan.steps_per_block, coordinates)
        each = instructions / (plan.steps_per_block * coordinates)
        floor = each * n_samples * dim * n_steps / LANES_A_SECOND
        counts.append(
            {
                "workload": f"{energy.name}, {n_samples} × {dim} × {n_steps}",
                "instructions of a block of steps": instructions,
                "per coordinate and step": round(each, 1),
                "floor on an H100, ms": round(1e3 * floor, 3),
            }
        )
    return counts


def counts_of_substeps(architecture: str) -> list[dict[str, Any]]:
    """Of Hamiltonian Monte Carlo, whose substeps are a loop within that over steps."""
    counts = []
    for energy in SUBSTEPS:
        plan = isotherm.make_plan(
            energy, dim=10, n_samples=9600, n_steps=2, sampler="hmc", step_size=0.1,
            dtype="float32", backend="numpy",
        )  # fmt: skip
        kernel = kernel_of(plan, energy)
        assert kernel is not None
        _, found = loops(assembly(kernel.source, architecture))
        begin, end = longest(within(found, longest(found)))
        threads = kernel.threads // 9600
        counts.append(
            {
                "energy": energy.name,
                "threads of a chain": threads,
                "instructions of the loop": end - begin,
                "per coordinate and substep": round((end - begin) * threads / 10, 1),
            }
        )
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architecture", default="sm_90")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = {
        "architecture": arguments.architecture,
        "commit": commit(),
        "counts": counts_of_steps(arguments.architecture),
        "substeps of 10 coordinates": counts_of_substeps(arguments.architecture),
    }
    tell(result, arguments.out)


if __name__ == "__main__":
    main()
