"""Derive the numbers of ``isotherm._arithmetic.functions``: coefficients, and 2/π for large angles.

Run ``python tools/fit_function_polynomials.py`` to print them as they stand in the module.

Method: interpolation at Chebyshev's points in 50 digits, by a polynomial or by a ratio of two whose
second begins with 1, then rounding to the working precision.
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


def tanh_tail(z: mpf) -> mpf:
    """(x - tanh(x)) / x³ with z = x²."""
    x = mpmath.sqrt(z)
    return (1 - mpmath.tanh(x) / x) / z


HALF_LN2 = mpmath.log(2) / 2
LARGEST_S = mpmath.tanh(mpmath.log(2) / 4)  # of m = sqrt(2)
LARGEST_ANGLE = mp.pi / 4
TANH_TURN = mpf("0.5625")
# The function, the interval, and what the polynomial is multiplied by, relative to the whole.
Fit = tuple[Callable[[mpf], mpf], mpf, mpf, Callable[[mpf], mpf]]
FITS: dict[str, Fit] = {
    "exp": (exp_tail, -HALF_LN2, HALF_LN2, lambda r: r**2 / mpmath.expm1(r)),
    "log": (log_tail, mpf(0), LARGEST_S**2, lambda z: z / 2),
    "sine": (sine_tail, mpf(0), LARGEST_ANGLE**2, lambda z: z),
    "cosine": (cosine_tail, mpf(0), LARGEST_ANGLE**2, lambda z: z**2),
    "tanh": (tanh_tail, mpf(0), TANH_TURN**2, lambda z: z),
}
# Of the polynomial, or of both.
DEGREES = {
    np.float32: {"exp": (4, 0), "log": (2, 0), "sine": (2, 0), "cosine": (2, 0), "tanh": (1, 1)},
    np.float64: {"exp": (9, 0), "log": (6, 0), "sine": (5, 0), "cosine": (5, 0), "tanh": (2, 3)},
}
TWO_OVER_PI_BITS = 1160


def points(lower: mpf, upper: mpf, count: int) -> list[mpf]:
    """The zeros of a Chebyshev polynomial on [lower, upper]."""
    middle, radius = (lower + upper) / 2, (upper - lower) / 2
    return [middle + radius * mpmath.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]


def derive(dtype: type[np.floating]) -> dict[str, tuple[float, ...]]:
    """The coefficient tables of one precision, lowest power first, by name."""
    tables = {}
    for name, (target, lower, upper, _) in FITS.items():
        over, under = DEGREES[dtype][name]
        xs = points(lower, upper, over + under + 1)
        matrix = mpmath.matrix(
            [
                [x**p for p in range(over + 1)] + [-target(x) * x**p for p in range(1, under + 1)]
                for x in xs
            ]
        )
        solution = mpmath.lu_solve(matrix, [target(x) for x in xs])
        rounded = tuple(float(dtype(float(c))) for c in solution)
        if under:
            tables[f"{name}_over"] = rounded[: over + 1]
            tables[f"{name}_under"] = (1.0, *rounded[over + 1 :])
        else:
            tables[name] = rounded
    return tables


def error(name: str, tables: dict[str, tuple[float, ...]]) -> float:
    """The largest relative error of exact evaluation with these coefficients."""
    target, lower, upper, weight = FITS[name]
    over, under = tables.get(name) or tables[f"{name}_over"], tables.get(f"{name}_under", (1.0,))

    def fitted(x: mpf) -> mpf:
        return mpmath.polyval(over[::-1], x) / mpmath.polyval(under[::-1], x)

    return float(max(abs(weight(x) * (target(x) - fitted(x))) for x in points(lower, upper, 500)))


def two_over_pi() -> int:
    """floor(2/π 2**TWO_OVER_PI_BITS)."""
    with mpmath.workprec(TWO_OVER_PI_BITS + 100):
        return int(mpmath.floor(mpmath.ldexp(2 / mp.pi, TWO_OVER_PI_BITS)))


def main() -> None:
    """Print the tables and their errors, in units of the precision's rounding."""
    for dtype in DEGREES:
        tables = derive(dtype)
        for name in FITS:
            share = error(name, tables) / (np.finfo(dtype).eps / 2)
            print(f"{dtype.__name__} {name}: {share:.3f} of a rounding error")
        for name, coefficients in tables.items():
            print(f"    {name}={coefficients},")
    print(f"2/pi: {two_over_pi():x}")


if __name__ == "__main__":
    main()
