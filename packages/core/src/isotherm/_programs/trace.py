"""From a plain Python function to a program: the function is called once with symbols."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from isotherm._programs.differentiate import gradient
from isotherm._programs.functions import without_composed
from isotherm._programs.program import Builder, Program
from isotherm._programs.reads import what_is_read
from isotherm._programs.symbols import Symbol
from isotherm.errors import FormulaError, short_repr


class Request(NamedTuple):
    """What a program is made of, but for what the function reads by itself.

    Attributes
    ----------
    function : callable
    label : str
        The program's name.
    dim : int or None
        As in `Program`.
    shapes : tuple of (str, shape)
        Of the run-time parameters.
    static : tuple of (str, int)
        The parameters that are known.
    """

    function: Any
    label: str
    dim: int | None
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    static: tuple[tuple[str, int], ...]


def trace(request: Request) -> Program:
    """The program of a function, as it is now: what it reads may have changed since it was traced.

    Equal programs are one object, whatever they were traced from.
    """
    try:
        reads = what_is_read(request.function)
    except FormulaError as error:
        raise _with_users_line(error, request.function) from None
    return _shared(_traced(request) if reads is None else _remembered(request, reads))


@lru_cache(maxsize=256)
def _remembered(request: Request, reads: object) -> Program:
    return _traced(request)


_programs: WeakValueDictionary[tuple[object, ...], Program] = WeakValueDictionary()


def _shared(program: Program) -> Program:
    return _programs.setdefault((program.name, program.parameters, program.digest), program)


def _traced(request: Request) -> Program:
    """Call a function with symbols, and append the gradient to what it left."""
    function, label, dim, shapes, static = request
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
                f"{short_repr(energy)}"
            )
    except Exception as error:
        raise _with_users_line(error, function) from error
    slopes = gradient(builder, energy.index, coordinates)
    builder, outputs = without_composed(builder, [energy.index, *slopes])
    return builder.program(label, dim, names, outputs[0], outputs[1:])


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
