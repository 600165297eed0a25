"""What a transition becomes: statements for every backend to carry out or to print.

A transition is traced like a formula (see `isotherm._programs`), but its values live in different
index spaces, and some of its operations are not elementwise: a gradient, a sum over coordinates,
noise, a repetition. The elementwise operations between two of those make a *segment*, which a
backend carries out in one pass. No operation is simplified away, as 0·x is not 0 for infinity.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from isotherm._programs.program import Instruction


class Space(enum.IntFlag):
    """What a value has one number for: the axes over which it changes within a step."""

    STEP = 0
    CHAIN = 1
    COORDINATE = 2
    STATE = 3


class Kind(enum.StrEnum):
    """What an energy can say of U, from which the difference between two states is made.

    ``TERMS``: one term a coordinate; U is their sum. ``QUADRATIC``: the gradient suffices, as U is
    a quadratic form. ``VALUE``: one number a chain.
    """

    TERMS = "terms"
    QUADRATIC = "quadratic"
    VALUE = "value"


class Mass(enum.StrEnum):
    """What the inverse mass is: 1, one number a coordinate, or a matrix."""

    UNIT = "unit"
    VECTOR = "vector"
    MATRIX = "matrix"


@dataclass(frozen=True)
class Variant:
    """What shapes a transition's program: nothing that changes from step to step.

    Attributes
    ----------
    kind : Kind
    mass : Mass
    clamps : bool
        Whether coordinates are put into an interval.
    has_friction : bool
    has_bounds : bool
        Whether bounds reflect.
    clips, clips_norm : bool
        Whether gradients are clipped by value, and by norm.
    chain_coefficients : frozenset of str
        The coefficients of which each chain has its own.
    """

    kind: Kind = Kind.VALUE
    mass: Mass = Mass.UNIT
    clamps: bool = False
    has_friction: bool = False
    has_bounds: bool = False
    clips: bool = False
    clips_norm: bool = False
    chain_coefficients: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Segment:
    """Elementwise operations, carried out in one pass over a space.

    Attributes
    ----------
    space : Space
        ``STATE`` or ``CHAIN``.
    body : tuple of int
        The values that are computed, in order.
    inputs, outputs : tuple of int
        Values from outside that the body takes, and those of the body that are needed outside.
    """

    space: Space
    body: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One operation that is not elementwise.

    Attributes
    ----------
    op : str
        ``"gradient"``, ``"energy"``, ``"value_and_gradient"`` (of a state), ``"total"`` (over the
        coordinates), ``"matvec"`` (a matrix of the plan times the coordinates), ``"normal"`` (of
        stream ``detail``), ``"substep_normal"`` (of a repetition's pass, its argument),
        ``"exponential"``.
    args, results : tuple of int
    detail : str
        The stream of noise, or the matrix.
    guard : int or None
        A coefficient: where it is 0, what is drawn is not used.
    """

    op: str
    args: tuple[int, ...]
    results: tuple[int, ...]
    detail: str = ""
    guard: int | None = None


@dataclass(frozen=True)
class Loop:
    """A repetition.

    Attributes
    ----------
    count : int
        The coefficient that is the number of passes.
    index : int
        The value that is the number of the pass, from 0.
    before, inside, after : tuple of int
        For each variable of the loop: its value before it, at the beginning of a pass, and at its
        end.
    results : tuple of int
        For each variable: its value after the loop.
    body : tuple of Statement
    """

    count: int
    index: int
    before: tuple[int, ...]
    inside: tuple[int, ...]
    after: tuple[int, ...]
    results: tuple[int, ...]
    body: tuple[Statement, ...]


Statement: TypeAlias = Segment | Call | Loop


