"""Cholesky factors and triangular systems in one written order, on arrays of any library.

Every element is what is left of a number after products are taken from it one by one, in the order
of their common index, and then divided: L[i, j] = (A[i, j] - L[i, 0] L[j, 0] - ...) / L[j, j]. So a
loop over elements gives the same bits as these operations on columns. Elements may be symbols.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, device

from isotherm._arithmetic.arrays import Array
from isotherm._arithmetic.exact import exact_sqrt


def cholesky(matrix: Array) -> Array:
    """L with L Lᵀ = A and zeros above its diagonal; NaN where A is not positive definite.

    Golub and Van Loan, "Matrix Computations", section 4.2. Only the lower triangle of A is read.

    Parameters
    ----------
    matrix : array, shape (..., n, n)
    """
    xp, rest, columns = array_namespace(matrix), matrix, []
    for j in range(matrix.shape[-1]):
        pivot = exact_sqrt(rest[..., :1, 0])
        below = rest[..., 1:, 0] / pivot
        above = xp.zeros((*matrix.shape[:-2], j), dtype=matrix.dtype, device=device(matrix))
        columns.append(xp.concat([above, pivot, below], axis=-1))
        rest = rest[..., 1:, 1:] - below[..., :, None] * below[..., None, :]
    return xp.stack(columns, axis=-1)


def cholesky_back(lower: Array, slope: Array) -> Array:
    """The derivative by the lower triangle of A, from that by L: `cholesky`, backwards.

    Murray, "Differentiation of the Cholesky decomposition", arXiv:1602.07527 (2016), section 3.

    Parameters
    ----------
    lower, slope : array, shape (..., n, n)
        L, and the derivative by it, of which only the lower triangle is read.
    """
    xp, n = array_namespace(lower), lower.shape[-1]
    lower, slope = xp.broadcast_arrays(lower, slope)
    # By the part of A that is done, as a symmetric matrix: its diagonal is twice the derivative.
    done = slope[..., n:, n:]
    for j in reversed(range(n)):
        pivot, below = lower[..., j : j + 1, j], lower[..., j + 1 :, j]
        by_pivot, by_below = slope[..., j : j + 1, j], slope[..., j + 1 :, j]
        for k in range(n - j - 1):
            by_below = by_below - done[..., k] * below[..., k : k + 1]
        by_below = by_below / pivot
        for k in range(n - j - 1):
            by_pivot = by_pivot - by_below[..., k : k + 1] * below[..., k : k + 1]
        column = xp.concat([by_pivot / pivot, by_below], axis=-1)[..., None]
        right = xp.concat([by_below[..., None, :], done], axis=-2)
        done = xp.concat([column, right], axis=-1)
    halves = xp.asarray(1.0 - 0.5 * np.eye(n), dtype=lower.dtype, device=device(lower))
    return xp.tril(done) * halves


def solve(lower: Array, right: Array, transposed: bool = False) -> Array:
    """X with L X = B, or Lᵀ X = B, by substitution.

    Parameters
    ----------
    lower : array, shape (..., n, n)
        Only the lower triangle is read.
    right : array, shape (..., n, m)
    """
    xp, rows, rest = array_namespace(right), [], right
    indices = range(lower.shape[-1])
    for i in reversed(indices) if transposed else indices:
        here, pivot = (slice(i), -1) if transposed else (slice(1, None), 0)
        factors = lower[..., i, :i] if transposed else lower[..., i + 1 :, i]
        rows.append(rest[..., pivot, :] / lower[..., i, i, None])
        rest = rest[..., here, :] - factors[..., :, None] * rows[-1][..., None, :]
    return xp.stack(rows[::-1] if transposed else rows, axis=-2)
