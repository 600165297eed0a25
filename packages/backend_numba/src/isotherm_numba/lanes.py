"""Normals of the stream for lanes that lie one after another, as in an array of states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba import uint32 as u32
from numba import uint64 as u64

from isotherm.backend import noise
from isotherm_numba.noise import LANES, philox

_MASK, _32, _24 = np.uint64(noise.MASK), np.uint64(32), np.uint64(24)


# Inlined, because Numba keeps no function on disk to which another one was passed.
@njit(nogil=True, error_model="numpy", inline="always")
def fill(
    box_muller: Any, out: Any, steps: Any, dim: Any, coordinate_offset: Any, stream: Any,
    block: Any, k0: Any, k1: Any, chain_offset: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Write the normals of blocks for the elements first..last-1 of the state, in C order.

    Parameters
    ----------
    box_muller : function
        One of `isotherm_numba.noise`.
    out : array, shape (n_blocks * steps, elements)
    steps : int
        Of a block.
    dim, coordinate_offset, stream, block, k0, k1, chain_offset, first, last : int
    """
    words = np.empty((4, LANES), np.uint32)
    counters = np.empty((3, LANES), np.uint32)
    coordinate, low, high = counters[0], counters[1], counters[2]
    columns, chains = np.empty(LANES, np.uint64), np.empty(LANES, np.uint64)
    for lane in range(LANES):
        columns[lane] = u64(first + lane) % u64(dim)
        chains[lane] = chain_offset + u64(first + lane) // u64(dim)
    rows, rest = u64(LANES) // u64(dim), u64(LANES) % u64(dim)
    for start in range(first, last, LANES):
        n = min(LANES, last - start)
        for lane in range(LANES):
            coordinate[lane] = u32(coordinate_offset + columns[lane])
            low[lane] = u32(chains[lane] & _MASK)
            high[lane] = u32(chains[lane] >> _32 | stream << _24)
        for k in range(len(out) // steps):
            philox(words, block + u64(k), coordinate, low, high, k0, k1, n)
            box_muller(words, out[steps * k :], start, n)
        # To the same lanes of the next pass, without a division.
        for lane in range(LANES):
            j = columns[lane] + rest
            is_over = j >= u64(dim)
            columns[lane] = j - u64(dim) if is_over else j
            chains[lane] += rows + u64(1) if is_over else rows
