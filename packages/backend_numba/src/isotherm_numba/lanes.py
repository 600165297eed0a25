"""Loops over lanes that lie one after another, whatever a lane is: normals and the update."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba import uint32 as u32
from numba import uint64 as u64

from isotherm.backend import noise
from isotherm_numba.noise import LANES, philox

_MASK, _32, _24 = np.uint64(noise.MASK), np.uint64(32), np.uint64(24)


def number_type(dtype: str) -> Any:
    """Numba's type of the plan's dtype."""
    return types.float32 if dtype == "float32" else types.float64


def array_type(of: Any, ndim: int, layout: str = "C", *, readonly: bool = False) -> Any:
    """Numba's type of an array; arrays that are more special are taken for one."""
    return types.Array(of, ndim, layout, readonly=readonly)


@njit(nogil=True, error_model="numpy")
def update(
    x: Any, gradient: Any, normals: Any, step_size: Any, scale: Any, low: Any, high: Any
) -> None:
    """x ← (x - η ∇U) + (noise_scale √(2η)) ξ, then the clamp, which lets NaN pass."""
    for lane in range(x.size):
        v = x[lane] - step_size * gradient[lane]
        v = v if scale == 0.0 else v + scale * normals[lane]
        v = low if v < low else v
        x[lane] = high if v > high else v


# Inlined, because Numba keeps no function on disk to which another one was passed.
@njit(nogil=True, error_model="numpy", inline="always")
def fill(
    box_muller: Any, out: Any, dim: Any, stream: Any, block: Any, k0: Any, k1: Any,
    chain_offset: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Write the normals of one block for the elements first..last-1 of the state, in C order.

    Parameters
    ----------
    box_muller : function
        One of `isotherm_numba.noise`.
    out : array, shape (steps_per_block, elements)
    dim, stream, block, k0, k1, chain_offset, first, last : int
    """
    words = np.empty((4, LANES), np.uint32)
    counters = np.empty((3, LANES), np.uint32)
    coordinate, low, high = counters[0], counters[1], counters[2]
    chains = np.empty(LANES, np.uint64)
    for lane in range(LANES):
        coordinate[lane] = u32(u64(first + lane) % u64(dim))
        chains[lane] = chain_offset + u64(first + lane) // u64(dim)
    rows, rest = u64(LANES) // u64(dim), u64(LANES) % u64(dim)
    for start in range(first, last, LANES):
        n = min(LANES, last - start)
        for lane in range(LANES):
            low[lane] = u32(chains[lane] & _MASK)
            high[lane] = u32(chains[lane] >> _32 | stream << _24)
        philox(words, block, coordinate, low, high, k0, k1, n)
        box_muller(words, out, start, n)
        # To the same lanes of the next pass, without a division.
        for lane in range(LANES):
            j = u64(coordinate[lane]) + rest
            is_over = j >= u64(dim)
            coordinate[lane] = u32(j - u64(dim) if is_over else j)
            chains[lane] += rows + u64(1) if is_over else rows
