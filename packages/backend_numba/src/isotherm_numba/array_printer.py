"""Programs on arrays printed as loops: Python for Numba, in the program's own order of operations.

Elementwise operations over as many elements become one loop over them, whose inner loop is over
lanes, the chains. What another loop needs is kept in rows of its own; indices, data and what
depends on no coordinate stand among the parameters, so that a change of them compiles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from isotherm_numba.array_loops import COUNTED
from isotherm_numba.printer import expression
from isotherm_numba.products import in_blocks
from isotherm_numba.tiles import PADDING

_FEW = 16  # elements up to which a loop's length is printed as a number
_IMPORTS = """\
from isotherm_numba.array_loops import (
    cholesky, cholesky_back, count, fold, rows_of, scatter, solve
)
from isotherm_numba.products import multiply

looped = njit(**inner)
"""


def print_arrays(
    program: ArrayProgram, stride: int, parameters: np.ndarray[Any, Any]
) -> tuple[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """The functions ``gradient`` and ``terms`` of `isotherm_numba.tiles`, and what they read.

    Parameters
    ----------
    program : ArrayProgram
    stride : int
        Lanes from one row to the next.
    parameters : array
        The energy's, in the dtype of the states.

    Returns
    -------
    source : str
    numbers : float64 array
        What stands in the place of the energy's parameters.
    """
    numbers = _Numbers(program, parameters)
    functions = [
        _Function("gradient", program, program.gradient, stride, numbers),
        _Function("terms", program, program.energy, stride, numbers),
    ]
    source = "\n\n".join([_IMPORTS, *(function.text() for function in functions)])
    return source, numbers.values()


class _Numbers:
    """What a kernel reads besides the state, one after another."""

    def __init__(self, program: ArrayProgram, parameters: np.ndarray[Any, Any]) -> None:
        self._dim = program.dim
        self._limit = 2 ** (24 if parameters.dtype == np.float32 else 53)
        self._parts: list[np.ndarray[Any, Any]] = []
        self._size = 0
        self._places: dict[Any, int] = {}
        self._counts: list[tuple[int, bool]] = []
        with np.errstate(all="ignore"):
            self._uniform = ArrayEvaluator(program, sorted(program.uniform), parameters)

    def uniform(self, index: int) -> str:
        """Where a value begins that depends on no coordinate."""
        return self._place(index, self._uniform.uniform(index))

    def matrix(self, index: int, *, is_transposed: bool) -> tuple[str, tuple[int, int]]:
        """Where a matrix begins as `multiply` reads it, and its rows and columns."""
        values = self._uniform.uniform(index)
        values = values.T if is_transposed else values
        return self._place((index, is_transposed), in_blocks(values)), values.shape

    def indices(self, key: Any, values: np.ndarray[Any, Any]) -> str:
        """Where indices begin, which must be exact in the kernel's numbers."""
        if values.size and values.max() >= self._limit:
            raise OverflowError
        return self._place(key, values)

    def count(self, number: int) -> str:
        """A number that data may decide, as an expression that other data do not change.

        As long as a state is nothing that data decide; a loop whose length is known is faster.
        """
        is_known = number <= _FEW or number == self._dim
        return f"u64({number})" if is_known else self._counted(number, is_place=False)

    def values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        # 0, then each count as two numbers, which float32 holds, too.
        head = 1 + 2 * len(self._counts)
        counts = [count + head * is_place for count, is_place in self._counts]
        pairs = np.array([divmod(count, COUNTED) for count in counts], dtype=np.float64)
        return np.concatenate([[0.0], pairs.ravel(), *self._parts])

    def _counted(self, number: int, *, is_place: bool) -> str:
        self._counts.append((number, is_place))
        # Not a literal, which is a type of its own to Numba: `count` would be compiled for each.
        return f"count(parameters, u64({2 * len(self._counts) - 1}))"

    def _place(self, key: Any, values: np.ndarray[Any, Any]) -> str:
        if key not in self._places:
            self._places[key] = self._size
            self._parts.append(np.asarray(values, dtype=np.float64).ravel())
            self._size += self._parts[-1].size
        return self._counted(self._places[key], is_place=True)


