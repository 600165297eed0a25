"""Programs on arrays printed as loops of CUDA C++, in the program's own order of operations.

Which loops there are, and what lies in memory between them, is core's `LoopSchedule`. A chain's
arrays lie in its column of a block's memory, and the members of its team take a loop's elements in
turns; see ``cuda/team.cuh``. Sizes, places and tables stand among the indices, data and what
depends on no coordinate among the parameters, so that a change of them compiles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm.backend import (
    COMPARISONS,
    FACTORS,
    ArrayEvaluator,
    ArrayProgram,
    Instruction,
    LoopSchedule,
    Recursion,
    fold,
    lists_of,
    regular,
)
from isotherm_cupy.printer import constant, expression

_FEW = 16  # elements up to which a loop's length is printed as a number
_HELD = 32  # numbers, the same for all rows, that a recursion keeps in registers
MOST_INDEX = 2**31  # what an index may be at most


@dataclass(frozen=True)
class PrintedArrays:
    """The functions of a program on arrays, and what they read.

    Attributes
    ----------
    source : str
        The struct ``Uniform`` and the functions ``gradient`` and ``energy``.
    parameters : float64 array
        What stands in the place of the energy's parameters.
    indices : int32 array
    memory : int
        Numbers of a chain between the loops.
    loops : tuple of (int, int)
        Of each loop how many elements it has, which threads may share, and the operations of one.
    has_products : bool
        Whether threads read matrices.
    """

    source: str
    parameters: np.ndarray[Any, np.dtype[np.float64]]
    indices: np.ndarray[Any, np.dtype[np.int32]]
    memory: int
    loops: tuple[tuple[int, int], ...]
    has_products: bool

    @property
    def work(self) -> int:
        """Operations of a gradient and an energy, about."""
        return sum(elements * each for elements, each in self.loops)


def print_arrays(program: ArrayProgram, parameters: np.ndarray[Any, Any]) -> PrintedArrays:
    """What a kernel needs of a program.

    Parameters
    ----------
    program : ArrayProgram
    parameters : array
        The energy's, in the dtype of the states.

    Raises
    ------
    OverflowError
        There are more numbers than indices of 32 bits reach.
    """
    data = _Data(program, parameters)
    functions = [
        _Function("gradient", program, program.gradient, data),
        _Function("energy", program, program.energy, data),
    ]
    source = "\n".join([_UNIFORM, *(function.text() for function in functions), ""])
    changing = [i for i in range(len(program.instructions)) if i not in program.uniform]
    operations = {program.instructions[i].op for i in changing}
    return PrintedArrays(
        source=source,
        parameters=data.parameters(),
        indices=data.indices(),
        memory=max(function.memory for function in functions),
        loops=tuple(_loop_of(program, i) for i in changing),
        has_products=not operations.isdisjoint(("matmul", "matmul_t")),
    )


_UNIFORM = """\
struct Uniform {
    const REAL* __restrict__ parameters;
    const int* __restrict__ indices;
    REAL* memory;
    int member;

