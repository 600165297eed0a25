"""In which loops a value of a program on arrays is made: what a printer of loops has to write.

Elementwise operations over as many elements become one loop over them; what another loop reads is
kept in memory. No order of operations that bits depend on is decided here: within an element it is
the program's, and a sum over elements is an operation of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from isotherm._programs.array_program import ArrayProgram
from isotherm._programs.program import STRUCTURAL

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
    places : dict of int to int or None
        Where a value that is kept begins in memory, counted in elements; None for the one that is
        made where the output goes.
    size : int
        Elements of that memory.
    """

    def __init__(self, program: ArrayProgram, output: int) -> None:
        self.program = program
        self.output = output
        needed = [i for i in program.needed([output]) if i not in program.uniform]
        self._values = [i for i in needed if self.root(i) == i and self.op(i) != "state"]
        self._level: dict[int, int] = {}
        for i in self._values:
            self._level[i] = max((self._after(i, a) for a in self.args(i)), default=0)
        self.levels = [self._level_of(number) for number in sorted(set(self._level.values()))]
        self.places: dict[int, int | None] = {}
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
        return [arg for arg in args if arg not in self.program.uniform]

    def _level_of(self, number: int) -> Level:
        here = [i for i in self._values if self._level[i] == number]
        looped = [i for i in here if self._is_looped(i)]
        sizes = dict.fromkeys(self.size_of(i) for i in looped)
        loops = (tuple(i for i in looped if self.size_of(i) == size) for size in sizes)
        return Level(tuple(loops), tuple(i for i in here if not self._is_looped(i)))

    def _is_looped(self, index: int) -> bool:
        """Whether a value is made element by element."""
        op = self.op(index)
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
        free: dict[int, list[int]] = {}
        waiting: list[int] = []
        for index in kept:
            for old in [old for old in waiting if last[old] < self._level[index]]:
                waiting.remove(old)
                place = self.places[old]
                assert place is not None
                free.setdefault(self.size_of(old), []).append(place)
            size = self.size_of(index)
            if index == output and size == self.size_of(self.output):
                self.places[index] = None
                continue
            waiting.append(index)
            if free.get(size):
                self.places[index] = free[size].pop()
            else:
                self.places[index] = self.size
                self.size += size
