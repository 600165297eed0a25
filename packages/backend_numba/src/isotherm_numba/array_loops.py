"""What programs on arrays do besides elementwise loops: sums, lists of places and factors.

Values lie coordinate by coordinate: row j holds element j of every chain, so that a lane is a
chain. Rows are `stride` apart, of which the first `n` lanes are in use. Indices come as numbers
among the parameters. They are unsigned, so that no negative one has to be looked after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import uint64 as u64

from isotherm_numba.codegen_cache import shared
from isotherm_numba.kernel_calls import arrays_apart

#: A count stands among the parameters as two numbers, count // COUNTED and count % COUNTED.
COUNTED = 2**20
_COUNTED = np.uint64(COUNTED)


@shared
def count(parameters: Any, at: Any) -> Any:
    """A number that data decide."""
    return u64(parameters[at]) * _COUNTED + u64(parameters[at + 1])


@shared
def rows_of(space: Any, first: Any, size: Any, stride: Any) -> Any:
    """Some rows of an array of rows."""
    return space[np.int64(first * stride) : np.int64((first + size) * stride)]


@shared
def fold(source: Any, out: Any, rest: Any, rows: Any, count: Any, stride: Any, n: Any) -> None:
    """Row i of `out` is the total of the rows i·count, ..., i·count + count - 1 of `source`.

    In the order of core's ``total``. `rest` has room for half of the `count` rows.
    """
    arrays_apart()
    half = u64(1)
    while half * u64(2) < count:
        half *= u64(2)
    for row in range(u64(rows)):
        first = row * count
        for i in range(half):
            here, there, after = i * stride, (first + i) * stride, (first + i + half) * stride
            if i + half < count:
                for lane in range(n):
                    rest[here + lane] = source[there + lane] + source[after + lane]
            else:
                for lane in range(n):
                    rest[here + lane] = source[there + lane]
        width = half
        while width > u64(1):
            width //= u64(2)
            for i in range(width):
                here, after = i * stride, (i + width) * stride
                for lane in range(n):
                    rest[here + lane] += rest[after + lane]
        for lane in range(n):
            out[row * stride + lane] = rest[lane]


@shared
def scatter(
    source: Any, out: Any, parameters: Any, starts: Any, places: Any, size: Any, stride: Any, n: Any
) -> None:
    """Row i of `out` is the sum, in order, of the rows of `source` on its list; 0 of an empty one.

    The lists stand one after another among the parameters from `places` on, and where each begins
    from `starts` on.
    """
    arrays_apart()
    for i in range(u64(size)):
        here = i * stride
        first, last = u64(parameters[starts + i]), u64(parameters[starts + i + u64(1)])
        if first == last:
            for lane in range(n):
                out[here + lane] = parameters[0] - parameters[0]
            continue
        there = u64(parameters[places + first]) * stride
        for lane in range(n):
            out[here + lane] = source[there + lane]
        k = first + u64(1)
        while k + u64(3) < last:  # four at a time: the row is read and written less often
            a = u64(parameters[places + k]) * stride
            b = u64(parameters[places + k + u64(1)]) * stride
            c = u64(parameters[places + k + u64(2)]) * stride
            d = u64(parameters[places + k + u64(3)]) * stride
            for lane in range(n):
                total = (out[here + lane] + source[a + lane]) + source[b + lane]
                out[here + lane] = (total + source[c + lane]) + source[d + lane]
            k += u64(4)
        while k < last:
            a = u64(parameters[places + k]) * stride
            for lane in range(n):
                out[here + lane] += source[a + lane]
            k += u64(1)


@shared
def take_products(
    row: Any, a: Any, b: Any, at_a: Any, step_a: Any, at_b: Any, step_b: Any, count: Any, n: Any
) -> None:
    """Take products of rows from a row, one after another; rows of `a` are `step_a` apart.

    A step that goes down is one that wraps around.
    """
    arrays_apart()
    k = u64(0)
    while k + u64(3) < count:  # four at a time: the row is read and written less often
        a0, b0 = at_a + k * step_a, at_b + k * step_b
        a1, a2, a3 = a0 + step_a, a0 + u64(2) * step_a, a0 + u64(3) * step_a
        b1, b2, b3 = b0 + step_b, b0 + u64(2) * step_b, b0 + u64(3) * step_b
        for lane in range(n):
            rest = row[lane] - a[a0 + lane] * b[b0 + lane]
            rest = (rest - a[a1 + lane] * b[b1 + lane]) - a[a2 + lane] * b[b2 + lane]
            row[lane] = rest - a[a3 + lane] * b[b3 + lane]
        k += u64(4)
    while k < count:
        a0, b0 = at_a + k * step_a, at_b + k * step_b
        for lane in range(n):
            row[lane] -= a[a0 + lane] * b[b0 + lane]
        k += u64(1)


@shared
def divide(row: Any, other: Any, at: Any, n: Any) -> None:
    """Divide a row by another."""
    arrays_apart()
    for lane in range(n):
        row[lane] /= other[at + lane]


@shared
def cholesky(source: Any, out: Any, size: Any, stride: Any, n: Any) -> None:
    """The lower factor of a matrix of `size` rows, in the order of core's ``cholesky``."""
    for i in range(u64(size)):
        for j in range(u64(size)):
            row = rows_of(out, i * size + j, u64(1), stride)
            at_i, at_j = i * size * stride, j * size * stride
            if j > i:
                row[: np.int64(n)] = 0.0
                continue
            for lane in range(n):
                row[lane] = source[at_i + j * stride + lane]
            take_products(row, out, out, at_i, stride, at_j, stride, j, n)
            if i == j:
                for lane in range(n):
                    row[lane] = np.sqrt(row[lane])
            else:
                divide(row, out, at_j + j * stride, n)


