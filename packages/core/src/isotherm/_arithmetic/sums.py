"""The written order of every sum, so that no library's own order shows in a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from array_api_compat import array_namespace, device

from isotherm._arithmetic.arrays import Array

T = TypeVar("T")


def total(values: Array, axis: int = -1) -> Array:
    """The sum along an axis, folded by a power of two.

    With P the least power of two that is not below n: for s = P/2, P/4, ..., 1, v[i] += v[i + s]
    for each i with i + s < n; the sum is v[0]. So halves of arrays, shuffles of a GPU's warp and a
    CPU's vectors all add the same pairs. A pairwise sum, whose error grows with log n (Higham, "The
    accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993).

    Parameters
    ----------
    values : array
        Of any library, with at least one element along the axis.
    axis : int

    Returns
    -------
    array
        Of the dtype of `values`, without that axis.
    """
    xp = array_namespace(values)
    v = xp.moveaxis(values, axis, -1)
    while (n := v.shape[-1]) > 1:
        s = 1 << (n - 1).bit_length() - 1
        folded = v[..., : n - s] + v[..., s:]
        # What has no partner waits; only the first fold leaves such.
        v = folded if n == 2 * s else xp.concat([folded, v[..., n - s : s]], axis=-1)
    return v[..., 0]


def fold(terms: Sequence[T], add: Callable[[T, T], T]) -> T:
    """The sum of a few terms, at least one, in the order of `total`; for programs and their text.

    Parameters
    ----------
    terms : sequence
    add : callable
        Of two terms their sum.
    """
    left = list(terms)
    while (n := len(left)) > 1:
        s = 1 << (n - 1).bit_length() - 1
        left = [add(a, b) for a, b in zip(left, left[s:], strict=False)] + left[n - s : s]
    return left[0]


def total_of_terms(terms: Array) -> Array:
    """The energy of each chain from its terms: added up in float64, and rounded once.

    Parameters
    ----------
    terms : array, shape (n_samples, ...)

    Returns
    -------
    array, shape (n_samples,)
        Of the dtype of `terms`.
    """
    xp = array_namespace(terms)
    rows = xp.reshape(terms, (terms.shape[0], -1))
    if rows.shape[1] == 1:
        return rows[:, 0]
    return xp.astype(total(xp.astype(rows, xp.float64)), terms.dtype)


class Moments(NamedTuple):
    """Mean and variance over some chains, in float64.

    Attributes
    ----------
    n : float or array
        How many chains.
    mean, variance : array
    """

    n: Any
    mean: Array
    variance: Array


def joined(a: Moments, b: Moments) -> Moments:
    """The moments over the chains of both.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979, equation 2.1, divided by the number of chains.
    """
    n = a.n + b.n
    left, right = a.n / n, b.n / n
    shift = b.mean - a.mean
    return Moments(
        n,
        a.mean + right * shift,
        (left * a.variance + right * b.variance) + (left * right) * (shift * shift),
    )


def moments(x: Array, first: int) -> Moments:
    """Mean and variance over chains, in the order that the chains' numbers give.

    The chains' numbers in the stream are the leaves of a binary tree: a node of height h holds the
    chains from i 2^h to (i + 1) 2^h - 1, and has the moments of its two halves, `joined`; of a half
    that has no chain in it nothing is joined. So every split at a node's bound gives the same bits,
    and the error grows with log n.

    Parameters
    ----------
    x : array, shape (n, ...)
        Of any library.
    first : int
        The number of the first chain.
    """
    xp = array_namespace(x)
    mean = xp.astype(x, xp.float64)
    shape = (x.shape[0], *(1 for _ in x.shape[1:]))
    nodes = Moments(xp.ones(shape, dtype=xp.float64, device=device(x)), mean, xp.zeros_like(mean))
    while (n := nodes.mean.shape[0]) > 1:
        # A right half at the beginning and a left half at the end have no other to be joined with.
        start = first % 2
        stop = n - (n - start) % 2
        first //= 2
        if start == stop:  # two on both sides of a bound of many heights
            continue
        pairs = joined(_slice(nodes, start, stop, 2), _slice(nodes, start + 1, stop, 2))
        alone = _slice(nodes, 0, start), pairs, _slice(nodes, stop, n)
        nodes = pairs if stop - start == n else Moments(*map(xp.concat, zip(*alone, strict=True)))
    return Moments(*(part[0, ...] for part in nodes))


def _slice(nodes: Moments, start: int, stop: int, step: int = 1) -> Moments:
    return Moments(*(part[start:stop:step, ...] for part in nodes))


class JoinedNodes:
    """The moments over neighbouring nodes of the tree of `moments`, given in their order."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Moments]] = []

    def add(self, first: int, node: Moments) -> None:
        """Add the node whose first chain has this number."""
        # The bound between two nodes is a multiple of as high a power of two as they are high.
        waiting = self._waiting
        while len(waiting) > 1 and _lowest_bit(waiting[-1][0]) < _lowest_bit(first):
            self._join_last()
        waiting.append((first, node))

    def moments(self) -> Moments:
        """Over all that were added."""
        while len(self._waiting) > 1:
            self._join_last()
        return self._waiting[0][1]

    def _join_last(self) -> None:
        (first, a), (_, b) = self._waiting[-2:]
        self._waiting[-2:] = [(first, joined(a, b))]


def _lowest_bit(number: int) -> int:
    return number & -number


def nodes(chains: range, run: range) -> list[range]:
    """The fewest nodes of the tree over a run's chains that make up some of them."""
    found, start = [], chains.start
    while start < chains.stop:
        node = larger = range(start, start + 1)
        size = 1
        while start <= larger.start and larger.stop <= chains.stop and size <= 2 * len(run):
            node, size = larger, 2 * size
            low = start // size * size
            larger = range(max(low, run.start), min(low + size, run.stop))
        found.append(node)
        start = node.stop
    return found
