"""Formulas: plain Python functions that become energies by being called once with symbols."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from itertools import pairwise
from types import FunctionType, MethodType
from typing import Any, cast, overload

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import (
    Array,
    array_origin,
    is_array,
    move,
)
from isotherm._arithmetic.sums import total_of_terms
from isotherm._energies.parameters import (
    DESCRIPTION,
    FixedParameters,
    Parameters,
    finite_numbers,
    place_of,
)
from isotherm._programs.array_program import ArrayEvaluator, ArrayProgram
from isotherm._programs.program import Evaluator
from isotherm._programs.support import has_limited_support
from isotherm._programs.trace import AnyProgram, Request, Term, trace
from isotherm._transitions.program import Kind
from isotherm.errors import InputError, array_repr, printable, short_repr


@dataclass(frozen=True)
class _Term:
    """A formula with values for its parameters, as a part of an energy.

    Attributes
    ----------
    formula : Formula or None
        None where a program stands for it (see `FormulaEnergy.fixed`).
    parameters : dict of str to float64 array
    static : dict of str to int
        The parameters that shape the program (those annotated ``int``).
    scale : float
    made_of : tuple of float64 array, optional
        From which a library calculated the parameters, with other last bits on another machine.
    """

    formula: Formula | None
    parameters: dict[str, Any]
    static: dict[str, int]
    is_elementwise: bool
    scale: float = 1.0
    made_of: tuple[np.ndarray[Any, np.dtype[np.float64]], ...] | None = None

    def to_trace(self) -> Term:
        assert self.formula is not None
        shapes = tuple((name, value.shape) for name, value in self.parameters.items())
        static = tuple(self.static.items())
        is_scaled = self.scale != 1.0
        return Term(self.formula.function, self.is_elementwise, shapes, static, is_scaled)

    def values(self) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        scale = [] if self.scale == 1.0 else [np.array([self.scale])]
        return [*(value.ravel() for value in self.parameters.values()), *scale]

    def numbers(self) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        given = self.parameters.values() if self.made_of is None else self.made_of
        return [*given, np.array(self.scale)]


class FormulaEnergy(FixedParameters):
    """An energy that is a formula with values for its parameters, or a sum of such.

    Energies add and scale: ``likelihood + prior`` and ``0.5 * energy`` are one program, in which
    what is common is computed once.

    Parameters
    ----------
    formula : Formula
    parameters : mapping of str to number or array
        The formula's run-time parameters.
    static : mapping of str to int
        The parameters that shape the program (those annotated ``int``).
    dim : int or tuple of int, optional
        The only shape of a state that it takes; the formula's own by default.
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

    __array_ufunc__ = None  # an array times an energy is for the energy to tell
    _set_once = (*DESCRIPTION, "is_elementwise", "parameters", "static")
    is_portable = True

    def __init__(
        self,
        formula: Formula,
        parameters: Mapping[str, Any],
        *,
        static: Mapping[str, int] | None = None,
        dim: int | tuple[int, ...] | None = None,
        device: object = None,
    ) -> None:
        self.name = formula.__name__
        self.dim = formula.dim if dim is None else dim
        self.is_elementwise = formula.is_elementwise
        self.kind = Kind.TERMS if self.is_elementwise else Kind.VALUE
        self.library, self.dtype, self.device = array_origin(parameters.values(), device)
        self.parameters = Parameters(
            (key, _data(self.name, key, value)) for key, value in parameters.items()
        )
        self.static = Parameters(static or {})
        part = _Term(formula, self.parameters, self.static, formula.is_elementwise)
        self._parts: tuple[_Term, ...] = (part,)
        self._fixed: AnyProgram | None = None
        self._fixed_copy: FormulaEnergy | None = None  # of the last run
        self._evaluators: dict[tuple[object, ...], Any] = {}

    def program(self, dim: int | tuple[int, ...] | None = None) -> AnyProgram:
        """The straight-line program of the energy and its gradient.

        The function is what it reads: globals, closures and arrays are seen as they are now.

        Parameters
        ----------
        dim : int or tuple of int, optional
            The shape of a chain's state; needed where the formula takes any.

        Raises
        ------
        InputError
            `dim` is missing or not the formula's.
        FormulaError
            The function does what a formula cannot do.
        """
        if self._fixed is not None:
            return self._fixed
        shape: tuple[int, ...] | None = None
        if not self.is_elementwise:
            if dim is None and self.dim is None:
                raise InputError(f"{self.name} takes any dimension; say which: program(dim=2)")
            given, own = _as_shape(dim), _as_shape(self.dim)
            if given is not None and own not in (None, given):
                raise InputError(f"{self.name} has dimension {self.dim}, not {dim}")
            shape = given or own
        terms = tuple(part.to_trace() for part in self._parts)
        return trace(Request(printable(self.name), shape, terms))

    def form(self, event_shape: tuple[int, ...]) -> AnyProgram:
        """Its program."""
        return self.program(event_shape)

    def has_limited_support(self, event_shape: tuple[int, ...]) -> bool:
        """Whether a logarithm or a root limits it."""
        return has_limited_support(self.program(event_shape))

    def fixed(self, event_shape: tuple[int, ...]) -> FormulaEnergy:
        """The energy as it is now, for a run: later changes of what it reads are not seen.

        It carries its program along, so that another process gets the same. While that stays what
        it is, this is one object, for which a run need not be prepared again.
        """
        program = self.program(event_shape)
        if self._fixed_copy is None or self._fixed_copy._fixed is not program:
            energy = copy.copy(self)
            energy._fixed, energy._evaluators, energy._fixed_copy = program, {}, None
            self._fixed_copy = energy
        return self._fixed_copy

    def with_parameters(self, changed: Mapping[str, Any]) -> FormulaEnergy:
        """The same energy with other values, of the same shapes, for some of its parameters.

        Raises
        ------
        InputError
            There is no parameter of this name and shape, or the value is not one of numbers.
        """
        numbers = {name: _data(self.name, name, v) for name, v in changed.items()}
        for name, value in numbers.items():
            own = [part.parameters[name].shape for part in self._parts if name in part.parameters]
            if set(own) != {value.shape}:
                raise InputError(
                    f"{self.name} has no parameter {name!r} of shape {value.shape}; it has "
                    f"{', '.join(f'{key} {v.shape}' for key, v in self.parameters.items())}"
                )
        return self._renewed(
            tuple(
                replace(part, parameters={k: numbers.get(k, v) for k, v in part.parameters.items()})
                for part in self._parts
            )
        )

    def told(
        self, name: str, value: float, keywords: Mapping[str, Any] | None
    ) -> tuple[FormulaEnergy, Mapping[str, Any] | None]:
        """A condition is a parameter."""
        return self.with_parameters({name: value}), keywords

    def parameter_values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The values of the program's parameters, in its order; float64, shape (n_parameters,)."""
        return np.concatenate([np.empty(0), *(v for term in self._parts for v in term.values())])

    def used_numbers(self) -> Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]:
        scales = {f"the factor {term.scale:g}": np.array(term.scale) for term in self._parts}
        return {**self.parameters, **scales}

    def numbers(self) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """The numbers by which energies of one program differ."""
        return [values for term in self._parts for values in term.numbers()]

    def __call__(self, x: Array) -> Array:
        """The energy of each chain, shape (n_samples,); x has shape (n_samples, *event_shape)."""
        (energy,) = self._evaluate(x, wants_gradient=False)
        return total_of_terms(energy) if self.is_elementwise else energy

    def terms(self, x: Array) -> Array:
        """The energy of each coordinate, of the shape of `x`; of a formula of one coordinate."""
        (terms,) = self._evaluate(x, wants_gradient=False)
        return terms

    def gradient(self, x: Array) -> Array:
        """The gradient of the energy at each chain's state, of the shape of `x`."""
        gradient = self._evaluate(x, wants_gradient=True)
        if len(gradient) == 1 and gradient[0].shape == x.shape:
            return gradient[0]
        xp = compat.array_namespace(x)
        return xp.reshape(xp.stack(gradient, axis=-1), x.shape)

    def _evaluate(self, x: Array, *, wants_gradient: bool) -> list[Array]:
        key = place_of(self.name, x)
        shape = tuple(x.shape[1:])
        if x.ndim == 0 or (x.ndim == 1 and not self.is_elementwise):
            raise InputError(
                f"{self.name} takes x of shape (n_samples, *event_shape), not {tuple(x.shape)}"
            )
        program = self.program(shape)
        evaluator = self._evaluators.get((*key, program.digest, wants_gradient))
        if evaluator is None:
            # Of a program that was, because something that it read has changed, none is kept.
            kept = {k: e for k, e in self._evaluators.items() if program.digest in k}
            evaluator = _evaluator(program, wants_gradient, move(self.parameter_values(), *key))
            self._evaluators = kept | {(*key, program.digest, wants_gradient): evaluator}
        with np.errstate(all="ignore"):  # of choices that are not taken
            if isinstance(program, ArrayProgram):
                return list(evaluator(x))
            if program.dim is None:
                return list(evaluator([x]))
            flat = compat.array_namespace(x).reshape(x, (x.shape[0], -1))
            if flat.shape[1] != program.dim:
                raise InputError(f"{self.name} has dimension {program.dim}, not {flat.shape[1]}")
            return list(evaluator([flat[:, i] for i in range(program.dim)]))

    def __add__(self, other: Any) -> FormulaEnergy:
        if isinstance(other, (int, float)) and other == 0:  # where sum() begins
            return self
        other = other.as_formula() if hasattr(other, "as_formula") else other
        if not isinstance(other, FormulaEnergy):
            raise InputError(
                f"{self.name} + {short_repr(other)}: energies that are formulas add, and "
                "GaussianEnergy; write the other one with @isotherm.formula"
            )
        if None not in (self.dim, other.dim) and _as_shape(self.dim) != _as_shape(other.dim):
            raise InputError(
                f"{self.name} has dimension {self.dim} and {other.name} {other.dim}; energies that "
                "are added are of one state"
            )
        is_elementwise = self.is_elementwise and other.is_elementwise
        known = {
            name: getattr(other if getattr(self, name) is None else self, name)
            for name in ("dim", "library", "dtype", "device")
        }
        return self._renewed(
            (*self._parts, *other._parts),
            name=f"{self.name} + {other.name}",
            is_elementwise=is_elementwise,
            kind=Kind.TERMS if is_elementwise else Kind.VALUE,
            **known,
        )

    __radd__ = __add__

    def __mul__(self, factor: Any) -> FormulaEnergy:
        scale = self._one_number("a factor", factor)
        name = self.name if len(self._parts) == 1 else f"({self.name})"
        parts = tuple(replace(term, scale=term.scale * scale) for term in self._parts)
        return self._renewed(parts, name=f"{scale:g} * {name}")

    __rmul__ = __mul__

    def __neg__(self) -> FormulaEnergy:
        return self * -1.0

    def __sub__(self, other: Any) -> FormulaEnergy:
        return self + (-1.0) * cast(FormulaEnergy, other)

    def __truediv__(self, divisor: Any) -> FormulaEnergy:
        number = self._one_number("a divisor", divisor)
        if number == 0.0:
            raise InputError(f"{printable(self.name)}: a divisor must not be 0")
        return self * (1.0 / number)

    def _one_number(self, what: str, given: Any) -> float:
        numbers = finite_numbers(self.name, what, given)
        if numbers.ndim:
            raise InputError(
                f"{printable(self.name)}: {what} must be one number, not an array of shape "
                f"{numbers.shape}; make it a parameter of the formula"
            )
        return float(numbers)

    def _renewed(self, parts: tuple[_Term, ...], **description: Any) -> FormulaEnergy:
        """Another energy, of these parts, which tells this about itself."""
        names = [key for term in parts for key in term.parameters]
        renewed = copy.copy(self)
        renewed.__dict__ |= description | {
            "parameters": Parameters(
                (key if names.count(key) == 1 else f"{key}.{i}", value)
                for i, term in enumerate(parts)
                for key, value in term.parameters.items()
            ),
            "static": Parameters(item for term in parts for item in term.static.items()),
            "_parts": parts,
            "_fixed": None,
            "_fixed_copy": None,
            "_evaluators": {},
        }
        return renewed

    def __getstate__(self) -> dict[str, Any]:
        # Evaluators are bound to a device: they are made again where they are needed. A program
        # stands for the functions, which another process may not find.
        parts = self._parts
        if self._fixed is not None:
            parts = tuple(replace(part, formula=None) for part in parts)
        return self.__dict__ | {"_evaluators": {}, "_fixed_copy": None, "_parts": parts}

    def __repr__(self) -> str:
        values = {name: array_repr(value) for name, value in self.parameters.items()} | self.static
        given = ", ".join(f"{name}={value}" for name, value in values.items())
        return f"{printable(self.name)}({given})"


