"""Symbols: stand-ins for numbers and arrays that write down what a function does to them."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partialmethod
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

import numpy as np

from isotherm._arithmetic.arrays import plain_array
from isotherm._programs.program import COMPARISONS, Builder, Instruction
from isotherm._programs.tables import Table
from isotherm.errors import FormulaError, short_repr

_F = TypeVar("_F", bound=Callable[..., Any])

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
    np.deg2rad: "radians",
    np.radians: "radians",
    np.less: "lt",
    np.less_equal: "le",
    np.greater: "gt",
    np.greater_equal: "ge",
    np.equal: "eq",
    np.not_equal: "ne",
    np.bitwise_and: "and",
    np.bitwise_or: "or",
    np.invert: "not",
    np.logical_and: "and",
    np.logical_or: "or",
    np.logical_not: "not",
}

IN_NUMBERS = (
    "an array that was made of numbers cannot hold what is made of x; write a = a + b in the place "
    "of a += b, and np.stack, np.concatenate or np.where in the place of a[i] = b"
)
#: Those of scipy.special, by their names.
SPECIAL: Mapping[str, str] = {
    "gammaln": "lgamma",
    "psi": "digamma",
    **{name: name for name in ("erf", "expit", "log_expit")},
}

_INDEX = (
    "an index must be known when the formula is traced: a parameter annotated int (i: int), or an "
    "array that the formula reads from outside, as a global or a closure; other parameters and "
    "what is made of x are not"
)
_JOINT = {"and": "min", "or": "max"}
_ARITHMETIC = ("add", "sub", "mul", "div")
_LARGEST_POWER = 64  # beyond this many factors a product loses more digits than exp(p * log(x))


class Symbol:
    """A value of a program that is being traced: it records what is done to it.

    Of an array one symbol stands for all elements. It does what an array of NumPy does, so far as
    that is known when the values are not.

    Attributes
    ----------
    builder : Builder
        Of the program in which it is a value.
    index : int
        The value, which is another one after ``x += 1``.
    is_shared : bool
        Whether in NumPy another array would be a view of this one, or this one of it.
    """

    __slots__ = ("builder", "index", "is_shared")
    __hash__ = None  # type: ignore[assignment]  # equality is an operation, not an identity

    def __init__(self, builder: Builder, index: int) -> None:
        self.builder = builder
        self.index = index
        self.is_shared = False

    @property
    def is_condition(self) -> bool:
        return self.builder.instructions[self.index].op in COMPARISONS

    @property
    def shape(self) -> tuple[int, ...]:
        return self.builder.shapes[self.index]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def _data(self) -> NoReturn:  # for which functions of np.ma ask first
        raise FormulaError(
            "a formula knows no masked arrays; fill them, for example by .filled(0.0), before it "
            "is called"
        )

    @property
    def T(self) -> Symbol:  # noqa: N802  # as in NumPy
        return cast(Symbol, self.call(np.transpose))

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A function of NumPy's arrays, called with this symbol as the first argument."""
        return _known(function)(self, *args, **kwargs)

    def apply(self, op: str, *operands: Any) -> Symbol:
        """The symbol of `op` on `operands`, of which this symbol is one, element by element."""
        one = innermost(operands)
        if one is not None and one.builder.depth > self.builder.depth:
            return one.apply(op, *operands)
        symbols = [self.lift(operand) for operand in operands]
        if op in ("and", "or", "not"):
            truths = [symbol.apply("where", symbol, 1.0, 0.0) for symbol in symbols]
            joint = 1.0 - truths[0] if op == "not" else self.apply(_JOINT[op], *truths)
            return joint > 0.5
        if op == "where":
            symbols[0] = symbols[0].as_condition()
        if op in _ARITHMETIC and not all(symbol.is_condition for symbol in symbols):
            symbols = [symbol.as_number() for symbol in symbols]
        for position, symbol in enumerate(symbols):
            if symbol.is_condition != (op == "where" and position == 0):
                raise FormulaError(
                    "a comparison is the condition of isotherm.math.where(condition, a, b), or 1 "
                    "or 0 beside a number"
                    if symbol.is_condition
                    else "where() needs a comparison as its condition, for example x > 0"
                )
        match op:
            case "pos":
                return +symbols[0]
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
            case "radians":
                return symbols[0] * (math.pi / 180.0)
            case "exp2":
                return (symbols[0] * math.log(2.0)).exp()
        return self._emit(op, symbols)

    def as_number(self) -> Symbol:
        """1 where a comparison holds and 0 where not, as NumPy counts; other values as they are."""
        return self.apply("where", self, 1.0, 0.0) if self.is_condition else self

    def as_condition(self) -> Symbol:
        """Data hold where they are not 0; other values as they are."""
        is_data = self.index in self.builder.uniform and not self.is_condition
        return self != 0.0 if is_data and self._is_given() else self

    def _is_given(self) -> bool:
        """Whether this is a parameter or an array, or elements of one, and not calculated."""
        instruction = self.builder.instructions[self.index]
        while instruction.op in ("take", "reshape", "fill"):
            instruction = self.builder.instructions[instruction.args[0]]
        return instruction.op in ("parameter", "array", "const")

    def _emit(self, op: str, symbols: Sequence[Symbol]) -> Symbol:
        """An elementwise operation, with NumPy's rules for shapes that differ."""
        builder = self.builder
        shapes = [symbol.shape for symbol in symbols]
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            raise FormulaError(
                f"arrays of shapes {' and '.join(map(str, shapes))} do not go together"
            ) from None
        args = []
        for symbol in symbols:
            instruction = builder.instructions[symbol.index]
            if instruction.op == "fill":  # one number is enough
                args.append(instruction.args[0])
            elif symbol.shape in ((), shape):
                args.append(symbol.index)
            else:
                own = np.arange(symbol.size).reshape(symbol.shape)
                args.append(builder.take(symbol.index, np.broadcast_to(own, shape)))
        index = builder.emit(op, *args)
        return Symbol(
            builder, index if builder.shapes[index] == shape else builder.fill(index, shape)
        )

    def lift(self, operand: Any) -> Symbol:
        """A number or an array as a symbol of this one's program."""
        if isinstance(operand, Symbol):
            return operand if operand.builder is self.builder else self._captured(operand)
        if isinstance(operand, (list, tuple, np.ndarray)):
            return self._lift_array(operand)
        is_number = isinstance(operand, (int, float, np.integer, np.floating))
        if isinstance(operand, (bool, np.bool_)) or not is_number:
            raise FormulaError(
                f"cannot calculate with {short_repr(operand)}: use numbers, parameters and x"
            )
        return Symbol(self.builder, self.builder.const(float(operand)))

    def _captured(self, operand: Symbol) -> Symbol:
        """A symbol of the program in which this one's is the step of a recursion."""
        builder = self.builder
        if builder.outer is None:
            raise FormulaError(
                "a symbol of an earlier call was kept and is used again, where it would mean "
                "another value; calculate it from this call's x and parameters"
            )
        there = Symbol(builder.outer, 0).lift(operand)
        if there.is_condition:  # what is handed to a loop is a number
            return self.lift(there.apply("where", there, 1.0, 0.0)) > 0.5
        return Symbol(builder, builder.capture(there.index))

    def _lift_array(self, operand: Any) -> Symbol:
        array = np.asarray(plain_array("what a formula calculates with", operand))
        if array.dtype.kind in "biuf":
            if not array.ndim:
                return self.lift(float(array))
            values = Table(array.astype(np.float64))
            return Symbol(
                self.builder, self.builder.write(Instruction("array", (), values), array.shape)
            )
        if array.dtype.kind != "O":
            raise FormulaError(
                f"cannot calculate with {short_repr(operand)}: use numbers, parameters and x"
            )
        elements = [self.lift(element) for element in array.ravel().tolist()]
        if not elements:
            raise FormulaError("an array in a formula must not be empty")
        joined: Symbol = ARRAY_FUNCTIONS[np.stack](elements)
        return Symbol(self.builder, self.builder.reshape(joined.index, array.shape))

    def _power(self, exponent: Symbol) -> Symbol:
        power = self.builder.constant(exponent.index)
        base_value = self.builder.constant(self.index)
        if power is None and base_value is not None and base_value > 0.0:
            return (exponent * math.log(base_value)).exp()
        if power is None or (2.0 * power) % 1.0 or abs(power) > _LARGEST_POWER:
            return self._emit("pow", (self, exponent))
        whole, half = divmod(abs(power), 1.0)
        result = self.apply("sqrt", self) if half else None
        base, count = self, int(whole)
        while count:  # binary powers: the fewest roundings of the usual schemes
            if count % 2:
                result = base if result is None else result * base
            count //= 2
            base = base * base if count else base
        if result is None:
            return Symbol(self.builder, self.builder.fill(self.builder.const(1.0), self.shape))
        return 1.0 / result if power < 0 else +result

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

    def __floordiv__(self, other: Any) -> NoReturn:
        raise FormulaError("// is not known in a formula; np.floor(a / b) is, and %")

    __rfloordiv__ = __divmod__ = __rdivmod__ = __floordiv__

    def __round__(self, digits: int = 0) -> Symbol:
        return cast(Symbol, self.call(np.round, digits))

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

    def __and__(self, other: Any) -> Symbol:
        return self._binary(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> Symbol:
        return self._binary(np.bitwise_or, self, other)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Symbol:
        return self.apply("not", self)

    def __neg__(self) -> Symbol:
        return self.apply("neg", self)

    def __pos__(self) -> Symbol:
        return Symbol(self.builder, self.index)

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
        return self.apply(UFUNCS[ufunc], a, b)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.matmul and method == "__call__" and not kwargs:
            return self.call_any(np.matmul, *inputs)
        if ufunc.__name__ in SPECIAL and method == "__call__" and not kwargs:
            return self.apply(SPECIAL[ufunc.__name__], *inputs)
        if ufunc in (np.isfinite, np.isnan) and method == "__call__" and not kwargs:
            return abs(self) < math.inf if ufunc is np.isfinite else self != self
        if ufunc not in UFUNCS:
            raise FormulaError(not_known(ufunc.__name__))
        if "out" in kwargs:
            raise FormulaError(IN_NUMBERS)
        if method != "__call__" or kwargs:
            called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            raise FormulaError(
                f"np.{called}({', '.join(['...', *(f'{key}=' for key in kwargs)])}) is not known "
                f"in a formula; np.{ufunc.__name__} without keywords is, and np.sum, np.prod, "
                "np.max, np.min and np.cumsum of an array"
            )
        return self.apply(UFUNCS[ufunc], *inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if function is np.where and len(args) == 3 and not kwargs:
            return self.apply("where", *args)
        return _known(function)(*args, **kwargs)

    def call_any(self, function: Callable[..., Any], *operands: Any) -> Any:
        """A function of NumPy's arrays, of which this symbol is one."""
        return ARRAY_FUNCTIONS[function](*lifted(*operands))

    def __matmul__(self, other: Any) -> Symbol:
        return cast(Symbol, self.call_any(np.matmul, self, other))

    def __rmatmul__(self, other: Any) -> Symbol:
        return cast(Symbol, self.call_any(np.matmul, other, self))

    def __bool__(self) -> NoReturn:
        raise FormulaError(
            "a formula cannot branch on a value, nor compare arrays; use "
            "isotherm.math.where(condition, a, b), minimum or maximum, and & and | between "
            "comparisons"
        )

    def __float__(self) -> NoReturn:
        raise FormulaError(
            "the value of a symbol is not known while a formula is traced; use np.exp or "
            "isotherm.math.exp (and so on) rather than functions of the module math"
        )

    __int__ = __complex__ = __float__

    def __index__(self) -> NoReturn:
        raise FormulaError(_INDEX)

    def __len__(self) -> int:
        self._check_is_array()
        return self.shape[0]

    def __iter__(self) -> Iterator[Symbol]:
        self._check_is_array()
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Symbol:
        self._check_is_array()
        for part in key if isinstance(key, tuple) else (key,):
            plain_array("an index", part)
            if isinstance(part, Symbol):
                raise FormulaError(_INDEX)
        own = np.arange(self.size).reshape(self.shape)
        picked = Symbol(self.builder, self.builder.take(self.index, own[key]))
        return self.shared_with(picked) if np.may_share_memory(own, own[key]) else picked

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise FormulaError(
            "an element of an array in a formula cannot be set; make a new array, with np.stack, "
            "np.concatenate or np.where"
        )

    def shared_with(self, view: Symbol) -> Symbol:
        """A view of this array: what is done to one in place would be done to the other."""
        view.is_shared = self.is_shared = True
        return view

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Symbol:
        result = self._binary(ufunc, self, other)
        if not self.shape:  # a number, which stays what it is
            return result
        if self.is_shared or result.shape != self.shape or result.builder is not self.builder:
            raise FormulaError(
                "an array in a formula cannot be changed in place where others are parts of it, or "
                "into another shape, or out of a scan; write a = a + b in the place of a += b"
            )
        self.index = result.index
        return self

    def _check_is_array(self) -> None:
        if not self.shape:
            raise FormulaError(
                "this is one number, not a sequence; for a formula of a whole chain's state write "
                "@isotherm.formula(dim=...)"
            )

    def astype(self, dtype: Any) -> Symbol:
        if np.dtype(dtype).kind != "f":
            raise FormulaError(
                f"a value in a formula cannot become {np.dtype(dtype)}; np.floor and np.round "
                "give whole numbers"
            )
        return self + 0.0

    def reshape(self, *shape: Any) -> Symbol:
        new = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return cast(Symbol, self.call(np.reshape, new))

    def __repr__(self) -> str:
        return f"<symbol v{self.index}>"


#: NumPy's functions of arrays that a formula may call; `isotherm._programs.arrays` has them.
ARRAY_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}


def implements(*functions: Callable[..., Any]) -> Callable[[_F], _F]:
    """Mark a function as what these of NumPy do to symbols."""

    def register(own: _F) -> _F:
        ARRAY_FUNCTIONS.update(dict.fromkeys(functions, own))
        return own

    return register


#: Functions that a formula cannot have, and what is said of them.
REFUSED: dict[Callable[..., Any], str] = {
    **dict.fromkeys(
        (np.sort, np.argsort, np.argmax, np.argmin, np.median, np.quantile, np.percentile),
        "the order of values is not known when a formula is traced; np.max, np.min, np.where and "
        "np.cumsum are",
    ),
    **dict.fromkeys(
        (np.fft.fft, np.fft.rfft, np.fft.fft2, np.fft.ifft, np.fft.irfft),
        "np.fft is not known in a formula; a transform is a product with a matrix of cosines and "
        "one of sines",
    ),
    **dict.fromkeys(
        (np.linalg.solve, np.linalg.inv, np.linalg.det, np.linalg.slogdet),
        "of matrices a formula knows factors that need no pivots: of a symmetric positive definite "
        "A = L @ L.T, L = np.linalg.cholesky(A), its log determinant is "
        "2 * np.sum(np.log(np.diagonal(L))) and isotherm.math.solve_triangular solves with L",
    ),
}


def _known(function: Callable[..., Any]) -> Callable[..., Any]:
    if function not in ARRAY_FUNCTIONS:
        raise FormulaError(REFUSED.get(function) or not_known(function.__name__))
    own = ARRAY_FUNCTIONS[function]

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            inspect.signature(own).bind(*args, **kwargs)
        except TypeError as error:
            raise FormulaError(f"np.{function.__name__} in a formula: {error}") from None
        return own(*args, **kwargs)

    return call


def innermost(operands: Iterable[Any]) -> Symbol | None:
    """Of operands that are symbols one inside as many recursions as any."""
    symbols = [operand for operand in operands if isinstance(operand, Symbol)]
    return max(symbols, key=lambda symbol: symbol.builder.depth, default=None)


def lifted(*operands: Any) -> list[Symbol]:
    """Operands, of which one is a symbol, as symbols of one program."""
    one = innermost(operands)
    assert one is not None
    return [one.lift(operand) for operand in operands]


def not_known(name: str) -> str:
    """What a formula is told of a function that it cannot use: the nearest that it can."""
    elementwise = {ufunc.__name__ for ufunc in UFUNCS}
    known = sorted(elementwise | {"where"} | {f.__name__ for f in ARRAY_FUNCTIONS})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    nearest = (
        f"the nearest known are {', '.join(near)}"
        if near
        else "elementwise functions, sums and products along axes, slices and index arrays are"
    )
    return f"np.{name} is not known in a formula; {nearest}, and those of isotherm.math"


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Symbol, *args: Any, **kwargs: Any) -> Any:
        return self.call(function, *args, **kwargs)

    return method


