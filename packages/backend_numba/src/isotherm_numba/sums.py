"""`isotherm._arithmetic.sums` on tiles: the same sums in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba import uint64 as u64

from isotherm_numba.codegen_cache import shared


@shared
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


@shared
def stack_depth(chains: Any) -> Any:
    """Nodes that wait at most while so many neighbouring chains are added to the moments."""
    depth = 2
    while 1 << (depth - 2) < chains:
        depth += 1
    return depth


@shared
def add_chains(
    mean: Any, variance: Any, starts: Any, starts_before: Any, height: Any, tile: Any, chains: Any,
    first: Any, across: Any, along: Any,
) -> Any:  # fmt: skip
    """Put a tile's chains on a stack of nodes of the tree; return how many nodes there are then.

    Parameters
    ----------
    mean, variance : float64 array, shape (depth, dim)
        Of the nodes.
    starts, starts_before : uint64 array, shape (depth,)
        The number of each one's first chain, after and before.
    height : int
    tile : array
        Chain i's coordinate j is ``tile[i * across + j * along]``.
    chains, first, across, along : int
        `first` is the number of the tile's first chain.
    """
    dim = mean.shape[1]
    for node in range(height):
        starts[node] = starts_before[node]
    i = 0
    while i < chains:
        chain = u64(first) + u64(i)
        while height > 1 and _lowest_bit(starts[height - 1]) < _lowest_bit(chain):
            height -= 1
            _join(mean, variance, starts, height, chain)
        starts[height] = chain
        if chain & u64(7) == 0 and i + 8 <= chains:  # most are: a node of eight, in registers
            for j in range(dim):
                lane = u64(i * across + j * along)
                ma, va = _node_of_four(tile, lane, u64(across))
                mb, vb = _node_of_four(tile, lane + u64(4 * across), u64(across))
                mean[height, j], variance[height, j] = _halves(ma, va, mb, vb)
            i += 8
        else:
            for j in range(dim):
                mean[height, j] = tile[i * across + j * along]
                variance[height, j] = 0.0
            i += 1
        height += 1
    return height


@njit(nogil=True, error_model="numpy", inline="always")
def _node_of_four(tile: Any, lane: Any, across: Any) -> Any:
    a, b = np.float64(tile[lane]), np.float64(tile[lane + across])
    lane += across + across
    c, d = np.float64(tile[lane]), np.float64(tile[lane + across])
    ma, va = _halves(a, 0.0, b, 0.0)
    mb, vb = _halves(c, 0.0, d, 0.0)
    return _halves(ma, va, mb, vb)


@njit(nogil=True, error_model="numpy", inline="always")
def _halves(ma: Any, va: Any, mb: Any, vb: Any) -> Any:
    """Mean and variance of two nodes with as many chains each."""
    shift = mb - ma
    return ma + 0.5 * shift, (0.5 * va + 0.5 * vb) + 0.25 * (shift * shift)


@shared
def join_all(
    mean: Any, variance: Any, starts: Any, starts_before: Any, height: Any, end: Any,
    out_mean: Any, out_variance: Any,
) -> None:  # fmt: skip
    """Write the moments over all nodes of the stack; `end` is the number of the chain after them.

    They end as one node, at the stack's bottom.
    """
    for node in range(height):
        starts[node] = starts_before[node]
    while height > 1:
        height -= 1
        _join(mean, variance, starts, height, end)
    for j in range(out_mean.size):
        out_mean[j], out_variance[j] = mean[0, j], variance[0, j]


@shared
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


@shared
def _lowest_bit(number: Any) -> Any:
    return number & (~number + u64(1))