@dataclass(frozen=True)
class TransitionProgram:
    """One step of a sampler.

    Attributes
    ----------
    name : str
    carried, cached : tuple of str
        Names of the state's parts: what the next step needs, and what can be computed again from
        that by `prologue`.
    coefficients, chain_coefficients, vectors : tuple of str
        Names of the numbers of each step, of those of each chain at a step, and of the numbers of
        each coordinate, that it takes.
    values : tuple of Instruction
        All values. Besides a formula's operations: ``"coefficient"``, ``"chain_coefficient"``,
        ``"vector"``, ``"state"`` (whose ``value`` is an index into the names), ``"variable"`` (of a
        loop), and one for each result of a call or a loop. ``perturb(v, s, z)`` is v + s·z, and v
        itself where s is 0.
    spaces : tuple of Space
        Of the values.
    prologue : tuple of Statement
        Computes what is cached from what is carried.
    statements : tuple of Statement
    start, end : dict of str to int
        The values of the state before and after a step.
    cached_at_start : dict of str to int
        The values of what the prologue computes.
    reports : dict of str to int
        Values of space ``CHAIN`` that tell how the step went.
    """

    name: str
    carried: tuple[str, ...]
    cached: tuple[str, ...]
    coefficients: tuple[str, ...]
    chain_coefficients: tuple[str, ...]
    vectors: tuple[str, ...]
    values: tuple[Instruction, ...]
    spaces: tuple[Space, ...]
    prologue: tuple[Statement, ...]
    statements: tuple[Statement, ...]
    start: dict[str, int]
    end: dict[str, int]
    cached_at_start: dict[str, int]
    reports: dict[str, int]

    @cached_property
    def digest(self) -> str:
        """A name for the program's meaning."""
        text = repr(
            (
                self.values,
                self.prologue,
                self.statements,
                self.start,
                self.end,
                self.cached_at_start,
                self.reports,
                self.coefficients,
                self.chain_coefficients,
                self.vectors,
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def couples_coordinates(self) -> bool:
        """Whether a step makes numbers that are one for all of a chain's coordinates."""
        made = zip(self.values, self.spaces, strict=True)
        return any(
            space == Space.CHAIN and one.op != "chain_coefficient" for one, space in made
        ) or any(isinstance(s, Call) and s.op == "matvec" for s in walk(self.statements))

    def streams(self) -> tuple[str, ...]:
        """The streams of normals that a step draws from, in order."""
        calls = (s for s in walk(self.statements) if isinstance(s, Call))
        return tuple(dict.fromkeys(c.detail for c in calls if c.op == "normal"))

    def __str__(self) -> str:
        text = {index: self._leaf(index) for index in range(len(self.values))}
        lines = [f"{self.name}: one step"]
        lines += self._lines(self.statements, text, 1)
        lines += [f"  {name} = {text[index]}" for name, index in self.end.items()]
        lines += [f"  report {name} = {text[index]}" for name, index in self.reports.items()]
        return "\n".join(lines)

    def _leaf(self, index: int) -> str:
        one = self.values[index]
        match one.op:
            case "const":
                return repr(one.value)
            case "coefficient":
                return self.coefficients[int(one.value)]
            case "chain_coefficient":
                return self.chain_coefficients[int(one.value)]
            case "vector":
                return self.vectors[int(one.value)]
            case "state":
                return (*self.carried, *self.cached)[int(one.value)]
        return f"v{index}"

    def _lines(
        self, statements: Iterable[Statement], text: dict[int, str], depth: int
    ) -> Iterator[str]:
        pad = "  " * depth
        for one in statements:
            match one:
                case Segment():
                    for index in one.body:
                        value = self.values[index]
                        if value.args:
                            args = [text[a] for a in value.args]
                            yield f"{pad}{text[index]} = {_written(value.op, args)}"
                case Call():
                    names = ", ".join(text[r] for r in one.results)
                    given = [*([one.detail] if one.detail else []), *(text[a] for a in one.args)]
                    yield f"{pad}{names} = {one.op}({', '.join(given)})"
                case Loop():
                    yield f"{pad}repeat {text[one.count]} times, {text[one.index]} = 0, 1, ...:"
                    for inside, before in zip(one.inside, one.before, strict=True):
                        yield f"{pad}  {text[inside]} starts as {text[before]}"
                    yield from self._lines(one.body, text, depth + 1)
                    for inside, after in zip(one.inside, one.after, strict=True):
                        yield f"{pad}  {text[inside]} becomes {text[after]}"
                    for result, inside in zip(one.results, one.inside, strict=True):
                        text[result] = text[inside]


def _written(op: str, args: Sequence[str]) -> str:
    infix = {
        "add": "+",
        "sub": "-",
        "mul": "*",
        "div": "/",
        "lt": "<",
        "le": "<=",
        "gt": ">",
        "ge": ">=",
        "eq": "==",
        "ne": "!=",
    }
    if op in infix:
        return f" {infix[op]} ".join(args)
    return f"-{args[0]}" if op == "neg" else f"{op}({', '.join(args)})"


def walk(statements: Iterable[Statement]) -> Iterator[Statement]:
    """All statements, those inside loops too, in order."""
    for one in statements:
        yield one
        if isinstance(one, Loop):
            yield from walk(one.body)
