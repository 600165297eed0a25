"""Programs printed as lane loops: Python for Numba, in the program's own order of operations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from isotherm.backend import (
    COMPARISONS,
    Instruction,
    Program,
    Segment,
    Space,
    TransitionProgram,
    plain_name,
)

_HEADER = """\
# What isotherm_numba compiles for {name} in {dtype}.
import numpy as np
from numba import int64 as i64
from numba import njit
from numba import uint64 as u64
from numpy import floor, inf, nan, rint
from numpy import {dtype} as number
from numpy import uint{bits} as unsigned

from isotherm_numba import kernel_calls, sums, tiles
from isotherm_numba.codegen_cache import INNER as inner
from isotherm_numba.codegen_cache import kept
from isotherm_numba.functions import functions

abs, sqrt, exp, log, tanh, sin, cos, near_sin, near_cos, is_far = functions("{dtype}")

"""

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_INFIX |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
assert set(COMPARISONS) <= set(_INFIX)


def print_module(name: str, dtype: str, *functions: str) -> str:
    """A module of printed functions; ``kept(signature)`` decorates what others call."""
    head = _HEADER.format(name=plain_name(name), dtype=dtype, bits=8 * np.dtype(dtype).itemsize)
    return "\n\n".join([head, *functions])


def print_segment(
    name: str,
    program: TransitionProgram,
    segment: Segment,
    places: Mapping[int, str],
    lanes: Mapping[Space, str],
    rows: Collection[int] = (),
) -> str:
    """The function of a segment, a loop over rows of lanes: its head but for the decorator.

    Parameters
    ----------
    name : str
    program : TransitionProgram
    segment : Segment
    places : mapping of int to str
        The names of the arrays in which values of chains and coordinates lie. One that is read and
        written is one argument.
    lanes : mapping of Space to str
        Where values of a space lie in their arrays: at ``"lane"``, ``"row"``, or ``"i"`` in it.
    rows : collection of int
        Values whose arrays have several rows, the number of which is an argument.
    """
    before, inside = ["kernel_calls.arrays_apart()"], list[str]()
    constants = {arg for index in segment.body for arg in program.values[index].args}
    for index in sorted(constants.union(segment.inputs, segment.body)):
        one, space = program.values[index], program.spaces[index]
        if index in segment.inputs and index in places:
            row = f"u64(row{index}), " if index in rows else ""
            inside.append(f"v{index} = {places[index]}[{row}{lanes[space]}]")
        elif index in segment.body or one.op == "const":
            line = f"v{index} = {_expression(one, 0)}"
            (before if space == Space.STEP else inside).append(line)
    inside += [f"{places[index]}[{lanes[segment.space]}] = v{index}" for index in segment.outputs]
    arguments = ", ".join(segment_arguments(segment, places, rows))
    return "\n".join(
        [
            f"def {name}({arguments}, rows, stride, n):",
            *_indented(before, 1),
            "    for row in range(rows):",
            "        for i in range(n):",
            "            lane = u64(row * stride + i)",
            *_indented(inside, 3),
        ]
    )


def segment_arguments(
    segment: Segment, places: Mapping[int, str], rows: Collection[int] = ()
) -> list[str]:
    """Of a segment's function: arrays, rows of those with several, and numbers ``v0``, ``v1``."""
    values = (*segment.inputs, *segment.outputs)
    arrays = dict.fromkeys(places[index] for index in values if index in places)
    numbers = [f"v{index}" for index in segment.inputs if index not in places]
    return [*arrays, *(f"row{index}" for index in segment.inputs if index in rows), *numbers]


def print_program(program: Program, stride: int) -> str:
    """The functions ``gradient`` and ``terms`` of `isotherm_numba.tiles` for a program.

    What depends on no coordinate is computed before the loop. Numbers are of the type ``number``,
    functions those of `isotherm_numba.functions`. Sines and cosines of large angles do not become
    vectors; so the loop takes angles for small ones, and is run again by numbers if one was not.

    Parameters
    ----------
    program : Program
    stride : int
        Lanes from one coordinate to the next, where the program is not elementwise. Printed as a
        number it lets the compiler see that rows do not overlap.
    """
    return "\n\n".join(
        [
            _print_function("gradient", program, program.gradient, stride),
            _print_function("terms", program, (program.energy,), stride),
        ]
    )


def _print_function(name: str, program: Program, outputs: Sequence[int], stride: int) -> str:
    before: list[str] = []
    near: list[str] = []  # the loop's lines where no angle is far from 0
    inside: list[str] = []  # ... and those for any angle
    for index in program.needed(outputs):
        instruction = program.instructions[index]
        line = f"v{index} = {_expression(instruction, stride)}"
        if index in program.uniform:
            before.append(line)
            continue
        inside.append(line)
        if instruction.op in ("sin", "cos"):
            (angle,) = instruction.args
            near.append(f"far = unsigned(far | is_far(v{angle}))")
            line = f"v{index} = near_{instruction.op}(v{angle})"
        near.append(line)
    # An elementwise program, like U itself, writes to the row of the first coordinate.
    written = [f"out[{_lane(row, stride)}] = v{value}" for row, value in enumerate(outputs)]
    head = f"def {name}(x, out, scratch, parameters, dim, stride, n):"
    lines = ["@compiled", head, *_indented(before, 1)]
    if near == inside:
        return "\n".join([*lines, *_loop([*inside, *written], 1)])
    lines += ["    far = unsigned(0)", *_loop([*near, *written], 1)]
    return "\n".join([*lines, "    if far:", *_loop([*inside, *written], 2)])


def _loop(lines: Sequence[str], depth: int) -> list[str]:
    return [*_indented(["for lane in range(n):"], depth), *_indented(lines, depth + 1)]


def _expression(instruction: Instruction, stride: int) -> str:
    match instruction.op:
        case "parameter":
            return f"parameters[{instruction.value}]"
        case "coordinate":
            return f"x[{_lane(int(instruction.value), stride)}]"
    return expression(instruction, [f"v{arg}" for arg in instruction.args])


def expression(instruction: Instruction, args: Sequence[str]) -> str:
    """An operation on numbers, of operands that are names or other expressions of one term."""
    op = instruction.op
    if op in _INFIX:
        return f" {_INFIX[op]} ".join(args)
    match op:
        case "const":
            return f"number({instruction.value!r})"
        case "neg":
            return f"-{args[0]}"
        case "stop":
            return args[0]
        case "where":
            return f"{args[1]} if {args[0]} else {args[2]}"
        case "min":
            return f"{args[0]} if {args[0]} < {args[1]} else {args[1]}"
        case "max":
            return f"{args[0]} if {args[0]} > {args[1]} else {args[1]}"
        case "perturb":
            return f"{args[0]} if {args[1]} == 0.0 else {args[0]} + {args[1]} * {args[2]}"
    return f"{op}({args[0]})"


def _lane(row: int, stride: int) -> str:
    return f"lane + {row * stride}" if row else "lane"


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    return [4 * depth * " " + line for line in lines]
