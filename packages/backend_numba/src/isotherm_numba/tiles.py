"""What a transition does to a tile of chains, where it lies in the caches.

A tile is a few chains with all their coordinates, in one of two layouts. *Chain by chain*, it is
one row of lanes, the chains' states one after another, as in the user's array. *Coordinate by
coordinate*, row j holds coordinate j of every chain, so that a lane is a chain. Noise and
elementwise operations run over lanes and need not know which.

What an energy adds are two functions of its own, compiled for themselves and called by address:

``gradient(x, out, scratch, parameters, dim, stride, n)``
    Write ∇U at the tile `x` to `out`. Rows are `stride` apart and have `n` lanes in use: chain by
    chain just those of the chains, coordinate by coordinate a few more, which hold zeros at first.
``terms(x, out, scratch, parameters, dim, stride, n)``
    Write the terms of U to `out`: one a coordinate in the tile's layout, or one a chain where
    its coordinate 0 would be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import uint32 as u32
from numba import uint64 as u64

from isotherm.backend import noise
from isotherm_numba.codegen_cache import shared
from isotherm_numba.kernel_calls import arrays_apart

# Lanes of a row are a multiple of this, so that vectors of any width leave no remainder.
PADDING = 16

_LINE = 64  # bytes of a line of the cache, which vectors had best not straddle

_MASK, _32 = np.uint64(noise.MASK), np.uint64(32)


class Tile(NamedTuple):
    """Where the numbers of a tile's chains are.

    Chain i's coordinate j is in lane ``i * across + j * along`` of an array of rows of lanes, which
    are `stride` apart and have `n` in use.
    """

    start: int  # the first chain
    m: int  # chains
    dim: int
    across: int
    along: int
    stride: int
    n: int
    runs: int  # rows as long as may be, for what is done to every lane: full ones are one
    width: int  # ... and how many lanes of each are in use
    calls: int  # how often an energy's function is called, ...
    lanes: int  # ... each time for so many


@shared
def tile_of(
    start: Any, last: Any, chains: Any, dim: Any, by_coordinate: Any, is_elementwise: Any
) -> Any:
    """The tile of the chains from `start` on, as many as go into one and are before `last`."""
    m = min(chains, last - start)
    stride = _padded(chains if by_coordinate else chains * dim)
    n = _padded(m) if by_coordinate else m * dim
    across, along = (1, stride) if by_coordinate else (dim, 1)
    rows = dim if by_coordinate else 1
    runs, width = (1, rows * stride) if n == stride else (rows, n)
    calls, lanes = (runs, width) if is_elementwise else (1, n)
    return Tile(start, m, dim, across, along, stride, n, runs, width, calls, lanes)


@shared
def _padded(lanes: Any) -> Any:
    return (lanes + PADDING - 1) // PADDING * PADDING


@shared
def row_of(lanes: Any, number: Any) -> Any:
    """Memory for a row of lanes, from the beginning of a line of the cache on."""
    return _from_a_line_on(np.zeros(lanes + _LINE // 4, number), lanes)


@shared
def space_of(lanes: Any, number: Any) -> Any:
    """The same, where what is in it does not matter."""
    return _from_a_line_on(np.empty(lanes + _LINE // 4, number), lanes)


@shared
def _from_a_line_on(memory: Any, lanes: Any) -> Any:
    first = -memory.ctypes.data % _LINE // memory.itemsize
    return memory[first : first + lanes]


@shared
def rows_of(count: Any, lanes: Any, number: Any) -> Any:
    """Memory for some of them, one after another."""
    return row_of(count * lanes, number).reshape((count, lanes))


@shared
def load(states: Any, rows: Any, tile: Any) -> None:
    """Take the states of a tile's chains; lanes without a chain hold zeros."""
    for lane in range(rows.size):
        rows[lane] = 0.0
    for i in range(tile.m):
        for j in range(tile.dim):
            rows[i * tile.across + j * tile.along] = states[tile.start + i, j]


@shared
def store(rows: Any, states: Any, tile: Any) -> None:
    """Put them back."""
    for i in range(tile.m):
        for j in range(tile.dim):
            states[tile.start + i, j] = rows[i * tile.across + j * tile.along]