def _data(name: str, parameter: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A parameter's value, checked; truths are 1 and 0."""
    return finite_numbers(name, parameter, value, takes_truths=True)


def _as_shape(dim: int | tuple[int, ...] | None) -> tuple[int, ...] | None:
    return (dim,) if isinstance(dim, int) else dim


def _checked_dim(dim: Any) -> int | tuple[int, ...] | None:
    sizes = dim if isinstance(dim, (tuple, list)) else (dim,)
    is_count = [isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes]
    if dim is not None and not (sizes and all(is_count)):
        raise InputError(
            f"dim must be a positive integer or None, or a shape, not {short_repr(dim)}"
        )
    return tuple(dim) if isinstance(dim, list) else dim


def _evaluator(program: AnyProgram, wants_gradient: bool, parameters: Array) -> Any:
    if isinstance(program, ArrayProgram):
        outputs = (program.gradient if wants_gradient else program.energy,)
        return ArrayEvaluator(program, outputs, parameters)
    return Evaluator(program, program.gradient if wants_gradient else (program.energy,), parameters)


def _innermost(function: Any) -> Any:
    """The plain function that is called in the end, or None where there is none in Python."""
    while isinstance(function, (partial, MethodType)):
        function = function.func if isinstance(function, partial) else function.__func__
    if not isinstance(function, (FunctionType, type)):
        function = inspect.getattr_static(type(function), "__call__", None)
    return function if isinstance(function, FunctionType) else None


def _parameters(function: Any) -> list[inspect.Parameter]:
    """Of a function; none where it cannot tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _said(function: Any) -> str:
    """What a user wrote, as a message says it: with its parameters, where it is a function."""
    is_plain = isinstance(function, FunctionType)
    return f"{function.__name__}{inspect.signature(function)}" if is_plain else short_repr(function)


def _in_order(parameters: Sequence[inspect.Parameter]) -> int:
    """How many parameters may be given by position: up to one that has to follow a default."""
    has_default = [parameter.default is not parameter.empty for parameter in parameters]
    pairs = pairwise(has_default)
    return next((i for i, pair in enumerate(pairs, 1) if pair == (True, False)), len(parameters))


def _calling(function: Callable[..., Any], inner: Any) -> Callable[..., Any]:
    """A plain function that calls a partial one, a method or an object."""

    @wraps(inner)
    def call(x: Any, **parameters: Any) -> Any:
        return function(x, **parameters)

    return call


def _picklable(function: Any) -> Callable[..., Any]:
    """The same function, under a name by which pickle finds it: that of an attribute of a formula.

    The formula stands in the function's own place. cloudpickle sends it by value from a notebook.
    """
    copied = FunctionType(
        function.__code__, function.__globals__, function.__name__, closure=function.__closure__
    )
    for name in ("__defaults__", "__kwdefaults__", "__annotations__", "__module__", "__doc__"):
        setattr(copied, name, getattr(function, name))
    copied.__dict__ |= function.__dict__
    copied.__qualname__ = f"{function.__qualname__}.function"
    return copied


_RETURN_LATER = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)
_FIRST = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Formula:
    """A traced function: call it with values for its parameters to get an energy."""

    def __init__(
        self,
        function: Callable[..., Any],
        dim: int | tuple[int, ...] | None,
        is_elementwise: bool,
    ) -> None:
        if isinstance(function, (Formula, FormulaEnergy)):
            raise InputError(
                f"{short_repr(function)} is a formula already; decorate a function once"
            )
        inner, parameters = _innermost(function), _parameters(function)
        if inner is None or not parameters or parameters[0].kind not in _FIRST:
            raise InputError(
                "a formula is made of a function in Python, f(x, *, parameters), not "
                f"{_said(function)}; write one that calls it: def f(x): return ..."
            )
        if any(is_of(inner) for is_of in _RETURN_LATER):
            raise InputError(
                f"a formula returns its energy when it is called, which {_said(function)}, with "
                "yield or async, does not; write a plain function: def f(x): return ..."
            )
        first = parameters.pop(0)
        if first.name in ("self", "cls"):
            raise InputError(
                f"{_said(function)} is a method of a class, and a formula is called with x alone; "
                f"make it of an object's method: isotherm.formula(model.{inner.__name__})"
            )
        self.dim = _checked_dim(dim)
        self.is_elementwise = is_elementwise
        self._given = None if inner is function else function
        self.function = _picklable(inner) if self._given is None else _calling(function, inner)
        is_object = inner.__name__ == "__call__"
        self.__name__ = printable(type(function).__name__ if is_object else inner.__name__)
        self.__qualname__ = inner.__qualname__
        self.__module__ = inner.__module__
        self.__doc__ = inner.__doc__
        for parameter in parameters:
            if parameter.kind not in _NAMED or parameter.name == "device":
                raise InputError(
                    f"a formula's parameters are given by their names, and device= says where to "
                    f"sample: {self.__name__} cannot have {parameter}; give each "
                    "parameter a name of its own"
                )
        self._signature = inspect.Signature(
            [
                p.replace(kind=p.POSITIONAL_OR_KEYWORD if i < _in_order(parameters) else p.kind)
                for i, p in enumerate(parameters)
            ]
        )
        self._static = {p.name for p in parameters if p.annotation in (int, "int")}

    def __call__(self, /, *args: Any, device: object = None, **kwargs: Any) -> FormulaEnergy:
        """The energy with these parameters; see `FormulaEnergy`.

        Where the formula takes any dimension, ``dim=`` may say which one this energy has.
        """
        dim = None
        if "dim" in kwargs and "dim" not in self._signature.parameters and not self.is_elementwise:
            dim = _checked_dim(kwargs.pop("dim"))
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            parameters = "..." if self._signature.parameters else ""
            raise InputError(
                f"{self.__name__}{self._signature} makes the energy of its parameters, which is "
                f"called with states, {self.__name__}({parameters})(x): {error}"
            ) from None
        self._check_positions(args)
        bound.apply_defaults()
        static = {name: bound.arguments[name] for name in self._static}
        for name, value in static.items():
            if not isinstance(value, (int, np.integer)):
                raise InputError(f"{self.__name__}: {name} must be an int, not {short_repr(value)}")
        values = {name: v for name, v in bound.arguments.items() if name not in static}
        static = {name: int(value) for name, value in static.items()}
        return FormulaEnergy(self, values, static=static, dim=dim, device=device)

    def _check_positions(self, args: tuple[Any, ...]) -> None:
        """Refuse states in the place of a parameter that is a number by default."""
        state_ndim = len(_as_shape(self.dim) or ()) or int(not self.is_elementwise)
        for parameter, value in zip(self._signature.parameters.values(), args, strict=False):
            is_number = isinstance(parameter.default, (int, float))
            if is_number and is_array(value) and value.ndim > state_ndim:
                raise InputError(
                    f"{self.__name__}{self._signature} makes the energy of its parameters, and "
                    f"{parameter.name} got an array of shape {tuple(value.shape)}: call the energy "
                    f"with states, {self.__name__}()(x), or give the parameter by its name, "
                    f"{parameter.name}=..."
                )

    def __getstate__(self) -> dict[str, Any]:
        """What calls another is made again, as no name finds it."""
        return self.__dict__ | ({} if self._given is None else {"function": None})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self._given is not None:
            self.function = _calling(self._given, _innermost(self._given))

    def __repr__(self) -> str:
        return f"<formula {self.__name__}{self._signature}>"


@overload
def formula(
    function: Callable[..., Any], /, *, dim: int | tuple[int, ...] | None = ()
) -> Formula: ...
@overload
def formula(
    *, dim: int | tuple[int, ...] | None = ()
) -> Callable[[Callable[..., Any]], Formula]: ...
def formula(
    function: Callable[..., Any] | None = None, /, *, dim: int | tuple[int, ...] | None = ()
) -> Any:
    """Make an energy of a plain function, with an exact gradient, for every backend.

    The function is called once with symbols in place of numbers. What it does to them becomes a
    straight-line program, and a reverse pass over the program gives the gradient.

    Parameters
    ----------
    function : callable
        With ``@formula``: u(x, *, parameters), the energy of one coordinate; a chain's energy is
        the sum over its coordinates, in any dimension. With ``@formula(dim=...)``:
        U(x, *, parameters), the energy of a whole chain's state, where x is an array: ``x[i]``,
        slices, index arrays, `np.roll`, sums along axes, ``X @ x`` with data, and the functions of
        NumPy and of `isotherm.math` work on it and on parameters that are arrays.
        A parameter annotated ``int`` is fixed when the function is called, and may be a count, an
        index or an exponent; all others are run-time values: changing them compiles nothing.
        Arrays of truths are conditions of `np.where`, and count as 1 and 0. A partial function, a
        method of an object and an object with ``__call__`` do as well: keywords that are bound are
        defaults, and what the object holds is seen as it is at every plan.
    dim : int, tuple of int or None, optional
        The number of coordinates, or the shape of a state; None for any, asked when a run is
        planned. By default (), the shape of one coordinate.

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
    is_elementwise = isinstance(dim, tuple) and not dim
    size = None if is_elementwise else _checked_dim(dim)

    def decorate(function: Callable[..., Any] | None = None, /) -> Formula:
        if function is None:
            raise InputError(
                "formula() is given its function, U(x, *, parameters), and then the energy's "
                f"parameters: isotherm.formula(f{'' if is_elementwise else f', dim={dim}'})(...)"
            )
        return Formula(function, size, is_elementwise)

    return decorate if function is None else decorate(function)
