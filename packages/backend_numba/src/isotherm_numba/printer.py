"""Programs printed as lane loops: Python for Numba, in the program's own order of operations."""

from __future__ import annotations

from collections.abc import Sequence

from isotherm.program import COMPARISONS, Instruction, Program

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_INFIX |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
assert set(COMPARISONS) <= set(_INFIX)


def print_program(program: Program, stride: int) -> str:
    """The functions ``gradient`` and ``terms`` of `isotherm_numba.tiles` for a program.

    What depends on no coordinate is computed before the loop. Numbers are of the type ``number``,
    functions those of `isotherm_numba.functions`.

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
    inside: list[str] = []
    for index in program.needed(outputs):
        line = f"v{index} = {_expression(program.instructions[index], stride)}"
        (before if index in program.uniform else inside).append(line)
    # An elementwise program, like U itself, writes to the row of the first coordinate.
    inside += [f"out[{_lane(row, stride)}] = v{value}" for row, value in enumerate(outputs)]
    head = f"def {name}(x, out, scratch, parameters, dim, stride, n):"
    lines = ["@compiled", head, *_indented(before, 1)]
    return "\n".join([*lines, "    for lane in range(n):", *_indented(inside, 2)])


def _expression(instruction: Instruction, stride: int) -> str:
    op, value = instruction.op, instruction.value
    args = [f"v{arg}" for arg in instruction.args]
    if op in _INFIX:
        return f" {_INFIX[op]} ".join(args)
    match op:
        case "const":
            return f"number({value!r})"
        case "parameter":
            return f"parameters[{value}]"
        case "coordinate":
            return f"x[{_lane(int(value), stride)}]"
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
