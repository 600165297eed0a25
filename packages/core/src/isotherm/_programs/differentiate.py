"""The reverse pass: the gradient of a straight-line program, as more of the same program.

Adjoints are accumulated from the energy backwards (Griewank and Walther, Evaluating Derivatives,
2nd ed., 2008, algorithm 3.3): each instruction passes its adjoint, times its partial derivative, on
to the values that it took.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np

from isotherm._programs.functions import COMPOSED
from isotherm._programs.program import COMPARISONS, Builder, Instruction, Recursion
from isotherm._programs.symbols import Symbol
from isotherm._programs.tables import Table
from isotherm._programs.unroll import inlined


def gradient(builder: Builder, energy: int, coordinates: Sequence[int]) -> tuple[int, ...]:
    """Append the derivatives of a value to a program.

    Parameters
    ----------
    builder : Builder
        Holds the program; the gradient's instructions are added to it.
    energy : int
        The value to differentiate.
    coordinates : sequence of int
        The values to differentiate by.

    Returns
    -------
    tuple of int
        For each of `coordinates` (numbers or arrays) the value that is the derivative by it.
    """
    adjoints = {energy: _Adjoint(builder, builder.const(1.0), None)}
    active = _depends_on(builder, coordinates)
    for index in range(energy, -1, -1):
        if index not in adjoints or index not in active:
            continue
        for value, contribution in _backward(builder, index, adjoints[index], active):
            if value in active and not contribution.is_zero:
                fitted = contribution.fitted(value, builder.shapes[index])
                known = adjoints.get(value)
                adjoints[value] = fitted if known is None else known.plus(fitted)
    zero = _Adjoint(builder, builder.const(0.0), None)
    return tuple(
        adjoints.get(coordinate, zero).filled(builder.shapes[coordinate])
        for coordinate in coordinates
    )


@dataclass(frozen=True)
class _Adjoint:
    """A derivative, as a product of what no coordinate changes and the rest.

    Factors that are the same for all chains are kept apart and so multiplied once a run, not once
    a step: 4·h·((x² - b²)·x) costs one product less than it has factors.

    Attributes
    ----------
    builder : Builder
    scale : int
        A uniform value.
    rest : int or None
        The other factor; None for 1. Of an array it may be a number, the same for all elements.
    """

    builder: Builder
    scale: int
    rest: int | None

    @property
    def is_zero(self) -> bool:
        """Whether nothing flows, whatever the other factor is."""
        return self.builder.constant(self.scale) == 0.0

    @property
    def value(self) -> int:
        return self.scale if self.rest is None else self._emit("mul", self.scale, self.rest)

    def times(self, factor: int) -> _Adjoint:
        builder = self.builder
        scale, rest, is_negative = self.scale, self.rest, False
        # A loop: products may be nested as deeply as a formula is long.
        while not self._is_scale(factor):
            instruction = builder.instructions[factor]
            if instruction.op == "neg":
                is_negative = not is_negative
                (factor,) = instruction.args
            elif instruction.op == "mul" and self._is_scale(instruction.args[0]):
                uniform, factor = instruction.args
                scale = self._emit("mul", scale, uniform)
            else:
                rest = factor if rest is None else self._emit("mul", rest, factor)
                break
        else:
            scale = self._emit("mul", scale, factor)
        result = _Adjoint(builder, scale, rest)
        return -result if is_negative else result

    def _is_scale(self, factor: int) -> bool:
        return factor in self.builder.uniform and not self.builder.shapes[factor]

    def filled(self, shape: tuple[int, ...]) -> int:
        """The derivative by an array, as an array."""
        value = self.value
        return value if self.builder.shapes[value] == shape else self.builder.fill(value, shape)

    def structural(self, move: Callable[[int], int], shape: tuple[int, ...]) -> _Adjoint:
        """What `move` makes of the derivative by an array of a shape; it may not scale it."""
        rest = self.builder.const(1.0) if self.rest is None else self.rest
        if self.builder.shapes[rest] != shape:
            rest = self.builder.fill(rest, shape)
        return _Adjoint(self.builder, self.scale, move(rest))

    def fitted(self, value: int, shape: tuple[int, ...]) -> _Adjoint:
        """What reaches a value: of one that stands for all elements of a shape, the total."""
        return self if self.builder.shapes[value] or not shape else self.summed(shape)

    def summed(self, shape: tuple[int, ...]) -> _Adjoint:
        """The total over all elements."""
        builder, size = self.builder, math.prod(shape)
        if self.rest is None or not builder.shapes[self.rest]:
            return self.times(builder.const(float(size)))
        return self.structural(lambda rest: builder.total(builder.reshape(rest, (size,))), shape)

    def over(self, divisor: int) -> _Adjoint:
        rest = self.builder.const(1.0) if self.rest is None else self.rest
        return _Adjoint(self.builder, self.scale, self._emit("div", rest, divisor))

    def where(self, condition: int, *, holds: bool) -> _Adjoint:
        zero, one = self.builder.const(0.0), self.builder.const(1.0)
        rest = one if self.rest is None else self.rest
        choices = (rest, zero) if holds else (zero, rest)
        return _Adjoint(self.builder, self.scale, self._emit("where", condition, *choices))

    def plus(self, other: _Adjoint) -> _Adjoint:
        if None not in (self.rest, other.rest):
            for op, scale in (("add", other.scale), ("sub", (-other).scale)):
                if scale == self.scale:
                    rest = self._emit(op, self.rest, other.rest)
                    return _Adjoint(self.builder, self.scale, rest)
        total = self._emit("add", self.value, other.value)
        return _Adjoint(self.builder, self.builder.const(1.0), total)

    def __neg__(self) -> _Adjoint:
        return _Adjoint(self.builder, self._emit("neg", self.scale), self.rest)

    def _emit(self, op: str, *args: int | None) -> int:
        return self.builder.emit(op, *(arg for arg in args if arg is not None))


def _depends_on(builder: Builder, coordinates: Sequence[int]) -> set[int]:
    """The values through which a gradient flows from any of `coordinates`."""
    active = set(coordinates)
    for index, instruction in enumerate(builder.instructions):
        if instruction.op == "stop" or instruction.op in COMPARISONS:
            continue
        if any(arg in active for arg in instruction.args):
            active.add(index)
    return active


def _backward(
    builder: Builder, index: int, adjoint: _Adjoint, active: Collection[int]
) -> list[tuple[int, _Adjoint]]:
    """What one instruction hands back: for each value that it took, what joins its adjoint."""
    emit, const = builder.emit, builder.const
    match builder.instructions[index].op, builder.instructions[index].args:
        case "add", (a, b):
            return [(a, adjoint), (b, adjoint)]
        case "sub", (a, b):
            return [(a, adjoint), (b, -adjoint)]
        case "mul", (a, b) if a == b:
            return [(a, adjoint.times(const(2.0)).times(a))]
        case "mul", (a, b):
            # Only what is asked for: of nested products each would multiply all that it holds.
            return [(one, adjoint.times(other)) for one, other in ((a, b), (b, a)) if one in active]
        case "div", (a, b):  # d(a/b) = da / b - (a/b) db / b
            quotient = adjoint.over(b)
            return [(a, quotient), (b, -quotient.times(index))]
        case "neg", (a,):
            return [(a, -adjoint)]
        case "sqrt", (a,):  # d sqrt(a) = da / (2 sqrt(a))
            return [(a, adjoint.times(const(0.5)).over(index))]
        case "exp", (a,):
            return [(a, adjoint.times(index))]
        case "log", (a,):
            return [(a, adjoint.over(a))]
        case "sin", (a,):
            return [(a, adjoint.times(emit("cos", a)))]
        case "cos", (a,):
            return [(a, -adjoint.times(emit("sin", a)))]
        case "tanh", (a,):  # d tanh(a) = (1 - tanh(a)²) da
            return [(a, adjoint.times(emit("sub", const(1.0), emit("mul", index, index))))]
        case "abs", (a,):  # the subgradient 0 at the kink
            zero = const(0.0)
            negative = emit("where", emit("lt", a, zero), const(-1.0), zero)
            return [(a, adjoint.times(emit("where", emit("gt", a, zero), const(1.0), negative)))]
        case ("min" | "max") as op, (a, b):
            chosen = emit("lt" if op == "min" else "gt", a, b)
            return [(a, adjoint.where(chosen, holds=True)), (b, adjoint.where(chosen, holds=False))]
        case "where", (condition, a, b):
            return [
                (a, adjoint.where(condition, holds=True)),
                (b, adjoint.where(condition, holds=False)),
            ]
        case op, args if op in COMPOSED:
            symbols = [Symbol(builder, value) for value in (index, *args)]
            slopes = COMPOSED[op].slopes(*symbols)
            return [
                (arg, adjoint.times(slope.index if isinstance(slope, Symbol) else const(slope)))
                for arg, slope in zip(args, slopes, strict=True)
            ]
    return _backward_array(builder, index, adjoint, active)


def _backward_array(
    builder: Builder, index: int, adjoint: _Adjoint, active: Collection[int]
) -> list[tuple[int, _Adjoint]]:
    """`_backward` of what moves, adds up or solves for the elements of arrays."""
    shapes, shape = builder.shapes, builder.shapes[index]
    match builder.instructions[index].op, builder.instructions[index].args:
        case "reshape", (a,):
            if adjoint.rest is None or not shapes[adjoint.rest]:
                return [(a, adjoint)]
            return [(a, adjoint.structural(lambda rest: builder.reshape(rest, shapes[a]), shape))]
        case "fill", (a,):
            return [(a, adjoint)]  # `fitted` makes the total
        case "take", (a,):
            table = builder.instructions[index].value.values
            return [(a, adjoint.structural(lambda r: _moved(builder, r, table, shapes[a]), shape))]
        case "total", (a,):
            if not shape:
                return [(a, adjoint)]  # the same for each element
            repeated = np.arange(math.prod(shape)).repeat(shapes[a][-1]).reshape(shapes[a])
            return [(a, adjoint.structural(lambda rest: builder.take(rest, repeated), shape))]
        case ("matmul" | "matmul_t") as op, (matrix, a):
            back = op == "matmul"

            def product(rest: int) -> int:
                return builder.matmul(matrix, rest, transposed=back)

            return [(a, adjoint.structural(product, shape))]
        case "cholesky", (a,):
            return [(a, adjoint.structural(lambda r: builder.cholesky_back(index, r), shape))]
        case "solve" | "solve_t", _:
            return _through_solve(builder, index, adjoint, active)
        case "scan", _:
            return _through_rows(builder, index, adjoint, active)
    return []  # coordinates, parameters, constants, comparisons and "stop" pass nothing on


def _through_solve(
    builder: Builder, index: int, adjoint: _Adjoint, active: Collection[int]
) -> list[tuple[int, _Adjoint]]:
    """What X, for which L X = B or Lᵀ X = B, hands back to L and B."""
    back = builder.instructions[index].op == "solve"
    lower, right = builder.instructions[index].args

    def by_right(rest: int) -> int:
        return builder.solve(lower, rest, transposed=back)

    def by_lower(rest: int) -> int:  # L X = B: dB = dL X + L dX, and so for Lᵀ
        slope, solved = Symbol(builder, by_right(rest)), Symbol(builder, index)
        a, b = (slope, solved) if back else (solved, slope)
        product = a[:, None] * b if a.ndim == 1 else a @ b.T
        return cast(Symbol, (-product).call(np.tril)).index

    moves, shape = [(right, by_right), (lower, by_lower)], builder.shapes[index]
    return [(one, adjoint.structural(by, shape)) for one, by in moves if one in active]


def _moved(builder: Builder, value: int, indices: Any, shape: tuple[int, ...]) -> int:
    """The derivative by an array of which elements were taken: each goes back where it came from.

    What is the same before and after is done after: signs and factors that are numbers.
    """
    instruction = builder.instructions[value]
    if instruction.op == "neg":
        return builder.emit("neg", _moved(builder, instruction.args[0], indices, shape))
    if instruction.op == "mul":
        number, other = instruction.args
        if not builder.shapes[number] and builder.shapes[other]:
            return builder.emit("mul", number, _moved(builder, other, indices, shape))
    if instruction.op == "fill":
        held = indices[indices >= 0]
        counts = np.bincount(held, minlength=math.prod(shape)).reshape(shape).astype(np.float64)
        if (counts == counts.flat[0]).all():
            count = builder.const(float(counts.flat[0]))
            return builder.fill(builder.emit("mul", count, instruction.args[0]), shape)
        table = builder.write(Instruction("array", (), Table(counts)), shape)
        return builder.emit("mul", table, instruction.args[0])
    return builder.scatter(value, indices, shape)


def _through_rows(
    builder: Builder, index: int, adjoint: _Adjoint, active: Collection[int]
) -> list[tuple[int, _Adjoint]]:
    """What a recursion hands back, by a recursion from its last row to the first.

    Its carry are the derivatives by the carry and, added up, those by what all rows have.
    """
    forward: Recursion = builder.instructions[index].value
    init, *others = builder.instructions[index].args
    rows, fixed = others[: forward.rows], others[forward.rows :]
    size, count = forward.carry, builder.shapes[rows[0]][0]
    rest = builder.const(1.0) if adjoint.rest is None else adjoint.rest
    if not builder.shapes[rest]:
        rest = builder.fill(rest, builder.shapes[index])

    def parts(value: int, first: int, shapes: Sequence[tuple[int, ...]]) -> list[int]:
        found = []
        for shape in shapes:
            places = np.arange(first, first + math.prod(shape)).reshape(shape)
            found.append(_elements(builder, value, places))
            first += math.prod(shape)
        return found

    # The first block of what the rows left are carries, which only this reads.
    blocks = [(count, width) for width in forward.blocks]
    by_blocks = parts(rest, size * (1 + count), blocks[1:])
    slopes = [None if _is_zero(builder, slope) else slope for slope in by_blocks]
    (carries,) = parts(index, size, blocks[:1])

    plain, places = Builder(), itertools.count()

    def numbers(value: int) -> list[int]:
        """What the step reads of a value next, of a row or of all."""
        return [plain.coordinate(next(places)) for _ in range(builder.shapes[value][-1])]

    wanted_fixed = [arg for arg in fixed if arg in active]
    by_carry = numbers(init)
    by_fixed = [number for arg in wanted_fixed for number in numbers(arg)]
    carry, of_rows = numbers(init), [numbers(arg) for arg in rows]
    by_left = [
        number
        for slope, (_, width) in zip(slopes, blocks[1:], strict=True)
        for number in ([plain.const(0.0)] * width if slope is None else numbers(slope))
    ]
    of_fixed = [numbers(arg) for arg in fixed]
    made = inlined(plain, forward.step, [*carry, *chain(*of_rows), *chain(*of_fixed)])
    total = plain.const(0.0)
    for slope, value in zip([*by_carry, *by_left], made[:size] + made[2 * size :], strict=True):
        total = plain.emit("add", total, plain.emit("mul", slope, value))
    read = [*zip(fixed, of_fixed, strict=True), *zip(rows, of_rows, strict=True)]
    wanted = [number for arg, numbers in read if arg in active for number in numbers]
    found = gradient(plain, total, [*carry, *wanted])
    sums = [
        plain.emit("add", known, new)
        for known, new in zip(by_fixed, found[size : size + len(by_fixed)], strict=True)
    ]
    outputs = [*found[:size], *sums, *found[size + len(by_fixed) :]]
    wanted_rows = [arg for arg in rows if arg in active]
    known_slopes = [slope for slope in slopes if slope is not None]
    back = Recursion(
        plain.program("step back", next(places), (), outputs[0], outputs),
        size + len(by_fixed),
        1 + len(rows) + len(known_slopes),
        tuple(builder.shapes[arg][1] for arg in wanted_rows),
        is_reverse=True,
    )
    last = _elements(builder, rest, np.r_[:size, [-1] * len(by_fixed)].astype(np.int64))
    result = builder.scan(back, [last, carries, *rows, *known_slopes, *fixed])
    targets = [init, *wanted_fixed, *wanted_rows]
    passed = parts(result, 0, [builder.shapes[arg] for arg in targets])
    return [
        (arg, _Adjoint(builder, adjoint.scale, value))
        for arg, value in zip(targets, passed, strict=True)
    ]


def _elements(builder: Builder, value: int, indices: Any) -> int:
    """Elements of a derivative that was put together from parts: of those parts alone."""
    instruction = builder.instructions[value]
    if instruction.op in ("add", "sub", "mul", "neg"):
        parts = [
            _elements(builder, arg, indices) if builder.shapes[arg] else arg
            for arg in instruction.args
        ]
        is_zero = [_is_zero(builder, part) for part in parts]
        if all(is_zero) or (instruction.op == "mul" and any(is_zero)):
            return builder.fill(builder.const(0.0), indices.shape)
        if instruction.op == "add" and any(is_zero):
            return parts[is_zero.index(False)]
        return builder.emit(instruction.op, *parts)
    taken = builder.take(value, indices)
    held = builder.instructions[taken]
    if held.op == "take" and (held.value.values < 0).all():
        return builder.fill(builder.const(0.0), indices.shape)
    return taken


def _is_zero(builder: Builder, value: int) -> bool:
    instruction = builder.instructions[value]
    number = instruction.args[0] if instruction.op == "fill" else value
    return builder.constant(number) == 0.0