    __device__ __forceinline__ Uniform(
        const REAL* parameters, const int* indices, REAL* memory, int member
    ) : parameters(parameters), indices(indices), memory(memory), member(member) {}
};"""


def _loop_of(program: ArrayProgram, index: int) -> tuple[int, int]:
    """The elements of a value and the operations of each."""
    instruction, size = program.instructions[index], math.prod(program.shapes[index])
    match instruction.op:
        case "scan":
            count = program.shapes[instruction.args[1]][0]
            return 1, count * len(instruction.value.step.instructions)
        case "matmul" | "matmul_t":
            return size, 2 * program.shapes[instruction.args[1]][0]
        case "scatter":
            return size, -(-math.prod(program.shapes[instruction.args[0]]) // size)
        case "total":
            return math.prod(program.shapes[instruction.args[0]]), 1
        case op if op in FACTORS:
            return size, program.shapes[instruction.args[0]][0]
    return size, 1


class _Data:
    """What a kernel reads besides the state: numbers and indices, one after another."""

    def __init__(self, program: ArrayProgram, parameters: np.ndarray[Any, Any]) -> None:
        self._dim = program.dim
        self._parameters = _Joined()
        self._tables = _Joined()
        self._counts: list[tuple[int, bool]] = []  # the number, and whether a table begins there
        with np.errstate(all="ignore"):
            self._uniform = ArrayEvaluator(program, sorted(program.uniform), parameters)

    def uniform(self, index: int) -> str:
        """Where a value begins that depends on no coordinate."""
        return self._counted(self._parameters.place(index, self._uniform.uniform(index)))

    def table(self, key: Any, values: np.ndarray[Any, Any]) -> str:
        """Where a table begins."""
        return self._counted(self._tables.place(key, values), is_table=True)

    def count(self, number: int) -> str:
        """A number that data may decide, as an expression that other data do not change.

        As long as a state is nothing that data decide; a loop whose length is known is faster.
        """
        return f"{number}" if number <= _FEW or number == self._dim else self._counted(number)

    def parameters(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self._parameters.joined().astype(np.float64)

    def indices(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        head = [number + len(self._counts) * is_table for number, is_table in self._counts]
        found = np.concatenate([np.array(head, np.int64), self._tables.joined().astype(np.int64)])
        if found.size and max(found.max(), self._parameters.size) >= MOST_INDEX:
            raise OverflowError
        return found.astype(np.int32)

    def _counted(self, number: int, *, is_table: bool = False) -> str:
        if (number, is_table) not in self._counts:
            self._counts.append((number, is_table))
        return f"indices[{self._counts.index((number, is_table))}]"


class _Joined:
    """Arrays one after another, each once."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[np.ndarray[Any, Any]] = []
        self._places: dict[Any, int] = {}

    def place(self, key: Any, values: np.ndarray[Any, Any]) -> int:
        """Where an array begins."""
        if key not in self._places:
            self._places[key] = self.size
            self._parts.append(np.asarray(values).ravel())
            self.size += self._parts[-1].size
        return self._places[key]

    def joined(self) -> np.ndarray[Any, Any]:
        return np.concatenate(self._parts) if self._parts else np.empty(0)


