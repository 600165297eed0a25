"""The fastest source of the portable normals, and of segments, for arrays in host memory."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from isotherm._arithmetic import noise
from isotherm._backends.array_loop import FillNormals, RunSegment, Segments
from isotherm._backends.installed import offered
from isotherm._transitions.program import TransitionProgram

GROUP = "isotherm.noise"


def fill_normals() -> FillNormals:
    """What fills NumPy arrays with normals of the stream: always the same bits.

    The one that an installed package offers through the entry-point group ``isotherm.noise``, under
    the name ``numpy``; else `isotherm.backend.noise.fill_normals`.
    """
    return cast(FillNormals, _offered("numpy") or noise.fill_normals)


def run_segment(program: TransitionProgram, dtype: str) -> RunSegment:
    """What carries a transition's segments out on NumPy arrays: always the same bits.

    That of the entry point ``segments`` of the group ``isotherm.noise``, (program, dtype) →
    `RunSegment` in one pass over memory; else operation by operation.

    Parameters
    ----------
    program : TransitionProgram
    dtype : str
        Of the state: ``"float32"`` or ``"float64"``.
    """
    make = _offered("segments") or Segments
    return cast(RunSegment, make(program, dtype))


@cache
def _offered(name: str) -> Any:
    """What an installed package offers under this name; None if none does."""
    point = offered(GROUP).get(name)
    return None if point is None else point.load()
