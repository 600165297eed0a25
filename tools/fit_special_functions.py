"""Derive the polynomials of ``isotherm._programs.functions``; print them as Python.

Each is the polynomial through the Chebyshev nodes of an interval, which is within a small factor of
the best (L. N. Trefethen, "Approximation Theory and Approximation Practice", theorem 16.1), found
in 60 digits and then rounded. The variable is centred where that keeps the coefficients small.
"""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np


def fit(f: Callable[[Any], Any], low: float, high: float, degree: int, centre: float = 0.0) -> Any:
    """The coefficients of a polynomial in ``x - centre``, lowest power first."""
    low, high = mpmath.mpf(low), mpmath.mpf(high)
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mpmath.cos(mpmath.pi * (k + 0.5) / (degree + 1))
        for k in range(degree + 1)
    ]
    matrix = mpmath.matrix(degree + 1)
    values = mpmath.matrix(degree + 1, 1)
    for row, node in enumerate(nodes):
        values[row] = f(node)
        for power in range(degree + 1):
            matrix[row, power] = (node - centre) ** power
    return list(mpmath.lu_solve(matrix, values))


def worst(f: Callable[[Any], Any], low: float, high: float, p: Any, centre: float = 0.0) -> float:
    """The largest relative error of the polynomial, coefficients rounded to float64."""
    rounded = [mpmath.mpf(float(c)) for c in p]
    points = [mpmath.mpf(low) + (mpmath.mpf(high) - low) * k / 997 for k in range(998)]
    return float(max(abs(mpmath.polyval(rounded[::-1], x - centre) / f(x) - 1) for x in points))


def erf_inner(z: Any) -> Any:
    """erf(x) / x, of z = x²."""
    x = mpmath.sqrt(z)
    return mpmath.erf(x) / x if x else 2 / mpmath.sqrt(mpmath.pi)


def erf_outer(t: Any) -> Any:
    """erfc(x) exp(x²), of t = (x - 2.5) / (x + 2.5)."""
    x = 2.5 * (1 + t) / (1 - t)
    return mpmath.erfc(x) * mpmath.exp(x * x)


def arctan_tail(z: Any) -> Any:
    """(arctan(x) / x - 1) / z, of z = x²."""
    x = mpmath.sqrt(z)
    return (mpmath.atan(x) / x - 1) / z if z else mpmath.mpf(-1) / 3


def gamma_low(x: Any) -> Any:
    """ln Γ(x) / ((x - 1) (x - 2))."""
    return mpmath.loggamma(x) / ((x - 1) * (x - 2))


def gamma_high(x: Any) -> Any:
    """ln Γ(x) / (x - 2)."""
    return mpmath.loggamma(x) / (x - 2)


def digamma_middle(x: Any) -> Any:
    """ψ(x) / (x - root)."""
    root = mpmath.findroot(mpmath.digamma, 1.4616)
    return mpmath.digamma(x) / (x - root)


FITS: dict[str, tuple[Callable[[Any], Any], float, float, int, float]] = {
    "_ERF_INNER": (erf_inner, 1e-30, 1.0, 12, 0.0),
    "_ERF_OUTER": (erf_outer, -1.5 / 3.5, 3.5 / 8.5, 14, 0.0),
    "_ARCTAN": (arctan_tail, 1e-30, 0.1716, 10, 0.0),
    "_GAMMA_LOW": (gamma_low, 0.7, 2.0, 27, 1.35),
    "_GAMMA_HIGH": (gamma_high, 2.0, 3.0, 16, 2.5),
    "_DIGAMMA": (digamma_middle, 1.0, 3.5, 33, 2.25),
}


def main() -> None:
    """Print the tables."""
    mpmath.mp.dps = 60
    for name, (f, low, high, degree, centre) in FITS.items():
        coefficients = fit(f, low, high, degree, centre)
        error = worst(f, low + 1e-9, high - 1e-9, coefficients, centre)
        print(f"#: On [{low:.4g}, {high:.4g}], relative error {error:.1e}.")
        print(f"{name} = (")
        for c in coefficients:
            print(f"    {float(c)!r},")
        print(")")
    rest, parts = mpmath.findroot(mpmath.digamma, 1.4616), []
    for _ in range(3):  # exact in either precision
        parts.append(float(np.float32(rest)))
        rest -= mpmath.mpf(parts[-1])
    print("_ROOT =", tuple(parts))


if __name__ == "__main__":
    main()
