"""`isotherm._arithmetic.sums` on tiles: the same sums in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba import uint64 as u64


@njit(nogil=True, error_model="numpy")
def totals(
    terms: Any, wide: Any, out: Any, rows: Any, chains: Any, across: Any, along: Any
) -> None:
    """The total in float64 of each chain's terms, which are `rows` of `chains` in `wide`.

    Chain i's term j is ``terms[i * across + j * along]``.
    """
    for j in range(rows):
        for i in range(chains):
            wide[u64(j * chains + i)] = terms[u64(i * across + j * along)]
    s = 1
    while s < rows:
        s *= 2
    while s > 1:
        s //= 2
        for lane in range(min(s, rows - s) * chains):
            wide[u64(lane)] += wide[u64(s * chains + lane)]
    for i in range(chains):
        out[i] = wide[i]


@njit(nogil=True, error_model="numpy")
def stack_depth(chains: Any) -> Any:
    """Nodes that wait at most while so many neighbouring chains are added to the moments."""
    depth = 2
    while 1 << (depth - 2) < chains:
        depth += 1
    return depth


@njit(nogil=True, error_model="numpy")
def add_chains(
    mean: Any, variance: Any, starts: Any, height: Any, tile: Any, chains: Any, first: Any,
    across: Any, along: Any,
) -> Any:  # fmt: skip
    """Put a tile's chains on a stack of nodes of the tree; return how many nodes there are then.

    Parameters
    ----------
    mean, variance : float64 array, shape (depth, dim)
        Of the nodes.
    starts : uint64 array, shape (depth,)
        The number of each one's first chain.
    height : int
    tile : array
        Chain i's coordinate j is ``tile[i * across + j * along]``.
    chains, first, across, along : int
        `first` is the number of the tile's first chain.
    """
    dim = mean.shape[1]
    i = 0
    while i < chains:
        chain = u64(first) + u64(i)
        while height > 1 and _lowest_bit(starts[height - 1]) < _lowest_bit(chain):
            height -= 1
            _join(mean, variance, starts, height, chain)
        starts[height] = chain
        if chain & u64(1) == 0 and i + 1 < chains:  # two at once
            for j in range(dim):
                a = np.float64(tile[i * across + j * along])
                shift = np.float64(tile[(i + 1) * across + j * along]) - a
                mean[height, j] = a + 0.5 * shift
                variance[height, j] = 0.25 * (shift * shift)
            i += 2
        else:
            for j in range(dim):
                mean[height, j] = tile[i * across + j * along]
                variance[height, j] = 0.0
            i += 1
        height += 1
    return height


@njit(nogil=True, error_model="numpy")
def join_all(mean: Any, variance: Any, starts: Any, height: Any, end: Any) -> None:
    """Make one node of those on the stack, at its bottom; `end` is the chain after them."""
    while height > 1:
        height -= 1
        _join(mean, variance, starts, height, end)


@njit(nogil=True, error_model="numpy")
def _join(mean: Any, variance: Any, starts: Any, top: Any, end: Any) -> None:
    """Join the node at `top`, which ends before chain `end`, to the one below it."""
    low, middle = starts[top - 1], starts[top]
    left = right = 0.5
    if middle - low != end - middle:
        n = np.float64(end - low)
        left, right = np.float64(middle - low) / n, np.float64(end - middle) / n
    product = left * right
    for j in range(mean.shape[1]):
        shift = mean[top, j] - mean[top - 1, j]
        mean[top - 1, j] += right * shift
        variance[top - 1, j] = (
            left * variance[top - 1, j] + right * variance[top, j]
        ) + product * (shift * shift)


@njit(nogil=True, error_model="numpy")
def _lowest_bit(number: Any) -> Any:
    return number & (~number + u64(1))
