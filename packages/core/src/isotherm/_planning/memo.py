"""Plans that were made before: a loop of calls plans once."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from isotherm._arithmetic.arrays import Array
from isotherm._backends.protocol import Backend
from isotherm._energies.origin import is_declared, origin
from isotherm._plans.plan import Plan

_PLAIN = (bool, int, float, str, type(None))


class Made(NamedTuple):
    """A plan, with what it was made of."""

    energy: weakref.ref[Any]
    key: tuple[object, ...]
    plan: Plan
    asked: Backend


_made: dict[int, Made] = {}  # by the energies' identities


def key_of(energy: Any, x: Array | None, options: tuple[object, ...]) -> tuple[object, ...] | None:
    """What decides a plan besides the seed; None where that may change without being seen."""
    if x is None or is_declared(energy):
        return None
    if not all(type(option) in _PLAIN for option in options):
        return None  # arrays and functions may be others at the next call
    kinds = tuple(map(type, options))  # 1 and True are equal, and not the same
    place = type(x), tuple(x.shape), x.dtype, getattr(x, "device", None)
    return (*options, *kinds, *place, *origin(energy), hasattr(energy, "gradient"))


def find(energy: Any, key: tuple[object, ...]) -> Made | None:
    """The plan that was last made for this energy, if it was made of the same."""
    made = _made.get(id(energy))
    return made if made is not None and made.energy() is energy and made.key == key else None


def keep(energy: Any, key: tuple[object, ...], plan: Plan, asked: Backend) -> None:
    """Remember a plan for as long as its energy lives."""
    if plan.device != "cpu":
        return  # which card is the current one may change
    number = id(energy)
    try:
        reference = weakref.ref(energy, lambda _: _made.pop(number, None))
    except TypeError:
        return
    _made[number] = Made(reference, key, plan, asked)
