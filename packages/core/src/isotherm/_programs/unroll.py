"""Arrays written out, number by number: what small programs become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from isotherm._arithmetic.sums import fold
from isotherm._limits import LIMITS
from isotherm._programs.program import (
    BINARY,
    COMPARISONS,
    FACTORS,
    STRUCTURAL,
    Builder,
    Program,
    Recursion,
    factored,
    reachable,
)
from isotherm._programs.symbols import Symbol

_COMPOSED = 20  # of a composed function, about


def is_small(builder: Builder, energy: int) -> bool:
    """Whether a program is better written out: it is short so, or there is little to gain.

    A loop over x[i] in Python leaves numbers, for which no loop can be found again.
    """
    used = reachable(builder.instructions, [energy])
    numbers = sum(_operations(builder, index) for index in used)
    return numbers <= LIMITS.unrolled_numbers or numbers <= LIMITS.unrolled_each * len(used)


def _operations(builder: Builder, index: int) -> int:
    instruction = builder.instructions[index]
    if not instruction.args or instruction.op in ("fill", "reshape", "take"):
        return 0
    if instruction.op in ("matmul", "matmul_t"):
        matrix, value = instruction.args
        return 2 * math.prod(builder.shapes[matrix]) * math.prod(builder.shapes[value][1:])
    if instruction.op == "scan":
        count = builder.shapes[instruction.args[1]][0]
        step = instruction.value.step.instructions
        return count * sum(1 if one.op in _CHEAP else _COMPOSED for one in step if one.args)
    if instruction.op in FACTORS:
        return builder.shapes[index][0] * math.prod(builder.shapes[index])
    if instruction.op in STRUCTURAL:
        return math.prod(builder.shapes[instruction.args[0]])
    weight = _COMPOSED if instruction.op not in _CHEAP else 1
    return weight * math.prod(builder.shapes[index])


_CHEAP = frozenset((*BINARY, *COMPARISONS, "where", "neg", "sqrt", "abs", "stop", "floor", "rint"))


def unroll(builder: Builder, outputs: Sequence[int]) -> tuple[Builder, list[int], list[list[int]]]:
    """The same program of numbers only.

    Returns
    -------
    builder : Builder
    coordinates : list of int
        The values that are the coordinates of the state, in C order.
    elements : list of list of int
        The values that are the elements of each of `outputs`, in C order.
    """
    plain = Builder()
    elements: list[list[int]] = []
    coordinates: list[int] = []
    for instruction, shape in zip(builder.instructions, builder.shapes, strict=True):
        args = [elements[arg] for arg in instruction.args]
        size, value = math.prod(shape), instruction.value
        match instruction.op:
            case "state" | "coordinate":
                made = coordinates = [plain.coordinate(i) for i in range(size)]
            case "input":
                made = [plain.coordinate(int(value) + i) for i in range(size)]
            case "parameter":
                made = [plain.parameter(int(value) + i) for i in range(size)]
            case "const":
                made = [plain.const(value)]
            case "array":
                made = [plain.const(number) for number in value.values.ravel().tolist()]
            case "fill":
                made = args[0] * size
            case "reshape":
                made = args[0]
            case "take":
                made = [
                    plain.const(0.0) if i < 0 else args[0][i] for i in value.values.ravel().tolist()
                ]
            case "total":
                count = len(args[0]) // size
                rows = [args[0][i * count : (i + 1) * count] for i in range(size)]
                made = [fold(row, partial(plain.emit, "add")) for row in rows]
            case "scan":
                made = _rows(plain, value, args, builder.shapes[instruction.args[1]][0])
            case "matmul":
                matrix = np.reshape(args[0], builder.shapes[instruction.args[0]])
                factors = np.reshape(args[1], (matrix.shape[1], -1))
                made = [_dot(plain, row, column) for row in matrix for column in factors.T]
            case op if op in FACTORS:
                given = zip(instruction.args, args, strict=True)
                made = _factored(plain, op, [(builder.shapes[arg], one) for arg, one in given])
            case op:
                made = [
                    plain.emit(op, *(arg[i] if len(arg) > 1 or i == 0 else arg[0] for arg in args))
                    for i in range(size)
                ]
        elements.append(made)
    return plain, coordinates, [elements[output] for output in outputs]


def _rows(plain: Builder, recursion: Recursion, args: Sequence[list[int]], count: int) -> list[int]:
    """A recursion, row by row."""
    carry, rows, fixed = args[0], args[1 : 1 + recursion.rows], args[1 + recursion.rows :]
    blocks: list[list[int]] = [[] for _ in recursion.blocks]
    for row in range(count):
        widths = [len(one) // count for one in rows]
        read = [
            one[row * width + i] for one, width in zip(rows, widths, strict=True)
            for i in range(width)
        ]  # fmt: skip
        given = [*carry, *read, *(number for one in fixed for number in one)]
        left = iter(inlined(plain, recursion.step, given))
        carry = list(islice(left, recursion.carry))
        for block, width in zip(blocks, recursion.blocks, strict=True):
            block.extend(islice(left, width))
    return [*carry, *(number for block in blocks for number in block)]


def inlined(plain: Builder, step: Program, given: Sequence[int]) -> list[int]:
    """The outputs of a recursion's step, of numbers that it is given."""
    number: list[int] = []
    for one in step.instructions:
        args = tuple(number[arg] for arg in one.args)
        number.append(given[one.value] if one.op == "coordinate" else plain.again(one, args, ()))
    return [number[output] for output in step.gradient]


def _factored(
    plain: Builder, op: str, args: Sequence[tuple[tuple[int, ...], Sequence[int]]]
) -> list[int]:
    """By the operations on arrays, whose elements are symbols."""
    arrays = []
    for shape, values in args:
        array = np.empty(len(values), dtype=object)
        for i, value in enumerate(values):
            array[i] = Symbol(plain, value)
        arrays.append(array.reshape(shape))
    zero = Symbol(plain, plain.const(0.0))
    return [zero.lift(one).index for one in factored(op, arrays).ravel().tolist()]


def _dot(plain: Builder, row: Any, column: Any) -> int:
    total = plain.emit("mul", int(row[0]), int(column[0]))
    for a, b in zip(row[1:], column[1:], strict=True):
        total = plain.emit("add", total, plain.emit("mul", int(a), int(b)))
    return total
