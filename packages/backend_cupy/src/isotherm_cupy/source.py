"""The text of a module of kernels: noise stream, Langevin step, an energy, and loops over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

import numpy as np

from isotherm.backend import noise

_CUDA = files(__package__) / "cuda"


def assemble(dtype: str, *parts: str, constants: Mapping[str, object] | None = None) -> str:
    """The source of a module.

    Parameters
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``: what ``REAL`` is.
    *parts : str
        After the noise stream and the Langevin step: names of files in ``cuda``, or sources.
    constants : mapping of str to number, optional
        Macros, such as ``DIM``.
    """
    macros = {
        "REAL": "float" if dtype == "float32" else "double",
        "STEPS_PER_BLOCK": noise.steps_per_block(dtype),
        **(constants or {}),
    }
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    texts = [_read(part) if part.endswith(".cu") else part for part in parts]
    return "\n".join([*lines, _stream(), _read("chains.cuh"), *texts])


@cache
def _read(name: str) -> str:
    return (_CUDA / name).read_text(encoding="utf-8")


@cache
def _stream() -> str:
    """The noise stream, with what it takes from the tables of `isotherm.backend.noise`."""
    m0, m1 = noise.PHILOX_MULTIPLIERS
    w0, w1 = noise.PHILOX_KEY_INCREMENTS
    macros = {
        "PHILOX_ROUNDS": str(noise.PHILOX_ROUNDS),
        "PHILOX_M0": f"{m0:#x}u",
        "PHILOX_M1": f"{m1:#x}u",
        "PHILOX_W0": f"{w0:#x}u",
        "PHILOX_W1": f"{w1:#x}u",
    }
    polynomials = []
    for bits, table in ((32, noise.FLOAT32), (64, noise.FLOAT64)):
        number = _number(bits)
        smallest = np.dtype(f"f{bits // 8}").type(table.smallest_mantissa)
        macros[f"SMALLEST{bits}"] = str(smallest.view(f"i{bits // 8}")) + (
            "" if bits == 32 else "LL"
        )
        macros[f"MINUS_TWO_LOG_OF_2_{bits}"] = number(table.minus_two_log_of_2)
        macros[f"RADIANS{bits}"] = number(table.radians)
        polynomials += _polynomials(bits, table)
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    return (
        "\n".join(lines) + "\n" + _read("noise.cuh").replace("POLYNOMIALS", "\n".join(polynomials))
    )


def _polynomials(bits: int, table: noise.Precision) -> list[str]:
    """Horner's scheme for each, in the order in which `isotherm.backend.noise` evaluates it."""
    type_, number = {32: "float", 64: "double"}[bits], _number(bits)
    functions = []
    for name in ("minus_two_log", "sine", "cosine"):
        *rest, last = getattr(table, name)
        value = number(last)
        for coefficient in reversed(rest):
            value = f"add(mul({value}, x), {number(coefficient)})"
        functions.append(
            f"__device__ __forceinline__ {type_} {name}{bits}({type_} x) {{ return {value}; }}"
        )
    return functions


def _number(bits: int) -> Callable[[float], str]:
    """How a number of the table is written: exactly."""
    suffix = "f" if bits == 32 else ""
    return lambda value: float(value).hex() + suffix
