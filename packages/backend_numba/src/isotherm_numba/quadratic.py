"""The quadratic form ½ (x - μ)ᵀ P (x - μ) on a tile that lies coordinate by coordinate, or not.

The parameters are μ, then P row by row. Inlined into functions that give `dim` and `stride` as
numbers, by which the compiler sees that rows do not overlap; so does it by unsigned indices. Sums
are in the order of P's columns, and nothing is contracted into an fma.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba import uint64 as u64


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
    first = dim % 4 or 4
    for j in range(dim):
        row, p = u64(j * stride), dim + j * dim
        for i in range(n):
            lane = u64(i)
            total = parameters[p] * scratch[lane]
            for k in range(1, first):
                total += parameters[p + k] * scratch[u64(k * stride) + lane]
            out[row + lane] = total
        for k in range(first, dim, 4):
            p0, p1 = parameters[p + k], parameters[p + k + 1]
            p2, p3 = parameters[p + k + 2], parameters[p + k + 3]
            c0, c1 = u64(k * stride), u64((k + 1) * stride)
            c2, c3 = u64((k + 2) * stride), u64((k + 3) * stride)
            for i in range(n):
                lane = u64(i)
                total = (out[row + lane] + p0 * scratch[c0 + lane]) + p1 * scratch[c1 + lane]
                out[row + lane] = (total + p2 * scratch[c2 + lane]) + p3 * scratch[c3 + lane]


@njit(inline="always")
def gradient_by_chain(x: Any, out: Any, scratch: Any, parameters: Any, dim: Any, n: Any) -> None:
    """The same of a tile that lies chain by chain; P is symmetric, and a column is a row."""
    for start in range(0, n, dim):
        chain = u64(start)
        for j in range(dim):
            lane = u64(j)
            scratch[chain + lane] = x[chain + lane] - parameters[lane]
            out[chain + lane] = parameters[u64(dim) + lane] * scratch[chain]
        for k in range(1, dim):
            p, distance = u64(dim + k * dim), scratch[chain + u64(k)]
            for j in range(dim):
                lane = u64(j)
                out[chain + lane] = out[chain + lane] + parameters[p + lane] * distance


@njit(inline="always")
def terms(out: Any, scratch: Any, dim: Any, stride: Any, n: Any) -> None:
    """U's terms, one a coordinate, into `out`, after `gradient`."""
    for j in range(dim):
        row = u64(j * stride)
        for i in range(n):
            lane = u64(i)
            out[row + lane] = scratch[row + lane] * out[row + lane] / 2  # of the type of `out`
