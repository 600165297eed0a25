"""Formulas: plain Python functions that become energies by being called once with symbols."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import CodeType, FunctionType
from typing import Any, NoReturn, TypeAlias, cast, overload

import array_api_compat as compat
import numpy as np

from isotherm.arrays import (
    FLOATING,
    Array,
    array_origin,
    device_name,
    dtype_name,
    is_array,
    library_of,
    move,
    to_numpy,
)
from isotherm.differentiate import gradient
from isotherm.errors import FormulaError, InputError, shown
from isotherm.program import COMPARISONS, Builder, Evaluator, Program

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
        return Symbol(self.builder, self.builder.emit(op, *(symbol.index for symbol in symbols)))

    def _lift(self, operand: Any) -> Symbol:
        if isinstance(operand, Symbol):
            return operand
        if isinstance(operand, (bool, np.bool_)) or not isinstance(
            operand, (int, float, np.integer, np.floating)
        ):
            raise FormulaError(
                f"cannot calculate with {shown(operand)}: use numbers, parameters and x"
            )
        return Symbol(self.builder, self.builder.const(float(operand)))

    def _power(self, exponent: Symbol) -> Symbol:
        power = self.builder.constant(exponent.index)
        if power is None or (2.0 * power) % 1.0 or abs(power) > _LARGEST_POWER:
            raise FormulaError(
                "an exponent must be a whole or half number of at most "
                f"{_LARGEST_POWER}, known when the formula is traced; "
                "write exp(p * log(x)) for any other power p"
            )
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
            known = sorted({name.__name__ for name in UFUNCS})
            raise FormulaError(
                f"np.{ufunc.__name__} is not known in a formula; known are {', '.join(known)}"
            )
        if any(isinstance(operand, np.ndarray) for operand in inputs):
            return ufunc(*(as_symbols(operand) for operand in inputs))
        return self.apply(UFUNCS[ufunc], *inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if function is np.where and len(args) == 3 and not kwargs:
            return self.apply("where", *args)
        raise FormulaError(
            f"np.{function.__name__} is not known in a formula; write it with the operators, "
            "NumPy's elementary functions, or isotherm.math"
        )

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


#: An array of objects whose elements are symbols.
Symbols: TypeAlias = np.ndarray[Any, np.dtype[np.object_]]


def as_symbols(operand: Any) -> Any:
    """An array of objects that holds the operand, so that NumPy works element by element."""
    if isinstance(operand, np.ndarray):
        return operand.astype(object)
    wrapped = np.empty((), dtype=object)
    wrapped[()] = operand
    return wrapped


@lru_cache(maxsize=256)
def _trace(
    function: Callable[..., Any],
    label: str,
    dim: int | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    static: tuple[tuple[str, int], ...],
) -> Program:
    """Call a function with symbols, and append the gradient to what it left."""
    builder = Builder()
    if dim is None:
        coordinates = [builder.coordinate(0)]
        x: Any = Symbol(builder, coordinates[0])
    else:
        coordinates = [builder.coordinate(i) for i in range(dim)]
        x = np.empty(dim, dtype=object)
        x[:] = [Symbol(builder, i) for i in coordinates]
    names: list[str] = []
    arguments: dict[str, Any] = dict(static)
    for name, shape in shapes:
        symbols = np.empty(shape, dtype=object)
        for position in np.ndindex(shape):
            symbols[position] = Symbol(builder, builder.parameter(len(names)))
            names.append(f"{name}[{','.join(map(str, position))}]" if shape else name)
        arguments[name] = symbols if shape else symbols[()]
    try:
        energy = function(x, **arguments)
        if isinstance(energy, np.ndarray) and energy.ndim == 0:
            energy = energy[()]
        if not isinstance(energy, Symbol) or energy.is_condition:
            raise FormulaError(
                f"a formula must return its energy, one number made from x; it returned "
                f"{shown(energy)}"
            )
    except Exception as error:
        raise _with_users_line(error, function) from error
    slopes = gradient(builder, energy.index, coordinates)
    return builder.program(label, dim, names, energy.index, slopes)


def _with_users_line(error: Exception, function: Callable[..., Any]) -> FormulaError:
    """The error, with the line of the user's function that caused it."""
    code: CodeType = function.__code__
    number = code.co_firstlineno
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == code.co_filename:
            number = traceback.tb_lineno
        traceback = traceback.tb_next
    line = linecache.getline(code.co_filename, number).strip()
    where = f"formula {function.__name__}, line {number}: {line}"
    return FormulaError(f"{error} (in {where})")