class _Function:
    """One printed function: the loops that make one value of a program, a function each."""

    def __init__(self, name: str, program: ArrayProgram, output: int, data: _Data) -> None:
        self.name = name
        self.program = program
        self.data = data
        self.schedule = LoopSchedule(program, output)
        self.memory = self.schedule.size
        self._output = output
        self._functions: list[str] = []
        self._lines: list[str] = []

    def text(self) -> str:
        schedule, is_energy = self.schedule, self.name == "energy"
        if is_energy:  # its one number lies in memory, too
            out, self.memory = self.memory, self.memory + 1
            self._lines.append(f"REAL* const out = {self._at(out)};")
        rest = max((self._folded(i) for one in schedule.levels for i in one.wholes), default=0)
        self._lines += [
            f"REAL* const {name} = {self._at(first)};"
            for name, (first, _) in schedule.arrays.items()
        ]
        if rest:
            self._lines.append(f"REAL* const rest = {self._at(self.memory)};")
            self.memory += rest
        self._lines.append("meet();")
        for level in schedule.levels:
            for group in level.loops:
                self._loop(group)
            if level.loops:
                self._lines.append("meet();")
            for index in level.wholes:
                self._lines += [self._whole(index), "meet();"]
        if schedule.names.get(schedule.root(self._output)) != "out":
            self._copy()
        head = "void gradient(const REAL* x, REAL* out, const Uniform uniform)"
        if is_energy:
            head = "REAL energy(const REAL* x, const Uniform uniform)"
            self._lines += ["const REAL value = out[0];", "meet();", "return value;"]
        body = ["const int* __restrict__ const indices = uniform.indices;", *self._lines]
        return "\n".join([*self._functions, *_function(f"__noinline__ {head}", body)])

    # Names.

    def number(self, index: int) -> str | None:
        """A value that is one known number in all its elements, as an expression."""
        number = self.schedule.number(index)
        return None if number is None else constant(number)

    def _at(self, place: int) -> str:
        return f"uniform.memory + {self.data.count(place)} * WIDTH"

    # Lines.

    def _call(self, arrays: Iterable[str], written: Iterable[str], lines: Sequence[str]) -> str:
        """The call of a new function of arrays, of which some are written."""
        name = f"{self.name}_{len(self._functions)}"
        written = set(written)
        declared = [
            f"{'' if array in written else 'const '}REAL* __restrict__ {array}" for array in arrays
        ]
        head = f"__forceinline__ void {name}({', '.join([*declared, 'const Uniform& uniform'])})"
        begin = [
            "const REAL* __restrict__ const parameters = uniform.parameters;",
            "const int* __restrict__ const indices = uniform.indices;",
        ]
        self._functions += ["\n".join(_function(head, [*begin, *lines]))]
        return f"{name}({', '.join([*arrays, 'uniform'])});"

    def _loop(self, group: Sequence[int]) -> None:
        loop = _Loop(self, self.schedule.size_of(group[0]))
        for index in group:
            loop.add(index)
        for index in group:
            if index in self.schedule.names:
                loop.store(index, self.schedule.array(index))
        self._lines.append(self._call(loop.arrays, loop.written, loop.text()))

    def _copy(self) -> None:
        """An output that is another value, or one number in all its elements."""
        loop = _Loop(self, self.schedule.size_of(self._output))
        loop.write("out", loop.operand(self._output))
        self._lines += [self._call(loop.arrays, loop.written, loop.text()), "meet();"]

    def _folded(self, index: int) -> int:
        """The numbers that the first fold of a total leaves."""
        return self.schedule.size_of(index) * self.schedule.folded(index)

    def _whole(self, index: int) -> str:
        """The line that makes a value as a whole."""
        op, args, value = (i := self.program.instructions[index]).op, i.args, i.value
        if op == "scan":
            return self._rows(index)
        count, out, source = (
            self.data.count,
            self.schedule.array(index),
            self.schedule.array(args[-1]),
        )
        if op == "total":
            rows, columns = self.schedule.size_of(index), self.program.shapes[args[0]][-1]
            given = f"{count(rows)}, {count(columns)}, uniform.member"
            return f"fold({source}, {out}, rest, {given});"
        if op == "scatter":
            table, shape = value
            size = math.prod(shape)
            starts, places = lists_of(np.where(table.values < 0, size, table.values), size)
            first = self.data.table((table, shape, "starts"), starts)
            place = self.data.table((table, shape, "places"), places)
            given = f"indices + {first}, indices + {place}, {count(size)}, uniform.member"
            return f"scatter({source}, {out}, {given});"
        if op in FACTORS:
            size, width = self.program.shapes[args[0]][0], math.prod(self.program.shapes[index][1:])
            given = f"{source}, {out}, {count(size)}, uniform.member"
            first = self.schedule.array(args[0])
            match op:
                case "cholesky":
                    return f"cholesky({given});"
                case "cholesky_back":
                    return f"cholesky_back({first}, {given});"
            way = "true" if op == "solve_t" else "false"
            return f"solve<{way}>({first}, {given}, {count(width)});"
        rows, columns = self.program.shapes[args[0]]
        across, along = (columns, 1) if op == "matmul" else (1, columns)
        if op == "matmul_t":
            rows, columns = columns, rows
        counts = [rows, columns, across, along, math.prod(self.program.shapes[index][1:])]
        matrix = f"uniform.parameters + {self.data.uniform(args[0])}"
        given = ", ".join([matrix, *map(count, counts)])
        return f"multiply({source}, {out}, {given});"

    def _rows(self, index: int) -> str:
        """A recursion: a loop over rows, whose carry is in registers, taken by one of a team."""
        recursion: Recursion = self.program.instructions[index].value
        init, *others = self.program.instructions[index].args
        rows, fixed = others[: recursion.rows], others[recursion.rows :]
        out = self.schedule.array(index)
        arrays = dict.fromkeys([out])
        once: list[str] = []

        def elements(arg: int, width: int, row: str = "") -> list[str]:
            """An argument's elements as expressions."""
            root = self.schedule.root(arg)
            if (number := self.number(root)) is not None:
                return [number] * width
            is_one = self.schedule.size_of(root) == 1 and self.schedule.size_of(arg) > 1
            at = ["0" if is_one else f"{row}{i}" for i in range(width)]
            if root in self.program.uniform:
                name = f"p{len(once)}"
                once.append(f"const REAL* const {name} = parameters + {self.data.uniform(root)};")
                return [f"{name}[{i}]" for i in at]
            array = self.schedule.array(arg)
            arrays[array] = None
            return [f"{array}[({i}) * WIDTH]" for i in at]

        first = elements(init, recursion.carry)
        read = [e for arg in rows for w in [self.program.shapes[arg][1]]
                for e in elements(arg, w, f"row * {w} + ")]  # fmt: skip
        same = [e for arg in fixed for e in elements(arg, self.program.shapes[arg][0])]
        once += [f"REAL c{i} = {value};" for i, value in enumerate(first)]
        if len(same) <= _HELD:
            once += [f"const REAL f{i} = {value};" for i, value in enumerate(same)]
            same = [f"f{i}" for i in range(len(same))]
        given = [*(f"c{i}" for i in range(recursion.carry)), *read, *same]
        step = recursion.step
        lines = [
            f"const {_type(one)} v{i} = "
            + (given[int(one.value)] if one.op == "coordinate" else _value(one, _named)) + ";"
            for i, one in enumerate(step.instructions)
        ]  # fmt: skip
        targets = [f"c{i}" for i in range(recursion.carry)]
        count, before = self.program.shapes[others[0]][0], recursion.carry
        for k, width in enumerate(recursion.blocks):
            once.append(f"REAL* const b{k} = {out} + {self.data.count(before)} * WIDTH;")
            targets += [f"b{k}[(row * {width} + {i}) * WIDTH]" for i in range(width)]
            before += count * width
        lines += [f"{to} = v{v};" for to, v in zip(targets, step.gradient, strict=True)]
        row = "size - 1 - j" if recursion.is_reverse else "j"
        text = [
            "if (uniform.member != 0) return;",
            *once,
            f"const int size = {self.data.count(count)};",
            "#pragma unroll 1",
            "for (int j = 0; j < size; ++j) {",
            f"    const int row = {row};",
            *(f"    {line}" for line in lines),
            "}",
            *(f"{out}[{i} * WIDTH] = c{i};" for i in range(recursion.carry)),
        ]
        return self._call(arrays, [out], text)


