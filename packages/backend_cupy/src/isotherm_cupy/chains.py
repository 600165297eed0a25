"""Whole chains in kernels: how a run is given to them, in launches of bounded length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from isotherm.backend import Array, Loop, Outputs, Plan, State, noise, walk
from isotherm_cupy.kernels import Kernel
from isotherm_cupy.limits import LIMITS
from isotherm_cupy.modules import Compile
from isotherm_cupy.steps import arguments_of, matrices_of

_SLOW = 32  # so many times as long as in float32 small cards take in float64


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
    available : callable, optional
        Tells how many bytes of the device's memory are free, or None.
    """

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        xp: Any,
        compile_: Compile,
        available: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.path = kernel.path
        self._plan = plan
        self._kernel = kernel
        self._xp = xp
        self._module = compile_(kernel.source)
        self._program = kernel.request.program
        loops = [one for one in walk(self._program.statements) if isinstance(one, Loop)]
        names = self._program.coefficients
        counts = {names[int(self._program.values[one.count].value)] for one in loops}
        self._counts = counts - kernel.request.zeros
        of_chains = self._program.chain_coefficients
        self._varies_by_chain = not kernel.request.varying.isdisjoint(of_chains)
        self._available = available
        self._blocks = 0  # of teams, at most
        self.renew(plan)

    is_kept = True

    def renew(self, plan: Plan) -> None:
        """Serve a plan that draws other numbers; see `isotherm.backend.Renews`."""
        self._plan = plan
        # Moved anew, as the queue may be another than that of the run before.
        self._parameters = self._moved(np.append(self._kernel.parameters, 0.0))
        self._vectors = self._moved(_vectors(plan, self._kernel))
        if (team := self._kernel.team) is not None:
            self._indices = self._xp.asarray(np.append(team.indices, np.int32(0)))
            block = team.numbers * team.width * np.dtype(plan.dtype).itemsize
            free = self._available()
            fitting = LIMITS.team_blocks if free is None else free // LIMITS.memory_share // block
            self._blocks = max(1, min(LIMITS.team_blocks, fitting))

    def steps_at_first(self, start: int) -> int:
        """Those of a launch."""
        first, last = next(self._launches(start, self._plan.n_total, Outputs()), (start, start))
        return last - first

    def _moved(self, values: np.ndarray[Any, np.dtype[np.float64]]) -> Array:
        return self._xp.asarray(values.astype(self._plan.dtype, order="C"))

    def advance(self, given: State, start: int, stop: int, outputs: Outputs) -> State:
        plan, xp = self._plan, self._xp
        rows = plan.n_samples, plan.n_coordinates
        state = {
            name: xp.ascontiguousarray(given[name]).reshape(rows) for name in self._program.carried
        }
        done = plan.kept_before(start)
        for first, last in self._launches(start, stop, outputs):
            kept = plan.kept_before(first) - done, plan.kept_before(last) - done
            state = self._launch(state, first, last, outputs.between(*kept))
        return {name: one.reshape(plan.shape) for name, one in state.items()}

    def _launches(self, start: int, stop: int, outputs: Outputs) -> Iterator[tuple[int, int]]:
        plan = self._plan
        size, length = plan.n_samples * plan.n_coordinates, self._steps_of_a_launch()
        if outputs.mean is not None and outputs.trajectory is None:
            held = max(1, LIMITS.held_bytes // (size * np.dtype(plan.dtype).itemsize))
            length = min(length, plan.thinning * held)
        if self._varies_by_chain:
            row = plan.n_samples * len(self._program.chain_coefficients)
            row *= np.dtype(plan.dtype).itemsize
            length = min(length, max(1, LIMITS.launch_bytes // row))
        while start < stop:
            end = min(start + length, stop)
            if self._counts:  # a step of several passes counts as many
                passes = sum(plan.coefficients(start, end)[name] for name in self._counts)
                work = np.cumsum(1.0 + passes)
                end = start + max(1, int(np.searchsorted(work, length, side="right")))
            yield start, end
            start = end

    def _steps_of_a_launch(self) -> int:
        """What takes some ten milliseconds: of all threads, and of one."""
        plan, kernel = self._plan, self._kernel
        of_all = plan.n_samples * kernel.work
        of_one = -(-of_all // kernel.threads)
        if kernel.team is not None:  # whose chains may be taken one after another
            of_one *= -(-self._turns(plan.n_samples) // self._blocks)
        of_all *= _SLOW if plan.dtype == "float64" else 1
        fitting = min(LIMITS.launch // of_all, LIMITS.launch_thread // of_one, LIMITS.launch_steps)
        # A team's step may be long by itself; others' have the normals of a block drawn together.
        return max(fitting, plan.steps_per_block if kernel.team is None else 1)

    def _coefficients(self, start: int, stop: int) -> Array:
        """Of some steps, or of one where they do not vary."""
        program, plan = self._program, self._plan
        length = stop - start if self._kernel.request.varying else 1
        given = plan.coefficients(start, start + length)
        rows = [given[name] for name in program.coefficients]
        return self._moved(np.stack(rows, axis=1) if rows else np.zeros((1, 1)))

    def _chain_coefficients(self, start: int, stop: int) -> Array:
        """Of each a row a step, or one row where none varies."""
        given = self._plan.chain_coefficients(start, stop)
        rows = [given[name].T for name in self._program.chain_coefficients]
        return self._moved(np.stack(np.broadcast_arrays(*rows)))

    def _launch(
        self, state: dict[str, Array], start: int, stop: int, outputs: Outputs
    ) -> dict[str, Array]:
        plan, xp = self._plan, self._xp
        x = state["x"]
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
        out = {name: xp.empty_like(one) for name, one in state.items()}
        values = {
            "n_samples": n,
            "dim": dim,
            "parameters": self._parameters,
            "coefficients": self._coefficients(start, stop),
            "vectors": self._vectors,
            **{f"{name}_before": one for name, one in state.items()},
            **{f"{name}_after": one for name, one in out.items()},
            "n_steps": stop - start,
            "first_step": plan.step_offset + start,
            "until_kept": until_kept,
            "thinning": min(plan.thinning, stop - start),  # beyond, none is kept again
            "k0": plan.seed & noise.MASK,
            "k1": plan.seed >> 32,
            "chain_offset": plan.chain_offset,
            "states": states,
            "chain_stride": strides[0],
            "kept_stride": strides[1],
        }
        if self._program.chain_coefficients:
            values["chain_coefficients"] = self._chain_coefficients(start, stop)
        if self._program.reports:
            values |= self._reports(outputs, n, count)
            values["first_counted"] = min(max(0, plan.burn_in - start), stop - start)
        threads, memory = self._memory(n)
        values |= memory
        given = arguments_of(self._program, values, self._kernel.layout)
        self._module.launch("advance", threads, given, self._kernel.block)
        if outputs.mean is not None and count:
            self._describe(states, strides, outputs)
        return out

    def _turns(self, chains: int) -> int:
        """How often a block takes as many chains as it has at once, until none is left."""
        assert self._kernel.team is not None
        return -(-chains // self._kernel.team.width)

    def _memory(self, chains: int) -> tuple[int, dict[str, Any]]:
        """The threads that step so many chains, and what teams of them need besides."""
        kernel, team = self._kernel, self._kernel.team
        if team is None:
            return kernel.threads, {}
        blocks = min(self._turns(chains), self._blocks)
        memory = self._xp.empty(blocks * team.width * team.numbers, self._plan.dtype)
        given = {"indices": self._indices, "memory": memory, "n_numbers": np.int64(team.numbers)}
        return blocks * kernel.block, given

    def _reports(self, outputs: Outputs, n: int, count: int) -> dict[str, Array]:
        """Where reports go; what is not wanted goes where nobody reads."""
        xp = self._xp

        def place(wanted: Array | None, shape: tuple[int, ...], dtype: str) -> Array:
            return xp.zeros(shape, dtype) if wanted is None else wanted

        return {
            "energy_error": place(outputs.energy_error, (count, n), self._plan.dtype),
            "accepted": place(outputs.accepted, (n,), "int64"),
            "diverging": place(outputs.diverging, (n,), "int64"),
        }

    def _describe(self, states: Array, strides: list[Any], outputs: Outputs) -> None:
        xp = self._xp
        n, count, dim = states.shape
        where = [states, *strides, np.int64(n), np.int64(count), np.int32(dim)]
        given = [*where, self._parameters, outputs.energy]
        if self._kernel.team is None or self._kernel.request.energy == "elementwise":
            self._module.launch("energies", count * n, given)
        else:
            threads, memory = self._memory(count * n)
            self._module.launch("energies", threads, [*given, *memory.values()], self._kernel.block)

        def launch(name: str, height: int, arguments: list[Any]) -> Array:
            found = xp.empty((2, count, self._nodes(height), dim), np.float64)
            arguments = [*arguments, np.int64(found.shape[2]), *found]
            self._module.launch(name, found[0].size, arguments)
            return found

        height = LIMITS.moments_height
        offset = np.uint64(self._plan.chain_offset)
        found = launch("chain_moments", height, [*where, offset])
        while (n_nodes := found.shape[2]) > 1:
            before = [np.int32(height), np.int64(n_nodes)]
            height += LIMITS.moments_height
            found = launch("node_moments", height, [*found, *where[3:], offset, *before])
        for values, out in zip(found, (outputs.mean, outputs.variance), strict=True):
            assert out is not None
            if out.dtype == values.dtype:
                out[...] = values.reshape(out.shape)
            else:  # not by CuPy, which would take subnormal numbers for zero
                self._module.launch("rounded", out.size, [values, np.int64(out.size), out])

    def _nodes(self, height: int) -> int:
        """How many nodes of the moments' tree there are of a height."""
        first, n = self._plan.chain_offset, self._plan.n_samples
        return (first + n - 1 >> height) - (first >> height) + 1


def _vectors(plan: Plan, kernel: Kernel) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The transition's vectors, and then its matrices, column by column."""
    given, program = plan.vectors(), kernel.request.program
    rows = [given[name] for name in program.vectors]
    columns = [given[name].T.ravel() for name in matrices_of(program)]
    return np.concatenate([*rows, *columns, np.zeros(1)])
