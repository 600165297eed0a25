"""The quadratic form ½ (x - μ)ᵀ P (x - μ) on a tile that lies coordinate by coordinate.

The parameters are μ, then P row by row. Products may be contracted into fma, in a fixed order of
additions: chains agree with those of other backends to rounding.
"""

from __future__ import annotations

from typing import Any

from numba import njit

_COLUMNS = 4  # of P held in registers while a loop runs over the lanes


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def gradient(
    x: Any, out: Any, scratch: Any, parameters: Any, dim: Any, stride: Any, n: Any
) -> None:
    """P (x - μ) into `out`, x - μ into `scratch`."""
    for j in range(dim):
        centred, row, mean = scratch[j * stride :], x[j * stride :], parameters[j]
        for lane in range(n):
            centred[lane] = row[lane] - mean
    whole = dim - dim % _COLUMNS
    for j in range(dim):
        sum_ = out[j * stride :]
        p = parameters[dim + j * dim :]
        for lane in range(n):
            sum_[lane] = 0.0
        for k in range(0, whole, _COLUMNS):
            p0, p1, p2, p3 = p[k], p[k + 1], p[k + 2], p[k + 3]
            c0, c1 = scratch[k * stride :], scratch[(k + 1) * stride :]
            c2, c3 = scratch[(k + 2) * stride :], scratch[(k + 3) * stride :]
            for lane in range(n):
                sum_[lane] = (
                    ((sum_[lane] + p0 * c0[lane]) + p1 * c1[lane]) + p2 * c2[lane]
                ) + p3 * c3[lane]
        for k in range(whole, dim):
            p0, c0 = p[k], scratch[k * stride :]
            for lane in range(n):
                sum_[lane] += p0 * c0[lane]


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def terms(x: Any, out: Any, scratch: Any, parameters: Any, dim: Any, stride: Any, n: Any) -> None:
    """U of each chain into the first row of `out`."""
    gradient(x, out, scratch, parameters, dim, stride, n)
    for lane in range(n):
        out[lane] *= scratch[lane]
    for j in range(1, dim):
        centred, row = scratch[j * stride :], out[j * stride :]
        for lane in range(n):
            out[lane] += centred[lane] * row[lane]
    for lane in range(n):
        out[lane] *= 0.5  # exact, and of the type of `out`