class FormulaEnergy:
    """An energy that is a formula with values for its parameters.

    Parameters
    ----------
    formula : Formula
    parameters : mapping of str to number or array
        The formula's run-time parameters.
    static : mapping of str to int
        The parameters that shape the program (those annotated ``int``).
    dim : int, optional
        The only dimension that it takes; the formula's own by default.
    device : str or device, optional
        Where to sample by default; by default where the parameters are, if they are arrays.

    Attributes
    ----------
    library, dtype, device : str or None
        Of the parameters, where they were given as arrays.

    Raises
    ------
    InputError
        A parameter is not a finite number or an array of them.
    """

    def __init__(
        self,
        formula: Formula,
        parameters: Mapping[str, Any],
        *,
        static: Mapping[str, int] | None = None,
        dim: int | None = None,
        device: object = None,
    ) -> None:
        self.name = formula.__name__
        self.dim = formula.dim if dim is None else dim
        self.is_elementwise = formula.is_elementwise
        self.library, self.dtype, self.device = array_origin(parameters.values(), device)
        self.parameters = {key: finite_numbers(self.name, key, v) for key, v in parameters.items()}
        self.static = dict(static or {})
        self._formula = formula
        self._evaluators: dict[tuple[object, ...], Evaluator] = {}

    def program(self, dim: int | None = None) -> Program:
        """The straight-line program of the energy and its gradient.

        Parameters
        ----------
        dim : int, optional
            Coordinates of a chain's state; needed where the formula takes any number of them.

        Raises
        ------
        InputError
            `dim` is missing or not the formula's.
        FormulaError
            The function does what a formula cannot do.
        """
        if self.is_elementwise:
            dim = None
        elif dim is None and self.dim is None:
            raise InputError(f"{self.name} takes any dimension; say which: program(dim=2)")
        elif dim is None:
            dim = self.dim
        elif self.dim not in (None, dim):
            raise InputError(f"{self.name} has dimension {self.dim}, not {dim}")
        shapes = tuple((name, value.shape) for name, value in self.parameters.items())
        return _trace(self._formula.function, self.name, dim, shapes, tuple(self.static.items()))

    def parameter_values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The values of the program's parameters, in its order; float64, shape (n_parameters,)."""
        return np.concatenate([np.empty(0), *(v.ravel() for v in self.parameters.values())])

    def __call__(self, x: Array) -> Array:
        """The energy of each chain, shape (n_samples,); x has shape (n_samples, *event_shape)."""
        (energy,) = self._evaluate(x, wants_gradient=False)
        xp = compat.array_namespace(x)
        if self.is_elementwise:
            return xp.sum(xp.reshape(energy, (x.shape[0], -1)), axis=1)
        return energy

    def gradient(self, x: Array) -> Array:
        """The gradient of the energy at each chain's state, of the shape of `x`."""
        gradient = self._evaluate(x, wants_gradient=True)
        if self.is_elementwise:
            return gradient[0]
        return compat.array_namespace(x).stack(gradient, axis=-1)

    def _evaluate(self, x: Array, *, wants_gradient: bool) -> list[Array]:
        key = place_of(self.name, x)
        if x.ndim == 0 or (x.ndim != 2 and not self.is_elementwise):
            expected = "(n_samples, *event_shape)" if self.is_elementwise else "(n_samples, dim)"
            raise InputError(f"{self.name} takes x of shape {expected}, not {tuple(x.shape)}")
        dim = None if self.is_elementwise else x.shape[1]
        evaluator = self._evaluators.get((*key, dim, wants_gradient))
        if evaluator is None:
            program = self.program(dim)
            outputs = program.gradient if wants_gradient else (program.energy,)
            evaluator = Evaluator(program, outputs, move(self.parameter_values(), *key))
            self._evaluators[*key, dim, wants_gradient] = evaluator
        return evaluator([x] if dim is None else [x[:, i] for i in range(dim)])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_evaluators": {}}  # bound to a device: made again where needed

    def __repr__(self) -> str:
        values = {name: value.tolist() for name, value in self.parameters.items()} | self.static
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in values.items())})"