@shared
def number_lanes(coordinate: Any, low: Any, chain_offset: Any, tile: Any) -> None:
    """Write the words of each lane's counter: its coordinate, and the lower half of its chain."""
    for lane in range(low.size):
        coordinate[lane] = low[lane] = 0
    for i in range(tile.m):
        chain = chain_offset + u64(tile.start + i)
        for j in range(tile.dim):
            lane = i * tile.across + j * tile.along
            coordinate[lane] = u32(j)
            low[lane] = u32(chain & _MASK)


@shared
def number_stream(high: Any, stream: Any, chain_offset: Any, tile: Any) -> None:
    """Write the last word of each lane's counter: the upper half of its chain, and a stream."""
    for lane in range(high.size):
        high[lane] = 0
    for i in range(tile.m):
        chain = chain_offset + u64(tile.start + i)
        for j in range(tile.dim):
            high[i * tile.across + j * tile.along] = u32(chain >> _32) | u32(stream << 24)


@shared
def shift_coordinates(coordinate: Any, group: Any, out: Any) -> None:
    """The coordinates' words of the noise of substeps; see `isotherm.backend.noise`."""
    high = u32(group << noise.COORDINATE_BITS)
    for lane in range(out.size):
        out[lane] = coordinate[lane] | high


@shared
def is_used(scales: Any, first: Any, last: Any) -> Any:
    """Whether one of the steps first..last-1 needs its noise, which is multiplied by its scale."""
    used = False
    for s in range(first, last):
        used |= scales[s] != 0.0
    return used


@shared
def spread(vector: Any, rows: Any, chains: Any, tile: Any) -> None:
    """Write the numbers of each coordinate to the lanes of all chains that a tile can have."""
    for i in range(chains):
        for j in range(tile.dim):
            rows[i * tile.across + j * tile.along] = vector[j]


@shared
def spread_chains(numbers: Any, rows: Any, tile: Any) -> None:
    """Write the numbers of each chain to the lanes of all its coordinates."""
    for i in range(tile.m):
        for j in range(tile.dim):
            rows[i * tile.across + j * tile.along] = numbers[tile.start + i]


@shared
def copy(target: Any, source: Any, rows: Any, stride: Any, n: Any) -> None:
    """Copy rows of lanes."""
    arrays_apart()
    for row in range(rows):
        for i in range(n):
            lane = u64(row * stride + i)
            target[lane] = source[lane]


@shared
def total(values: Any, scratch: Any, out: Any, tile: Any) -> None:
    """The sum of each chain's coordinates, folded as in `isotherm.backend.total`."""
    arrays_apart()
    dim, stride, n = tile.dim, tile.stride, tile.n
    half = 1
    while 2 * half < dim:
        half *= 2
    if dim == 1:
        half = 0
    # The first fold reads the values, the others what it has left.
    for j in range(half):
        for i in range(n):
            lane = u64(j * stride + i)
            v = values[lane]
            scratch[lane] = v + values[u64((j + half) * stride + i)] if j + half < dim else v
    while half > 1:
        half //= 2
        for j in range(half):
            for i in range(n):
                scratch[u64(j * stride + i)] += scratch[u64((j + half) * stride + i)]
    for i in range(n):
        out[u64(i)] = scratch[u64(i)] if dim > 1 else values[u64(i)]


@shared
def matvec(matrix: Any, x: Any, out: Any, tile: Any) -> None:
    """A matrix times each chain's coordinates: product, then sum, in the order of the columns."""
    arrays_apart()
    dim, stride, n = tile.dim, tile.stride, tile.n
    for j in range(dim):
        p = j * dim
        for i in range(n):
            out[u64(j * stride + i)] = matrix[p] * x[u64(i)]
        for k in range(1, dim):
            for i in range(n):
                lane = u64(j * stride + i)
                out[lane] = out[lane] + matrix[p + k] * x[u64(k * stride + i)]


@shared
def count(is_so: Any, counts: Any, tile: Any) -> None:
    """Add 1 for each chain of which something was so in a step."""
    for i in range(tile.m):
        counts[u64(tile.start + i)] += 1 if is_so[u64(i)] != 0.0 else 0