class _Function:
    """One printed function: the loops that make one value of a program."""

    def __init__(
        self, name: str, program: ArrayProgram, output: int, stride: int, numbers: _Numbers
    ) -> None:
        self._name = name
        self._program = program
        self._stride = stride
        self._numbers = numbers
        self._output = output
        self.schedule = LoopSchedule(program, output)

    def text(self) -> str:
        schedule = self.schedule
        functions: list[str] = []
        calls: list[str] = []
        for level in schedule.levels:
            for group in level.loops:
                self._print_loop(group, functions, calls)
            for index in level.wholes:
                if schedule.op(index) == "scan":
                    self._print_rows(index, functions, calls)
                else:
                    calls.append(self._call(index))
        if schedule.names.get(schedule.root(self._output)) != "out":
            self._print_copy(functions, calls)
        views, rows = dict(schedule.arrays), schedule.size
        rest = max((schedule.folded(i) for one in schedule.levels for i in one.wholes), default=0)
        if rest:
            views["rest"], rows = (rows, rest), rows + rest
        stride, count = f"u64({self._stride})", self._numbers.count
        lines = [f"space = tiles.space_of({count(rows)} * {stride}, number)"] if rows else []
        lines += [
            f"{name} = rows_of(space, {count(first)}, {count(size)}, {stride})"
            for name, (first, size) in views.items()
        ]
        head = f"def {self._name}(x, out, scratch, parameters, dim, stride, n):"
        body = "\n".join(["@compiled", head, *(f"    {line}" for line in [*lines, *calls])])
        return "\n\n".join([*functions, body])

    # Lines.

    def _call(self, index: int) -> str:
        """The line that makes a value as a whole."""
        op, args, value = (i := self._program.instructions[index]).op, i.args, i.value
        stride, lanes = f"u64({self._stride})", "u64(n)"
        source, out = self.schedule.array(args[-1]), self.schedule.array(index)
        if op == "total":
            rows = self.schedule.size_of(index)
            count = self.schedule.size_of(args[0]) // rows
            given = f"{self._numbers.count(rows)}, {self._numbers.count(count)}"
            return f"fold({source}, {out}, rest, {given}, {stride}, {lanes})"
        if op == "scatter":
            table, shape = value
            size = math.prod(shape)
            flat = np.where(table.values < 0, size, table.values)
            starts, places = lists_of(flat, size)
            at = [
                self._numbers.indices((table, shape, name), numbers)
                for name, numbers in (("starts", starts), ("places", places))
            ]
            given = f"{at[0]}, {at[1]}, {self._numbers.count(size)}"
            return f"scatter({source}, {out}, parameters, {given}, {stride}, {lanes})"
        if op in FACTORS:
            first, counted = self.schedule.array(args[0]), self._numbers.count
            size = counted(self._program.shapes[args[0]][0])
            if op == "cholesky":
                return f"cholesky({source}, {out}, {size}, {stride}, {lanes})"
            if op == "cholesky_back":
                return f"cholesky_back({first}, {source}, {out}, {size}, {stride}, {lanes})"
            width = counted(math.prod(self._program.shapes[index][1:]))
            given = f"{size}, {width}, {op == 'solve_t'}, {stride}, {lanes}"
            return f"solve({first}, {source}, {out}, {given})"
        matrix, shape = self._numbers.matrix(args[0], is_transposed=op == "matmul_t")
        counts = (*shape, math.prod(self._program.shapes[index][1:]))
        given = ", ".join([matrix, *map(self._numbers.count, counts)])
        return f"multiply({source}, {out}, parameters, {given}, {stride}, {lanes})"

    def _print_loop(self, group: Sequence[int], functions: list[str], calls: list[str]) -> None:
        if self.schedule.names.keys().isdisjoint(group):
            return  # what was taken, and is taken again where it is read
        loop = _Loop(self, self.schedule.size_of(group[0]))
        for index in group:
            loop.add(index)
        for index in group:
            if index in self.schedule.names:
                loop.store(index, self.schedule.array(index))
        name = f"{self._name}_loop{len(functions)}"
        functions.append(loop.text(name))
        calls.append(f"{name}({', '.join(loop.arrays)}, parameters, u64(n))")

    def _print_rows(self, index: int, functions: list[str], calls: list[str]) -> None:
        """A recursion: a loop over rows, inside it one over lanes. The carry stands in its place.

        Its lanes cannot be taken again, so that sines and cosines are those for any angle.
        """
        recursion: Recursion = self._program.instructions[index].value
        args = self._program.instructions[index].args
        count = self._program.shapes[args[1]][0]
        stride, counted = f"u64({self._stride})", self._numbers.count
        arrays: dict[str, None] = {}
        begin, once, read, names = list[str](), list[str](), list[str](), list[str]()

        def elements(arg: int, width: int, row: str, known: list[str]) -> list[str]:
            """What an argument's elements are called; those that are no lanes' are read before."""
            root, row = self.schedule.root(arg), f"{row} * u64({width}) + " if row else ""
            is_one = self.schedule.size_of(root) == 1 and self.schedule.size_of(arg) > 1
            at = ["u64(0)" if is_one else f"{row}u64({i})" for i in range(width)]
            if root in self._program.uniform:
                if (number := self._number(root)) is not None:
                    return [number] * width
                place = f"p{len(begin)}"
                begin.append(f"{place} = {self._numbers.uniform(root)}")
                made = [f"{place}_{i}" for i in range(width)]
                known += [f"{n} = parameters[{place} + {i}]" for n, i in zip(made, at, strict=True)]
                return made
            array = self.schedule.array(arg)
            arrays[array] = None
            return [f"{array}[({i}) * {stride} + lane]" for i in at]

        first, others = elements(args[0], recursion.carry, "", once), args[1:]
        given = [f"carry[u64({i}) * {stride} + lane]" for i in range(recursion.carry)]
        for arg in others[: recursion.rows]:
            given += elements(arg, self._program.shapes[arg][1], "row", read)
        for arg in others[recursion.rows :]:
            given += elements(arg, self._program.shapes[arg][0], "", once)
        for i, one in enumerate(recursion.step.instructions):
            if one.op == "coordinate":
                names.append(f"v{i} = {given[one.value]}")
            else:
                names.append(f"v{i} = {expression(one, [f'v{arg}' for arg in one.args])}")
        # The carry and the blocks are arrays apart, for loops over lanes to become vectors.
        out = self.schedule.array(index)
        outputs = [f"rows_of({out}, u64(0), u64({recursion.carry}), {stride})"]
        targets = given[: recursion.carry]
        before = recursion.carry
        for k, width in enumerate(recursion.blocks):
            size = counted(count * width)
            outputs.append(f"rows_of({out}, {counted(before)}, {size}, {stride})")
            targets += [f"block{k}[(row * u64({width}) + u64({i})) * {stride} + lane]"
                        for i in range(width)]  # fmt: skip
            before += count * width
        names += [f"{to} = v{v}" for to, v in zip(targets, recursion.step.gradient, strict=True)]
        name = f"{self._name}_loop{len(functions)}"
        blocks = [f"block{k}" for k in range(len(recursion.blocks))]
        lines = ["kernel_calls.arrays_apart()", *begin, *once, "for lane in range(n):"]
        lines += [f"    {place} = {value}" for place, value in zip(given, first, strict=False)]
        lines.append(f"size = {counted(count)}")
        lines.append("for j in range(size):")
        lines.append("    row = size - u64(1) - j" if recursion.is_reverse else "    row = j")
        lines += [*(f"    {line}" for line in read), "    for lane in range(n):"]
        lines += [f"        {line}" for line in names]
        head = f"def {name}({', '.join([*arrays, 'carry', *blocks])}, parameters, n):"
        functions.append("\n".join(["@looped", head, *(f"    {line}" for line in lines)]))
        calls.append(f"{name}({', '.join([*arrays, *outputs])}, parameters, u64(n))")

    def _number(self, index: int) -> str | None:
        """A value that is one known number in all its elements, as an expression."""
        number = self.schedule.number(index)
        return None if number is None else f"number({number!r})"

    def _print_copy(self, functions: list[str], calls: list[str]) -> None:
        """An output that is another value, or one number in all its elements."""
        loop = _Loop(self, self.schedule.size_of(self._output))
        loop.lines.append(f"out[here + lane] = {loop.operand(self._output)}")
        loop.arrays["out"] = None
        name = f"{self._name}_loop{len(functions)}"
        functions.append(loop.text(name))
        calls.append(f"{name}({', '.join(loop.arrays)}, parameters, u64(n))")


