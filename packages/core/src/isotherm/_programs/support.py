"""Where a program has a value: at every finite state, or only where its logs and roots have one."""

from __future__ import annotations

from isotherm._programs.array_program import ArrayProgram
from isotherm._programs.program import Program, operations

_PARTIAL = {"log", "sqrt", "cholesky"}
# The signs of their arguments do not tell.
_UNSEEN = {"scan", "cholesky"}
# Made of numbers none of which is negative, these are not negative.
_KEEPING = {
    *("stop", "fill", "reshape", "floor", "rint", "total", "take", "scatter"),
    *("min", "add", "mul", "div"),
}


def has_limited_support(program: Program | ArrayProgram) -> bool:
    """Whether the energy may have no value at a finite state.

    A logarithm or root does not limit it where its argument is seen not to be negative, or depends
    on no coordinate: log(1 + exp(x)) is told from log(x) by signs alone.
    """
    positive: set[int] = set()  # or 0, where a log is infinite
    for index in program.needed([program.energy]):
        op, args, value = (i := program.instructions[index]).op, i.args, i.value
        is_partial = not _PARTIAL.isdisjoint(operations([i])) and index not in program.uniform
        if is_partial and (op in _UNSEEN or not positive.issuperset(args)):
            return True
        match op:
            case "const":
                is_positive = value >= 0
            case "exp" | "abs" | "sqrt":
                is_positive = True
            case "max":
                is_positive = not positive.isdisjoint(args)
            case "where":
                is_positive = positive.issuperset(args[1:])
            case _:
                is_square = op == "mul" and args[0] == args[1]
                is_positive = is_square or (op in _KEEPING and positive.issuperset(args))
        if is_positive:
            positive.add(index)
    return False