def finite_numbers(name: str, parameter: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A parameter's value in float64, in host memory, checked."""
    numbers = real_numbers(value)
    if numbers is None:
        raise InputError(
            f"{name}: {parameter} must be a number or an array of numbers, not {shown(value)}"
        )
    if not np.isfinite(numbers).all():
        raise InputError(f"{name}: {parameter} must be finite, not {shown(value)}")
    numbers.flags.writeable = False
    return numbers


def real_numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """A number or an array in float64, in host memory; None if it does not hold real numbers."""
    try:
        numbers = to_numpy(value)
    except (TypeError, ValueError):
        return None
    return np.array(numbers, dtype=np.float64) if numbers.dtype.kind in "iuf" else None


def place_of(name: str, x: Any) -> tuple[str, str, str]:
    """The library, dtype and device of states that an energy is asked for; checked.

    Integers are refused: parameters that were moved to their dtype would lose their fractions.
    """
    if not is_array(x):
        raise InputError(f"{name}: x must be an array, not {type(x).__name__}")
    dtype = dtype_name(x.dtype)
    if dtype not in FLOATING:
        raise InputError(
            f"{name}: x has dtype {x.dtype}; convert it to one of {', '.join(FLOATING)}"
        )
    return library_of(x), dtype, device_name(x)


def _twin(function: Callable[..., Any], qualname: str) -> Callable[..., Any]:
    """The same function, under a name by which pickle finds it: that of an attribute of a formula.

    The formula stands in the function's own place. cloudpickle sends it by value from a notebook.
    """
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, closure=function.__closure__
    )
    for name in ("__defaults__", "__kwdefaults__", "__annotations__", "__module__", "__doc__"):
        setattr(twin, name, getattr(function, name))
    twin.__qualname__ = qualname
    return twin


class Formula:
    """A traced function: call it with values for its parameters to get an energy."""

    def __init__(self, function: Callable[..., Any], dim: int | None, is_elementwise: bool) -> None:
        if not inspect.isfunction(function) or not function.__code__.co_argcount:
            raise InputError(
                f"a formula is made of a plain function f(x, *, parameters); got {shown(function)}"
            )
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
            raise InputError(f"dim must be a positive integer or None, not {shown(dim)}")
        self.function = _twin(function, f"{function.__qualname__}.function")
        self.dim = dim
        self.is_elementwise = is_elementwise
        _, *parameters = inspect.signature(function).parameters.values()
        self._signature = inspect.Signature(
            [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in parameters]
        )
        self._static = {p.name for p in parameters if p.annotation in (int, "int")}
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, device: object = None, **kwargs: Any) -> FormulaEnergy:
        """The energy with these parameters; see `FormulaEnergy`."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"{self.__name__}{self._signature}: {error}") from None
        bound.apply_defaults()
        static = {name: bound.arguments[name] for name in self._static}
        for name, value in static.items():
            if not isinstance(value, int):
                raise InputError(f"{self.__name__}: {name} must be an int, not {shown(value)}")
        values = {name: v for name, v in bound.arguments.items() if name not in static}
        return FormulaEnergy(self, values, static=static, device=device)

    def __repr__(self) -> str:
        return f"<formula {self.__name__}{self._signature}>"


@overload
def formula(function: Callable[..., Any], /) -> Formula: ...
@overload
def formula(*, dim: int | None) -> Callable[[Callable[..., Any]], Formula]: ...
def formula(function: Callable[..., Any] | None = None, /, *, dim: int | None = None) -> Any:
    """Make an energy of a plain function, with an exact gradient, for every backend.

    The function is called once with symbols in place of numbers. What it does to them becomes a
    straight-line program, and a reverse pass over the program gives the gradient.

    Parameters
    ----------
    function : callable
        With ``@formula``: u(x, *, parameters), the energy of one coordinate; a chain's energy is
        the sum over its coordinates, in any dimension. With ``@formula(dim=...)``:
        U(x, *, parameters), the energy of a whole chain's state, where ``x[i]`` is coordinate i
        and ``len(x)`` their number. Known are + - * / and powers by whole or half numbers,
        comparisons inside `isotherm.math.where`, and the functions of `isotherm.math`, most of
        which NumPy offers too.
        A parameter annotated ``int`` is fixed when the function is called, and may be a count or an
        exponent; all others are run-time values: changing them compiles nothing.
    dim : int or None, optional
        The number of coordinates; None for any number, asked when a run is planned.

    Returns
    -------
    Formula
        Called with the parameters' values (numbers or arrays of any library), it gives the energy.

    Examples
    --------
    >>> import isotherm
    >>> @isotherm.formula
    ... def quartic(x, *, strength=1.0):
    ...     return strength * x**4
    >>> print(quartic(strength=0.5).program())
    quartic(x, strength), of each coordinate
      v2 = x * x
      v3 = v2 * v2
      v4 = strength * v3
      v6 = strength * 2.0
      v7 = v6 * 2.0
      v8 = v2 * x
      v9 = v7 * v8
      energy = v4
      gradient = v9
    """
    if function is not None:
        return Formula(function, dim=None, is_elementwise=True)
    return partial(Formula, dim=dim, is_elementwise=False)
