"""Programs whose values are arrays, and how they are carried out on arrays of any library."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from isotherm._arithmetic.arrays import Array
from isotherm._arithmetic.sums import total
from isotherm._programs.program import (
    FACTORS,
    OPERATIONS,
    Builder,
    Evaluator,
    Instruction,
    factored,
    is_uniform,
    reachable,
    spent_after,
)
from isotherm._programs.tables import lists_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ArrayProgram:
    """The energy and its gradient as straight-line code on arrays: each instruction is a loop.

    Attributes
    ----------
    name : str
    event_shape : tuple of int
        Of a chain's state.
    parameters : tuple of str
        Names of the run-time parameters, in the order in which their values are passed, one after
        another in C order.
    instructions : tuple of Instruction
    shapes : tuple of shape
        Of each value; () for a number.
    energy : int
        The value that is the energy, a number.
    gradient : int
        The value that is the gradient, of the shape `event_shape`.
    """

    name: str
    event_shape: Shape
    parameters: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    shapes: tuple[Shape, ...]
    energy: int
    gradient: int

    @property
    def dim(self) -> int:
        """Coordinates of a chain's state."""
        return math.prod(self.event_shape)

    @cached_property
    def digest(self) -> str:
        """A name for the program's meaning: equal for equal instructions and outputs."""
        meaning = self.event_shape, self.instructions, self.shapes, self.energy, self.gradient
        return hashlib.sha256(repr(meaning).encode()).hexdigest()

    @cached_property
    def uniform(self) -> frozenset[int]:
        """Values that depend on no coordinate, computed once before the chains start."""
        uniform: set[int] = set()
        for index, instruction in enumerate(self.instructions):
            if is_uniform(instruction, uniform):
                uniform.add(index)
        return frozenset(uniform)

    def needed(self, outputs: Iterable[int]) -> tuple[int, ...]:
        """The values that `outputs` depend on, themselves included, in the order of evaluation."""
        return reachable(self.instructions, outputs)

    def __str__(self) -> str:
        lines = [f"{self.name}, of a chain of shape {self.event_shape}"]
        for index, (instruction, shape) in enumerate(
            zip(self.instructions, self.shapes, strict=True)
        ):
            args = ", ".join(f"v{arg}" for arg in instruction.args)
            value = "" if instruction.value == 0 else f" {instruction.value!r}"
            lines.append(f"  v{index} = {instruction.op}({args}){value}  # {shape}")
        return "\n".join([*lines, f"  energy = v{self.energy}", f"  gradient = v{self.gradient}"])


def finished(
    builder: Builder,
    name: str,
    event_shape: Shape,
    parameters: Sequence[str],
    energy: int,
    gradient: int,
) -> ArrayProgram:
    """The program that a builder holds, without the instructions that nothing needs."""
    used = reachable(builder.instructions, (energy, gradient))
    number = {old: new for new, old in enumerate(used)}
    return ArrayProgram(
        name=name,
        event_shape=event_shape,
        parameters=tuple(parameters),
        instructions=tuple(
            Instruction(i.op, tuple(number[arg] for arg in i.args), i.value)
            for i in (builder.instructions[old] for old in used)
        ),
        shapes=tuple(builder.shapes[old] for old in used),
        energy=number[energy],
        gradient=number[gradient],
    )


