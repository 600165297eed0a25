"""Cholesky factors and triangular systems of a tile, to the bit those of core."""

import numba
import numpy as np
import pytest

from isotherm._arithmetic import factors
from isotherm_numba import array_loops

LANES, STRIDE, WIDTH = 16, 48, 2


@numba.njit
def every(matrix, slope, right, factor, back, solved, other, size, width, stride, n):
    array_loops.cholesky(matrix, factor, size, stride, n)
    array_loops.cholesky_back(factor, slope, back, size, stride, n)
    array_loops.solve(factor, right, solved, size, width, False, stride, n)
    array_loops.solve(factor, right, other, size, width, True, stride, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_order_is_that_of_core(dtype):
    rng = np.random.default_rng(0)
    for size in (1, 2, 7):
        root = rng.normal(size=(STRIDE, size, size))
        matrix = (root @ root.swapaxes(1, 2) + np.eye(size)).astype(dtype)
        matrix[3] = -1.0  # has no factor
        slope = rng.normal(size=matrix.shape).astype(dtype)
        right = rng.normal(size=(STRIDE, size, WIDTH)).astype(dtype)
        with np.errstate(invalid="ignore"):
            lower = factors.cholesky(matrix)
            expected = (
                lower,
                factors.cholesky_back(lower, slope),
                factors.solve(lower, right),
                factors.solve(lower, right, True),
            )
        given = [one.reshape(STRIDE, -1).T.ravel() for one in (matrix, slope, right)]
        found = [np.full(one.size, np.inf, dtype) for one in expected]
        every(*given, *found, *(np.uint64(one) for one in (size, WIDTH, STRIDE, LANES)))
        for made, known in zip(found, expected, strict=True):
            lanes = made.reshape(-1, STRIDE).T
            np.testing.assert_array_equal(lanes[:LANES], known.reshape(STRIDE, -1)[:LANES])
            assert np.isinf(lanes[LANES:]).all()  # a tile's without a chain
