"""Derive the polynomial coefficients of the noise stream (``isotherm.backend.noise``).

Run ``python tools/fit_noise_polynomials.py`` to print the tables as they stand in the module.
Changing them changes the bits of every normal, hence the stream's version.

Method: linear minimax fits by the Remez exchange, in 50 digits. The coefficients must be numbers of
the working precision, so they are rounded one at a time, lowest power first, and those that remain
are fitted again around the ones already fixed (N. Brisebarre and S. Chevillard, "Efficient
polynomial L-infinity approximations", ARITH 2007, discusses why rounding all at once is worse).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 50
GRID_SIZE = 400  # points on which a fit's error is searched for its extrema
Function = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Fit:
    """Approximate ``target`` on [lower, upper] by ``sum_k coefficients[k] * x**k``.

    ``weight`` multiplies the error before it is minimised. The first coefficients can be ``fixed``.
    """

    name: str
    target: Function
    weight: Function
    lower: mpf
    upper: mpf
    degree: int
    fixed: tuple[float, ...] = ()


def chebyshev_points(lower: mpf, upper: mpf, count: int) -> list[mpf]:
    """Return the extrema of a Chebyshev polynomial on [lower, upper], ascending."""
    middle, radius = (lower + upper) / 2, (upper - lower) / 2
    return [middle - radius * mpmath.cos(mp.pi * k / (count - 1)) for k in range(count)]


def remez(target: Function, weight: Function, points: Sequence[mpf], size: int) -> list[mpf]:
    """Return the ``size`` coefficients whose weighted error on ``points`` is least."""
    targets, weights = [target(x) for x in points], [weight(x) for x in points]
    nearest = chebyshev_points(points[0], points[-1], size + 1)
    reference = [bisect_left(points, x, hi=len(points) - 1) for x in nearest]
    while True:
        matrix = mpmath.matrix(
            [
                [points[j] ** p for p in range(size)] + [(-1) ** i / weights[j]]
                for i, j in enumerate(reference)
            ]
        )
        *coefficients, level = mpmath.lu_solve(matrix, [targets[j] for j in reference])
        errors = [
            w * (y - mpmath.polyval(coefficients[::-1], x))
            for x, y, w in zip(points, targets, weights, strict=True)
        ]
        worst = max(range(len(points)), key=lambda j: abs(errors[j]))
        if abs(errors[worst]) <= abs(level) * mpf("1.0001"):
            return coefficients
        # The worst point takes the place of the neighbour whose error has its sign, so that the
        # signs still alternate; beyond either end it may push out the other end instead.
        k = bisect_left(reference, worst)
        if k <= size and errors[reference[k]] * errors[worst] > 0:
            reference[k] = worst
        elif k > 0 and errors[reference[k - 1]] * errors[worst] > 0:
            reference[k - 1] = worst
        elif k == 0:
            reference = [worst, *reference[:-1]]
        else:
            reference = [*reference[1:], worst]


def fit(problem: Fit, dtype: type[np.floating]) -> tuple[float, ...]:
    """Return ``degree + 1`` coefficients, each a number of ``dtype``, lowest power first."""
    # Once the constant is fixed, no other coefficient matters at x = 0.
    points = [x for x in chebyshev_points(problem.lower, problem.upper, GRID_SIZE) if x]
    coefficients = list(problem.fixed)
    while (n_fixed := len(coefficients)) <= problem.degree:
        best = remez(
            lambda x: (problem.target(x) - mpmath.polyval(coefficients[::-1], x)) / x**n_fixed,
            lambda x: problem.weight(x) * abs(x) ** n_fixed,
            points,
            problem.degree + 1 - n_fixed,
        )
        coefficients.append(float(dtype(float(best[0]))))
    return tuple(coefficients)


def error(problem: Fit, coefficients: Sequence[float]) -> float:
    """Return the largest weighted error of exact evaluation with these coefficients."""
    points = chebyshev_points(problem.lower, problem.upper, 4 * GRID_SIZE)
    return float(
        max(
            abs(problem.weight(x) * (problem.target(x) - mpmath.polyval(coefficients[::-1], x)))
            for x in points
        )
    )


def log_quotient(t: mpf) -> mpf:
    """-2 ln(1 + t) / t, whose value at 0 is its limit."""
    return -2 * mpmath.log1p(t) / t if t else mpf(-2)


def atanh_quotient(z: mpf) -> mpf:
    """-2 ln(m) / s with m = (1 + s) / (1 - s) and z = s**2."""
    s = mpmath.sqrt(z)
    return -4 * mpmath.atanh(s) / s if z else mpf(-4)


def sine_quotient(z: mpf) -> mpf:
    """sin(a) / a with z = a**2."""
    return mpmath.sincpi(mpmath.sqrt(z) / mp.pi)


def cosine_of_root(z: mpf) -> mpf:
    """cos(a) with z = a**2."""
    return mpmath.cos(mpmath.sqrt(z))


ROOT_HALF = mpmath.sqrt(mpf(1) / 2)
T_RANGE = (ROOT_HALF - 1, 1 / ROOT_HALF - 1)
LARGEST_ANGLE_SQUARED = (mp.pi / 4) ** 2


def one(_: mpf) -> mpf:
    """The weight of an absolute error."""
    return mpf(1)


# The relative error matters for the logarithm, which goes to 0 where u goes to 1, and the absolute
# one for sine and cosine; that of the sine is the error of its quotient times the angle.
FLOAT32 = (
    Fit("log", log_quotient, lambda t: 1 / log_quotient(t), *T_RANGE, 7, (-2.0,)),
    Fit("sine", sine_quotient, mpmath.sqrt, mpf(0), LARGEST_ANGLE_SQUARED, 3, (1.0,)),
    Fit("cosine", cosine_of_root, one, mpf(0), LARGEST_ANGLE_SQUARED, 3, (1.0,)),
)
LARGEST_S = (1 - ROOT_HALF) / (1 + ROOT_HALF)
FLOAT64 = (
    Fit("log", atanh_quotient, one, mpf(0), LARGEST_S**2, 7, (-4.0,)),
    Fit("sine", sine_quotient, mpmath.sqrt, mpf(0), LARGEST_ANGLE_SQUARED, 6, (1.0,)),
    Fit("cosine", cosine_of_root, one, mpf(0), LARGEST_ANGLE_SQUARED, 7, (1.0, -0.5)),
)


def derive(dtype: type[np.floating]) -> dict[str, tuple[float, ...]]:
    """Return the coefficient tables of one precision, by name."""
    problems = FLOAT32 if dtype is np.float32 else FLOAT64
    return {problem.name: fit(problem, dtype) for problem in problems}


def main() -> None:
    """Print the tables and their errors."""
    for dtype, problems in ((np.float32, FLOAT32), (np.float64, FLOAT64)):
        tables = derive(dtype)
        for problem in problems:
            coefficients = tables[problem.name]
            print(f"{dtype.__name__} {problem.name}: error {error(problem, coefficients):.2e}")
            for coefficient in coefficients:
                print(f"    {coefficient!r},")


if __name__ == "__main__":
    main()
