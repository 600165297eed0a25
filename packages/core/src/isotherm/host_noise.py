"""The fastest source of the portable normals, and step made of them, for arrays in host memory."""

from __future__ import annotations

from functools import cache
from typing import cast

from isotherm import noise
from isotherm.loop import FillNormals, Transition
from isotherm.plan import Plan

GROUP = "isotherm.noise"


@cache
def fill_normals() -> FillNormals:
    """What fills NumPy arrays with normals of the stream: always the same bits.

    The one that an installed package offers through the entry-point group ``isotherm.noise``, under
    the name ``numpy``; else `isotherm.noise.fill_normals`.
    """
    from importlib.metadata import entry_points  # as late as the registry does

    for point in entry_points(group=GROUP, name="numpy"):
        return cast(FillNormals, point.load())
    return noise.fill_normals


def fused_transition(plan: Plan) -> Transition | None:
    """The Langevin step on NumPy arrays as one pass over memory, where a package offers it.

    That of the entry point ``transition`` of the group ``isotherm.noise``: plan → transition, with
    the bits of `isotherm.loop.LangevinTransition`. None without one, or in half precision.
    """
    from importlib.metadata import entry_points

    if plan.dtype not in ("float32", "float64"):
        return None
    for point in entry_points(group=GROUP, name="transition"):
        return cast(Transition, point.load()(plan))
    return None
