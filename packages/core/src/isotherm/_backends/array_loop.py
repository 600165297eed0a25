"""The array loop: chains on arrays of any namespace, one step at a time.

It carries a transition's program out, statement by statement. This is the readable form of what
every kernel does. A backend that does a part better passes that part in: a gradient by autograd,
noise from a faster source, or segments as one pass over memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic import noise
from isotherm._arithmetic.arrays import Array, namespace_of
from isotherm._arithmetic.sums import moments, total
from isotherm._backends.protocol import Outputs, State
from isotherm._backends.watch import Watch
from isotherm._energies.origin import is_declared
from isotherm._energies.protocol import energy_terms, kind_of
from isotherm._energies.users import EnergyCalls, calls_of
from isotherm._limits import LIMITS
from isotherm._plans.plan import Plan
from isotherm._programs.program import OPERATIONS, spent_after
from isotherm._transitions.program import (
    Call,
    Kind,
    Loop,
    Segment,
    Space,
    Statement,
    TransitionProgram,
    walk,
)

#: The values of a step by their numbers: arrays (n_samples, dim) or (n_samples, 1), or floats.
Values: TypeAlias = dict[int, Any]

#: What is told of a state, and of the step after which it is one.
Note: TypeAlias = Callable[[Array, int], None]

#: A value, what makes it in a namespace, and of which others.
_Step: TypeAlias = tuple[int, Callable[..., Any], tuple[int, ...]]

_ASKING = ("gradient", "value_and_gradient")  # of an energy


class FillNormals(Protocol):
    """Writes blocks of the noise stream, as `isotherm.backend.noise.fill_normals` does."""

    def __call__(
        self,
        out: Array,
        *,
        seed: int,
        stream: noise.Stream,
        block: int,
        chain_offset: int = 0,
        coordinate_offset: int = 0,
    ) -> None: ...


class Exponentials(Protocol):
    """Draws blocks of the accept stream, as `isotherm.backend.noise.exponentials` does."""

    def __call__(
        self, like: Array, *, seed: int, block: int, chain_offset: int = 0, n_blocks: int = 1
    ) -> Sequence[Array]: ...


class RunSegment(Protocol):
    """Carries a segment out in one pass over memory; the values that it gives, in their order."""

    def __call__(self, segment: Segment, values: Values) -> Sequence[Array]: ...


class Segments:
    """Carries segments out operation by operation, on arrays of any namespace.

    Parameters
    ----------
    program : TransitionProgram
    dtype : str
        Of the state.
    """

    def __init__(self, program: TransitionProgram, dtype: str) -> None:
        self._program = program
        self._dtype = dtype
        parts = walk(program.statements)
        self._ready = {one: self._made_ready(one) for one in parts if isinstance(one, Segment)}

    def __call__(self, segment: Segment, values: Values) -> Sequence[Array]:
        constants, steps, spent, array = self._ready[segment]
        held = constants | {index: values[index] for index in segment.inputs}
        xp = namespace_of(held[array])
        for index, operation, args in steps:
            held[index] = operation(xp, *[held[arg] for arg in args])
            for arg in spent[index]:
                del held[arg]
        return [held[index] for index in segment.outputs]

    def _made_ready(
        self, segment: Segment
    ) -> tuple[Values, list[_Step], dict[int, list[int]], int]:
        """The constants that a segment takes, its steps, what is spent after each, and an array."""
        values, spaces = self._program.values, self._program.spaces
        steps = [(i, self._operation(i), values[i].args) for i in segment.body]
        taken = {arg for _, _, args in steps for arg in args}
        constants = {i: float(values[i].value) for i in taken if values[i].op == "const"}
        spent = spent_after(steps, {*segment.outputs, *constants})
        return constants, steps, spent, next(i for i in segment.inputs if spaces[i] != Space.STEP)

    def _operation(self, index: int) -> Callable[..., Any]:
        """What makes a value of others, of which those of a step are numbers, the rest arrays."""
        one = self._program.values[index]
        operation = OPERATIONS[one.op]
        are_numbers = [self._program.spaces[arg] == Space.STEP for arg in one.args]
        if all(are_numbers):
            return partial(_of_numbers, operation, np.dtype(self._dtype).type)
        if one.op == "perturb" and are_numbers[1]:
            return _perturbed
        if one.op in ("where", "div", "min", "max") and any(are_numbers):
            return partial(_of_arrays, operation, self._dtype)
        return operation


def _of_numbers(operation: Callable[..., Any], scalar: Any, xp: Any, *args: Any) -> Any:
    with np.errstate(all="ignore"):
        value = operation(np, *map(scalar, args))
    return bool(value) if value.dtype == np.bool_ else float(value)


def _perturbed(xp: Any, value: Array, scale: float, z: Array) -> Array:
    return value if scale == 0.0 else value + scale * z


def _of_arrays(operation: Callable[..., Any], dtype: str, xp: Any, *args: Any) -> Any:
    """Some libraries take no number here, or divide by one through its reciprocal."""
    like = next(arg for arg in args if not isinstance(arg, (float, bool)))
    place = {"dtype": getattr(xp, dtype), "device": compat.device(like)}
    return operation(xp, *(xp.asarray(a, **place) if isinstance(a, float) else a for a in args))


def _same(x: Array) -> Array:
    return x


def columns_of(matrix: np.ndarray[Any, np.dtype[np.float64]], like: Array) -> Array:
    """A matrix as its columns, in rows, beside the states `like`."""
    xp = namespace_of(like)
    columns = np.ascontiguousarray(matrix.T)
    return xp.asarray(columns, dtype=like.dtype, device=compat.device(like))


def matvec_of(columns: Array, x: Array) -> Array:
    """The matrix of these columns times each row, its own rows in order: product, then sum."""
    result = x[:, 0:1] * columns[0:1, :]
    for k in range(1, x.shape[1]):
        result = result + x[:, k : k + 1] * columns[k : k + 1, :]
    return result


def matvec(matrix: np.ndarray[Any, np.dtype[np.float64]], x: Array) -> Array:
    """The matrix times each row; see `matvec_of`."""
    return matvec_of(columns_of(matrix, x), x)


class ArrayLoop:
    """A runner that steps arrays of any namespace.

    Parameters
    ----------
    plan : Plan
    energy : callable
        x → U, shape (n_samples,) or terms to be summed.
    gradient : callable
        x → ∇U, of the shape of x.
    fill_normals : FillNormals, optional
        The source of noise.
    run_segment : RunSegment, optional
        `Segments` by default.
    calls : EnergyCalls, optional
        How the two are called, where the backend calls a user's energy in a way of its own.
    path : str
        What the result's info calls this way of running.
    why_not_fused : str, optional
        Why the energy has no kernel where others have, and what would have one; a part of the path,
        and said once where it costs time.
    exponentials : Exponentials, optional
        The source of the numbers for accepting.
    stepped_as : (callable, callable), optional
        An array of the backend's → one that is stepped in its place, on the same memory, where
        another library takes less time for it; and back. Noise and segments are then of that one.
    matvec : callable, optional
        `matvec_of` by default.
    """

    def __init__(
        self,
        plan: Plan,
        energy: Callable[[Array], Array],
        gradient: Callable[[Array], Array],
        fill_normals: FillNormals = noise.fill_normals,
        run_segment: RunSegment | None = None,
        calls: EnergyCalls | None = None,
        path: str = "array loop",
        why_not_fused: str | None = None,
        exponentials: Exponentials = noise.exponentials,
        stepped_as: tuple[Callable[[Array], Array], Callable[[Array], Array]] = (_same, _same),
        matvec: Callable[[Array, Array], Array] = matvec_of,
    ) -> None:
        self.path = path if why_not_fused is None else f"{path}: {why_not_fused}"
        self.why_not_fused = why_not_fused
        self.is_kept = plan.device == "cpu"  # its noise is a device's memory
        self._plan = plan
        self._energy = energy
        self._calls = calls or calls_of(energy, energy, gradient)
        self._watch: Watch | None = None
        self._shape, self._is_half = plan.shape, plan.dtype != plan.state_dtype
        self._kind = kind_of(energy)
        self.program = plan.transition(self._kind)
        self._keeps_values = bool(self.program.cached) and not is_declared(energy)
        self._run_segment = run_segment or Segments(self.program, plan.state_dtype)
        self._noise = _Noise(plan, fill_normals, exponentials)
        asked = (*_calls_in(self.program.prologue), *_calls_in(self.program.statements))
        self._first_asked = next((one.op for one in asked if one.op in _ASKING), None)
        self._inner, self._outer = stepped_as
        self._matvec = matvec
        self._columns: dict[str, Array] = {}  # of the matrices that were needed
        self._constants: Values | None = None
        self._changing: list[tuple[int, str]] = []  # coefficients: their values and names
        self._changing_of_chains: list[tuple[int, str]] = []
        self._last: tuple[State | None, Values] = None, {}  # where it is, and what is cached there

    def renew(self, plan: Plan) -> None:
        """Serve a plan that draws other numbers; see `isotherm.backend.Renews`."""
        self._plan = plan
        self._noise = self._noise.renewed(plan)

    def begin(self, state: State) -> None:
        """Ask the energy for the first step from a state, and refuse what is wrong with it."""
        self._last = None, {}
        self._calls.begin(
            self._seen(self._inner(state["x"])),
            wants_energies=self._plan.return_diagnostics,
            wants_both=self._first_asked == "value_and_gradient",
        )

    @property
    def seen(self) -> Array | None:
        """What the energy returned when it was last called, where that is known."""
        return self._calls.seen

    def first_bad_step(self) -> int | None:
        """After how many of the steps last taken something was not finite, or 0; if it is known."""
        return None if self._watch is None else self._watch.first() or 0

    def _watching(self) -> Note | None:
        """What to tell of the state after each step; None where nothing needs to be told."""
        plan, calls = self._plan, self._calls
        self._watch = None
        if calls.is_pure or plan.on_divergence == "ignore":
            return None
        watch = self._watch = Watch(plan.device)
        # A gradient that is kept from step to step was the last state's.
        n_behind = 0 if self.program.cached_at_start else 1
        is_adjusted = plan.is_adjusted

        def note(x: Array, step: int) -> None:
            seen = None if is_adjusted else calls.seen
            watch.note(x, step + 1, seen, step + 1 - n_behind)

        return note

    def advance(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        plan, program = self._plan, self.program
        if stop == start:
            xp = namespace_of(state["x"])
            return {name: xp.asarray(state[name], copy=True) for name in program.carried}
        rows = (plan.n_samples, plan.n_coordinates)
        begun = {
            program.start[name]: _shaped(self._inner(state[name]), rows) for name in program.carried
        }
        values: Values = self._constants_for(begun[program.start["x"]]) | begun
        last, cached = self._last
        if state is last:  # so pieces do not ask an energy again, which may draw another batch
            values |= cached
        else:
            self._carry_out(program.prologue, values, start)
            for name, index in program.cached_at_start.items():
                values[program.start[name]] = values[index]
        n_kept, next_kept = 0, plan.burn_in + plan.thinning * (plan.kept_before(start) + 1)
        self._noise.stop = stop
        steps = self._steps(values, start, stop, outputs, self._watching())
        for n_steps, (values, reports) in enumerate(steps, start + 1):
            if n_steps == next_kept:
                self._record(values[program.start["x"]], reports, n_kept, outputs)
                n_kept, next_kept = n_kept + 1, next_kept + plan.thinning
        ends = {name: values[program.start[name]] for name in program.carried}
        at_end = {name: self._outer(_shaped(value, plan.shape)) for name, value in ends.items()}
        kept = (program.start[name] for name in program.cached)
        self._last = at_end, {index: values[index] for index in kept}
        return at_end

    def _steps(
        self, values: Values, start: int, stop: int, outputs: Outputs, note: Note | None
    ) -> Iterator[tuple[Values, dict[str, Any]]]:
        """After each step its values, as the next one begins with them, and what it reports.

        They are counted and noted already; the next step may write to the same memory.
        """
        program, x = self.program, values[self.program.start["x"]]
        constants, coefficients = self._constants_for(x), self._varying(start, stop)
        for step in range(start, stop):
            for index, numbers in coefficients:
                values[index] = numbers[step - start]
            if self._changing_of_chains:
                values |= self._varying_of_chains(step, x)
            self._carry_out(program.statements, values, step)
            reports = {name: values[index] for name, index in program.reports.items()}
            ends = {program.start[name]: values[index] for name, index in program.end.items()}
            values = constants | ends
            if note is not None:
                note(values[program.start["x"]], step)
            self._count(reports, step, outputs)
            yield values, reports

    def _constants_for(self, x: Array) -> Values:
        """What is the same at all steps: coefficients, and vectors on the state's device."""
        if self._constants is None:
            numbers, vectors = self._plan.coefficients(0, 1), self._plan.vectors()
            of_chains = self._plan.chain_coefficients(0, 1)
            varying = self._plan.varying_coefficients()
            self._constants = {}
            for index, one in enumerate(self.program.values):
                if one.op == "vector":
                    name = self.program.vectors[int(one.value)]
                    self._constants[index] = as_row(vectors[name], x)
                elif one.op == "chain_coefficient":
                    name = self.program.chain_coefficients[int(one.value)]
                    if name in varying:
                        self._changing_of_chains.append((index, name))
                    else:
                        self._constants[index] = as_column(of_chains[name][:, 0], x)
                elif one.op == "coefficient":
                    name = self.program.coefficients[int(one.value)]
                    if name in varying:
                        self._changing.append((index, name))
                    else:
                        self._constants[index] = float(numbers[name][0])
        return self._constants

    def _varying(self, start: int, stop: int) -> list[tuple[int, list[float]]]:
        """The other coefficients, a number a step."""
        if not self._changing:
            return []
        given = self._plan.coefficients(start, stop)
        return [(index, given[name].tolist()) for index, name in self._changing]

    def _varying_of_chains(self, step: int, x: Array) -> Values:
        """... and a number a chain: of one step, as those of many may be more than the chains."""
        given = self._plan.chain_coefficients(step, step + 1)
        return {index: as_column(given[name][:, 0], x) for index, name in self._changing_of_chains}

    def _carry_out(self, statements: Sequence[Statement], values: Values, step: int) -> None:
        for one in statements:
            match one:
                case Segment():
                    results: Sequence[Array] = self._run_segment(one, values)
                    values.update(zip(one.outputs, results, strict=True))
                case Call():
                    self._call(one, values, step)
                case Loop():
                    variables = [values[index] for index in one.before]
                    for number in range(int(values[one.count])):
                        values[one.index] = number
                        values.update(zip(one.inside, variables, strict=True))
                        self._carry_out(one.body, values, step)
                        variables = [values[index] for index in one.after]
                    values.update(zip(one.results, variables, strict=True))

    def _call(self, call: Call, values: Values, step: int) -> None:
        args, result = [values[arg] for arg in call.args], call.results[0]
        like = values[self.program.start["x"]]
        if call.guard is not None and _is_zero(values[call.guard]):
            values[result] = like  # stands in the place of noise that is not used
            return
        match call.op:
            case "gradient":
                values[result] = self._in_rows(self._calls.gradient(self._seen(*args)), like)
            case "value_and_gradient":
                x = self._seen(*args)
                if self._kind == Kind.TERMS:
                    energy, gradient = energy_terms(self._energy, x), self._calls.gradient(x)
                else:
                    energy, gradient = self._calls.value_and_gradient(x)
                values[result] = self._in_rows(energy, like)
                values[call.results[1]] = self._in_rows(gradient, like)
            case "normal":
                values[result] = self._noise.normal(like, call.detail, step)
            case "substep_normal":
                values[result] = self._noise.substep_normal(like, step, *args)
            case "exponential":
                values[result] = self._noise.exponential(like, step)
            case "total":
                values[result] = total(args[0], axis=1)[:, None]
            case "matvec":
                if call.detail not in self._columns:
                    matrix = self._plan.vectors()[call.detail]
                    self._columns[call.detail] = columns_of(matrix, like)
                values[result] = self._matvec(self._columns[call.detail], *args)

    def _seen(self, x: Array) -> Array:
        """The state as the energy sees it: in its shape, and in half precision where it is."""
        x = self._outer(_shaped(x, self._shape))
        if self._is_half:
            xp = namespace_of(x)
            x = xp.astype(x, getattr(xp, self._plan.dtype))
        return x

    def _in_rows(self, values: Array, like: Array) -> Array:
        if self._keeps_values:  # a user's energy may write its next answer to the same memory
            values = namespace_of(values).asarray(values, copy=True)
        if self._is_half:  # which not every library has
            xp = namespace_of(values)
            values = xp.astype(values, getattr(xp, self._plan.state_dtype))
        values = self._inner(values)
        if values.shape == like.shape and values.dtype == like.dtype:
            return values
        xp = namespace_of(like)
        rows = xp.reshape(values, (like.shape[0], -1))
        return rows if rows.dtype == like.dtype else xp.astype(rows, like.dtype)

    def _count(self, reports: dict[str, Any], step: int, outputs: Outputs) -> None:
        if outputs.accepted is None or outputs.diverging is None or step < self._plan.burn_in:
            return
        xp = namespace_of(outputs.accepted)
        outputs.accepted += xp.astype(self._outer(reports["accepted"][:, 0]), xp.int64)
        outputs.diverging += xp.astype(self._outer(reports["diverging"][:, 0]), xp.int64)

    def _record(self, rows: Array, reports: dict[str, Any], k: int, outputs: Outputs) -> None:
        if outputs.trajectory is None and outputs.mean is None:
            return
        x = self._outer(_shaped(rows, self._plan.shape))
        if outputs.trajectory is not None:
            outputs.trajectory[:, k, ...] = x
        if outputs.energy_error is not None:
            outputs.energy_error[k, ...] = self._outer(reports["energy_error"][:, 0])
        if outputs.mean is None or outputs.variance is None or outputs.energy is None:
            return
        xp = namespace_of(x)
        found = moments(x, self._plan.chain_offset)
        outputs.mean[k, ...] = xp.astype(found.mean, outputs.mean.dtype)
        outputs.variance[k, ...] = xp.astype(found.variance, outputs.variance.dtype)
        outputs.energy[k, ...] = self._calls.energies(self._seen(rows))


