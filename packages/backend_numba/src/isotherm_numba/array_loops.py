"""What programs on arrays do besides elementwise loops: sums, lists of places and factors.

Values lie coordinate by coordinate: row j holds element j of every chain, so that a lane is a
chain. Rows are `stride` apart, of which the first `n` lanes are in use. Indices come as numbers
among the parameters. They are unsigned, so that no negative one has to be looked after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba import uint64 as u64

from isotherm_numba.codegen_cache import shared
from isotherm_numba.kernel_calls import arrays_apart
from isotherm_numba.vectors import (
    divide,
    everywhere,
    lanes_of,
    less_product,
    load,
    root,
    store,
    times,
)

inlined = njit(nogil=True, error_model="numpy", forceinline=True)

#: A count stands among the parameters as two numbers, count // COUNTED and count % COUNTED.
COUNTED = 2**20
_COUNTED = np.uint64(COUNTED)


@shared
def count(parameters: Any, at: Any) -> Any:
    """A number that data decide."""
    return u64(parameters[at]) * _COUNTED + u64(parameters[at + u64(1)])


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


@inlined
def less_products(
    vector: Any, a: Any, b: Any, at_a: Any, step_a: Any, at_b: Any, step_b: Any, count: Any
) -> Any:
    """Take products of rows from a vector, one after another; rows of `a` are `step_a` apart.

    A step that goes down is one that wraps around.
    """
    for _ in range(count):
        vector = less_product(vector, load(a, at_a), load(b, at_b))
        at_a += step_a
        at_b += step_b
    return vector


@shared
def cholesky(source: Any, out: Any, size: Any, stride: Any, n: Any) -> None:
    """The lower factor of a matrix of `size` rows, in the order of core's ``cholesky``.

    Column by column, as the elements of one do not wait for each other.
    """
    arrays_apart()
    one, down = u64(1), size * stride
    for lane in range(u64(0), u64(n), lanes_of(out)):
        for j in range(u64(size)):
            at_j = j * down + lane
            here = at_j + j * stride
            pivot = root(less_products(load(source, here), out, out, at_j, stride, at_j, stride, j))
            store(pivot, out, here)
            for i in range(j + one, u64(size)):
                store(everywhere(out, 0.0), out, at_j + i * stride)
                at_i = i * down + lane
                here = at_i + j * stride
                rest = less_products(load(source, here), out, out, at_i, stride, at_j, stride, j)
                store(divide(rest, pivot), out, here)


@shared
def cholesky_back(lower: Any, slope: Any, out: Any, size: Any, stride: Any, n: Any) -> None:
    """The derivative by a matrix, from that by its factor, in the order of core's.

    Until the end it is that of a symmetric matrix, with twice the derivative on the diagonal.
    """
    arrays_apart()
    one, down = u64(1), size * stride
    for lane in range(u64(0), u64(n), lanes_of(out)):
        for left in range(u64(size)):
            j = size - one - left
            at = j * (down + stride) + lane
            pivot, below, right = load(lower, at), at + down, at + stride
            for i in range(left):
                here = below + i * down
                along = here + stride
                rest = load(slope, here)
                rest = less_products(rest, out, lower, along, stride, below, down, left)
                rest = divide(rest, pivot)
                store(rest, out, here)
                store(rest, out, right + i * stride)
            rest = less_products(load(slope, at), out, lower, right, stride, below, down, left)
            store(divide(rest, pivot), out, at)
        for i in range(u64(size)):
            at = i * (down + stride) + lane
            store(times(load(out, at), everywhere(out, 0.5)), out, at)
            for j in range(i + one, u64(size)):
                store(everywhere(out, 0.0), out, i * down + j * stride + lane)


@shared
def solve(
    lower: Any, source: Any, out: Any, size: Any, width: Any, is_transposed: Any, stride: Any,
    n: Any,
) -> None:  # fmt: skip
    """The X of L X = `source`, of `width` columns, or of Lᵀ X, in the order of core's ``solve``."""
    arrays_apart()
    down, step = size * stride, width * stride
    first, along, down_x = u64(0), stride, step
    if is_transposed:
        first, along, down_x = size - u64(1), u64(0) - down, u64(0) - step
    for lane in range(u64(0), u64(n), lanes_of(out)):
        for k in range(u64(size)):
            i = first - k if is_transposed else k
            at = (first * down + i * stride if is_transposed else i * down) + lane
            pivot = load(lower, i * (down + stride) + lane)
            for w in range(u64(width)):
                here, top = i * step + w * stride + lane, first * step + w * stride + lane
                rest = less_products(load(source, here), lower, out, at, along, top, down_x, k)
                store(divide(rest, pivot), out, here)