class _Loop:
    """A loop over elements, and inside it one over lanes."""

    def __init__(self, function: _Function, size: int) -> None:
        self._function = function
        self._program = function._program
        self._schedule = function.schedule
        self._size = size
        self._known: set[int] = set()
        self._read: dict[str, str] = {}  # what is read once an element
        self._once: list[str] = []  # ... and once a loop
        self._placed: set[str] = set()
        self.lines: list[str] = []
        self._near: list[str] = []
        self.arrays: dict[str, None] = {}

    def add(self, index: int) -> None:
        """Make a value."""
        if index in self._known:
            return
        instruction = self._program.instructions[index]
        if index in self._schedule.spread:
            text = self._uniform(index)
        elif instruction.op == "take":
            text = self._taken(instruction)
        elif instruction.op == "total":
            text = self._total(instruction)
        else:
            text = expression(instruction, [self.operand(arg) for arg in instruction.args])
        self._known.add(index)
        self.lines.append(f"v{index} = {text}")

    def store(self, index: int, place: str) -> None:
        """Keep a value for other loops."""
        self.arrays[place] = None
        is_condition = self._program.instructions[index].op in COMPARISONS
        value = f"number(v{index})" if is_condition else f"v{index}"
        self.lines.append(f"{place}[here + lane] = {value}")

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
        array = schedule.array(root)
        self.arrays[array] = None
        text = f"{array}[lane]" if is_one else f"{array}[here + lane]"
        return f"({text} != zero)" if instruction.op in COMPARISONS else text

    def text(self, name: str) -> str:
        """The loop as a function."""
        indent = "    "
        has_far = any(" = sin(" in line or " = cos(" in line for line in self.lines)
        # In a tile it is so already; the compiler knows it now, and makes no loop for a rest.
        is_padded = self._function._stride % PADDING == 0
        whole = [f"n = n // u64({PADDING}) * u64({PADDING})"] if is_padded else []
        once = [
            indent + line
            for line in (
                "kernel_calls.arrays_apart()",
                *whole,
                "zero = number(0.0)",
                f"size = {self._function._numbers.count(self._size)}",
                *self._once,
            )
        ]
        lines = ["@looped", f"def {name}({', '.join(self.arrays)}, parameters, n):", *once]
        if not has_far:
            return "\n".join([*lines, *self._nest(self.lines, 1)])
        # Sines of large angles do not become vectors; the loop is run again if there was one.
        near: list[str] = []
        for line in self.lines:
            made, _, text = line.partition(" = ")
            if text.startswith(("sin(", "cos(")):
                near.append(f"far = unsigned(far | is_far({text[4:-1]}))")
                near.append(f"{made} = near_{text}")
            else:
                near.append(line)
        lines += [f"{indent}far = unsigned(0)", *self._nest(near, 1), f"{indent}if far:"]
        return "\n".join([*lines, *self._nest(self.lines, 2)])

    def _nest(self, lines: Sequence[str], depth: int) -> list[str]:
        outer, reads = "    " * depth, list(self._read.values())
        head = [f"{outer}for j in range(size):"]
        head.append(f"{outer}    here = j * u64({self._function._stride})")
        inner = [f"{outer}        {line}" for line in lines]
        return [
            *head,
            *(f"{outer}    {r}" for r in reads),
            f"{outer}    for lane in range(n):",
            *inner,
        ]

    def _uniform(self, index: int) -> str:
        instruction = self._program.instructions[index]
        if (number := self._function._number(index)) is not None:
            return number
        if instruction.op == "fill":
            return self._uniform(instruction.args[0])
        name = f"u{index}"
        if name in self._placed:
            return name
        place = self._begin(self._function._numbers.uniform(index))
        is_one = self._schedule.size_of(index) == 1
        text = f"{name} = parameters[{place}]" if is_one else f"{name} = parameters[{place} + j]"
        if instruction.op in COMPARISONS:
            text += " != zero"
        if is_one:
            self._once.append(text)
        else:
            self._read[name] = text
        self._placed.add(name)
        return name

    def _begin(self, place: str) -> str:
        """The name of where numbers begin."""
        name = f"p{len(self._once)}"
        self._once.append(f"{name} = {place}")
        return name

    def _taken(self, instruction: Instruction) -> str:
        """An element of another value, at an index."""
        array = self._schedule.array(instruction.args[0])
        self.arrays[array] = None
        row, is_there = self._row(instruction.value)
        text = f"{array}[{row} + lane]"
        return f"{text} if {is_there} else zero" if is_there else text

    def _row(self, table: Any) -> tuple[str, str]:
        """The names of a row that a table tells, and of whether there is one."""
        name, stride = f"t{len(self._read)}", f"u64({self._function._stride})"
        for known, text in self._read.items():
            if known == repr(table):
                return text.partition(" = ")[0], ""
        flat = table.values.ravel()
        rule = self._rule(flat)
        if rule is not None:
            self._read[repr(table)] = f"{name} = ({rule}) * {stride}"
            return name, ""
        if not table.has_gaps:
            place = self._begin(self._function._numbers.indices(table, flat))
            text = f"{name} = u64(parameters[{place} + j]) * {stride}"
            self._read[repr(table)] = text
            return name, ""
        # Shifted by one, so that 0 says that there is none.
        place = self._begin(self._function._numbers.indices((table, "gaps"), flat + 1))
        at = f"parameters[{place} + j]"
        self._read[f"{name} is there"] = f"g{name} = {at} > zero"
        self._read[name] = f"{name} = (u64({at}) - u64(1)) * {stride} if g{name} else u64(0)"
        return name, f"g{name}"

    def _rule(self, flat: np.ndarray[Any, Any]) -> str | None:
        """Indices, where they are regular: an expression of the element's number j."""
        match regular(flat):
            case None:
                return None
            case "+", 0:
                return "j"
            case "", 0:
                return "u64(0)"
            case "+", first:
                return f"j + {self._begin(self._function._numbers.count(first))}"
            case "", first:
                return self._begin(self._function._numbers.count(first))
            case operation, number:
                return f"j {operation} u64({number})"

    def _total(self, instruction: Instruction) -> str:
        """A few elements that lie one after another, folded."""
        (arg,) = instruction.args
        array = self._schedule.array(arg)
        self.arrays[array] = None
        count, stride = self._program.shapes[arg][-1], self._function._stride
        terms = [
            f"{array}[j * u64({count * stride}) + u64({i * stride}) + lane]" for i in range(count)
        ]
        return fold(terms, "({} + {})".format)
