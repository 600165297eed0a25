"""Bounds that reflect: what a plan holds of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import round_to

Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Bounds:
    """The interval in which each coordinate stays; infinite on a side without a bound.

    Parameters
    ----------
    low, high : float, or array of shape (dim,)
        None, or NaN in an array, for no bound.
    """

    __slots__ = ("high", "low")

    def __init__(self, low: Any, high: Any) -> None:
        self.low = _without_nan(low, -np.inf)
        self.high = _without_nan(high, np.inf)

    def rounded(self, dtype: str) -> Bounds:
        """Those that a dtype can hold: what is rounded to it stays between them."""
        with np.errstate(over="ignore"):
            return Bounds(round_to(self.low, dtype), round_to(self.high, dtype))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Bounds)
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    def __hash__(self) -> int:
        return hash((self.low.tobytes(), self.high.tobytes()))

    def __repr__(self) -> str:
        return f"Bounds({self.low!r}, {self.high!r})"

    def __str__(self) -> str:
        return f"{_side(self.low)} to {_side(self.high)}, reflecting"


def _without_nan(values: Any, instead: float) -> Numbers:
    made = np.array(np.nan if values is None else values, dtype=np.float64)
    made[np.isnan(made)] = instead
    made.flags.writeable = False
    return made


def _side(values: Numbers) -> str:
    least, most = float(values.min()), float(values.max())
    return f"{least:g}" if least == most else f"({least:g} … {most:g})"
