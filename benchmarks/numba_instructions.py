"""Counts the instructions of the Numba backend's inner loops, in what LLVM made of them here.

    python benchmarks/numba_instructions.py [--out benchmarks/results/numba_instructions.json]

Of each function the innermost loop with the widest vectors is taken: the others are for what is
left at a row's end. How many lanes a turn of it serves follows from the bytes that it stores.
Nothing is timed but the processor's clock, by a chain of multiplications of four cycles each.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

# What is compiled here is looked at; what is taken from the cache cannot be.
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()

import numba
import numpy as np
from reference import commit, machine, seconds, tell

import isotherm
from isotherm.backend import registry

VECTOR_BYTES = {"%xmm": 16, "%ymm": 32, "%zmm": 64}
CYCLES_OF_A_LINK = 4  # a multiplication of 64 bits and an exclusive or


class Loop(NamedTuple):
    """An innermost loop: its instructions, those on the widest vectors, and what it stores."""

    instructions: int
    vectors: dict[str, int]
    calls: int
    stored: int

    @property
    def width(self) -> int:
        return max((VECTOR_BYTES[name] for name, count in self.vectors.items() if count), default=0)


def functions(assembly: str) -> Iterator[tuple[str, list[str]]]:
    """The functions of an assembly text, by their mangled names."""
    name, lines = "", list[str]()
    for line in assembly.splitlines():
        if (label := re.match(r"([\w.$]+):", line)) and not label[1].startswith(".L"):
            yield name, lines
            name, lines = label[1], []
        lines.append(line)
    yield name, lines


def loops(lines: list[str]) -> Iterator[Loop]:
    """The innermost loops of a function: from a label to a jump back to it, none inside."""
    at: dict[str, int] = {}
    code: list[tuple[str, str]] = []
    for line in lines:
        if label := re.match(r"(\.L\w+):", line):
            at[label[1]] = len(code)
        elif operation := re.match(r"\s+([a-z]\w*)\s*(.*)", line):
            code.append((operation[1], operation[2].partition("#")[0].strip()))
    spans = [
        (at[target], i)
        for i, (operation, target) in enumerate(code)
        if operation.startswith("j") and at.get(target, i + 1) <= i
    ]
    for first, last in spans:
        if any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
            continue
        body = code[first : last + 1]
        yield Loop(
            instructions=len(body),
            vectors={name: sum(name in rest for _, rest in body) for name in VECTOR_BYTES},
            calls=sum(operation.startswith("call") for operation, _ in body),
            stored=sum(_stored(operation, rest) for operation, rest in body),
        )


def _stored(operation: str, operands: str) -> int:
    """Bytes that a vector's move writes to memory other than the stack."""
    if not (operation.startswith("vmov") and operands.endswith(")") and "(%rsp" not in operands):
        return 0
    return next((size for name, size in VECTOR_BYTES.items() if operands.startswith(name)), 0)


def assembly_of(function: str) -> str:
    """What became of a function in the module that the backend has generated last."""
    for name, module in reversed(sys.modules.items()):
        if name.startswith("isotherm_numba.generated.") and hasattr(module, function):
            (assembly,) = getattr(module, function).inspect_asm().values()
            return str(assembly)
    raise LookupError(function)


def widest(assembly: str, name: str) -> Loop:
    """The loop in which a function spends its time."""
    found = [loop for label, lines in functions(assembly) if name in label for loop in loops(lines)]
    return max(found, key=lambda loop: (loop.width, loop.stored, -loop.instructions))


def gigahertz() -> float:
    """The processor's clock now, from the best of several chains."""

    @numba.njit
    def chain(x: Any, n: int) -> Any:
        for i in range(n):
            x = (x * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(i)
        return x

    n = 10_000_000
    chain(np.uint64(3), 1)
    best = min(seconds(lambda: chain(np.uint64(3), n)) for _ in range(10))
    return CYCLES_OF_A_LINK * n / best / 1e9


def slopes() -> dict[str, dict[str, float]]:
    """The gradients of formulas with functions, which must be vectors without a call as well."""
    found = {}
    energies = {
        "Rastrigin (sin)": isotherm.RastriginEnergy(),
        "mixture of two in 2-D (exp, log)": isotherm.GaussianMixtureEnergy(
            [[0.0, 0.0], [3.0, 1.0]], [1.0, 0.7], [0.4, 0.6]
        ),
    }
    for dtype, size in (("float32", 4), ("float64", 8)):
        for name, energy in energies.items():
            dim = energy.dim or 1
            plan = isotherm.make_plan(energy, dim=dim, n_samples=4096, dtype=dtype, backend="numba")
            registry.load("numba").prepare(plan, energy)
            loop = widest(assembly_of("gradient"), "gradient")
            found[f"{name}, {dtype}"] = {
                "instructions of a turn": loop.instructions,
                "calls": loop.calls,
                "bytes of its vectors": loop.width,
                "instructions per coordinate and step": loop.instructions * size / loop.stored,
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    energy = isotherm.DoubleWellEnergy()
    plan = isotherm.make_plan(energy, dim=32, n_samples=4096, seed=0, backend="numba")
    registry.load("numba").prepare(plan, energy)
    chains, gradient = assembly_of("advance"), assembly_of("gradient")
    # What a lane stores in the loop: four words; two normals of four bytes; its state; its slope.
    parts = {
        "Philox": (widest(chains, "philox"), 16, 4),
        "Box-Muller": (widest(chains, "box_muller32"), 8, 2),
        "update": (widest(chains, "segment0"), 4, 1),
        "gradient": (widest(gradient, "gradient"), 4, 1),
    }
    counted = {}
    for name, (loop, bytes_of_lane, values) in parts.items():
        lanes = loop.stored / bytes_of_lane
        counted[name] = {
            "instructions of a turn": loop.instructions,
            "on vectors": loop.vectors,
            "calls": loop.calls,
            "lanes of a turn": lanes,
            "instructions per coordinate and step": loop.instructions / (lanes * values),
        }
    total = sum(part["instructions per coordinate and step"] for part in counted.values())
    result = {
        "machine": machine(),
        "gigahertz": gigahertz(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numba", "llvmlite")},
        },
        "commit": commit(),
        "workload": "double well, float32",
        "loops": counted,
        "instructions per coordinate and step": total,
        "other gradients": slopes(),
    }
    tell(result, options.out)


if __name__ == "__main__":
    main()
