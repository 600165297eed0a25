"""Where the chains of a buffer begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import (
    Array,
    as_state,
    device_name,
    device_of,
    is_array,
    library_of,
    move,
    namespace,
    on_own_device,
)
from isotherm._planning.arguments import as_number, check_start
from isotherm._plans.plan import Plan
from isotherm._runs.checks import inside
from isotherm._training import choices
from isotherm._training.choices import Numbers, Words
from isotherm.errors import InputError, short_repr


class Place(NamedTuple):
    """Where arrays are."""

    library: str
    dtype: str
    device: str


@dataclass(frozen=True, eq=False)
class Init:
    """The maker of starts; it holds what it needs, so that copies and pickles are their own.

    Parameters
    ----------
    given : {"uniform", "normal"}, array or callable
        See `isotherm.ChainBuffer`.
    init_range : (float, float)
    plan : Plan
        Whose shape, dtype and bounds the starts have.
    place : Place
        Where they are to be.
    """

    given: Any
    init_range: Any
    plan: Plan
    place: Place

    def __post_init__(self) -> None:
        if isinstance(self.given, str) and self.given == "uniform":
            object.__setattr__(self, "init_range", _as_range(self.init_range))
            return
        if self.init_range != (-1.0, 1.0):
            raise InputError("init_range is for init='uniform'; leave it out")
        if isinstance(self.given, str):
            if self.given != "normal":
                raise InputError(
                    f"init must be 'uniform', 'normal', an array or a function, not {self.given!r}"
                )
        elif is_array(self.given) or not callable(self.given):
            rows = self._checked(self.given, None)
            with on_own_device(rows):
                rows = compat.array_namespace(rows).asarray(rows, copy=True)
            object.__setattr__(self, "given", rows)

    def __call__(
        self, seed: int, chains: Numbers, words: Words, step: int, labels: Array | None
    ) -> Array:
        """The starts of chains, at the draw (step 0) or after a divergence (1)."""
        dim = self.plan.n_coordinates
        if is_array(self.given):
            n_rows = self.given.shape[0]
            picked = choices.below(words.row_after if step else words.row, n_rows)
            return taken(self.given, picked, self.place)
        if isinstance(self.given, str) and self.given == "uniform":
            drawn = choices.uniform_starts(seed, chains, dim, step, *self.init_range)
            return self._placed(drawn, self.plan.bounds is not None)
        normal = choices.normal_starts(seed, chains, dim, step, self.place.dtype)
        if isinstance(self.given, str):
            return self._placed(normal, self.plan.bounds is not None)
        z = self._placed(normal, False)
        return self._checked(self.given(z) if labels is None else self.given(z, labels), len(z))

    def _placed(self, rows: Any, is_reflected: bool) -> Array:
        rows = rows.astype(self.place.dtype)
        if is_reflected:
            rows = inside(self.plan, rows)
        return move(rows.reshape(-1, *self.plan.event_shape), *self.place)

    def _checked(self, given: Any, n: int | None) -> Array:
        """States that a user gave, of n chains or of any number, where chains run."""
        made = as_state(given)
        event_shape = self.plan.event_shape
        who = "init" if n is None else "what init returned"
        rows = "n" if n is None else n
        shape = () if made is None else tuple(made.shape)
        if (
            made is None
            or shape[1:] != event_shape
            or shape[:1] == (0,)
            or n not in (None, *shape[:1])
        ):
            raise InputError(
                f"{who} must have shape ({rows}, {', '.join(map(str, event_shape))}), not {shape}"
            )
        with on_own_device(made):
            check_start(made, self.plan.dtype, who, self.plan.bounds)
        return move(made, *self.place)


def taken(kept: Array, rows: Numbers, place: Place) -> Array:
    """Rows of an array, in another place."""
    with on_own_device(kept):
        made = compat.array_namespace(kept).take(kept, index(kept, rows), axis=0)
    return move(made, *place)


def index(like: Array, rows: Numbers) -> Array:
    """Rows' numbers as an array that indexes another."""
    library = library_of(like)
    return namespace(library).asarray(rows, device=device_of(library, device_name(like)))


def _as_range(given: Any) -> tuple[float, float]:
    try:
        low, high = map(as_number, given)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not (np.isfinite(high - low) and low < high):
        raise InputError(
            f"init_range must be (low, high), finite and low < high, not {short_repr(given)}"
        )
    return low, high
