"""What NumPy's functions of arrays do to symbols.

Elements that are only put elsewhere are told by NumPy itself: it does to an array of their indices
what the formula does to the array. Sums have the order of `isotherm._arithmetic.sums.total`; the
others of many elements (products, largest and smallest) fold by halves in the same way, and
cumulative sums add what lies 1, 2, 4, ... before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from isotherm._programs.symbols import Symbol, implements, innermost, lifted
from isotherm.errors import FormulaError

Axis = int | tuple[int, ...] | None


def _placed(function: Callable[..., Any]) -> Callable[..., Symbol]:
    """A function that puts elements elsewhere and leaves 0 where there is none."""

    def apply(x: Symbol, *args: Any, **kwargs: Any) -> Symbol:
        own = np.arange(1, x.size + 1).reshape(x.shape)
        indices = np.asarray(function(own, *args, **kwargs)) - 1
        placed = Symbol(x.builder, x.builder.take(x.as_number().index, indices))
        return placed > 0.5 if x.is_condition else placed

    return apply


_PLACING: tuple[Any, ...] = (
    np.roll, np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims,
    np.squeeze, np.broadcast_to, np.flip, np.flipud, np.fliplr, np.rot90, np.take, np.repeat,
    np.tile, np.diagonal, np.diag, np.triu, np.tril, np.delete, np.atleast_1d, np.atleast_2d,
)  # fmt: skip
for _function in _PLACING:
    implements(_function)(_placed(_function))


@implements(np.pad)
def _pad(x: Symbol, width: Any, mode: str = "constant", **kwargs: Any) -> Symbol:
    if kwargs or mode not in ("constant", "wrap", "edge", "reflect", "symmetric"):
        raise FormulaError(
            "np.pad in a formula pads with zeros, or in mode 'wrap', 'edge', 'reflect', 'symmetric'"
        )
    return _placed(np.pad)(x, width, mode=mode)


def _joined(function: Callable[..., Any]) -> Callable[..., Symbol]:
    """A function that joins arrays: each is put among zeros, and these are added."""

    def apply(arrays: Sequence[Any], *args: Any, **kwargs: Any) -> Symbol:
        first = innermost(arrays)
        if first is None:
            first = next(element for a in arrays for element in np.asarray(a).ravel().tolist())
        symbols = [first.lift(array).as_number() for array in arrays]
        ends = np.cumsum([symbol.size for symbol in symbols])
        own = [
            np.arange(end - symbol.size, end).reshape(symbol.shape)
            for symbol, end in zip(symbols, ends, strict=True)
        ]
        indices = function(own, *args, **kwargs)
        total: Symbol | None = None
        for symbol, end in zip(symbols, ends, strict=True):
            place = indices - (end - symbol.size)
            place = np.where((place >= 0) & (place < symbol.size), place, -1)
            part = Symbol(symbol.builder, symbol.builder.take(symbol.index, place))
            total = part if total is None else total + part
        assert total is not None
        return total

    return apply


_JOINING: tuple[Any, ...] = (np.stack, np.concatenate, np.hstack, np.vstack, np.column_stack)
for _function in _JOINING:
    implements(_function)(_joined(_function))


def _last(x: Symbol, axis: Axis) -> Symbol:
    """The axes that are folded as one, the last, of numbers."""
    x = x.as_number()
    own = np.arange(x.size).reshape(x.shape)
    if axis is None:
        return Symbol(x.builder, x.builder.reshape(x.index, (x.size,)))
    axes = axis if isinstance(axis, tuple) else (axis,)
    moved = np.moveaxis(own, axes, range(-len(axes), 0))
    rest, folded = moved.shape[: x.ndim - len(axes)], moved.shape[x.ndim - len(axes) :]
    return Symbol(x.builder, x.builder.take(x.index, moved.reshape(*rest, math.prod(folded))))


def _kept(result: Symbol, x: Symbol, axis: Axis, keepdims: bool) -> Symbol:
    if not keepdims:
        return result
    shape = np.sum(np.empty(x.shape), axis=axis, keepdims=True).shape
    return Symbol(result.builder, result.builder.reshape(result.index, shape))


@implements(np.sum)
def _sum(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    if not x.shape:
        return x.as_number()
    folded = _last(x, axis)
    return _kept(Symbol(x.builder, x.builder.total(folded.index)), x, axis, keepdims)


@implements(np.mean)
def _mean(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    total = _sum(x, axis, keepdims)
    if not x.size:
        raise FormulaError("np.mean of no elements has no value; the data have no rows")
    return total / float(x.size // total.size)


@implements(np.var)
def _var(x: Symbol, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Symbol:
    centred = x - _mean(x, axis, keepdims=True)
    total = _sum(centred * centred, axis, keepdims)
    return total / (x.size // total.size - ddof)


@implements(np.std)
def _std(x: Symbol, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Symbol:
    return _var(x, axis, ddof, keepdims).sqrt()


def _folded(x: Symbol, join: Callable[[Symbol, Symbol], Symbol], neutral: float | None) -> Symbol:
    """The last axis, folded by halves; without `neutral` what has no partner meets itself."""
    if not x.shape[-1]:
        if neutral is None:
            raise FormulaError("np.max and np.min of no elements have no value")
        return x.lift(np.full(x.shape[:-1], neutral))
    while (count := x.shape[-1]) > 1:
        half = 1 << (count - 1).bit_length() - 1
        own = np.arange(x.size).reshape(x.shape)
        missing = half - (count - half)
        first = Symbol(x.builder, x.builder.take(x.index, own[..., :half]))
        gap = np.full((*x.shape[:-1], missing), -1)
        if neutral is None:
            gap = own[..., half - missing : half]
        partner = x.builder.take(x.index, np.concatenate([own[..., half:], gap], axis=-1))
        second = Symbol(x.builder, partner)
        if neutral and missing:
            second = second + np.where(np.arange(half) < half - missing, 0.0, neutral)
        x = join(first, second)
    return Symbol(x.builder, x.builder.reshape(x.index, x.shape[:-1]))


@implements(np.prod)
def _prod(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    return _kept(_folded(_last(x, axis), lambda a, b: a * b, 1.0), x, axis, keepdims)


@implements(np.max, np.amax)
def _max(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    result = _folded(_last(x, axis), lambda a, b: a.apply("max", a, b), None)
    return _kept(result, x, axis, keepdims)


@implements(np.min, np.amin)
def _min(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    result = _folded(_last(x, axis), lambda a, b: a.apply("min", a, b), None)
    return _kept(result, x, axis, keepdims)


@implements(np.cumsum)
def _cumsum(x: Symbol, axis: int | None = None) -> Symbol:
    x = x.as_number()
    if axis is None:
        x, axis = _placed(np.ravel)(x), 0
    own = np.arange(x.size).reshape(x.shape)
    count, shift = x.shape[axis], 1
    while shift < count:
        before = np.roll(own, shift, axis)
        is_first = np.arange(count).reshape(
            [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
        )
        indices = np.where(is_first < shift, -1, before)
        x = x + Symbol(x.builder, x.builder.take(x.index, indices))
        shift *= 2
    return x


@implements(np.diff)
def _diff(x: Symbol, n: int = 1, axis: int = -1) -> Symbol:
    for _ in range(n):
        ahead, behind = (
            _placed(np.take)(x, np.arange(first, x.shape[axis] - 1 + first), axis=axis)
            for first in (1, 0)
        )
        x = ahead - behind
    return x


@implements(np.clip)
def _clip(x: Symbol, low: Any = None, high: Any = None, /) -> Symbol:
    x = x if low is None else x.apply("max", x, low)
    return x if high is None else x.apply("min", x, high)


@implements(np.vdot)
def _vdot(a: Any, b: Any) -> Symbol:
    a, b = lifted(a, b)
    return _matmul(_placed(np.ravel)(a), _placed(np.ravel)(b))


@implements(np.inner)
def _inner(a: Any, b: Any) -> Symbol:
    a, b = lifted(a, b)
    return _matmul(a, b.T)


@implements(np.dot, np.matmul)
def _matmul(a: Any, b: Any) -> Symbol:
    a, b = (one.as_number() for one in lifted(a, b))
    if not a.shape or not b.shape:
        return cast(Symbol, a * b)
    if a.ndim > 2 or b.ndim > 2:
        raise FormulaError("products of arrays in a formula are of vectors and matrices")
    if a.shape[-1] != b.shape[0]:
        raise FormulaError(
            f"a product of shapes {a.shape} and {b.shape}: {a.shape[-1]} is not {b.shape[0]}"
        )
    builder = a.builder
    if a.ndim == 2 and a.index in builder.uniform:
        return Symbol(builder, builder.matmul(a.index, b.index))
    if b.ndim == 2 and b.index in builder.uniform:
        return Symbol(builder, builder.matmul(b.T.index, a.T.index)).T
    if a.ndim == b.ndim == 1:
        return _sum(a * b)
    left: Symbol = a if 1 in (a.ndim, b.ndim) else a[:, None, :]
    return _sum(left * b.T, axis=-1)


@implements(np.linalg.cholesky)
def cholesky(matrix: Any) -> Symbol:
    """The lower factor of a matrix; NaN where it is not positive definite."""
    (a,) = (one.as_number() for one in lifted(matrix))
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise FormulaError(f"a Cholesky factor is of one square matrix, not of shape {a.shape}")
    return Symbol(a.builder, a.builder.cholesky(a.index) if a.size else a.index)


def solve_triangular(lower: Any, right: Any, transposed: bool) -> Symbol:
    """What L, or Lᵀ, makes the right side of."""
    a, b = (one.as_number() for one in lifted(lower, right))
    if a.ndim != 2 or b.ndim not in (1, 2) or {*a.shape} != {b.shape[0]}:
        raise FormulaError(
            "solve_triangular takes a square matrix and a vector or matrix of as many rows, not "
            f"shapes {a.shape} and {b.shape}"
        )
    solved = a.builder.solve(a.index, b.index, transposed=transposed) if b.size else b.index
    return Symbol(a.builder, solved)


@implements(np.outer)
def _outer(a: Any, b: Any) -> Symbol:
    a, b = lifted(a, b)
    return cast(Symbol, a.reshape(-1, 1) * b.reshape(1, -1))


@implements(np.trace)
def _trace(x: Symbol) -> Symbol:
    return _sum(_placed(np.diagonal)(x), axis=-1)


@implements(np.linalg.norm)
def _norm(x: Symbol, ord: Any = None, axis: int | None = None, keepdims: bool = False) -> Symbol:  # noqa: A002
    """The length of vectors; at 0, where it has a kink, its slope is 0."""
    if ord == 1:
        return _sum(abs(x), axis, keepdims)
    if ord == math.inf:
        return _max(abs(x), axis, keepdims)
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and x.ndim != 1):
        raise FormulaError("np.linalg.norm in a formula is of vectors, with ord 1, 2 or inf")
    square = _sum(x * x, axis, keepdims)
    is_positive = square > 0.0
    return square.apply(
        "where", is_positive, square.apply("where", is_positive, square, 1.0).sqrt(), 0.0
    )


@implements(np.zeros_like)
def _zeros_like(x: Symbol) -> Symbol:
    return x.lift(np.zeros(x.shape))


@implements(np.ones_like)
def _ones_like(x: Symbol) -> Symbol:
    return x.lift(np.ones(x.shape))


@implements(np.shape)
def _shape(x: Symbol) -> tuple[int, ...]:
    return x.shape


@implements(np.size)
def _size(x: Symbol) -> int:
    return x.size


@implements(np.ndim)
def _ndim(x: Symbol) -> int:
    return x.ndim
