"""What a buffer takes from the noise stream: which slots are drawn, and where chains begin.

Every chain that is drawn has a number, of which all of it is a function: with the seed it is the
key of its slot, of whether it begins anew, of where, and, as its number in the noise stream, of the
noise of its steps. The words of `Stream.BUFFER` at step 0 and coordinate 0 are, in their order, for
the slot, for beginning anew, and for the row of a start that is picked, at the draw and after a
divergence. Block 1 + k has the coordinates of a uniform start, four to a counter, k = 0 at the draw
and 1 after a divergence; a normal start is step k of `Stream.INITIAL`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from isotherm._arithmetic import noise
from isotherm.errors import InputError

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Words(NamedTuple):
    """The words of some chains, of shape (n,) each, below 2³²."""

    slot: Numbers
    anew: Numbers
    row: Numbers
    row_after: Numbers


def words_of(seed: int, chains: Numbers) -> Words:
    """What decides about the draw of each of these chains."""
    drawn = noise.philox4x32(_counter(noise.Stream.BUFFER, 0, chains, 1), _key(seed))
    return Words(*(word[:, 0] for word in drawn))


def below(words: Numbers, n: int) -> Numbers:
    """Integers below n < 2³¹ of words: ⌊n·w/2³²⌋."""
    return words * n >> 32


def pick_slots(words: Numbers, groups: Sequence[int], bounds: Sequence[int]) -> Numbers:
    """Slots without repetition, one for each word: the first steps of Fisher and Yates's shuffle.

    Parameters
    ----------
    words : int64 array, shape (n,)
    groups : sequence of int
        The group of slots from which each is picked.
    bounds : sequence of int
        Group i has the slots bounds[i]..bounds[i + 1]-1.
    """
    moved: dict[int, int] = {}  # where the shuffled slots differ from their order
    firsts = list(bounds[:-1])
    picked = []
    for word, group in zip(words.tolist(), groups, strict=True):
        first = firsts[group]
        place = first + (word * (bounds[group + 1] - first) >> 32)
        picked.append(moved.get(place, place))
        moved[place] = moved.get(first, first)
        firsts[group] += 1
    return np.array(picked, dtype=np.int64)


def class_bounds(capacity: int, n_classes: int) -> list[int]:
    """Where the slots of each class begin, and their end; as even as they can be shared out."""
    return [capacity * i // n_classes for i in range(n_classes + 1)]


def check_room(groups: Numbers, bounds: Sequence[int]) -> None:
    """Refuse more chains of a class than it has slots."""
    wanted = np.bincount(groups, minlength=len(bounds) - 1)
    for group, (first, last) in enumerate(pairwise(bounds)):
        if wanted[group] > last - first:
            raise InputError(
                f"labels ask for {wanted[group]} chains of class {group}, which has {last - first} "
                "slots; draw fewer, or make the buffer with a larger capacity"
            )


def uniform_starts(
    seed: int, chains: Numbers, dim: int, step: int, low: float, high: float
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """States that are uniform in [low, high]; shape (n, dim)."""
    drawn = noise.philox4x32(
        _counter(noise.Stream.BUFFER, 1 + step, chains, math.ceil(dim / 4)), _key(seed)
    )
    words = np.stack(drawn, axis=-1).reshape(len(chains), -1)[:, :dim]
    u = (words + 0.5) / 2.0**32
    return low + (high - low) * u


def normal_starts(seed: int, chains: Numbers, dim: int, step: int, dtype: str) -> Any:
    """States of N(0, I), those in which a run without `x` begins for step 0; shape (n, dim)."""
    precision = noise.FLOAT64 if dtype == "float64" else noise.FLOAT32
    counter = _counter(noise.Stream.INITIAL, 0, chains, dim)
    return noise.normals(counter, _key(seed), precision)[step]


def _counter(
    stream: noise.Stream, block: int, chains: Numbers, n_coordinates: int
) -> tuple[Numbers, ...]:
    column = chains[:, None]
    return (
        np.full((1, 1), block, dtype=np.int64),
        np.arange(n_coordinates, dtype=np.int64)[None, :],
        column & noise.MASK,
        column >> 32 | stream << 24,
    )


def _key(seed: int) -> tuple[int, int]:
    return seed & noise.MASK, seed >> 32
