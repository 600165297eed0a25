"""Arguments for the functions of formulas: ordinary ones, and where a function is delicate."""

from functools import cache

import mpmath
import numpy as np

from isotherm._arithmetic.functions import FLOAT32, FLOAT64

NAMES = ("exp", "log", "sin", "cos", "tanh")
PRECISIONS = {"float32": FLOAT32, "float64": FLOAT64}


@cache
def hard_angles(dtype):
    """Of every exponent, the numbers whose distance from a multiple of π/2 is among the least.

    That m 2**e is near k π/2 makes k/m a good approximation of 2**e 2/π: a convergent of its
    continued fraction, whose numerator and denominator are multiplied by what keeps m in range
    (J.-M. Muller, "Elementary Functions", section 11.3).
    """
    digits = np.finfo(dtype).nmant + 1
    found = []
    with mpmath.workprec(2400):
        for exponent in range(-digits, np.finfo(dtype).maxexp - digits + 1):
            rest = mpmath.ldexp(2 / mpmath.pi, exponent)
            before, denominator = 1, 0  # of the two last convergents
            while denominator < 2**digits:
                whole = int(mpmath.floor(rest))
                before, denominator = denominator, whole * denominator + before
                rest = 1 / (rest - whole)
            if before:
                m = before * (2**digits // before)
                found.append(float(mpmath.ldexp(m, exponent)))
    angles = np.array(found, dtype)
    return np.concatenate([angles, -angles])


def specials(dtype):
    """Zeros, infinities, NaN, and the ends of the ranges in which numbers are of one kind."""
    info, precision = np.finfo(dtype), PRECISIONS[dtype]
    sizes = [0.0, info.smallest_subnormal, info.smallest_normal, 1.0, info.max, np.inf]
    sizes += [precision.farthest, precision.tanh_turn, precision.tanh_range]
    sizes += [-precision.exp_range[0], precision.exp_range[1]]
    sizes = np.array(sizes, dtype)
    zero, infinity = np.array([0.0, np.inf], dtype)
    with np.errstate(all="ignore"):
        sizes = [np.nextafter(sizes, zero), sizes, np.nextafter(sizes, infinity)]
    return np.concatenate([*sizes, *(-size for size in sizes), np.array([np.nan], dtype)])


def arguments(dtype, name, count):
    """Finite arguments, about ten times `count`, of a kind that the function takes."""
    rng = np.random.default_rng(5)
    precision, info = PRECISIONS[dtype], np.finfo(dtype)
    width = np.dtype(dtype).itemsize
    every = rng.integers(2 ** (8 * width), size=count, dtype=np.uint64, endpoint=False)
    found = [rng.uniform(-3, 3, count), rng.uniform(-1e-3, 1e-3, count)]
    found += [every.astype(f"u{width}").view(dtype), specials(dtype)]
    # Of all exponents, those of subnormal numbers too.
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    with np.errstate(all="ignore"):
        found += [np.ldexp(rng.uniform(1, 2, (2, exponents.size)), exponents).ravel()]
    low, high = precision.exp_range
    if name == "exp":
        found += [rng.uniform(low, 0.8 * low, count), rng.uniform(0.8 * high, high, count)]
    if name == "log":
        found += [
            rng.uniform(0.7, 1.5, count),
            info.smallest_subnormal * rng.integers(1, 2**20, count),
        ]
    if name in ("sin", "cos"):
        farthest = precision.farthest
        found += [rng.uniform(-farthest, farthest, count), hard_angles(dtype)]
        # Next to the zeros, where an argument that is reduced too roughly shows.
        found += [np.arange(1, 2 * farthest / np.pi, farthest / count) // 1 * (np.pi / 2)]
    with np.errstate(all="ignore"):
        x = np.concatenate([np.asarray(values).astype(dtype) for values in found])
    x = x[np.isfinite(x)]
    return np.abs(x) if name == "log" else x


def equal_bits(got, expected):
    """Whether all numbers have the same bits; of NaN there are many."""
    bits = f"u{expected.dtype.itemsize}"
    same = (got.view(bits) == expected.view(bits)) | (np.isnan(got) & np.isnan(expected))
    return got.dtype == expected.dtype and got.shape == expected.shape and bool(same.all())
