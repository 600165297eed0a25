"""What the pilots' states tell of the target's scales: the inverse mass, the slowest direction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isotherm._arithmetic import functions
from isotherm._arithmetic.factors import cholesky
from isotherm._arithmetic.sums import moments, total
from isotherm._planning.sampler_arguments import LARGEST_DENSE_MASS

Numbers = np.ndarray[Any, np.dtype[np.float64]]

_PRIOR_DRAWS = 5.0
_POWER_PASSES = 30
_MOST_NUMBERS = 2**18  # from which the slowest direction is made: more of them tell little


def variances(x: Numbers) -> Numbers:
    """The variance of each coordinate, in the written order; x has shape (n, dim).

    They are not shrunk: each is of many draws, and whatever it were shrunk to has a scale, which
    nobody knows.
    """
    return np.asarray(moments(x, 0).variance)


def covariance(x: Numbers, before: Numbers | None = None) -> Numbers:
    """The covariance, in the written order, its correlations shrunk to those of `before`, or to 0.

    They weigh n/(n + 5), as in Stan (Reference Manual, "Euclidean metric"), which shrinks to 0.001
    of the identity: this has no scale, and is positive definite. Shrunk to 0 in every window, two
    coordinates of a correlation of 1 - 1e-5 would keep a direction many times too wide.
    """
    made = _covariance(x)
    weight = len(x) / (len(x) + _PRIOR_DRAWS)
    widths = np.sqrt(np.diagonal(made))
    other = np.diag(np.diagonal(made))
    if before is not None:
        ratios = widths / np.sqrt(np.diagonal(before))
        other = before * (ratios[:, None] * ratios)
    return weight * made + (1.0 - weight) * other


def _covariance(x: Numbers) -> Numbers:
    centred = x - np.asarray(moments(x, 0).mean)
    made = np.stack([np.asarray(total(centred * column[:, None], 0)) for column in centred.T])
    return np.asarray((made / 2 + made.T / 2) / len(x))


def slowest(z: Numbers) -> float:
    """The standard deviation along the widest direction of z; shape (n_draws, n_pilot, dim).

    The direction is the covariance's largest eigenvector, by power iteration (Golub and Van Loan,
    "Matrix Computations", section 7.3.1) on the draws of every other pilot, in many dimensions
    without their matrix; the deviation is that of the other pilots along it. Along a direction of
    its own making a sample of n draws seems wider by (1 + √(dim/n)) (Marchenko and Pastur, 1967).
    """
    dim = z.shape[2]
    most = max(1, _MOST_NUMBERS // (dim * z.shape[1]))
    z = z[:: -(-len(z) // most)]
    halves = [np.ascontiguousarray(z[:, k::2]).reshape(-1, dim) for k in (0, 1)]
    return max(_along_widest(*halves), _along_widest(*halves[::-1]))


def _along_widest(seen: Numbers, other: Numbers) -> float:
    dim = seen.shape[1]
    # Not a vector that symmetry may make perpendicular to the one that is sought.
    v = 1.0 + np.arange(1, dim + 1) / (dim + 1.0)
    if dim <= LARGEST_DENSE_MASS:
        matrix = _covariance(seen)
        for _ in range(_POWER_PASSES):
            v = np.asarray(total(matrix * _unit(v), 1))
    else:
        seen = seen - np.asarray(moments(seen, 0).mean)
        for _ in range(_POWER_PASSES):
            v = np.asarray(total(np.asarray(total(seen * _unit(v), 1))[:, None] * seen, 0))
    return float(np.sqrt(moments(np.asarray(total(other * _unit(v), 1)), 0).variance))


def _unit(v: Numbers) -> Numbers:
    return np.asarray(v / np.sqrt(total(v * v)))


def log_volume(x: Numbers) -> Numbers:
    """ln of the product of each chain's standard deviations; x has shape (n_draws, n_chains, dim).

    Half the logarithm of the covariance's determinant is at most this (Hadamard's inequality).
    Minus infinity of a chain that stays in a coordinate.
    """
    with np.errstate(all="ignore"):
        return np.asarray(0.5 * total(functions.log(np.asarray(moments(x, 0).variance)), 1))


def half_log_determinant(x: Numbers) -> float:
    """Of the covariance of one chain's draws, shape (n_draws, dim); NaN where it has none."""
    with np.errstate(all="ignore"):
        pivots = np.diagonal(cholesky(_covariance(x)))
        return float(total(functions.log(pivots.copy())))


def correlated_r_hat(n_draws: int) -> float:
    """Split R-hat of chains of one law, halves of so many draws, of a correlation of 1/2 each.

    The mean of n such draws has the variance v = (1 + 2 Σ_k (1 - k/n)/2ᵏ)/n, and within them
    (1 - v) n/(n - 1) is seen; few draws so show disagreement where there is none.
    """
    n = n_draws
    v = (3.0 - 4.0 / n * (1.0 - 0.5**n)) / n
    return math.sqrt((n - 1) / n / (1.0 - v))


def split_r_hat(x: Numbers) -> Numbers:
    """Split R-hat of each coordinate; x has shape (n_draws, n_chains, dim).

    Gelman et al., "Bayesian Data Analysis", 3rd edition, 2013, equation 11.4. NaN where nothing
    moves.
    """
    half = len(x) // 2
    parts = np.concatenate([x[:half], x[half : 2 * half]], axis=1)
    within = parts.var(axis=0, ddof=1).mean(axis=0)
    between = parts.mean(axis=0).var(axis=0, ddof=1)
    return np.asarray(np.sqrt((half - 1) / half + between / within))
