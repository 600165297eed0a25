"""Formulas: plain Python functions that become energies by being called once with symbols."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, overload

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, array_origin, move
from isotherm._energies.parameters import finite_numbers, place_of
from isotherm._programs.program import Evaluator, Program
from isotherm._programs.trace import Request, trace
from isotherm.errors import InputError, short_repr


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
        self._formula: Formula | None = formula
        self._fixed: Program | None = None
        self._evaluators: dict[tuple[object, ...], Evaluator] = {}

    def program(self, dim: int | None = None) -> Program:
        """The straight-line program of the energy and its gradient.

        The function is what it reads: globals, closures and arrays are seen as they are now.

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
        if self._fixed is not None:
            if self._fixed.dim != dim:
                raise InputError(f"{self.name} was planned in dimension {self._fixed.dim}")
            return self._fixed
        assert self._formula is not None
        shapes = tuple((name, value.shape) for name, value in self.parameters.items())
        static = tuple(self.static.items())
        return trace(Request(self._formula.function, self.name, dim, shapes, static))

    def fixed(self, event_shape: tuple[int, ...]) -> FormulaEnergy:
        """The energy as it is now, for a run: later changes of what it reads are not seen.

        It carries its program along, so that another process gets the same.
        """
        energy = copy.copy(self)
        energy._fixed, energy._evaluators = self.program(event_shape[0]), {}
        return energy

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
        program = self.program(dim)
        evaluator = self._evaluators.get((*key, program.digest, wants_gradient))
        if evaluator is None:
            # Of a program that was, because something that it read has changed, none is kept.
            kept = {k: e for k, e in self._evaluators.items() if program.digest in k}
            outputs = program.gradient if wants_gradient else (program.energy,)
            evaluator = Evaluator(program, outputs, move(self.parameter_values(), *key))
            self._evaluators = kept | {(*key, program.digest, wants_gradient): evaluator}
        with np.errstate(all="ignore"):  # of choices that are not taken
            return evaluator([x] if dim is None else [x[:, i] for i in range(dim)])

    def __getstate__(self) -> dict[str, Any]:
        # Evaluators are bound to a device: they are made again where they are needed. A program
        # stands for the function, which another process may not find.
        formula = self._formula if self._fixed is None else None
        return self.__dict__ | {"_evaluators": {}, "_formula": formula}

    def __repr__(self) -> str:
        values = {name: value.tolist() for name, value in self.parameters.items()} | self.static
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in values.items())})"


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
                "a formula is made of a plain function f(x, *, parameters); got "
                f"{short_repr(function)}"
            )
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
            raise InputError(f"dim must be a positive integer or None, not {short_repr(dim)}")
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
                raise InputError(f"{self.__name__}: {name} must be an int, not {short_repr(value)}")
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
