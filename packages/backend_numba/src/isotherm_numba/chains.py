"""Whole chains in compiled loops: how a run is given to its kernel, in parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from isotherm.backend import Outputs, Plan, noise
from isotherm_numba import codegen_cache, threads
from isotherm_numba.compiled_energy import compile_for
from isotherm_numba.kernel_calls import address_of
from isotherm_numba.kernels import Kernel

_PARTS = 64  # at most, into which the chains are divided for threads and for the moments
_SHARE = 2**18  # coordinates times steps: to wake a thread for less, 0.4 ms, does not pay
_MOMENTS = 2**26  # bytes for the moments of all parts

_LOOP = """\
# What isotherm_numba compiles for the loop over tiles in {dtype}.
from numba import njit

from isotherm_numba import tiles
from isotherm_numba.noise import box_muller{bits} as box_muller


@njit(tiles.signature("{dtype}"), cache=True, nogil=True, error_model="numpy")
def advance({arguments}):
    tiles.advance(box_muller, {steps_per_block}, {arguments})
"""
_ARGUMENTS = (
    "gradient, terms, is_elementwise, by_coordinate, x, out, parameters, step_size, scale, kept, "
    "low, high, trajectory, energy, mean, square, k0, k1, chain_offset, first_step, first, last, "
    "chains"
)
_KERNEL = """\
# What isotherm_numba compiles for {name} in {dtype}.
from numba import njit
from numpy import floor, inf, nan, rint
from numpy import {dtype} as number
from numpy import uint{bits} as unsigned

from isotherm_numba.kernel_calls import kernel_signature
from isotherm_numba.functions import functions
from isotherm_numba.lanes import number_type

signature = kernel_signature(number_type("{dtype}"))
options = {{"cache": {is_kept}, "nogil": True, "error_model": "numpy"}}
compiled = njit(signature, **options)
abs, sqrt, exp, log, tanh, sin, cos, near_sin, near_cos, is_far = functions("{dtype}")


{functions}
"""


class FusedChains:
    """A runner whose steps are taken by a kernel; see `isotherm.backend.Runner`."""

    def __init__(self, plan: Plan, kernel: Kernel) -> None:
        self.path = kernel.path
        self._plan = plan
        self._dtype = np.dtype(plan.dtype)
        self._parameters = kernel.parameters.astype(self._dtype)
        self._tile = kernel.chains_per_tile
        self._part = self._tile * math.ceil(plan.n_samples / self._tile / _PARTS)
        loop = _LOOP.format(
            dtype=plan.dtype,
            bits=8 * self._dtype.itemsize,
            steps_per_block=plan.steps_per_block,
            arguments=_ARGUMENTS,
        )
        source = _KERNEL.format(
            name=kernel.name,
            dtype=plan.dtype,
            bits=8 * self._dtype.itemsize,
            is_kept=not kernel.users,
            functions=kernel.functions,
        )
        if kernel.users:
            names = ("energy_of_chain", "gradient_of_chain")
            users = zip(names, compile_for(kernel.users, self._dtype), strict=True)
            module = codegen_cache.build(kernel.name, source, tuple(users))
        else:
            module = codegen_cache.load(kernel.name, source)
        self._energy = (
            address_of(module.gradient),
            address_of(module.terms),
            kernel.is_elementwise,
            kernel.by_coordinate,
        )
        self._advance = codegen_cache.load(f"tiles_{plan.dtype}", loop).advance

    def advance(
        self, x: np.ndarray[Any, Any], start: int, stop: int, outputs: Outputs
    ) -> np.ndarray[Any, Any]:
        plan = self._plan
        state = np.ascontiguousarray(x).reshape(plan.n_samples, plan.n_coordinates)
        done = plan.kept_before(start)
        for first, last in self._intervals(start, stop, outputs):
            kept = plan.kept_before(first) - done, plan.kept_before(last) - done
            state = self._take(state, first, last, outputs.between(*kept))
        return state.reshape(plan.shape)

    def _intervals(self, start: int, stop: int, outputs: Outputs) -> Iterator[tuple[int, int]]:
        """The steps, in intervals whose moments of all parts fit into memory set aside for them."""
        length = stop - start
        if outputs.mean is not None:
            per_kept = 16 * math.ceil(self._plan.n_samples / self._part) * self._plan.n_coordinates
            length = self._plan.thinning * max(1, _MOMENTS // per_kept)
        for first in range(start, stop, length):
            yield first, min(first + length, stop)

    def _take(
        self, x: np.ndarray[Any, Any], start: int, stop: int, outputs: Outputs
    ) -> np.ndarray[Any, Any]:
        plan = self._plan
        n, dim = x.shape
        parts = math.ceil(n / self._part)
        step_size, scale = (c.astype(self._dtype) for c in plan.coefficients(start, stop))
        steps = np.arange(start, stop)
        is_kept = (steps >= plan.burn_in) & ((steps + 1 - plan.burn_in) % plan.thinning == 0)
        kept = np.where(is_kept, np.cumsum(is_kept) - 1, -1)
        low, high = plan.clamp or (None, None)
        trajectory, energy = np.empty((0, 0, 0), self._dtype), np.empty((0, 0), self._dtype)
        moments = np.empty((2, parts, 0, dim))
        if outputs.trajectory is not None:
            trajectory = outputs.trajectory.reshape(n, -1, dim)
        if outputs.energy is not None:
            energy = outputs.energy
            moments = np.empty((2, parts, int(is_kept.sum()), dim))
        out = np.empty((n, dim), self._dtype)

        def take(part: int) -> None:
            self._advance(
                *self._energy, x, out, self._parameters, step_size, scale, kept,
                -np.inf if low is None else low, np.inf if high is None else high,
                trajectory, energy, moments[0, part], moments[1, part],
                plan.seed & noise.MASK, plan.seed >> 32, plan.chain_offset,
                plan.step_offset + start,
                part * self._part, min((part + 1) * self._part, n), self._tile,
            )  # fmt: skip

        threads.run_all(take, parts, most=1 + x.size * (stop - start) // _SHARE)
        if outputs.mean is not None and outputs.variance is not None:
            sizes = np.diff([*range(0, n, self._part), n])
            mean, square = _combined(moments, sizes)
            outputs.mean[...] = mean.reshape(outputs.mean.shape)
            outputs.variance[...] = (square / n).reshape(outputs.mean.shape)
        return out


def _combined(
    moments: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Mean and sum of squares over all parts, in their order; see `tiles` for the formula."""
    mean, square = moments[:, 0].copy()
    before = int(sizes[0])
    for part in range(1, len(sizes)):
        size = int(sizes[part])
        shift = moments[0, part] - mean
        mean += shift * (size / (before + size))
        square += moments[1, part] + shift * shift * (before * (size / (before + size)))
        before += size
    return mean, square
