"""The stream as a service to the array loop: blocks of normals, and the step that uses them up."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm.backend import Array, LangevinTransition, Plan
from isotherm_cupy.kernels import counters, needs, schedules
from isotherm_cupy.modules import Compile
from isotherm_cupy.normals import filler
from isotherm_cupy.source import assemble


class FusedTransition(LangevinTransition):
    """The Langevin step as one pass over the state, with noise made by a kernel.

    Parameters
    ----------
    plan : Plan
        In float32 or float64.
    xp : module
        The array library of the device's memory.
    compile_ : callable
        source → `isotherm_cupy.modules.Module`.
    """

    def __init__(self, plan: Plan, xp: Any, compile_: Compile) -> None:
        super().__init__(plan, filler(xp, compile_))
        self._xp = xp
        self._module = compile_(assemble(plan.dtype, "arrays.cu", constants=needs(plan)))
        # No state is kept here: the array loop does that.
        self._rest = [np.int32(0), np.int64(0), np.int32(0), np.int32(0), *counters(plan)]
        self._rest += [xp.empty(1, plan.dtype)]
        self._rest += [np.int64(0), np.int64(0)]

    def start(self, start: int, stop: int) -> None:
        super().start(start, stop)
        xp = self._xp
        pair = schedules(self._plan, start, stop)
        self._run = [*map(xp.asarray, pair), *self._rest]

    def __call__(self, x: Array, gradient: Array, step: int) -> Array:
        x = self._xp.ascontiguousarray(x)  # a copy keeps the layout of what the user gave
        _, scale = self._coefficients[step - self._start]
        # Without noise its place is taken by an array that is not read.
        normals = self._normals_of(x, step) if scale else x
        slope = self._xp.ascontiguousarray(gradient, dtype=x.dtype)
        head = [x, slope, normals, np.int64(x.size), np.int32(step - self._start)]
        self._module.launch("update", x.size, [*head, *self._run])
        return x