@shared
def cholesky_back(lower: Any, slope: Any, out: Any, size: Any, stride: Any, n: Any) -> None:
    """The derivative by a matrix, from that by its factor, in the order of core's.

    Until the end the diagonal holds twice the derivative.
    """
    one, down = u64(1), size * stride
    for i in range(u64(size)):
        for j in range(u64(size)):
            row = rows_of(out, i * size + j, one, stride)
            for lane in range(n):
                row[lane] = slope[(i * size + j) * stride + lane] if j <= i else 0.0
    for left in range(u64(size)):
        j = size - one - left
        pivot, below = j * (down + stride), j * (down + stride) + down
        for i in range(j + one, u64(size)):
            row = rows_of(out, i * size + j, one, stride)
            along, across = i * down + (j + one) * stride, i * (down + stride) + down
            after = below + (i - j) * down
            take_products(row, out, lower, along, stride, below, down, i - j, n)
            take_products(row, out, lower, across, down, after, down, size - one - i, n)
            divide(row, lower, pivot, n)
        row = rows_of(out, j * size + j, one, stride)
        take_products(row, out, lower, below, down, below, down, left, n)
        divide(row, lower, pivot, n)
    for i in range(u64(size)):
        row = rows_of(out, i * size + i, one, stride)
        for lane in range(n):
            row[lane] *= 0.5


@shared
def solve(
    lower: Any, source: Any, out: Any, size: Any, width: Any, is_transposed: Any, stride: Any,
    n: Any,
) -> None:  # fmt: skip
    """The X of L X = `source`, of `width` columns, or of Lᵀ X, in the order of core's ``solve``."""
    down, step = size * stride, width * stride
    first, along, down_x = u64(0), stride, step
    if is_transposed:
        first, along, down_x = size - u64(1), u64(0) - down, u64(0) - step
    for k in range(u64(size)):
        i = first - k if is_transposed else k
        at = first * down + i * stride if is_transposed else i * down
        for w in range(u64(width)):
            row = rows_of(out, i * width + w, u64(1), stride)
            for lane in range(n):
                row[lane] = source[i * step + w * stride + lane]
            take_products(row, lower, out, at, along, first * step + w * stride, down_x, k, n)
            divide(row, lower, i * (down + stride), n)
