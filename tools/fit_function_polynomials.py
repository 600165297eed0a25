"""Derive the polynomial coefficients of ``isotherm_numba.functions``.

Run ``python tools/fit_function_polynomials.py`` to print the tables as they stand in the module.

Method: interpolation at Chebyshev's points in 50 digits, then rounding to the working precision.
Its error is near the least that a polynomial of this degree has (L. N. Trefethen, "Approximation
Theory and Approximation Practice", chapter 16); degrees are such that it is well below rounding's.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 50


def exp_tail(r: mpf) -> mpf:
    """(exp(r) - 1 - r) / r²."""
    return mpmath.hyp1f1(1, 3, r) / 2


def log_tail(z: mpf) -> mpf:
    """(ln(m) - 2 s) / s³ with m = (1 + s) / (1 - s) and z = s²."""
    s = mpmath.sqrt(z)
    return (2 * mpmath.atanh(s) - 2 * s) / s**3


def sine_tail(z: mpf) -> mpf:
    """(sin(a) - a) / a³ with z = a²."""
    a = mpmath.sqrt(z)
    return (mpmath.sin(a) - a) / a**3


def cosine_tail(z: mpf) -> mpf:
    """(cos(a) - 1 + z / 2) / z² with z = a²."""
    return (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2


HALF_LN2 = mpmath.log(2) / 2
LARGEST_S = mpmath.tanh(mpmath.log(2) / 4)  # of m = sqrt(2)
LARGEST_ANGLE = mp.pi / 4
# The function, the interval, and what the polynomial is multiplied by, relative to the whole.
Fit = tuple[Callable[[mpf], mpf], mpf, mpf, Callable[[mpf], mpf]]
FITS: dict[str, Fit] = {
    "exp": (exp_tail, -HALF_LN2, HALF_LN2, lambda r: r**2 / mpmath.expm1(r)),
    "log": (log_tail, mpf(0), LARGEST_S**2, lambda z: z / 2),
    "sine": (sine_tail, mpf(0), LARGEST_ANGLE**2, lambda z: z),
    "cosine": (cosine_tail, mpf(0), LARGEST_ANGLE**2, lambda z: z**2),
}
DEGREES = {
    np.float32: {"exp": 4, "log": 2, "sine": 2, "cosine": 2},
    np.float64: {"exp": 9, "log": 6, "sine": 5, "cosine": 5},
}


def points(lower: mpf, upper: mpf, count: int) -> list[mpf]:
    """The zeros of a Chebyshev polynomial on [lower, upper]."""
    middle, radius = (lower + upper) / 2, (upper - lower) / 2
    return [middle + radius * mpmath.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]


def derive(dtype: type[np.floating]) -> dict[str, tuple[float, ...]]:
    """The coefficient tables of one precision, lowest power first, by name."""
    tables = {}
    for name, (target, lower, upper, _) in FITS.items():
        xs = points(lower, upper, DEGREES[dtype][name] + 1)
        matrix = mpmath.matrix([[x**p for p in range(len(xs))] for x in xs])
        solution = mpmath.lu_solve(matrix, [target(x) for x in xs])
        tables[name] = tuple(float(dtype(float(c))) for c in solution)
    return tables


def error(name: str, coefficients: tuple[float, ...]) -> float:
    """The largest relative error of exact evaluation with these coefficients."""
    target, lower, upper, weight = FITS[name]
    return float(
        max(
            abs(weight(x) * (target(x) - mpmath.polyval(coefficients[::-1], x)))
            for x in points(lower, upper, 500)
        )
    )


def main() -> None:
    """Print the tables and their errors, in units of the precision's rounding."""
    for dtype in DEGREES:
        for name, coefficients in derive(dtype).items():
            share = error(name, coefficients) / (np.finfo(dtype).eps / 2)
            print(f"{dtype.__name__} {name}: {share:.3f} of a rounding error")
            for coefficient in coefficients:
                print(f"    {coefficient!r},")


if __name__ == "__main__":
    main()
