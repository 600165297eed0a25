"""Plans that were made before: a loop of calls plans once."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from isotherm._arithmetic.arrays import Array
from isotherm._backends.protocol import Backend
from isotherm._energies.origin import is_declared, origin
from isotherm._energies.protocol import fixed, signature
from isotherm._plans.plan import Plan

_PLAIN = frozenset({bool, int, float, str, type(None)})


class Made(NamedTuple):
    """A plan, with what it was made of; of an energy that is fixed for a run, what it then was."""

    energy: weakref.ref[Any]
    fixed: Any
    key: tuple[object, ...]
    plan: Plan
    asked: Backend


_made: dict[int, Made] = {}  # by the energies' identities


def key_of(energy: Any, x: Array | None, options: tuple[object, ...]) -> tuple[object, ...] | None:
    """What decides a plan besides the seed; None where that may change without being seen."""
    if x is None:
        return None
    kinds = tuple(map(type, options))  # 1 and True are equal, and not the same
    if not _PLAIN.issuperset(kinds):
        return None  # arrays and functions may be others at the next call
    place = type(x), tuple(x.shape), x.dtype, getattr(x, "device", None)
    own = (energy.name, energy.dim, energy.kind) if is_declared(energy) else ()
    return (*options, *kinds, *place, *origin(energy), *own, hasattr(energy, "gradient"))


def find(energy: Any, key: tuple[object, ...]) -> Made | None:
    """The plan that was last made for this energy, if it was made of the same."""
    made = _made.get(id(energy))
    if made is None or made.energy() is not energy or made.key != key:
        return None
    if not is_declared(energy):
        return made
    now = fixed(energy, made.plan.event_shape)
    is_same = now is (energy if made.fixed is None else made.fixed)
    is_same = is_same and signature(now, made.plan.event_shape) == made.plan.energy_signature
    return made if is_same else None


def keep(energy: Any, now: Any, key: tuple[object, ...], plan: Plan, asked: Backend) -> None:
    """Remember a plan for as long as its energy lives, which is `now` what the plan is of."""
    if plan.device != "cpu":
        return  # which card is the current one may change
    number = id(energy)
    try:
        reference = weakref.ref(energy, lambda _: _made.pop(number, None))
    except TypeError:
        return
    _made[number] = Made(reference, None if now is energy else now, key, plan, asked)
