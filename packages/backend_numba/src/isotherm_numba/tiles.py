"""The loop that all fused kernels share: tiles of chains, stepped where they lie in L1.

A tile is a few chains with all their coordinates, in one of two layouts. *Chain by chain*, it is
one row of lanes, the chains' states one after another, as in the user's array. *Coordinate by
coordinate*, row j holds coordinate j of every chain, so that a lane is a chain. Noise and update
run over lanes and need not know which.

What an energy adds are two functions of its own, compiled for themselves and called by address:

``gradient(x, out, scratch, parameters, dim, stride, n)``
    Write ∇U at the tile `x` to `out`. Rows are `stride` apart and have `n` lanes in use: chain by
    chain just those of the chains, coordinate by coordinate a few more, which hold zeros at first.
``terms(x, out, scratch, parameters, dim, stride, n)``
    Write the terms of U to `out`: one a coordinate in the tile's layout, or one a chain where
    its coordinate 0 would be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba import uint32 as u32
from numba import uint64 as u64

from isotherm.backend import noise
from isotherm_numba.kernel_calls import call
from isotherm_numba.lanes import array_type, number_type, update
from isotherm_numba.noise import LANES, philox
from isotherm_numba.sums import add_chains, join_all, stack_depth, totals

# Lanes of a row are a multiple of this, so that vectors of any width leave no remainder.
PADDING = 16

_MASK, _32 = np.uint64(noise.MASK), np.uint64(32)
_STREAM = np.uint32(noise.Stream.LANGEVIN << 24)


def signature(dtype: str) -> Any:
    """The types of the arguments of `advance` that follow the first two."""
    number = number_type(dtype)
    return types.void(
        types.uint64,  # gradient
        types.uint64,  # terms
        types.boolean,  # has_terms
        types.boolean,  # by_coordinate
        array_type(number, 2, readonly=True),  # x
        array_type(number, 2),  # out
        array_type(number, 1, readonly=True),  # parameters
        array_type(number, 1),  # step_size
        array_type(number, 1),  # scale
        array_type(types.int64, 1),  # kept
        number,  # low
        number,  # high
        array_type(number, 3, "A"),  # trajectory
        array_type(number, 2, "A"),  # energy
        array_type(types.float64, 2),  # mean
        array_type(types.float64, 2),  # variance
        types.uint64,  # k0
        types.uint64,  # k1
        types.uint64,  # chain_offset
        types.int64,  # first_step
        types.int64,  # first
        types.int64,  # last
        types.int64,  # chains
    )


# Inlined, because Numba keeps no function on disk to which another one was passed.
@njit(nogil=True, error_model="numpy", inline="always")
def advance(
    box_muller: Any, steps_per_block: Any, gradient: Any, terms: Any, has_terms: Any,
    by_coordinate: Any, x: Any, out: Any, parameters: Any, step_size: Any, scale: Any, kept: Any,
    low: Any, high: Any, trajectory: Any, energy: Any, mean: Any, variance: Any, k0: Any, k1: Any,
    chain_offset: Any, first_step: Any, first: Any, last: Any, chains: Any,
) -> None:  # fmt: skip
    """Take steps with the chains first..last-1.

    Parameters
    ----------
    box_muller : function
        One of `isotherm_numba.noise`.
    steps_per_block : int
    gradient, terms : int
        Addresses of the energy's functions; see the module's head.
    has_terms : bool
        Whether `terms` gives one term a coordinate, not one a chain.
    by_coordinate : bool
        The layout.
    x, out : array, shape (n_samples, dim)
        The states before and after.
    parameters : array
        The energy's.
    step_size, scale, kept : array, one element a step
        η; noise_scale·√(2η); which kept state it is, or -1.
    low, high : float
        The clamp.
    trajectory : array, shape (n_samples, n_kept, dim), or empty
    energy : array, shape (n_kept, n_samples), or empty
    mean, variance : float64 array, shape (n_kept, dim), or empty
        Over these chains.
    k0, k1, chain_offset, first_step : int
        Where in the noise stream.
    first, last : int
    chains : int
        Of a tile.
    """
    dim = x.shape[1]
    rows = dim if by_coordinate else 1
    stride = _padded(chains if by_coordinate else chains * dim)
    # Chain i's coordinate j lies at i * across + j * along.
    across, along = (1, stride) if by_coordinate else (dim, 1)
    size = rows * stride
    tile = np.empty(size, x.dtype)
    slope = np.empty(size, x.dtype)
    scratch = np.empty(size, x.dtype)
    normals = np.empty((steps_per_block, size), x.dtype)
    words = np.empty((4, LANES), np.uint32)
    counters = np.empty((3, size), np.uint32)
    wide = np.empty(chains * dim, np.float64)
    # Of each kept state the nodes of the chains' tree that wait to be joined, and where they start:
    # before this tile in the first row, of the state in hand in the second.
    depth = stack_depth(last - first)
    means = np.empty((mean.shape[0], depth, dim), np.float64)
    variances = np.empty((mean.shape[0], depth, dim), np.float64)
    starts = np.empty((2, depth), np.uint64)
    nodes = nodes_before = 0
    for start in range(first, last, chains):
        m = min(chains, last - start)
        n = _padded(m) if by_coordinate else m * dim
        # Rows that are full are one long row to the noise and to the update.
        runs, width = (1, size) if n == stride else (rows, n)
        tile[:] = 0.0
        counters[:] = 0
        for i in range(m):
            chain = chain_offset + u64(start + i)
            for j in range(dim):
                lane = i * across + j * along
                tile[lane] = x[start + i, j]
                counters[0, lane] = u32(j)
                counters[1, lane] = u32(chain & _MASK)
                counters[2, lane] = u32(chain >> _32) | _STREAM
        step = 0
        while step < kept.size:
            block = (first_step + step) // steps_per_block
            position = (first_step + step) % steps_per_block
            count = min(steps_per_block - position, kept.size - step)
            is_noisy = False
            for s in range(step, step + count):
                is_noisy |= scale[s] != 0.0
            if is_noisy:
                for run in range(runs):
                    for lane in range(run * stride, run * stride + width, LANES):
                        end = min(lane + LANES, run * stride + width)
                        philox(
                            words, block, counters[0, lane:end], counters[1, lane:end],
                            counters[2, lane:end], k0, k1, end - lane,
                        )  # fmt: skip
                        box_muller(words, normals, lane, end - lane)
            for s in range(step, step + count):
                call(gradient, tile, slope, scratch, parameters, dim, stride, n)
                for run in range(runs):
                    lane, end = run * stride, run * stride + width
                    update(
                        tile[lane:end], slope[lane:end], normals[position + s - step, lane:end],
                        step_size[s], scale[s], low, high,
                    )  # fmt: skip
                k = kept[s]
                if k < 0:
                    continue
                if trajectory.size:
                    for i in range(m):
                        for j in range(dim):
                            trajectory[start + i, k, j] = tile[i * across + j * along]
                if energy.size:
                    call(terms, tile, slope, scratch, parameters, dim, stride, n)
                    totals(
                        slope, wide, energy[k, start : start + m], dim if has_terms else 1, m,
                        across, along,
                    )  # fmt: skip
                    starts[1] = starts[0]
                    nodes = add_chains(
                        means[k], variances[k], starts[1], nodes_before, tile, m,
                        chain_offset + u64(start), across, along,
                    )  # fmt: skip
            step += count
        for i in range(m):
            for j in range(dim):
                out[start + i, j] = tile[i * across + j * along]
        starts[0], nodes_before = starts[1], nodes
    for k in range(mean.shape[0]):
        starts[1] = starts[0]
        join_all(means[k], variances[k], starts[1], nodes, chain_offset + u64(last))
        mean[k], variance[k] = means[k, 0], variances[k, 0]


@njit(nogil=True, error_model="numpy")
def _padded(lanes: Any) -> Any:
    return (lanes + PADDING - 1) // PADDING * PADDING
