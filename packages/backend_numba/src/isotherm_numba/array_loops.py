"""What programs on arrays do besides elementwise loops: sums, lists of places and products.

Values lie coordinate by coordinate: row j holds element j of every chain, so that a lane is a
chain. Rows are `stride` apart, of which the first `n` lanes are in use. Indices come as numbers
among the parameters. They are unsigned, so that no negative one has to be looked after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba import uint64 as u64

from isotherm_numba.kernel_calls import arrays_apart

#: A count stands among the parameters as two numbers, count // COUNTED and count % COUNTED.
COUNTED = 2**20
_COUNTED = np.uint64(COUNTED)


@njit(nogil=True, error_model="numpy")
def count(parameters: Any, at: Any) -> Any:
    """A number that data decide."""
    return u64(parameters[at]) * _COUNTED + u64(parameters[at + 1])


@njit(nogil=True, error_model="numpy")
def rows_of(space: Any, first: Any, size: Any, stride: Any) -> Any:
    """Some rows of an array of rows."""
    return space[np.int64(first * stride) : np.int64((first + size) * stride)]


@njit(nogil=True, error_model="numpy")
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


@njit(nogil=True, error_model="numpy")
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
