"""The text of a module of kernels: noise, functions, an energy, loops over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from isotherm.backend import functions, noise
from isotherm_cupy.limits import LIMITS

_CUDA = files(__package__) / "cuda"


def assemble(dtype: str, *parts: str, constants: Mapping[str, object] | None = None) -> str:
    """The source of a module.

    Parameters
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``: what ``REAL`` is.
    *parts : str
        After noise stream and functions: names of files in ``cuda``, or sources.
    constants : mapping of str to number, optional
        Macros, such as ``DIM``.
    """
    # A text that is the same object is looked up at once.
    return _assembled(dtype, parts, tuple((constants or {}).items()), LIMITS.moments_height)


@cache
def _assembled(
    dtype: str, parts: Sequence[str], constants: Sequence[tuple[str, object]], moments_height: int
) -> str:
    macros = {
        "REAL": "float" if dtype == "float32" else "double",
        "STEPS_PER_BLOCK": noise.steps_per_block(dtype),
        "EXPONENTIALS_PER_BLOCK": noise.EXPONENTIALS_PER_BLOCK,
        "ACCEPT": int(noise.Stream.ACCEPT),
        "HEIGHT": moments_height,
        "KEEPS": 0,
        **dict(constants),
    }
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    texts = [_read(part) if part.endswith((".cu", ".cuh")) else part for part in parts]
    heads = [_stream(), _functions(dtype), _read("sums.cuh"), _read("chains.cuh")]
    return "\n".join([*lines, *heads, *texts])


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
        polynomials += [
            _polynomial(f"{name}{bits}", bits, getattr(table, name))
            for name in ("minus_two_log", "sine", "cosine")
        ]
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    return (
        "\n".join(lines) + "\n" + _read("noise.cuh").replace("POLYNOMIALS", "\n".join(polynomials))
    )


@cache
def _functions(dtype: str) -> str:
    """The functions of formulas, with what they take from the tables of core, for one dtype."""
    bits, table = (32, functions.FLOAT32) if dtype == "float32" else (64, functions.FLOAT64)
    number, word = _number(bits), "u" if bits == 32 else "ull"
    fraction = table.fraction_bits
    root_half, carrier = table.bits(table.root_half), table.bits(2.0**fraction)
    reals = {
        "ROUNDER": table.rounder,
        "TO_POWER": table.rounder + table.bias,
        "LOG2_E": table.log2_e,
        "LN2_HIGH": table.ln2[0],
        "LN2_LOW": table.ln2[1],
        "EXP_LOWEST": table.exp_range[0],
        "EXP_HIGHEST": table.exp_range[1],
        "TANH_RANGE": table.tanh_range,
        "TANH_TURN": table.tanh_turn,
        "SMALLEST_NORMAL": table.smallest_normal,
        "SUBNORMAL_SCALE": 2.0 ** (fraction + 1),
        "OFFSET": 2.0**fraction + table.bias,
        "TWO_OVER_PI": table.two_over_pi,
        "FARTHEST": table.farthest,
        "LAST_QUARTER": table.quarter[-2],
        "SMALLEST_QUARTER": table.quarter[-1],
    }
    words = {
        "LIFT": (table.bias << fraction) - root_half,
        "FRACTION": (1 << fraction) - 1,
        "ROOT_HALF": root_half,
        "CARRIER": carrier,
        "INFINITE": table.bits(math.inf),
        "SIGN_BIT": 1 << (bits - 1),
    }
    doubles = {f"HALF_PI{i}": part for i, part in enumerate(functions.HALF_PI)}
    doubles["SPLITTER"] = functions.SPLITTER
    head, rest = "__device__ __forceinline__ REAL less_quarters(REAL x, REAL n)", "x"
    for part in table.quarter[:-2]:
        rest = f"sub({rest}, mul(n, {number(part)}))"
    digits = ", ".join(map(str, functions.QUARTER_DIGITS))
    lines = [
        f"typedef unsigned {'int' if bits == 32 else 'long long'} Bits;",
        f"constexpr int FRACTION_BITS = {fraction}, TO_SIGN = {bits - 2};",
        f"constexpr int DIGIT_BITS = {functions.DIGIT_BITS};",
        f"constexpr long long DIGIT_MASK = {functions.DIGIT_MASK};",
        *(f"constexpr REAL {name} = {number(value)};" for name, value in reals.items()),
        *(f"constexpr Bits {name} = {value}{word};" for name, value in words.items()),
        *(f"constexpr double {name} = {value.hex()};" for name, value in doubles.items()),
        f"__constant__ int QUARTER_DIGITS[] = {{{digits}}};",
        *(
            _polynomial(f"{name}_tail", bits, getattr(table, name))
            for name in ("exp", "log", "sine", "cosine")
        ),
        _polynomial("tanh_over", bits, table.tanh_over),
        _polynomial("tanh_under", bits, table.tanh_under),
        f"{head} {{ return {rest}; }}",
    ]
    return _read("functions.cuh").replace("TABLES", "\n".join(lines))


def _polynomial(name: str, bits: int, coefficients: Sequence[float]) -> str:
    """Horner's scheme as a function, in the order in which core evaluates it."""
    type_, number = {32: "float", 64: "double"}[bits], _number(bits)
    *rest, last = coefficients
    value = number(last)
    for coefficient in reversed(rest):
        value = f"add(mul({value}, x), {number(coefficient)})"
    return f"__device__ __forceinline__ {type_} {name}({type_} x) {{ return {value}; }}"


def _number(bits: int) -> Callable[[float], str]:
    """How a number of the table is written: exactly."""
    suffix = "f" if bits == 32 else ""
    return lambda value: float(value).hex() + suffix
