"""How the steps of a warm-up are shared out among its windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: Steps between two adaptations of the step size: a block of the noise stream in float32.
BLOCK = 4

_FIRST, _BASE, _LAST, _CHECK = 40, 12, 48, 25


class Windows(NamedTuple):
    """Numbers of steps.

    Attributes
    ----------
    first : int
        Of the step size alone, from the start.
    slow : tuple of int
        After each of which the inverse mass is made anew.
    last : int
        Of the step size alone, for the last inverse mass.
    check : int
        With all that was found, to see what comes of it.
    """

    first: int
    slow: tuple[int, ...]
    last: int
    check: int


def windows(n_warmup: int) -> Windows:
    """The windows of a warm-up, as in Stan (Reference Manual, "HMC algorithm parameters").

    A first window, slow ones which double, the last of them stretched to what is left, and a last
    window; of few steps 15, 75 and 10 %. The first and the slow ones begin with half of Stan's
    sizes: many pilots tell a variance after few steps, and where they start far too narrow, each
    window lets them widen. A twentieth of the steps is kept for the check.
    """
    check = min(_CHECK, max(1, n_warmup // 20))
    left = n_warmup - check
    first, base, last = _FIRST, _BASE, _LAST
    if left < first + base + last + _CHECK:
        first, last = max(1, 15 * left // 100), max(1, left // 10)
        base = max(1, left - first - last)
    return Windows(first, tuple(_doubling(left - first - last, base)), last, check)


def _doubling(n_steps: int, size: int) -> Iterator[int]:
    while n_steps >= size + 2 * size:  # the one after this fits, too
        yield size
        n_steps, size = n_steps - size, 2 * size
    yield n_steps
