"""Where the values of a transition's program live while a tile is stepped: as few rows as may be.

A row holds one number for each lane of the tile, or for each chain of it. A value keeps its row up
to its last use; then the row is free for another. Elementwise operations write over what they have
read for the last time, so that what is carried from step to step stays where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from isotherm.backend import Call, Loop, Segment, Space, Statement, TransitionProgram

_END = 1 << 62  # a time after every other


class Copy(NamedTuple):
    """What one row takes from another."""

    target: str
    source: str


class Storage:
    """The rows of a program's values.

    Attributes
    ----------
    places : dict of int to str
        The name of each value's row: ``"s0"``, ``"s1"``, ... of the tile's lanes, ``"c0"``, ... of
        its chains. Vectors, coefficients of chains and blocks of noise, which no value is written
        over, have names of their own.
    homes : dict of str to str
        The rows of the state's parts, in which a step finds them and leaves them.
    entering, leaving : dict of int to list of Copy
        By the number of a loop's index: what is copied before its first pass, and after each.
    at_end : list of Copy
        What is copied after a step.
    """

    def __init__(self, program: TransitionProgram) -> None:
        self._program = program
        self._last: dict[int, int] = {}
        self._made: dict[int, int] = {}
        self._lent: dict[str, int] = {}
        self._clock = 0
        self._count = {Space.STATE: 0, Space.CHAIN: 0}
        self._free: dict[Space, list[str]] = {Space.STATE: [], Space.CHAIN: []}
        self._held: dict[int, str] = {}
        self.entering: dict[int, list[Copy]] = {}
        self.leaving: dict[int, list[Copy]] = {}

        self._measure((*program.prologue, *program.statements))
        self._last |= dict.fromkeys([*program.end.values(), *program.reports.values()], _END)
        self._clock = 0
        self.places: dict[int, str] = {
            index: f"{one.op}{int(one.value)}"
            for index, one in enumerate(program.values)
            if one.op in ("vector", "chain_coefficient")
        }
        self.homes = {name: self._new(index) for name, index in program.start.items()}
        for name, home in self.homes.items():
            self.places[program.start[name]] = home
        for name, index in program.cached_at_start.items():
            self.places[index] = self.homes[name]
        self._walk(program.prologue, {})
        wanted = {end: program.start[name] for name, end in program.end.items()}
        self._walk(program.statements, wanted)
        self.at_end = self._copies(
            [(self.homes[name], program.end[name]) for name in program.start]
        )

    @property
    def n_rows(self) -> int:
        """Rows of lanes."""
        return self._count[Space.STATE]

    @property
    def n_chain_rows(self) -> int:
        """Rows of chains."""
        return self._count[Space.CHAIN]

    def _measure(self, statements: Sequence[Statement]) -> tuple[set[int], set[int]]:
        """Note when each value is used last; which are used here, and which are made here.

        Every statement has two times: it reads at the first and writes at the second. A call may
        write before it has read all.
        """
        used, made = set[int](), set[int]()

        def use(values: Collection[int], time: int) -> None:
            used.update(values)
            self._last.update(dict.fromkeys(values, time))

        for one in statements:
            self._clock += 2
            match one:
                case Segment():
                    use(one.inputs, self._clock)
                    made.update(one.outputs)
                    self._made |= dict.fromkeys(one.outputs, self._clock)
                case Call():
                    use(one.args, self._clock + 1)
                    made.update(one.results)
                    self._made |= dict.fromkeys(one.results, self._clock - 1)
                case Loop():
                    use(one.before, self._clock)
                    used_inside, made_inside = self._measure(one.body)
                    self._clock += 2
                    use(one.after, self._clock)
                    # What comes from before the loop is needed again in its next pass.
                    from_before = (used_inside | {*one.after}) - made_inside - {*one.inside}
                    use(from_before, self._clock + 1)
                    made |= made_inside.union(one.inside, one.results)
        return used, made

    def _walk(self, statements: Sequence[Statement], wanted: Mapping[int, int]) -> None:
        """Give the statements' values rows.

        Parameters
        ----------
        statements : sequence of Statement
        wanted : mapping of int to int
            Values that had best lie where another one lies, which is then no longer needed.
        """
        for one in statements:
            self._clock += 2
            match one:
                case Segment():
                    self._release(self._clock)
                    for index in one.outputs:
                        self._place(index, wanted, self._clock)
                case Call("normal"):
                    self.places[one.results[0]] = f"normals_{one.detail}"
                case Call("substep_normal" | "exponential"):
                    self.places[one.results[0]] = f"noise{one.results[0]}"
                case Call():
                    for index in one.results:
                        self._place(index, wanted, self._clock - 1)
                    self._release(self._clock + 1)
                case Loop():
                    self._walk_loop(one)

    def _walk_loop(self, loop: Loop) -> None:
        entering: list[tuple[str, int]] = []
        for before, inside, result in zip(loop.before, loop.inside, loop.results, strict=True):
            if before in self._held and self._last[before] <= self._clock:
                home = self._held.pop(before)
            else:
                home = self._new(inside)
                entering.append((home, before))
            self.places[inside] = self.places[result] = home
        self.entering[loop.index] = self._copies(entering)
        self._release(self._clock)
        self._walk(loop.body, dict(zip(reversed(loop.after), reversed(loop.inside), strict=True)))
        self._clock += 2
        ends = zip(loop.inside, loop.after, strict=True)
        self.leaving[loop.index] = self._copies([(self.places[i], after) for i, after in ends])
        self._held |= {result: self.places[result] for result in loop.results}
        self._release(self._clock + 1)

    def _place(self, index: int, wanted: Mapping[int, int], time: int) -> None:
        if index in self.places:
            return
        of_space = {
            end: start
            for end, start in wanted.items()
            if self._program.spaces[end] == self._program.spaces[index]
        }
        # A home is empty from the last use of what lay there to the making of what will.
        for end, start in sorted(of_space.items(), key=lambda pair: pair[0] != index):
            home = self.places[start]
            until = _END if end == index else self._made.get(end, 0)
            empty_from = max(self._last.get(start, 0), self._lent.get(home, 0))
            if empty_from <= time and self._last[index] <= until:
                self.places[index], self._lent[home] = home, self._last[index]
                return
        self.places[index] = self._held[index] = self._new(index)

    def _new(self, index: int) -> str:
        """A row for a value."""
        space = self._program.spaces[index]
        if self._free[space]:
            return self._free[space].pop()
        self._count[space] += 1
        return f"{'s' if space == Space.STATE else 'c'}{self._count[space] - 1}"

    def _release(self, time: int) -> None:
        for index in [i for i in self._held if self._last.get(i, 0) <= time]:
            self._free[self._program.spaces[index]].append(self._held.pop(index))

    def _copies(self, wanted: Sequence[tuple[str, int]]) -> list[Copy]:
        """Copies of values to rows, as if all at once."""
        needed = [(row, index) for row, index in wanted if self.places[index] != row]
        targets = {row for row, _ in needed}
        copies: list[Copy] = []
        saved: dict[int, str] = {}
        for _, index in needed:
            if self.places[index] in targets and index not in saved:
                saved[index] = self._new(index)
                copies.append(Copy(saved[index], self.places[index]))
        copies += [Copy(row, saved.get(index, self.places[index])) for row, index in needed]
        for index, row in saved.items():
            self._free[self._program.spaces[index]].append(row)
        return copies
