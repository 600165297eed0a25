"""The reverse pass: the gradient of a straight-line program, as more of the same program.

Adjoints are accumulated from the energy backwards (Griewank and Walther, Evaluating Derivatives,
2nd ed., 2008, algorithm 3.3): each instruction passes its adjoint, times its partial derivative, on
to the values that it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isotherm._programs.functions import COMPOSED
from isotherm._programs.program import COMPARISONS, Builder
from isotherm._programs.symbols import Symbol


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
        For each of `coordinates` the value that is the derivative by it.
    """
    adjoints = {energy: _Adjoint(builder, builder.const(1.0), None)}
    active = _depends_on(builder, coordinates)
    for index in range(energy, -1, -1):
        if index not in adjoints or index not in active:
            continue
        for value, contribution in _backward(builder, index, adjoints[index]):
            if value in active:
                known = adjoints.get(value)
                adjoints[value] = contribution if known is None else known.plus(contribution)
    zero = builder.const(0.0)
    return tuple(
        adjoints[coordinate].value if coordinate in adjoints else zero for coordinate in coordinates
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
        The other factor; None for 1.
    """

    builder: Builder
    scale: int
    rest: int | None

    @property
    def value(self) -> int:
        return self.scale if self.rest is None else self._emit("mul", self.scale, self.rest)

    def times(self, factor: int) -> _Adjoint:
        builder = self.builder
        if factor in builder.uniform:
            return _Adjoint(builder, self._emit("mul", self.scale, factor), self.rest)
        instruction = builder.instructions[factor]
        if instruction.op == "neg":
            return -self.times(instruction.args[0])
        if instruction.op == "mul" and instruction.args[0] in builder.uniform:
            uniform, other = instruction.args
            return self.times(uniform).times(other)
        rest = factor if self.rest is None else self._emit("mul", self.rest, factor)
        return _Adjoint(builder, self.scale, rest)

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


def _backward(builder: Builder, index: int, adjoint: _Adjoint) -> list[tuple[int, _Adjoint]]:
    """What one instruction hands back: for each value that it took, what joins its adjoint."""
    emit, const = builder.emit, builder.const
    args = builder.instructions[index].args
    match builder.instructions[index].op, args:
        case "add", (a, b):
            return [(a, adjoint), (b, adjoint)]
        case "sub", (a, b):
            return [(a, adjoint), (b, -adjoint)]
        case "mul", (a, b) if a == b:
            return [(a, adjoint.times(const(2.0)).times(a))]
        case "mul", (a, b):
            return [(a, adjoint.times(b)), (b, adjoint.times(a))]
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
    return []  # coordinates, parameters, constants, comparisons and "stop" pass nothing on
