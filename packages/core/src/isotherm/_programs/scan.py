"""Recursions over rows: a step that is traced once and taken row by row, by a loop.

What a step does is a program of numbers. Its loop is one instruction, ``"scan"``, whose value is
one vector: the carry after the last row, and then, block by block, what each row left. All rows
leave the carry that they met, for the reverse pass, which is a recursion itself, from the last row
to the first (Griewank and Walther, Evaluating Derivatives, 2nd ed., 2008, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from isotherm._programs.program import Builder, Recursion
from isotherm._programs.symbols import ARRAY_FUNCTIONS, Symbol, innermost
from isotherm._programs.unroll import unroll
from isotherm.errors import FormulaError


def scan(step: Callable[[Any, Any], tuple[Any, Any]], init: Any, rows: Any) -> tuple[Any, Any]:
    """Take a step for each row, handing on a carry: a recursion, as `jax.lax.scan` is.

    In a formula the step is traced once and becomes a loop, however many rows there are. Outside of
    one it is called for each row.

    Parameters
    ----------
    step : callable
        ``carry, output = step(carry, row)``; the carry keeps its shapes. The output may be None.
    init : number, array or tuple of them
        The carry before the first row.
    rows : array or tuple of arrays
        Data, or made from x: a row is an element of the first axis, of each array.

    Returns
    -------
    carry : as `init`
        After the last row.
    outputs : as what `step` left
        Arrays with one element a row along their first axis.

    Raises
    ------
    FormulaError
        The step returns no pair, or a carry of other shapes, or the arrays have no rows or not as
        many.

    Examples
    --------
    >>> import isotherm.math as im
    >>> carry, outputs = im.scan(lambda total, row: (total + row, 2 * total), 0.0, [1.0, 2.0, 3.0])
    >>> outputs
    array([0., 2., 6.])
    """
    columns = list(_leaves(rows))
    columns = [one if isinstance(one, Symbol) else np.asarray(one) for one in columns]
    lengths = {column.shape[:1] for column in columns}
    if not list(_leaves(init)):
        raise FormulaError("a scan hands on a carry; give init a number, an array or a tuple")
    if len(lengths) != 1 or () in lengths:
        shapes = ", ".join(str(column.shape) for column in columns)
        raise FormulaError(f"the rows of a scan are as many in each array, not of shapes {shapes}")
    has_rows = (0,) not in lengths
    first = [column[0] if has_rows else np.zeros(column.shape[1:]) for column in columns]
    taken = _pair(step, _like(init, _fresh(_leaves(init))), _like(rows, _fresh(first)))
    if not has_rows:  # the carry stays, and nothing is left
        nothing = (np.zeros((0, *np.shape(leaf))) for leaf in _leaves(taken[1]))
        return init, _like(taken[1], nothing)
    # What the step reads besides its arguments may be a symbol, too.
    one = innermost([*_leaves(init), *columns, *_leaves(taken)])
    if one is None:
        return _by_rows(step, init, rows, columns)
    return _traced(step, init, rows, columns, one)


def _by_rows(
    step: Callable[..., Any], init: Any, rows: Any, columns: Sequence[Any]
) -> tuple[Any, Any]:
    carry, left, output = init, list[list[Any]](), None
    for row in zip(*columns, strict=True):
        known = _like(init, _fresh(_leaves(carry)))
        carry, output = _pair(step, known, _like(rows, _fresh(row)))
        left.append(list(_leaves(output)))
    return carry, _like(output, (np.stack(one) for one in zip(*left, strict=True)))


def _traced(
    step: Callable[..., Any], init: Any, rows: Any, columns: Sequence[Any], one: Symbol
) -> tuple[Any, Any]:
    outer = one.builder
    before = [one.lift(leaf).as_number() for leaf in _leaves(init)]
    lifted = [one.lift(column).as_number() for column in columns]
    inner = Builder(outer)
    carry = [_input(inner, symbol.shape) for symbol in before]
    row = [_input(inner, symbol.shape[1:]) for symbol in lifted]
    after, output = _pair(step, _like(init, _fresh(carry)), _like(rows, _fresh(row)))
    given = Symbol(inner, inner.const(0.0))
    next_carry = [given.lift(leaf).as_number() for leaf in _leaves(after)]
    left = [given.lift(leaf).as_number() for leaf in _leaves(output)]
    had, has = ([symbol.shape for symbol in symbols] for symbols in (carry, next_carry))
    if had != has:
        shapes = " and ".join(", ".join(map(str, some)) for some in (had, has))
        raise FormulaError(
            f"the carry of a scan keeps its shapes: before and after a step they are {shapes}; "
            "give init the shapes that the step returns, for example np.zeros(2)"
        )
    plain, _, elements = unroll(inner, [s.index for s in (*next_carry, *carry, *left)])
    numbers = [number for element in elements for number in element]
    size = sum(symbol.size for symbol in carry)
    blocks = [size, *(symbol.size for symbol in left)]
    dim = sum(math.prod(shape) for shape in inner.inputs)
    recursion = Recursion(
        plain.program("step", dim, (), numbers[0], numbers), size, len(row), tuple(blocks)
    )
    count = lifted[0].shape[0]
    args = [
        _joined(before).index,
        *(outer.reshape(symbol.index, (count, symbol.size // count)) for symbol in lifted),
        *(outer.reshape(index, (math.prod(outer.shapes[index]),)) for index in inner.captured),
    ]
    result = outer.scan(recursion, args)

    def parts(first: int, shapes: Sequence[tuple[int, ...]]) -> Iterator[Symbol]:
        for shape in shapes:
            places = np.arange(first, first + math.prod(shape)).reshape(shape)
            yield Symbol(outer, outer.take(result, places))
            first += math.prod(shape)

    outputs = parts(size + count * size, [(count, *symbol.shape) for symbol in left])
    return _like(init, parts(0, had)), _like(output, outputs)


def _input(inner: Builder, shape: tuple[int, ...]) -> Symbol:
    return Symbol(inner, inner.input(shape))


def _joined(symbols: Sequence[Symbol]) -> Symbol:
    """All elements, one after another."""
    joined: Symbol = ARRAY_FUNCTIONS[np.concatenate]([one.reshape(one.size) for one in symbols])
    return joined


def _fresh(leaves: Iterable[Any]) -> Iterator[Any]:
    """What a step may change in place."""
    for leaf in leaves:
        yield +leaf if isinstance(leaf, Symbol) else np.copy(leaf)[()]


def _pair(step: Callable[..., Any], carry: Any, row: Any) -> tuple[Any, Any]:
    """One step taken."""
    try:
        returned = step(carry, row)
    except IndexError as error:
        parts = len(row) if isinstance(row, tuple) else 0
        given = f"a tuple of {parts}, one of each array" if parts else f"of shape {np.shape(row)}"
        raise FormulaError(
            f"the step of a scan asks for an element that is not there ({error}): a row is {given}"
        ) from error
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise FormulaError("the step of a scan returns a pair, (carry, output); output may be None")
    return returned


def _leaves(tree: Any) -> Iterator[Any]:
    """What tuples hold, one after another; of None nothing."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from _leaves(part)
    elif tree is not None:
        yield tree


def _like(tree: Any, leaves: Iterator[Any]) -> Any:
    """The same tuples, of other leaves."""
    if isinstance(tree, tuple):
        parts = [_like(part, leaves) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else next(leaves)
