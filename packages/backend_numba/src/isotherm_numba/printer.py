"""Programs printed as lane loops: Python for Numba, in the program's own order of operations."""

from __future__ import annotations

from collections.abc import Sequence

from isotherm.backend import COMPARISONS, Instruction, Program

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_INFIX |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
assert set(COMPARISONS) <= set(_INFIX)


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
    return f"{op}({args[0]})"


def _lane(row: int, stride: int) -> str:
    return f"lane + {row * stride}" if row else "lane"


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    return [4 * depth * " " + line for line in lines]
