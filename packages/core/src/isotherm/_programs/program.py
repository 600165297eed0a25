"""Straight-line programs: what a formula becomes, for every backend to evaluate or to print.

While it is traced a value may be an array over the coordinates, pairs of them or rows of data, and
one instruction may stand for a loop. Small programs are unrolled into numbers (`unroll`) and are a
`Program` here; large ones stay as they are (`array_program`).

A program is a list of instructions in single-assignment form. Each names an operation and the
earlier values that it takes; value ``i`` is what instruction ``i`` gives. The order is part of the
meaning: a backend that carries out the same IEEE operations in the same order gets the same bits;
for ``exp``, ``log``, ``sin``, ``cos`` and ``tanh`` those of `isotherm.backend.functions`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from isotherm._arithmetic import factors, functions
from isotherm._arithmetic.arrays import Array
from isotherm._arithmetic.exact import exact_sqrt
from isotherm._programs.tables import Table

UNARY = ("neg", "sqrt", "exp", "log", "sin", "cos", "tanh", "abs", "floor", "rint", "stop")
BINARY = ("add", "sub", "mul", "div", "min", "max")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
FACTORS = ("cholesky", "cholesky_back", "solve", "solve_t")
_PLACED = ("take", "scatter", "total", "matmul", "matmul_t", *FACTORS)
STRUCTURAL = (
    *("fill", "reshape", "take", "scatter", "total", "matmul", "matmul_t", "scan"),
    *FACTORS,
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation.

    Attributes
    ----------
    op : str
        Of numbers, and of arrays element by element: ``"const"`` (``value`` is the number),
        ``"coordinate"`` or ``"parameter"`` (``value`` is its index), ``"where"`` (condition, then,
        else), or a name of `UNARY` (where ``"stop"`` is the identity, through which no gradient
        flows), `BINARY` or `COMPARISONS`. ``min`` and ``max`` are ``where(a < b, a, b)`` and
        ``where(a > b, a, b)``.

        Of arrays: ``"state"``, all coordinates; ``"array"``, the numbers of the `Table` ``value``;
        ``"fill"``, one number in the shape ``value``; ``"reshape"``, to the shape ``value``;
        ``"take"``, the elements at the indices of the `Table` ``value``, where -1 gives 0;
        ``"scatter"``, the other way: element i of the shape ``value[1]`` is the sum, in order, of
        those that the indices ``value[0]`` send there; ``"total"``, the sum over the last axis, in
        the order of `isotherm._arithmetic.sums.total`; ``"matmul"``, the product of a matrix
        that depends on no coordinate with a vector or matrix, and ``"matmul_t"`` with the matrix
        transposed; ``"scan"``, the vector that the `Recursion` ``value`` makes of a carry, arrays
        of rows, and vectors that are the same for all rows. Of `isotherm._arithmetic.factors`:
        ``"cholesky"``, the factor of a matrix, and ``"cholesky_back"``, of the factor and a
        derivative by it; ``"solve"``, of a lower triangle and the right side, a vector or a
        matrix, and ``"solve_t"`` with the triangle transposed.
    args : tuple of int
        The values that it takes, all of earlier instructions.
    value : number, shape, Table or Recursion
        See ``op``; 0 where it has no meaning.
    """

    op: str
    args: tuple[int, ...] = ()
    value: Any = 0