class ArrayEvaluator:
    """A program bound to parameter values, ready to be carried out on the states of many chains.

    Values have the chains as their first axis; those that depend on no coordinate are computed
    here, once, with a first axis of length 1.

    Parameters
    ----------
    program : ArrayProgram
    outputs : sequence of int
        The values wanted, for example ``[program.energy]``.
    parameters : array, shape (n_parameters,)
        The parameters' values, in the dtype and on the device of the states to come.
    """

    def __init__(self, program: ArrayProgram, outputs: Sequence[int], parameters: Array) -> None:
        self._program = program
        self._outputs = tuple(outputs)
        self._parameters = parameters
        self._uniform: dict[int, Array] = {}
        self._indices: dict[Any, Any] = {}
        self._steps: list[tuple[int, Callable[..., Array], tuple[int, ...]]] = []
        for index in program.needed(outputs):
            instruction = program.instructions[index]
            if index in program.uniform:
                self._uniform[index] = self._carried_out(index, self._uniform)
            elif instruction.op != "state":
                self._steps.append((index, self._carried_out, instruction.args))
        self._spent = spent_after(self._steps, {*outputs, *self._uniform})

    def uniform(self, index: int) -> Array:
        """The array of a value that depends on no coordinate."""
        return self._uniform[index][0, ...]

    def __call__(self, x: Array) -> list[Array]:
        """The outputs, each with the chains as its first axis; x has shape (n, *event_shape)."""
        program, xp = self._program, array_namespace(x)
        values = dict(self._uniform)
        for index in program.needed(self._outputs):
            if program.instructions[index].op == "state":
                values[index] = xp.reshape(x, (x.shape[0], *program.event_shape))
        for index, _, _ in self._steps:
            values[index] = self._carried_out(index, values)
            for arg in self._spent[index]:
                values.pop(arg, None)
        return [
            xp.broadcast_to(values[output], (x.shape[0], *program.shapes[output]))
            for output in self._outputs
        ]

    def _carried_out(self, index: int, values: dict[int, Array]) -> Array:
        instruction, shape = self._program.instructions[index], self._program.shapes[index]
        args = [values[arg] for arg in instruction.args]
        like, value = self._parameters, instruction.value
        xp = array_namespace(like)
        match instruction.op:
            case "const":
                # An array rather than a Python number: some libraries divide by a number through
                # its reciprocal, which rounds differently.
                return xp.full((1,), value, dtype=like.dtype, device=device(like))
            case "parameter":
                flat = like[int(value) : int(value) + math.prod(shape)]
                return xp.reshape(flat, (1, *shape))
            case "array":
                return xp.asarray(value.values[None].copy(), dtype=like.dtype, device=device(like))
            case "fill":
                n = args[0].shape[0]
                return xp.broadcast_to(self._widened(args[0], shape), (n, *shape))
            case "reshape":
                return xp.reshape(args[0], (args[0].shape[0], *shape))
            case "take":
                return xp.reshape(
                    self._picked(args[0], index, value.values.ravel, 0.0),
                    (args[0].shape[0], *shape),
                )
            case "scatter":
                return self._scattered(args[0], index)
            case "total":
                return total(args[0])
            case "matmul" | "matmul_t":
                matrix = args[0][0, ...]
                matrix = matrix.T if instruction.op == "matmul_t" else matrix
                return args[1] @ matrix.T if args[1].ndim == 2 else matrix @ args[1]
            case "scan":
                return self._by_rows(args, index)
            case op if op in FACTORS:
                return factored(op, args)
        return OPERATIONS[instruction.op](xp, *(self._widened(arg, shape) for arg in args))

    def _widened(self, value: Array, shape: Shape) -> Array:
        """A number a chain with as many axes as an array a chain has."""
        missing = 1 + len(shape) - value.ndim
        xp = array_namespace(value)
        return xp.reshape(value, (*value.shape, *(1,) * missing)) if missing else value

    def _picked(self, value: Array, key: Any, flat: Callable[[], Any], gap: float) -> Array:
        """Elements of each chain, at flat indices of which -1 stands for `gap`."""
        xp = array_namespace(value)
        rows = xp.reshape(value, (value.shape[0], -1))
        if key not in self._indices:
            indices = flat()
            has_gaps = bool((indices < 0).any())
            there = np.where(indices < 0, rows.shape[1], indices)
            moved = xp.asarray(there, dtype=xp.int64, device=device(value))
            self._indices[key] = moved, has_gaps
        indices, has_gaps = self._indices[key]
        if has_gaps:
            column = xp.full((rows.shape[0], 1), gap, dtype=rows.dtype, device=device(rows))
            rows = xp.concat([rows, column], axis=1)
        return xp.take(rows, indices, axis=1)

    def _by_rows(self, args: list[Array], index: int) -> Array:
        """A recursion: its step, carried out for a row of all chains at a time."""
        like, recursion = self._parameters, self._program.instructions[index].value
        xp, step = array_namespace(like), recursion.step
        if (index, "step") not in self._indices:
            self._indices[index, "step"] = Evaluator(step, step.gradient, like[:0])
        evaluator = self._indices[index, "step"]
        n = max(arg.shape[0] for arg in args)
        init, *others = (xp.broadcast_to(arg, (n, *arg.shape[1:])) for arg in args)
        rows, fixed = others[: recursion.rows], others[recursion.rows :]
        carry = [init[:, i] for i in range(recursion.carry)]
        same = [one[:, i] for one in fixed for i in range(one.shape[1])]
        count = rows[0].shape[1]
        left: list[list[Array]] = [[] for _ in range(count)]
        for row in reversed(range(count)) if recursion.is_reverse else range(count):
            read = [one[:, row, i] for one in rows for i in range(one.shape[2])]
            numbers = evaluator([*carry, *read, *same])
            carry, left[row] = numbers[: recursion.carry], numbers[recursion.carry :]
        parts, first = [xp.stack(carry, axis=1)] if carry else [], 0
        for width in recursion.blocks:
            block = [number for one in left for number in one[first : first + width]]
            parts.append(xp.stack(block, axis=1))
            first += width
        return xp.concat(parts, axis=1)

    def _scattered(self, value: Array, index: int) -> Array:
        """Element by element the sum over a list, in order; -0.0 changes no sum."""
        table, shape = self._program.instructions[index].value
        if (index, "lists") not in self._indices:
            size = math.prod(shape)
            starts, places = lists_of(np.where(table.values < 0, size, table.values), size)
            lengths = np.diff(starts)
            ranks = np.arange(max(1, int(lengths.max())))
            at = np.minimum(starts[:-1, None] + ranks, max(len(places) - 1, 0))
            self._indices[index, "lists"] = np.where(ranks < lengths[:, None], places[at], -1).T
        summed: Array = None
        for rank, places in enumerate(self._indices[index, "lists"]):
            part = self._picked(value, (index, rank), places.copy, -0.0 if rank else 0.0)
            summed = part if summed is None else summed + part
        xp = array_namespace(value)
        return xp.reshape(summed, (value.shape[0], *shape))
