"""The stream as a service to the array loop: blocks of normals, and the step that uses them up."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm.arrays import Array
from isotherm.loop import LangevinTransition
from isotherm.noise import MASK
from isotherm.plan import Plan
from isotherm_cupy.modules import Compile
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
        super().__init__(plan, self._fill)
        self._xp = xp
        self._real = np.dtype(plan.dtype).type
        self._module = compile_(assemble(plan.dtype, "arrays.cu"))
        low, high = plan.clamp or (None, None)
        self._bounds = (
            self._real(-np.inf if low is None else low),
            self._real(np.inf if high is None else high),
        )

    def __call__(self, x: Array, gradient: Array, step: int) -> Array:
        step_size, scale = self._coefficients[step - self._start]
        # Without noise its place is taken by an array that is not read.
        normals = self._normals_of(x, step) if scale else x
        slope = self._xp.ascontiguousarray(gradient, dtype=x.dtype)
        self._module.launch(
            "update",
            x.size,
            [x, slope, normals, np.int64(x.size), self._real(step_size), self._real(scale),
             *self._bounds],
        )  # fmt: skip
        return x

    def _fill(
        self, out: Array, *, seed: int, stream: int, block: int, chain_offset: int = 0
    ) -> None:
        _, n, dim = out.shape
        self._module.launch(
            "fill",
            n * dim,
            [out, np.int64(n), np.int32(dim), np.uint32(block), np.uint32(seed & MASK),
             np.uint32(seed >> 32), np.uint32(stream), np.uint64(chain_offset)],
        )  # fmt: skip