def _elementwise_method(op: str) -> Callable[[Symbol], Symbol]:
    return lambda self: self.apply(op, self)


_METHODS = (
    *("sum", "prod", "max", "min", "mean", "var", "std", "cumsum", "dot", "ravel", "copy", "round"),
    *("transpose", "squeeze", "swapaxes", "take", "repeat", "diagonal", "trace", "clip", "all"),
    *("any", "cumprod"),
)
for _name in _METHODS:
    setattr(Symbol, _name, _method(getattr(np, _name)))
Symbol.flatten = Symbol.ravel  # type: ignore[attr-defined]
_IN_PLACE: Mapping[str, np.ufunc] = {
    "iadd": np.add, "isub": np.subtract, "imul": np.multiply, "itruediv": np.divide,
    "ipow": np.power, "imod": np.remainder,
}  # fmt: skip
for _name, _changing in _IN_PLACE.items():
    setattr(Symbol, f"__{_name}__", partialmethod(Symbol._in_place, _changing))
# NumPy calls these for the elements of an array of objects.
for _ufunc, _op in UFUNCS.items():
    if _ufunc.nin == 1 and not hasattr(Symbol, _ufunc.__name__):
        setattr(Symbol, _ufunc.__name__, _elementwise_method(_op))

#: Of a state, and of parameters that are arrays.
Symbols: TypeAlias = Symbol