@dataclass(frozen=True)
class Program:
    """The energy and its gradient as straight-line code.

    Attributes
    ----------
    name : str
        The formula's name.
    dim : int or None
        Coordinates of a chain's state that the program takes; None for an elementwise program,
        which takes one coordinate and whose energy is the sum over all coordinates.
    parameters : tuple of str
        Names of the run-time scalars, in the order in which their values are passed.
    instructions : tuple of Instruction
        In the order of evaluation.
    energy : int
        The value that is the energy (elementwise: of the one coordinate).
    gradient : tuple of int
        The values that are the derivatives by each coordinate; (dim,), or one if elementwise.
    """

    name: str
    dim: int | None
    parameters: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    energy: int
    gradient: tuple[int, ...]

    @cached_property
    def digest(self) -> str:
        """A name for the program's meaning: equal for equal instructions and outputs."""
        text = repr((self.dim, len(self.parameters), self.instructions, self.energy, self.gradient))
        return hashlib.sha256(text.encode()).hexdigest()

    def __hash__(self) -> int:  # that of all instructions would be made anew at every call
        return hash(self.digest)

    @cached_property
    def uniform(self) -> frozenset[int]:
        """Values that depend on no coordinate, so that a kernel may compute them once."""
        uniform: set[int] = set()
        for index, instruction in enumerate(self.instructions):
            if is_uniform(instruction, uniform):
                uniform.add(index)
        return frozenset(uniform)

    def needed(self, outputs: Iterable[int]) -> tuple[int, ...]:
        """The values that `outputs` depend on, themselves included, in the order of evaluation."""
        return reachable(self.instructions, outputs)

    def __str__(self) -> str:
        names = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
        names |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
        text: list[str] = []
        lines: list[str] = []
        for index, (op, args, value) in enumerate(
            (i.op, i.args, i.value) for i in self.instructions
        ):
            operands = [text[arg] for arg in args]
            if op == "const":
                text.append(repr(value))
            elif op == "parameter":
                text.append(self.parameters[int(value)])
            elif op == "coordinate":
                text.append("x" if self.dim is None else f"x[{value}]")
            else:
                if op in names:
                    line = f" {names[op]} ".join(operands)
                elif op == "neg":
                    line = f"-{operands[0]}"
                else:
                    line = f"{op}({', '.join(operands)})"
                text.append(f"v{index}")
                lines.append(f"  v{index} = {line}")
        kind = "of each coordinate" if self.dim is None else f"of a chain in {self.dim} dimensions"
        head = f"{self.name}({', '.join(('x', *self.parameters))}), {kind}"
        tail = [f"  energy = {text[self.energy]}"]
        if self.dim is None:
            tail.append(f"  gradient = {text[self.gradient[0]]}")
        else:
            tail += [f"  gradient[{i}] = {text[g]}" for i, g in enumerate(self.gradient)]
        return "\n".join([head, *lines, *tail])


@dataclass(frozen=True, repr=False)
class Recursion:
    """A step taken for each row, in order, which hands on a carry.

    Attributes
    ----------
    step : Program
        Its coordinates are the carry, the numbers of a row of each array, and those that are the
        same for all rows; its values ``gradient`` are the next carry and what the row leaves.
    carry : int
        Numbers of the carry.
    rows : int
        Arrays of rows.
    blocks : tuple of int
        Numbers that a row leaves in each block of the result, which stand behind the last carry.
    is_reverse : bool
        Whether the last row comes first.
    """

    step: Program
    carry: int
    rows: int
    blocks: tuple[int, ...]
    is_reverse: bool = False

    def __repr__(self) -> str:
        way = ", is_reverse" if self.is_reverse else ""
        return f"Recursion({self.step.digest[:16]}, {self.carry}, {self.rows}, {self.blocks}{way})"


def operations(instructions: Iterable[Instruction]) -> Iterator[str]:
    """The operations of a program, those of its recursions' steps included."""
    for instruction in instructions:
        yield instruction.op
        if instruction.op == "scan":
            yield from operations(instruction.value.step.instructions)


