"""The quadratic form ½ (x - μ)ᵀ P (x - μ) on a tile that lies coordinate by coordinate.

The parameters are μ, then P row by row. Inlined into functions that give `dim` and `stride` as
numbers, by which the compiler sees that rows do not overlap; so does it by unsigned indices. A
product and the sum that follows may be contracted into an fma; the order of the sums is fixed.
Chains agree with those of other backends to rounding.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba import uint64 as u64


@njit(inline="always")
def _element(parameters: Any, dim: Any, row: Any, column: Any) -> Any:
    """P's element, 0 beyond the last column."""
    zero = parameters[0] - parameters[0]
    return parameters[dim + row * dim + column] if column < dim else zero


@njit(inline="always")
def gradient(
    x: Any, out: Any, scratch: Any, parameters: Any, dim: Any, stride: Any, n: Any
) -> None:
    """P (x - μ) into `out`, x - μ into `scratch`; four columns of P at a time."""
    for j in range(dim):
        row, mean = u64(j * stride), parameters[j]
        for i in range(n):
            lane = u64(i)
            scratch[row + lane] = x[row + lane] - mean
    for j in range(dim):
        row = u64(j * stride)
        for k in range(0, dim, 4):
            p0, p1 = _element(parameters, dim, j, k), _element(parameters, dim, j, k + 1)
            p2, p3 = _element(parameters, dim, j, k + 2), _element(parameters, dim, j, k + 3)
            # Beyond the last column any row will do, as its factor is 0.
            c0 = u64(k * stride)
            c1 = u64(min(k + 1, dim - 1) * stride)
            c2 = u64(min(k + 2, dim - 1) * stride)
            c3 = u64(min(k + 3, dim - 1) * stride)
            for i in range(n):
                lane = u64(i)
                total = out[row + lane] if k else p0 - p0
                total = (total + p0 * scratch[c0 + lane]) + p1 * scratch[c1 + lane]
                out[row + lane] = (total + p2 * scratch[c2 + lane]) + p3 * scratch[c3 + lane]


@njit(inline="always")
def energies(out: Any, scratch: Any, dim: Any, stride: Any, n: Any) -> None:
    """U of each chain into the first row of `out`, after `gradient`."""
    for i in range(n):
        lane = u64(i)
        out[lane] *= scratch[lane]
    for j in range(1, dim):
        row = u64(j * stride)
        for i in range(n):
            lane = u64(i)
            out[lane] += scratch[row + lane] * out[row + lane]
    for i in range(n):
        out[u64(i)] /= 2  # of the type of `out`
