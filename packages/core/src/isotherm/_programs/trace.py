"""From a plain Python function to a program: the function is called once with symbols."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from isotherm._programs.differentiate import gradient
from isotherm._programs.program import Builder, Program
from isotherm._programs.symbols import Symbol
from isotherm.errors import FormulaError, printable, short_repr, text_of


@lru_cache(maxsize=256)
def trace(
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
        if not isinstance(energy, Symbol) or energy.is_condition or energy.builder is not builder:
            raise FormulaError(
                f"a formula must return its energy, one number made from x; it returned "
                f"{short_repr(energy)}"
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
    where = f"formula {printable(function.__name__)}, line {number}: {line}"
    return FormulaError(f"{text_of(error)} (in {where})")