def _shaped(x: Array, shape: tuple[int, ...]) -> Array:
    return x if x.shape == shape else namespace_of(x).reshape(x, shape)


def _is_zero(coefficient: Any) -> bool:
    """Whether that is known: where a graph of steps is made, it is a number of a device's."""
    return isinstance(coefficient, float) and coefficient == 0.0


def _calls_in(statements: Sequence[Statement]) -> Iterator[Call]:
    for one in statements:
        if isinstance(one, Call):
            yield one
        elif isinstance(one, Loop):
            yield from _calls_in(one.body)


class _Noise:
    """The noise of a plan's steps; a block serves several of them, so it is made and used up.

    Of a few chains several blocks are made at a time: code that was just run is run much faster.
    """

    def __init__(self, plan: Plan, fill_normals: FillNormals, exponentials: Exponentials) -> None:
        self._plan = plan
        self._fill_normals = fill_normals
        self._exponentials = exponentials
        self._per_block = plan.steps_per_block
        self._held: dict[str, tuple[Any, list[Array]]] = {}
        self.stop = 0  # of the steps that are taken now

    def renewed(self, plan: Plan) -> _Noise:
        """The noise of another plan, from the same sources."""
        return _Noise(plan, self._fill_normals, self._exponentials)

    def normal(self, like: Array, stream: str, step: int) -> Array:
        first, rows = self._held.get(stream, (0, []))
        if not 0 <= step - first < len(rows):
            size = like.shape[0] * like.shape[1]
            first, block, n_blocks = self._following(step, self._per_block, size)
            rows = self._blocks(like, stream, first, block, n_blocks)
        return rows[step - first]

    def substep_normal(self, like: Array, step: int, number: int) -> Array:
        group, position = divmod(number, self._per_block)
        block, coordinate = self._plan.step_offset + step, group << noise.COORDINATE_BITS
        held, rows = self._held.get("SUBSTEP", (None, []))
        if held != (block, coordinate):
            rows = self._blocks(like, "SUBSTEP", (block, coordinate), block, 1, coordinate)
        return rows[position]

    def exponential(self, like: Array, step: int) -> Array:
        first, rows = self._held.get("exponential", (0, []))
        if not 0 <= step - first < len(rows):
            length = noise.EXPONENTIALS_PER_BLOCK
            first, block, n_blocks = self._following(step, length, like.shape[0])
            drawn = self._exponentials(
                like,
                seed=self._plan.seed,
                block=block,
                chain_offset=self._plan.chain_offset,
                n_blocks=n_blocks,
            )
            rows = [row[:, None] for row in drawn]
            self._held["exponential"] = first, rows
        return rows[step - first]

    def _following(self, step: int, per_block: int, size: int) -> tuple[int, int, int]:
        """The first step of the block of a step, its number, and how many to make from it on."""
        offset = self._plan.step_offset
        block = (offset + step) // per_block
        last = (offset + max(step, self.stop - 1)) // per_block
        most = max(1, LIMITS.normals_in_cache // (per_block * size))
        return block * per_block - offset, block, min(last - block + 1, most)

    def _blocks(
        self,
        like: Array,
        stream: str,
        name: object,
        block: int,
        n_blocks: int,
        coordinate_offset: int = 0,
    ) -> list[Array]:
        """The rows of some blocks, held under a name."""
        xp = namespace_of(like)
        # New memory, as a row of the block before may still be in use; the others are let go.
        self._held.pop(stream, None)
        shape = (n_blocks * self._per_block, *like.shape)
        out = xp.empty(shape, dtype=like.dtype, device=compat.device(like))
        self._fill_normals(
            out,
            seed=self._plan.seed,
            stream=noise.Stream[stream],
            block=block,
            chain_offset=self._plan.chain_offset,
            coordinate_offset=coordinate_offset,
        )
        rows = [out[k, ...] for k in range(shape[0])]
        self._held[stream] = name, rows
        return rows


def as_row(vector: np.ndarray[Any, np.dtype[np.float64]], like: Array) -> Array:
    """A number a coordinate as one row, shape (1, dim), beside the states `like`."""
    xp = namespace_of(like)
    return xp.asarray(vector[None, :], dtype=like.dtype, device=compat.device(like))


def as_column(numbers: np.ndarray[Any, np.dtype[np.float64]], like: Array) -> Array:
    """A number a chain as one column, shape (n_samples, 1), beside the states `like`."""
    xp = namespace_of(like)
    return xp.asarray(numbers[:, None], dtype=like.dtype, device=compat.device(like))
