"""Products of a matrix with the rows of a tile, to the bit."""

import numba
import numpy as np
import pytest

from isotherm_numba import products
from isotherm_numba.products import in_blocks

STRIDE = 48


@numba.njit
def multiply(source, out, numbers, matrix, rows, columns, width, stride, n):
    products.multiply(source, out, numbers, matrix, rows, columns, width, stride, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [16, 48])
@pytest.mark.parametrize(
    ("rows", "columns", "width"), [(1, 1, 1), (8, 5, 3), (19, 0, 1), (31, 70, 2)]
)
def test_sums_are_in_the_order_of_the_columns(rows, columns, width, n, dtype):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, columns)).astype(dtype)
    source = rng.normal(size=(columns, width, STRIDE)).astype(dtype)
    expected = np.zeros((rows, width, STRIDE), dtype)
    for j in range(columns):
        expected += matrix[:, j, None, None] * source[j]
    out = np.full_like(expected, np.nan)
    numbers = np.concatenate([np.zeros(3, dtype), in_blocks(matrix).ravel()])
    counts = (np.uint64(count) for count in (3, rows, columns, width, STRIDE, n))
    multiply(source.ravel(), out.reshape(-1), numbers, *counts)
    assert np.array_equal(out[..., :n], expected[..., :n])
    assert np.isnan(out[..., n:]).all()  # another row's, or a tile's without a chain
