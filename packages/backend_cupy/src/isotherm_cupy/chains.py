"""Whole chains in kernels: how a run is given to them, in launches of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from isotherm.backend import Array, Outputs, Plan, State
from isotherm_cupy.kernels import Kernel, counters, schedules
from isotherm_cupy.modules import Compile
from isotherm_cupy.source import MOMENTS_HEIGHT

# What one launch does at most: some ten milliseconds of an H100, a few tenths of a second of a
# small card, well before a watchdog or an impatient Ctrl-C.
_STEPS = 2**17  # of one chain, as few chains leave most of the card idle
_LAUNCH = 2**33  # coordinates times steps; a row of the precision counts as many as it has elements
_SLOW = 32  # so many times as long as in float32 small cards take in float64
_STATES = 2**26  # bytes of kept states held for the diagnostics where no trajectory is kept


class FusedChains:
    """A runner whose steps are taken by a kernel; see `isotherm.backend.Runner`.

    Parameters
    ----------
    plan : Plan
    kernel : Kernel
    xp : module
        The array library of the device's memory.
    compile_ : callable
        source → `isotherm_cupy.modules.Module`.
    """

    def __init__(self, plan: Plan, kernel: Kernel, xp: Any, compile_: Compile) -> None:
        self.path = kernel.path
        self._plan = plan
        self._kernel = kernel
        self._xp = xp
        self._module = compile_(kernel.source)
        self._parameters = xp.asarray(np.append(kernel.parameters, 0.0).astype(plan.dtype))

    def advance(self, given: State, start: int, stop: int, outputs: Outputs) -> State:
        plan = self._plan
        state = self._xp.ascontiguousarray(given["x"]).reshape(plan.n_samples, plan.n_coordinates)
        done = plan.kept_before(start)
        for first, last in self._launches(start, stop, outputs):
            kept = plan.kept_before(first) - done, plan.kept_before(last) - done
            state = self._launch(state, first, last, outputs.between(*kept))
        return {"x": state.reshape(plan.shape)}

    def _launches(self, start: int, stop: int, outputs: Outputs) -> Iterator[tuple[int, int]]:
        plan = self._plan
        size = plan.n_samples * plan.n_coordinates
        per_step = size + size * len(self._kernel.parameters) // plan.n_coordinates
        per_step *= _SLOW if plan.dtype == "float64" else 1
        length = min(_STEPS, max(plan.steps_per_block, _LAUNCH // per_step))
        if outputs.mean is not None and outputs.trajectory is None:
            held = max(1, _STATES // (size * np.dtype(plan.dtype).itemsize))
            length = min(length, plan.thinning * held)
        for first in range(start, stop, length):
            yield first, min(first + length, stop)

    def _launch(self, x: Array, start: int, stop: int, outputs: Outputs) -> Array:
        plan, xp = self._plan, self._xp
        n, dim = x.shape
        count = plan.kept_before(stop) - plan.kept_before(start)
        states, until_kept = xp.empty((1, 1, dim), x.dtype), 0  # which a countdown never meets
        if count and outputs.trajectory is not None:
            states = outputs.trajectory.reshape(n, count, dim)
        elif count and outputs.mean is not None:
            states = xp.empty((count, n, dim), x.dtype).transpose(1, 0, 2)
        if count and (outputs.trajectory is not None or outputs.mean is not None):
            until_kept = plan.burn_in + (plan.kept_before(start) + 1) * plan.thinning - start
        strides = [np.int64(stride // x.dtype.itemsize) for stride in states.strides[:2]]
        out = xp.empty_like(x)
        run = [*map(xp.asarray, schedules(plan, start, stop)), np.int32(stop - start)]
        run += [np.int64(plan.step_offset + start), np.int32(until_kept)]
        run += [np.int32(min(plan.thinning, _STEPS)), *counters(plan)]
        head = [x, out, np.int64(n), np.int32(dim), self._parameters]
        self._module.launch(
            "advance", self._kernel.threads, [*head, *run, states, *strides], self._kernel.block
        )
        if outputs.mean is not None and count:
            self._describe(states, strides, outputs)
        return out

    def _describe(self, states: Array, strides: list[Any], outputs: Outputs) -> None:
        xp = self._xp
        n, count, dim = states.shape
        where = [states, *strides, np.int64(n), np.int64(count), np.int32(dim)]
        self._module.launch("energies", count * n, [*where, self._parameters, outputs.energy])

        def launch(name: str, height: int, arguments: list[Any]) -> Array:
            found = xp.empty((2, count, self._nodes(height), dim), np.float64)
            arguments = [*arguments, np.int64(found.shape[2]), *found]
            self._module.launch(name, found[0].size, arguments)
            return found

        height = MOMENTS_HEIGHT
        offset = np.uint64(self._plan.chain_offset)
        found = launch("chain_moments", height, [*where, offset])
        while (n_nodes := found.shape[2]) > 1:
            before = [np.int32(height), np.int64(n_nodes)]
            height += MOMENTS_HEIGHT
            found = launch("node_moments", height, [*found, *where[3:], offset, *before])
        assert outputs.mean is not None
        assert outputs.variance is not None
        outputs.mean[...], outputs.variance[...] = found.reshape(2, *outputs.mean.shape)

    def _nodes(self, height: int) -> int:
        """How many nodes of the moments' tree there are of a height."""
        first, n = self._plan.chain_offset, self._plan.n_samples
        return (first + n - 1 >> height) - (first >> height) + 1
