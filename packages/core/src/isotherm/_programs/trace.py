"""From a plain Python function to a program: the function is called once with symbols."""

from __future__ import annotations

import inspect
import linecache
import math
from collections.abc import Callable, Hashable
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from isotherm._programs import arrays as arrays  # what NumPy's functions do to symbols
from isotherm._programs.array_program import ArrayProgram, finished
from isotherm._programs.differentiate import gradient
from isotherm._programs.functions import without_composed
from isotherm._programs.narrow import narrowed
from isotherm._programs.program import Builder, Instruction, Program
from isotherm._programs.reads import what_is_read
from isotherm._programs.symbols import IN_NUMBERS, Symbol, not_known
from isotherm._programs.tables import Table
from isotherm._programs.unroll import is_small, unroll
from isotherm.errors import FormulaError, InputError, printable, short_repr, text_of

_LONGEST_LINE = 200  # of the user's code, in an error


class Term(NamedTuple):
    """A part of an energy: a function and what is known of its parameters.

    Attributes
    ----------
    function : callable
    is_elementwise : bool
        Whether the function is of one coordinate, and summed over all.
    shapes : tuple of (str, shape)
        Of the run-time parameters.
    static : tuple of (str, int)
        The parameters that are known.
    scale : bool
        Whether the part is multiplied by a run-time number, the last of its parameters.
    """

    function: Any
    is_elementwise: bool
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    static: tuple[tuple[str, int], ...]
    is_scaled: bool = False


class Request(NamedTuple):
    """What a program is made of, but for what its functions read by themselves.

    Attributes
    ----------
    label : str
        The program's name.
    event_shape : tuple of int or None
        Of a chain's state; None for the program of one coordinate.
    terms : tuple of Term
    """

    label: str
    event_shape: tuple[int, ...] | None
    terms: tuple[Term, ...]


AnyProgram = Program | ArrayProgram


def trace(request: Request) -> AnyProgram:
    """The program of functions as they are now: what they read may have changed.

    Equal programs are one object, whatever they were traced from.
    """
    reads: list[Hashable] = []
    for term in request.terms:
        try:
            reads.append(what_is_read(term.function))
        except (FormulaError, InputError) as error:
            raise _with_users_line(error, term.function) from None
    return _shared(_traced(request) if None in reads else _remembered(request, tuple(reads)))


@lru_cache(maxsize=256)
def _remembered(request: Request, reads: object) -> AnyProgram:
    return _traced(request)


_programs: WeakValueDictionary[tuple[object, ...], AnyProgram] = WeakValueDictionary()


def _shared(program: AnyProgram) -> AnyProgram:
    return _programs.setdefault((program.name, program.parameters, program.digest), program)


def _traced(request: Request) -> AnyProgram:
    """Call the functions with symbols, and append the gradient to what they left."""
    builder, names, event_shape = Builder(), list[str](), request.event_shape
    if event_shape is None:
        x = Symbol(builder, builder.coordinate(0))
    else:
        x = Symbol(builder, builder.write(Instruction("state"), event_shape))
    energy: Symbol | None = None
    for term in request.terms:
        part = _part(term, +x, names, is_of_state=event_shape is not None)
        energy = part if energy is None else energy + part
    assert energy is not None
    if event_shape is not None and not is_small(builder, energy.index):
        builder, value = narrowed(builder, energy.index)
        state = builder.write(Instruction("state"), event_shape)
        (slope,) = gradient(builder, value, [state])
        builder, (value, slope) = without_composed(builder, [value, slope])
        return finished(builder, request.label, event_shape, names, value, slope)
    builder, coordinates, ((value,),) = unroll(builder, [energy.index])
    slopes = gradient(builder, value, coordinates)
    builder, (value, *found) = without_composed(builder, [value, *slopes])
    dim = None if event_shape is None else math.prod(event_shape)
    return builder.program(request.label, dim, names, value, found)


def _part(term: Term, x: Symbol, names: list[str], *, is_of_state: bool) -> Symbol:
    """What one function leaves: a number."""
    builder, function = x.builder, term.function
    arguments: dict[str, Any] = dict(term.static)
    for name, shape in term.shapes:
        instruction = Instruction("parameter", (), len(names))
        if 0 in shape:  # no number of the parameters is its first
            instruction = Instruction("array", (), Table(np.zeros(shape)))
        arguments[name] = Symbol(builder, builder.write(instruction, shape))
        positions = np.ndindex(shape) if shape else [()]
        names += [f"{name}[{','.join(map(str, at))}]" if shape else name for at in positions]
    try:
        with np.errstate(all="ignore"):
            energy: Any = function(x, **arguments)
        if isinstance(energy, np.ndarray) and energy.ndim == 0:
            energy = energy[()]
        energy = x.lift(energy) if isinstance(energy, Symbol) else energy
        is_energy = isinstance(energy, Symbol) and not energy.is_condition
        shape = x.shape if term.is_elementwise else ()
        if not is_energy or energy.shape not in ((), shape):
            found = f"an array of shape {energy.shape}" if is_energy else short_repr(energy)
            if is_energy and term.is_elementwise:
                raise FormulaError(
                    f"a formula of one coordinate must return one number, not {found}; for arrays, "
                    "parameters too, write @isotherm.formula(dim=...) and np.sum"
                )
            raise FormulaError(
                f"a formula must return its energy, one number made from x; it returned {found}"
            )
        if term.is_elementwise and is_of_state:
            energy = np.sum(np.broadcast_to(energy, shape))
    except Exception as error:
        raise _with_users_line(error, function) from error
    if term.is_scaled:
        names.append(f"scale of {function.__name__}")
        energy = Symbol(builder, builder.parameter(len(names) - 1)) * energy
    assert isinstance(energy, Symbol)
    return energy


def _told(error: Exception) -> str:
    """What is said of an error, in our words where it is about symbols."""
    text = text_of(error)
    if isinstance(error, AttributeError) and isinstance(error.obj, Symbol):
        return not_known(str(error.name))
    if "setting an array element with a sequence" in text:
        return IN_NUMBERS
    if isinstance(error, TypeError) and "dtype('O')" in text:
        return (
            "np.array of single numbers is no array for this function of NumPy's; put it together "
            "with np.stack"
        )
    return text


def _with_users_line(error: Exception, function: Callable[..., Any]) -> FormulaError:
    """The error, with the line of the user's function that caused it."""
    code: CodeType = inspect.unwrap(function).__code__
    number = code.co_firstlineno
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == code.co_filename:
            number = traceback.tb_lineno
        traceback = traceback.tb_next
    line = linecache.getline(code.co_filename, number).strip()
    line = line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
    where = f"formula {printable(function.__name__)}, line {number}: {line}"
    return FormulaError(f"{_told(error)} (in {where})")
