"""The stream as a service to array loops: blocks of normals, and the step that uses them up."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from isotherm.backend import LangevinTransition, Plan, noise
from isotherm_numba import codegen_cache, threads

_PART = 2**15  # elements of a piece of work: long beside the call of a kernel, few beside an array

_SOURCE = """\
# What isotherm_numba compiles for array loops in {dtype}.
from numba import types

from isotherm_numba import lanes
from isotherm_numba.codegen_cache import kept
from isotherm_numba.noise import box_muller{bits} as box_muller

number = lanes.number_type("{dtype}")
row = lanes.array_type(number, 1)


@kept(
    types.void(lanes.array_type(number, 2), *[types.uint64] * 6, types.int64, types.int64),
    nogil=True, error_model="numpy",
)
def fill(out, dim, stream, block, k0, k1, chain_offset, first, last):
    lanes.fill(box_muller, out, dim, stream, block, k0, k1, chain_offset, first, last)


@kept(
    types.void(row, lanes.array_type(number, 1, readonly=True), row, *[number] * 4),
    nogil=True, error_model="numpy",
)
def update(x, gradient, normals, step_size, scale, low, high):
    lanes.update(x, gradient, normals, step_size, scale, low, high)
"""


def fill(
    out: np.ndarray[Any, Any], *, seed: int, stream: int, block: int, chain_offset: int = 0
) -> None:
    """See `isotherm.backend.noise.fill_normals`."""
    dtype = "float64" if out.dtype == np.float64 else "float32"
    # Half precision is drawn in float32 and rounded once.
    whole = out if out.dtype == dtype and out.flags.c_contiguous else np.empty(out.shape, dtype)
    rows = whole.reshape(out.shape[0], -1)
    key = seed & noise.MASK, seed >> 32
    compiled = _module(dtype).fill

    def take(part: int) -> None:
        first = part * _PART
        last = min(first + _PART, rows.shape[1])
        compiled(rows, out.shape[2], int(stream), block, *key, chain_offset, first, last)

    threads.run_all(take, _parts(rows.shape[1]))
    if whole is not out:
        out[...] = whole


class FusedTransition(LangevinTransition):
    """The Langevin step as one pass over the state."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, fill)
        low, high = plan.clamp or (None, None)
        self._bounds = -np.inf if low is None else low, np.inf if high is None else high
        self._update = _module(plan.dtype).update

    def __call__(
        self, x: np.ndarray[Any, Any], gradient: np.ndarray[Any, Any], step: int
    ) -> np.ndarray[Any, Any]:
        step_size, scale = self._coefficients[step - self._start]
        x = np.ascontiguousarray(x)
        state, slope = x.reshape(-1), np.ascontiguousarray(gradient, x.dtype).reshape(-1)
        # Without noise its place is taken by an array that is not read.
        normals = self._normals_of(x, step).reshape(-1) if scale else state

        def take(part: int) -> None:
            piece = slice(part * _PART, (part + 1) * _PART)
            self._update(
                state[piece], slope[piece], normals[piece], step_size, scale, *self._bounds
            )

        threads.run_all(take, _parts(state.size))
        return x


def _parts(elements: int) -> int:
    return -(-elements // _PART)


@cache
def _module(dtype: str) -> ModuleType:
    bits = 8 * np.dtype(dtype).itemsize
    return codegen_cache.load(f"arrays_{dtype}", _SOURCE.format(dtype=dtype, bits=bits))
