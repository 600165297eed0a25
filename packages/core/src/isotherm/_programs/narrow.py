"""Of arrays only the elements that are read: of a kernel's matrix its lower triangle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isotherm._programs.program import STRUCTURAL, Builder, reachable

_Elements = np.ndarray[Any, np.dtype[Any]]

#: Of an array's elements, up to which others are left out: to pick the rest costs something, too.
_WORTH_PICKING = 0.75


def narrowed(builder: Builder, output: int) -> tuple[Builder, int]:
    """The program without most elements that nothing reads, and its output there.

    Where a Cholesky factor, a slice or a triangle reads a part of an array that is made element by
    element, those elements alone are made, as a vector. So the matrix of a Gaussian process takes
    half of the exponentials, and its derivative half of the sums. Every element that is left is
    made as it was.
    """
    read = _elements_read(builder, output)
    narrow = {index: np.flatnonzero(mask) for index, mask in read.items()
              if _is_worth_it(builder, index, mask)}  # fmt: skip
    if not narrow:
        return builder, output
    plain = Builder()
    made: dict[int, int] = {}

    def positions(index: int) -> _Elements:
        """Where the elements of a value are that is narrow; -1 for those that are not made.

        The last is that of a gap, whose index is -1.
        """
        found = np.full(math.prod(builder.shapes[index]) + 1, -1)
        found[narrow[index]] = np.arange(len(narrow[index]))
        return found

    def elements(index: int, places: _Elements) -> int:
        """Some elements of a value; a number stands for all of them."""
        if not builder.shapes[index]:
            return made[index]
        return plain.take(made[index], positions(index)[places] if index in narrow else places)

    def whole(index: int) -> int:
        if index not in narrow:
            return made[index]
        return plain.take(made[index], positions(index)[:-1].reshape(builder.shapes[index]))

    for index in reachable(builder.instructions, [output]):
        instruction, shape = builder.instructions[index], builder.shapes[index]
        op, args = instruction.op, instruction.args
        if index in narrow and op == "total":
            count = builder.shapes[args[0]][-1]
            places = narrow[index][:, None] * count + np.arange(count)
            made[index] = plain.total(elements(args[0], places))
        elif index in narrow:
            parts = [elements(arg, narrow[index]) for arg in args]
            made[index] = parts[0] if op == "reshape" else plain.emit(op, *parts)
        elif op == "take" and args[0] in narrow:
            made[index] = elements(args[0], instruction.value.values)
        else:
            made[index] = plain.again(instruction, tuple(map(whole, args)), shape)
    return plain, made[output]


def _elements_read(builder: Builder, output: int) -> dict[int, _Elements]:
    """Of each value that a program needs, which of its elements are read: a mask over all."""
    order = reachable(builder.instructions, [output])
    read = {index: np.zeros(math.prod(builder.shapes[index]), np.bool_) for index in order}
    read[output][:] = True
    for index in reversed(order):
        instruction, shape, mask = builder.instructions[index], builder.shapes[index], read[index]
        for arg in instruction.args:
            given = builder.shapes[arg]
            if instruction.op == "cholesky":
                read[arg] |= np.tri(given[0]).ravel() > 0.0
            elif instruction.op == "take":
                places = instruction.value.values.ravel()[mask]
                read[arg][places[places >= 0]] = True
            elif instruction.op == "total":
                read[arg] |= mask.repeat(given[-1])
            elif math.prod(given) == math.prod(shape) and _is_by_element(instruction.op):
                read[arg] |= mask
            else:
                read[arg][:] = True
    return read


def _is_by_element(op: str) -> bool:
    return op == "reshape" or op not in STRUCTURAL


def _is_worth_it(builder: Builder, index: int, mask: _Elements) -> bool:
    """Whether a value is made of the elements that are read alone."""
    op = builder.instructions[index].op
    is_made_so = builder.instructions[index].args and (op == "total" or _is_by_element(op))
    is_part = 0 < mask.sum() <= _WORTH_PICKING * mask.size
    return bool(is_made_so and is_part and index not in builder.uniform)