class Builder:
    """Writes instructions, each once: equal operations on equal values share one instruction.

    Identities that hold for every value (x + 0, x * 1, --x) are applied and operations on constants
    carried out, both in float64, so that the reverse pass leaves no leftovers.

    Parameters
    ----------
    outer : Builder, optional
        Of the program in which this one is the step of a recursion.

    Attributes
    ----------
    instructions : list of Instruction
    shapes : list of tuple of int
        Of each value; () for a number.
    uniform : set of int
        The values that depend on no coordinate.
    depth : int
        How many recursions this is inside of.
    inputs : list of tuple of int
        Of a step: the shapes of what it is given.
    captured : dict of int to int
        Of a step: values of `outer` that it reads, and what they are here.
    """

    def __init__(self, outer: Builder | None = None) -> None:
        self.outer = outer
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.inputs: list[tuple[int, ...]] = []
        self.captured: dict[int, int] = {}
        self.instructions: list[Instruction] = []
        self.shapes: list[tuple[int, ...]] = []
        self.uniform: set[int] = set()
        self._known: dict[Instruction, int] = {}

    def const(self, value: float) -> int:
        return self.write(Instruction("const", (), float(value)))

    def coordinate(self, index: int) -> int:
        return self.write(Instruction("coordinate", (), index))

    def parameter(self, index: int) -> int:
        return self.write(Instruction("parameter", (), index))

    def input(self, shape: tuple[int, ...]) -> int:
        """What a step is given next."""
        first = sum(math.prod(known) for known in self.inputs)
        self.inputs.append(shape)
        return self.write(Instruction("input", (), first), shape)

    def capture(self, index: int) -> int:
        """A value of the program around a step."""
        assert self.outer is not None
        if (number := self.outer.constant(index)) is not None:
            return self.const(number)
        if index not in self.captured:
            self.captured[index] = self.input(self.outer.shapes[index])
        return self.captured[index]

    def emit(self, op: str, *args: int) -> int:
        """The value of `op` on `args`, simplified and shared."""
        numbers = [self.constant(arg) for arg in args]
        if op != "stop" and op in OPERATIONS and op not in COMPARISONS and None not in numbers:
            folded = _fold(op, [number for number in numbers if number is not None])
            if folded is not None:
                return self.const(folded)
        shape = self._common_shape(args)
        simpler = self._simplify(op, args, numbers)
        if simpler is not None and self.shapes[simpler] != shape:
            return self.fill(simpler, shape)
        if simpler is not None:
            return simpler
        if op in ("add", "mul"):
            swapped = self._known.get(Instruction(op, args[::-1]))
            if swapped is not None:
                return swapped
        return self.write(Instruction(op, args), shape)

    def fill(self, number: int, shape: tuple[int, ...]) -> int:
        """A number, in every element of an array of a shape."""
        return self.write(Instruction("fill", (number,), shape), shape) if shape else number

    def reshape(self, value: int, shape: tuple[int, ...]) -> int:
        if self.shapes[value] == shape:
            return value
        instruction = self.instructions[value]
        if instruction.op == "reshape":
            return self.reshape(instruction.args[0], shape)
        if instruction.op == "fill":
            return self.fill(instruction.args[0], shape)
        return self.write(Instruction("reshape", (value,), shape), shape)

    def take(self, value: int, indices: Any) -> int:
        """The elements of an array at flat indices, in the shape of `indices`; 0 for -1."""
        table = Table(indices)
        instruction = self.instructions[value]
        if instruction.op == "reshape":
            return self.take(instruction.args[0], table.values)
        if instruction.op == "take":
            first = np.append(instruction.value.values.ravel(), -1)
            return self.take(instruction.args[0], first[table.values])
        if instruction.op == "fill" and not table.has_gaps:
            return self.fill(instruction.args[0], table.shape)
        if not self.shapes[value]:
            value = self.reshape(value, (1,))
        size = math.prod(self.shapes[value])
        if not (size and table.values.size):  # of nothing, there are only zeros
            return self.fill(self.const(0.0), table.shape)
        if np.array_equal(table.values.ravel(), np.arange(size)):
            return self.reshape(value, table.shape)
        return self.write(Instruction("take", (value,), table), table.shape)

    def scatter(self, value: int, indices: Any, shape: tuple[int, ...]) -> int:
        """The other way of `take`: elements go where they came from; those of one place add.

        Where no two come to one place this is a `take`.
        """
        table, size = Table(indices), math.prod(shape)
        there = table.values.ravel()
        held = there >= 0
        if len(np.unique(there[held])) == held.sum():
            back = np.full(size, -1)
            back[there[held]] = np.nonzero(held)[0]
            return self.take(value, back.reshape(shape))
        return self.write(Instruction("scatter", (value,), (table, shape)), shape)

    def total(self, value: int) -> int:
        """The sum over the last axis."""
        *rest, count = self.shapes[value]
        if not count or 0 in rest:
            return self.fill(self.const(0.0), tuple(rest))
        if count == 1:
            return self.reshape(value, tuple(rest))
        return self.write(Instruction("total", (value,)), tuple(rest))

    def matmul(self, matrix: int, value: int, *, transposed: bool = False) -> int:
        """The product of a matrix that depends on no coordinate with a vector or a matrix."""
        rows, columns = self.shapes[matrix]
        shape = (columns if transposed else rows, *self.shapes[value][1:])
        if 0 in (rows, columns, *shape):
            return self.fill(self.const(0.0), shape)
        return self.write(
            Instruction("matmul_t" if transposed else "matmul", (matrix, value)), shape
        )

    def cholesky(self, matrix: int) -> int:
        """The lower factor of a matrix."""
        return self.write(Instruction("cholesky", (matrix,)), self.shapes[matrix])

    def cholesky_back(self, lower: int, slope: int) -> int:
        """The derivative by a matrix, from that by its factor."""
        return self.write(Instruction("cholesky_back", (lower, slope)), self.shapes[lower])

    def solve(self, lower: int, right: int, *, transposed: bool = False) -> int:
        """What a lower triangle, or its transpose, makes `right` of: a vector or a matrix."""
        op = "solve_t" if transposed else "solve"
        return self.write(Instruction(op, (lower, right)), self.shapes[right])

    def scan(self, recursion: Recursion, args: Sequence[int]) -> int:
        """The last carry and what the rows left, of a carry, rows and what all rows have."""
        count = self.shapes[args[1]][0]
        size = recursion.carry + count * sum(recursion.blocks)
        return self.write(Instruction("scan", tuple(args), recursion), (size,))

    def again(self, instruction: Instruction, args: tuple[int, ...], shape: tuple[int, ...]) -> int:
        """An instruction of another builder, on values of this one."""
        if not args or instruction.op in STRUCTURAL:
            return self.write(replace(instruction, args=args), shape)
        return self.emit(instruction.op, *args)

    def _common_shape(self, args: tuple[int, ...]) -> tuple[int, ...]:
        return next((shape for shape in (self.shapes[arg] for arg in args) if shape), ())

    def constant(self, index: int) -> float | None:
        """The number that a value is known to be, or None."""
        instruction = self.instructions[index]
        return float(instruction.value) if instruction.op == "const" else None

    def _simplify(
        self, op: str, args: tuple[int, ...], numbers: Sequence[float | None]
    ) -> int | None:
        if op == "neg" and self.instructions[args[0]].op == "neg":
            return self.instructions[args[0]].args[0]
        if op == "where" and args[1] == args[2]:
            return args[1]
        if op not in ("add", "sub", "mul", "div"):
            return None
        a, b = args
        match op, numbers[0], numbers[1]:
            case ("add", 0.0, _) | ("mul", 1.0, _):
                return b
            case ("add" | "sub", _, 0.0) | ("mul" | "div", _, 1.0):
                return a
            case ("sub", 0.0, _) | ("mul", -1.0, _):
                return self.emit("neg", b)
            case "mul", _, -1.0:
                return self.emit("neg", a)
        if op in ("add", "sub") and self.instructions[b].op == "neg":
            return self.emit("sub" if op == "add" else "add", a, self.instructions[b].args[0])
        if op == "add" and self.instructions[a].op == "neg":
            return self.emit("sub", b, self.instructions[a].args[0])
        return None

    def _in_full(self, value: int) -> int:
        """A value with all its elements, where it is a number that stands for them."""
        instruction = self.instructions[value]
        if instruction.op != "fill" or value in self.uniform:
            return value
        zeros = Table(np.zeros(self.shapes[value], dtype=np.int64))
        return self.write(
            Instruction("take", (self.reshape(instruction.args[0], (1,)),), zeros), zeros.shape
        )

    def write(self, instruction: Instruction, shape: tuple[int, ...] = ()) -> int:
        """The value of an instruction as it is, which is shared.

        What reads elements at places of its own is given all of them.
        """
        if instruction.op in _PLACED:
            args = tuple(self._in_full(arg) for arg in instruction.args)
            instruction = replace(instruction, args=args)
        index = self._known.get(instruction)
        if index is None:
            index = self._known[instruction] = len(self.instructions)
            self.instructions.append(instruction)
            self.shapes.append(shape)
            if is_uniform(instruction, self.uniform):
                self.uniform.add(index)
        return index

    def program(
        self,
        name: str,
        dim: int | None,
        parameters: Sequence[str],
        energy: int,
        gradient: Sequence[int],
    ) -> Program:
        """The finished program, without the instructions that nothing needs."""
        used = reachable(self.instructions, (energy, *gradient))
        number = {old: new for new, old in enumerate(used)}
        return Program(
            name=name,
            dim=dim,
            parameters=tuple(parameters),
            instructions=tuple(
                replace(i, args=tuple(number[arg] for arg in i.args))
                for i in (self.instructions[old] for old in used)
            ),
            energy=number[energy],
            gradient=tuple(number[value] for value in gradient),
        )


