"""The fastest source of the portable normals, and step made of them, for arrays in host memory."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from isotherm._arithmetic import noise
from isotherm._backends.array_loop import FillNormals, Transition
from isotherm._backends.installed import offered
from isotherm._plans.plan import Plan

GROUP = "isotherm.noise"


def fill_normals() -> FillNormals:
    """What fills NumPy arrays with normals of the stream: always the same bits.

    The one that an installed package offers through the entry-point group ``isotherm.noise``, under
    the name ``numpy``; else `isotherm._arithmetic.noise.fill_normals`.
    """
    return cast(FillNormals, _offered("numpy") or noise.fill_normals)


def fused_transition(plan: Plan) -> Transition | None:
    """The Langevin step on NumPy arrays as one pass over memory, where a package offers it.

    That of the entry point ``transition`` of the group ``isotherm.noise``: plan → transition, with
    the bits of `LangevinTransition`. None without one, or in half precision.
    """
    make = _offered("transition") if plan.dtype in ("float32", "float64") else None
    return None if make is None else cast(Transition, make(plan))


@cache
def _offered(name: str) -> Any:
    """What an installed package offers under this name; None if none does."""
    point = offered(GROUP).get(name)
    return None if point is None else point.load()
