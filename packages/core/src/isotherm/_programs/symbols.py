"""Symbols: stand-ins for numbers that write down what a function does to them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np

from isotherm._programs.program import COMPARISONS, Builder
from isotherm.errors import FormulaError, short_repr

#: NumPy's ufuncs that a formula may call, and the operations that they become.
UFUNCS: Mapping[np.ufunc, str] = {
    np.add: "add",
    np.subtract: "sub",
    np.multiply: "mul",
    np.divide: "div",
    np.negative: "neg",
    np.positive: "pos",
    np.power: "pow",
    np.float_power: "pow",
    np.square: "square",
    np.reciprocal: "reciprocal",
    np.sqrt: "sqrt",
    np.exp: "exp",
    np.log: "log",
    np.sin: "sin",
    np.cos: "cos",
    np.tanh: "tanh",
    np.log1p: "log1p",
    np.expm1: "expm1",
    np.logaddexp: "logaddexp",
    np.arctan: "arctan",
    np.arctan2: "arctan2",
    np.arcsin: "arcsin",
    np.arccos: "arccos",
    np.arcsinh: "arcsinh",
    np.arccosh: "arccosh",
    np.arctanh: "arctanh",
    np.sinh: "sinh",
    np.cosh: "cosh",
    np.hypot: "hypot",
    np.cbrt: "cbrt",
    np.sign: "sign",
    np.floor: "floor",
    np.rint: "rint",
    np.remainder: "mod",
    np.exp2: "exp2",
    np.log2: "log2",
    np.log10: "log10",
    np.tan: "tan",
    np.ceil: "ceil",
    np.absolute: "abs",
    np.fabs: "abs",
    np.minimum: "min",
    np.maximum: "max",
    np.less: "lt",
    np.less_equal: "le",
    np.greater: "gt",
    np.greater_equal: "ge",
    np.equal: "eq",
    np.not_equal: "ne",
}

_LARGEST_POWER = 64  # beyond this many factors a product loses more digits than exp(p * log(x))


class Symbol:
    """A value of a program that is being traced: it records what is done to it."""

    __slots__ = ("builder", "index")
    __hash__ = None  # type: ignore[assignment]  # equality is an operation, not an identity

    def __init__(self, builder: Builder, index: int) -> None:
        self.builder = builder
        self.index = index

    @property
    def is_condition(self) -> bool:
        return self.builder.instructions[self.index].op in COMPARISONS

    def apply(self, op: str, *operands: Any) -> Symbol:
        """The symbol of `op` on `operands`, of which this symbol is one."""
        symbols = [self._lift(operand) for operand in operands]
        for position, symbol in enumerate(symbols):
            if symbol.is_condition != (op == "where" and position == 0):
                raise FormulaError(
                    "a comparison can only be the condition of isotherm.math.where(condition, a, b)"
                    if symbol.is_condition
                    else "where() needs a comparison as its condition, for example x > 0"
                )
        match op:
            case "pos":
                return symbols[0]
            case "square":
                return symbols[0] * symbols[0]
            case "reciprocal":
                return 1.0 / symbols[0]
            case "pow":
                return symbols[0]._power(symbols[1])
            case "tan":
                return symbols[0].sin() / symbols[0].cos()
            case "ceil":
                return -self.apply("floor", -symbols[0])
            case "log2" | "log10":
                return symbols[0].log() * (1.0 / math.log(float(op[3:])))
            case "exp2":
                return (symbols[0] * math.log(2.0)).exp()
        return Symbol(self.builder, self.builder.emit(op, *(symbol.index for symbol in symbols)))

    def _lift(self, operand: Any) -> Symbol:
        if isinstance(operand, Symbol):
            return operand
        if isinstance(operand, (bool, np.bool_)) or not isinstance(
            operand, (int, float, np.integer, np.floating)
        ):
            raise FormulaError(
                f"cannot calculate with {short_repr(operand)}: use numbers, parameters and x"
            )
        return Symbol(self.builder, self.builder.const(float(operand)))

    def _power(self, exponent: Symbol) -> Symbol:
        power = self.builder.constant(exponent.index)
        base_value = self.builder.constant(self.index)
        if power is None and base_value is not None and base_value > 0.0:
            return (exponent * math.log(base_value)).exp()
        if power is None or (2.0 * power) % 1.0 or abs(power) > _LARGEST_POWER:
            return Symbol(self.builder, self.builder.emit("pow", self.index, exponent.index))
        whole, half = divmod(abs(power), 1.0)
        result = self.apply("sqrt", self) if half else None
        base, count = self, int(whole)
        while count:  # binary powers: the fewest roundings of the usual schemes
            if count % 2:
                result = base if result is None else result * base
            count //= 2
            base = base * base if count else base
        if result is None:
            return self._lift(1.0)
        return 1.0 / result if power < 0 else result

    def __add__(self, other: Any) -> Symbol:
        return self._binary(np.add, self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self._binary(np.add, other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self._binary(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._binary(np.subtract, other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self._binary(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._binary(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._binary(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._binary(np.divide, other, self)

    def __pow__(self, other: Any) -> Symbol:
        return self._binary(np.power, self, other)

    def __rpow__(self, other: Any) -> Symbol:
        return self._binary(np.power, other, self)

    def __mod__(self, other: Any) -> Symbol:
        return self._binary(np.remainder, self, other)

    def __rmod__(self, other: Any) -> Symbol:
        return self._binary(np.remainder, other, self)

    def __lt__(self, other: Any) -> Symbol:
        return self._binary(np.less, self, other)

    def __le__(self, other: Any) -> Symbol:
        return self._binary(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Symbol:
        return self._binary(np.greater, self, other)

    def __ge__(self, other: Any) -> Symbol:
        return self._binary(np.greater_equal, self, other)

    def __eq__(self, other: Any) -> Symbol:  # type: ignore[override]
        return self._binary(np.equal, self, other)

    def __ne__(self, other: Any) -> Symbol:  # type: ignore[override]
        return self._binary(np.not_equal, self, other)

    def __neg__(self) -> Symbol:
        return self.apply("neg", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.apply("abs", self)

    # NumPy calls these for the elements of an array of symbols.
    def sqrt(self) -> Symbol:
        return self.apply("sqrt", self)

    def exp(self) -> Symbol:
        return self.apply("exp", self)

    def log(self) -> Symbol:
        return self.apply("log", self)

    def sin(self) -> Symbol:
        return self.apply("sin", self)

    def cos(self) -> Symbol:
        return self.apply("cos", self)

    def tanh(self) -> Symbol:
        return self.apply("tanh", self)

    def _binary(self, ufunc: np.ufunc, a: Any, b: Any) -> Symbol:
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            # An array of symbols, which can do what a symbol can.
            return cast(Symbol, ufunc(*(as_symbols(operand) for operand in (a, b))))
        return self.apply(UFUNCS[ufunc], a, b)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs or ufunc not in UFUNCS:
            raise FormulaError(_not_known(ufunc.__name__))
        if any(isinstance(operand, np.ndarray) for operand in inputs):
            return ufunc(*(as_symbols(operand) for operand in inputs))
        return self.apply(UFUNCS[ufunc], *inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if function is np.where and len(args) == 3 and not kwargs:
            return self.apply("where", *args)
        raise FormulaError(_not_known(function.__name__))

    def __bool__(self) -> NoReturn:
        raise FormulaError(
            "a formula cannot branch on a value, nor compare arrays; use "
            "isotherm.math.where(condition, a, b), minimum or maximum, one coordinate at a time"
        )

    def __float__(self) -> NoReturn:
        raise FormulaError(
            "the value of a symbol is not known while a formula is traced; use np.exp or "
            "isotherm.math.exp (and so on) rather than functions of the module math"
        )

    __int__ = __index__ = __complex__ = __float__

    def __iter__(self) -> Iterator[Any]:
        raise FormulaError(
            "this is one number, not a sequence; for a formula of a whole chain's state write "
            "@isotherm.formula(dim=...)"
        )

    def __getitem__(self, key: Any) -> NoReturn:
        raise FormulaError(
            "this is one number, not a sequence; for a formula of a whole chain's state write "
            "@isotherm.formula(dim=...)"
        )

    def __repr__(self) -> str:
        return f"<symbol v{self.index}>"


def _not_known(name: str) -> str:
    """What a formula is told of a function that it cannot use: the nearest that it can."""
    known = sorted({ufunc.__name__ for ufunc in UFUNCS} | {"where"})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    nearest = (
        f"the nearest known are {', '.join(near)}" if near else f"known are {', '.join(known)}"
    )
    return f"np.{name} is not known in a formula; {nearest}, and isotherm.math"


#: An array of objects whose elements are symbols.
Symbols: TypeAlias = np.ndarray[Any, np.dtype[np.object_]]


def as_symbols(operand: Any) -> Any:
    """An array of objects that holds the operand, so that NumPy works element by element."""
    if isinstance(operand, np.ndarray):
        return operand.astype(object)
    wrapped = np.empty((), dtype=object)
    wrapped[()] = operand
    return wrapped