def is_uniform(instruction: Instruction, uniform: Collection[int]) -> bool:
    """Whether a value depends on no coordinate, given those before it that do not."""
    return instruction.op not in ("coordinate", "input", "state") and all(
        arg in uniform for arg in instruction.args
    )


def reachable(instructions: Sequence[Instruction], outputs: Iterable[int]) -> tuple[int, ...]:
    """The values that `outputs` depend on, themselves included, in the order of evaluation."""
    pending, found = list(outputs), set[int]()
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(instructions[index].args)
    return tuple(sorted(found))


def spent_after(
    steps: Iterable[tuple[int, Any, tuple[int, ...]]], kept: Collection[int]
) -> dict[int, list[int]]:
    """For each step (value, ..., arguments) the values that no later one takes."""
    steps = list(steps)
    spent: dict[int, list[int]] = {index: [] for index, _, _ in steps}
    for arg, last in {a: index for index, _, args in steps for a in args}.items():
        if arg not in kept:
            spent[last].append(arg)
    return spent


#: What an operation does to numbers, and to arrays element by element.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda xp, a, b: a + b,
    "sub": lambda xp, a, b: a - b,
    "mul": lambda xp, a, b: a * b,
    "div": lambda xp, a, b: a / b,
    "min": lambda xp, a, b: xp.where(a < b, a, b),
    "max": lambda xp, a, b: xp.where(a > b, a, b),
    "neg": lambda xp, a: -a,
    "abs": lambda xp, a: xp.abs(a),
    "sqrt": lambda xp, a: exact_sqrt(a),
    "exp": lambda xp, a: functions.exp(a),
    "log": lambda xp, a: functions.log(a),
    "sin": lambda xp, a: functions.sin(a),
    "cos": lambda xp, a: functions.cos(a),
    "tanh": lambda xp, a: functions.tanh(a),
    "floor": lambda xp, a: xp.floor(a),
    "rint": lambda xp, a: xp.round(a),
    "stop": lambda xp, a: a,
    "lt": lambda xp, a, b: a < b,
    "le": lambda xp, a, b: a <= b,
    "gt": lambda xp, a, b: a > b,
    "ge": lambda xp, a, b: a >= b,
    "eq": lambda xp, a, b: a == b,
    "ne": lambda xp, a, b: a != b,
    "where": lambda xp, c, a, b: xp.where(c, a, b),
    "perturb": lambda xp, v, s, z: xp.where(s == 0.0, v, v + s * z),
}


