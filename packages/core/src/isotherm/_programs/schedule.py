"""In which loops a value of a program on arrays is made: what a printer of loops has to write.

Elementwise operations over as many elements become one loop over them; what another loop reads is
kept in memory. No order of operations that bits depend on is decided here: within an element it is
the program's, and a sum over elements is an operation of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from isotherm._programs.array_program import ArrayProgram
from isotherm._programs.program import FACTORS, STRUCTURAL

_SHORT = 8  # elements of which a total is one expression


class Level(NamedTuple):
    """What needs nothing but values of earlier levels, or, element by element, of its own.

    Attributes
    ----------
    loops : tuple of tuple of int
        Values that one loop makes, all of one size.
    wholes : tuple of int
        Values that are made as a whole: sums, products with a matrix, recursions.
    """

    loops: tuple[tuple[int, ...], ...]
    wholes: tuple[int, ...]


class LoopSchedule:
    """The loops that make one value of a program, and where arrays lie between them.

    Parameters
    ----------
    program : ArrayProgram
    output : int
        The value that is wanted.

    Attributes
    ----------
    levels : list of Level
        One after another.
    arrays : dict of str to (int, int)
        What lies in memory between the loops: where an array begins, and how many elements it has.
    names : dict of int to str
        The array of each value that is kept, called by the first value that it held; ``"out"`` for
        the one that is made where the output goes.
    size : int
        Elements of that memory.
    spread : frozenset of int
        Values that change with no state, and are written out for factors to read them.
    """

    def __init__(self, program: ArrayProgram, output: int) -> None:
        self.program = program
        self.output = output
        needed = program.needed([output])
        changing = [i for i in needed if i not in program.uniform]
        self.spread = frozenset(
            arg
            for i in changing
            if self.op(i) in FACTORS
            for arg in program.instructions[i].args
            if arg in program.uniform
        )
        made = [i for i in needed if i not in program.uniform or i in self.spread]
        self._values = [i for i in made if self.root(i) == i and self.op(i) != "state"]
        self._level: dict[int, int] = {}
        for i in self._values:
            self._level[i] = max((self._after(i, a) for a in self.args(i)), default=0)
        self.levels = [self._level_of(number) for number in sorted(set(self._level.values()))]
        self.arrays: dict[str, tuple[int, int]] = {}
        self.names: dict[int, str] = {}
        self.size = 0
        self._allot(self._kept())

    def op(self, index: int) -> str:
        """The operation that makes a value."""
        return self.program.instructions[index].op

    def size_of(self, index: int) -> int:
        """Elements of a value."""
        return math.prod(self.program.shapes[index])

    def root(self, index: int) -> int:
        """The value whose elements a value has: another shape is no other value."""
        instruction = self.program.instructions[index]
        if index not in self.program.uniform and instruction.op in ("reshape", "fill"):
            return self.root(instruction.args[0])
        return index

    def args(self, index: int) -> list[int]:
        """The values that change with the state of which one is made."""
        args = (self.root(arg) for arg in self.program.instructions[index].args)
        return [arg for arg in args if arg not in self.program.uniform or arg in self.spread]

    def array(self, index: int) -> str:
        """The array that holds a value: ``"x"``, or one of `names`."""
        root = self.root(index)
        return "x" if self.op(root) == "state" else self.names[root]

    def number(self, index: int) -> Any:
        """The number that is known to be all elements of a value; None of any other."""
        instruction = self.program.instructions[index]
        if instruction.op == "fill":
            return self.number(instruction.args[0])
        return instruction.value if instruction.op == "const" else None

    def folded(self, index: int) -> int:
        """Elements that the first fold of a total leaves of a row; 0 of what is no total."""
        if self.op(index) != "total":
            return 0
        (arg,) = self.program.instructions[index].args
        return 1 << (self.program.shapes[arg][-1] - 1).bit_length() - 1

    def _level_of(self, number: int) -> Level:
        here = [i for i in self._values if self._level[i] == number]
        looped = [i for i in here if self._is_looped(i)]
        sizes = dict.fromkeys(self.size_of(i) for i in looped)
        loops = (tuple(i for i in looped if self.size_of(i) == size) for size in sizes)
        return Level(tuple(loops), tuple(i for i in here if not self._is_looped(i)))

    def _is_looped(self, index: int) -> bool:
        """Whether a value is made element by element."""
        op = self.op(index)
        if index in self.spread:
            return True
        if op == "total":
            (arg,) = self.program.instructions[index].args
            return self.program.shapes[arg][-1] <= _SHORT
        return op not in STRUCTURAL or op == "take"

    def _is_fused(self, index: int, arg: int) -> bool:
        """Whether an argument is read where it has just been made, in the same loop."""
        is_elementwise = self.op(index) not in STRUCTURAL
        return is_elementwise and self._is_looped(arg) and self.size_of(index) == self.size_of(arg)

    def _after(self, index: int, arg: int) -> int:
        """The level that a value has by one of its arguments."""
        if self.op(arg) == "state":
            return 0
        return self._level[arg] + (0 if self._is_fused(index, arg) else 1)

    def _kept(self) -> list[int]:
        """The values that another loop reads. What was taken is taken again instead."""
        kept = {self.root(self.output)} & set(self._values)
        for index in self._values:
            for arg in self.args(index):
                if self.op(arg) == "state":
                    continue
                is_fused = self._is_fused(index, arg)
                is_read = not is_fused or self._level[arg] != self._level[index]
                if is_read and not (is_fused and self.op(arg) == "take"):
                    kept.add(arg)
        return sorted(kept, key=lambda index: self._level[index])

    def _allot(self, kept: Sequence[int]) -> None:
        """Memory for the values that are kept; that of one no longer read is used again."""
        last = dict.fromkeys(kept, -1)  # the last level that reads a value
        for index in self._values:
            for arg in self.args(index):
                for value in (arg, *(self.args(arg) if self.op(arg) == "take" else ())):
                    if value in last:
                        last[value] = max(last[value], self._level[index])
        output = self.root(self.output)
        last[output] = len(self._values)
        free: dict[int, list[str]] = {}
        waiting: list[int] = []
        for index in kept:
            for old in [old for old in waiting if last[old] < self._level[index]]:
                waiting.remove(old)
                free.setdefault(self.size_of(old), []).append(self.names[old])
            size = self.size_of(index)
            if index == output and size == self.size_of(self.output):
                self.names[index] = "out"
                continue
            waiting.append(index)
            if free.get(size):
                self.names[index] = free[size].pop()
            else:
                self.names[index] = f"s{index}"
                self.arrays[f"s{index}"] = self.size, size
                self.size += size


def regular(indices: np.ndarray[Any, Any]) -> tuple[str, int] | None:
    """Indices, where they are regular: an operation on the element's number j, and its number.

    ``("+", n)`` for j + n, ``("//", n)`` and ``("%", n)`` likewise, and ``("", n)`` for n itself.
    """
    j, first = np.arange(indices.size), int(indices[0])
    if first < 0:
        return None
    if np.array_equal(indices, j + first):
        return "+", first
    changes = np.nonzero(np.diff(indices))[0]
    if not changes.size:
        return "", first
    every = int(changes[0]) + 1
    if first == 0 and every > 1 and np.array_equal(indices, j // every):
        return "//", every
    falls = np.nonzero(np.diff(indices) < 0)[0]
    if first == 0 and falls.size and np.array_equal(indices, j % (int(falls[0]) + 1)):
        return "%", int(falls[0]) + 1
    return None