class _Loop:
    """The statements of a loop over elements."""

    def __init__(self, function: _Function, size: int) -> None:
        self._function = function
        self._program = function.program
        self._schedule = function.schedule
        self._size = size
        self._known: set[int] = set()
        self._once: dict[Any, str] = {}  # what is read once a loop
        self._read: dict[Any, str] = {}  # ... and once an element
        self._lines: list[str] = []
        self.arrays: dict[str, None] = {}
        self.written: set[str] = set()

    def text(self) -> list[str]:
        """The loop."""
        lines = [*self._read.values(), *self._lines]
        return [
            f"const int size = {self._function.data.count(self._size)};",
            *self._once.values(),
            "for (int j = uniform.member; j < size; j += TEAM) {",
            "    const int here = j * WIDTH;",
            *(f"    {line}" for line in lines),
            "}",
        ]

    def add(self, index: int) -> None:
        """Make a value."""
        if index in self._known:
            return
        instruction = self._program.instructions[index]
        match instruction.op:
            case _ if index in self._schedule.spread:
                value = self._uniform(index)
            case "take":
                value = self._taken(instruction)
            case "total":
                value = self._total(instruction)
            case _:
                value = _value(instruction, self.operand)
        self._known.add(index)
        self._lines.append(f"const {_type(instruction)} v{index} = {value};")

    def store(self, index: int, array: str) -> None:
        """Keep a value for other loops."""
        self.write(array, f"REAL(v{index})")

    def write(self, array: str, value: str) -> None:
        """Set the element of an array."""
        self.arrays[array] = None
        self.written.add(array)
        self._lines.append(f"{array}[here] = {value};")

    def operand(self, index: int) -> str:
        """A value's element, as an expression inside the loop."""
        schedule, program = self._schedule, self._program
        root = schedule.root(index)
        instruction = program.instructions[root]
        if root in program.uniform:
            return self._uniform(root)
        if root in self._known:
            return f"v{root}"
        is_one = schedule.size_of(root) == 1 and self._size > 1
        if instruction.op == "take" and root not in schedule.names and not is_one:
            self.add(root)
            return f"v{root}"
        text = f"{self._array(root)}[{'0' if is_one else 'here'}]"
        return f"({text} != REAL(0))" if instruction.op in COMPARISONS else text

    def _array(self, index: int) -> str:
        array = self._schedule.array(index)
        self.arrays[array] = None
        return array

    def _uniform(self, index: int) -> str:
        instruction = self._program.instructions[index]
        if (number := self._function.number(index)) is not None:
            return number
        if instruction.op == "fill":
            return self._uniform(instruction.args[0])
        name, type_ = f"u{index}", _type(instruction)
        if name not in self._once and name not in self._read:
            place = self._function.data.uniform(index)
            is_truth = " != REAL(0)" if type_ == "bool" else ""
            if self._schedule.size_of(index) == 1:
                self._once[name] = f"const {type_} {name} = parameters[{place}]{is_truth};"
            else:
                self._once[f"p{index}"] = f"const REAL* const p{index} = parameters + {place};"
                self._read[name] = f"const {type_} {name} = p{index}[j]{is_truth};"
        return name

    def _taken(self, instruction: Instruction) -> str:
        """An element of another value, at an index."""
        array, table = self._array(instruction.args[0]), instruction.value
        at = _rule(table.values.ravel(), self._function.data.count)
        if at is None:
            at, place = f"t{len(self._read)}", f"i{len(self._once)}"
            if table in self._read:
                at = self._read[table].split()[2]
            else:
                first = self._function.data.table(table, table.values)
                self._once[table] = f"const int* const {place} = indices + {first};"
                self._read[table] = f"const int {at} = {place}[j];"
        element = f"{array}[({at}) * WIDTH]"
        return f"{at} < 0 ? REAL(0) : {element}" if table.has_gaps else element

    def _total(self, instruction: Instruction) -> str:
        """A few elements that lie one after another, folded."""
        (arg,) = instruction.args
        array, count = self._array(arg), self._program.shapes[arg][-1]
        terms = [f"{array}[(j * {count} + {i}) * WIDTH]" for i in range(count)]
        return fold(terms, "add({}, {})".format)


def _function(head: str, lines: Sequence[str]) -> list[str]:
    indented = (line if line.startswith("#") else f"    {line}" for line in lines)
    return [f"static __device__ {head} {{", *indented, "}"]


def _type(instruction: Instruction) -> str:
    return "bool" if instruction.op in COMPARISONS else "REAL"


def _named(index: int) -> str:
    return f"v{index}"


def _value(instruction: Instruction, operand: Callable[[int], str]) -> str:
    if instruction.op == "const":
        return constant(instruction.value)
    return expression(instruction.op, [operand(arg) for arg in instruction.args])


def _rule(flat: np.ndarray[Any, Any], count: Callable[[int], str]) -> str | None:
    """Indices, where they are regular: an expression of the element's number j."""
    match regular(flat):
        case None:
            return None
        case "+", 0:
            return "j"
        case "", number:
            return count(number)
        case operation, number:
            return f"j {operation[0]} {count(number)}"