def factored(op: str, args: Sequence[Array]) -> Array:
    """What an operation of `FACTORS` does to arrays, of whose axes the last are the program's."""
    if op == "cholesky":
        return factors.cholesky(args[0])
    if op == "cholesky_back":
        return factors.cholesky_back(*args)
    lower, right = args
    is_vector = right.ndim < lower.ndim
    solved = factors.solve(lower, right[..., None] if is_vector else right, op == "solve_t")
    return solved[..., 0] if is_vector else solved


def _fold(op: str, numbers: Sequence[float]) -> float | None:
    """`op` on numbers in float64; None where that is not finite, and so left to run time."""
    with np.errstate(all="ignore"):
        value = float(OPERATIONS[op](np, *(np.float64(number) for number in numbers)))
    return value if np.isfinite(value) else None


class Evaluator:
    """A program bound to parameter values, ready to be carried out on arrays.

    What depends on no coordinate is computed here, once, on the arrays' own device.

    Parameters
    ----------
    program : Program
    outputs : sequence of int
        The values wanted, for example ``[program.energy]``.
    parameters : array, shape (len(program.parameters),)
        The parameters' values, in the dtype and on the device of the coordinates to come.
    """

    def __init__(self, program: Program, outputs: Sequence[int], parameters: Array) -> None:
        self._xp = xp = array_namespace(parameters)
        self._outputs = tuple(outputs)
        self._uniform: dict[int, Array] = {}
        self._steps: list[tuple[int, Callable[..., Array], tuple[int, ...]]] = []
        self._coordinates: dict[int, int] = {}
        order = program.needed(outputs)
        for index in order:
            op, args, value = (i := program.instructions[index]).op, i.args, i.value
            if op == "const":
                # A 0-d array rather than a Python number: some libraries divide by a number
                # through its reciprocal, which rounds differently.
                self._uniform[index] = xp.asarray(
                    value, dtype=parameters.dtype, device=device(parameters)
                )
            elif op == "parameter":
                self._uniform[index] = parameters[int(value)]
            elif op == "coordinate":
                self._coordinates[index] = int(value)
            elif index in program.uniform:
                self._uniform[index] = OPERATIONS[op](xp, *(self._uniform[a] for a in args))
            else:
                self._steps.append((index, OPERATIONS[op], args))
        self._spent = spent_after(self._steps, {*outputs, *self._uniform})

    def __call__(self, coordinates: Sequence[Array]) -> list[Array]:
        """The outputs, each of the shape of one coordinate.

        Parameters
        ----------
        coordinates : sequence of arrays
            One array a coordinate, all of one shape; one array if the program is elementwise.
        """
        values = self._uniform | {i: coordinates[c] for i, c in self._coordinates.items()}
        for index, operation, args in self._steps:
            values[index] = operation(self._xp, *(values[arg] for arg in args))
            for arg in self._spent[index]:
                del values[arg]
        shape = coordinates[0].shape
        return [self._xp.broadcast_to(values[output], shape) for output in self._outputs]
