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
        if x.is_condition:
            return placed > 0.5
        return x.shared_with(placed) if function in _VIEWING else placed

    return apply


_VIEWING = (
    np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims, np.squeeze,
    np.flip, np.flipud, np.fliplr, np.rot90, np.diagonal, np.atleast_1d, np.atleast_2d,
)  # fmt: skip
_PLACING: tuple[Any, ...] = (
    np.copy, np.roll, np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims,
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


def _parted(function: Callable[..., Any]) -> Callable[..., list[Symbol]]:
    """A function that takes an array apart."""

    def apply(x: Symbol, *args: Any, **kwargs: Any) -> list[Symbol]:
        own = np.arange(x.size).reshape(x.shape)
        parts = function(own, *args, **kwargs)
        found = (Symbol(x.builder, x.builder.take(x.index, part)) for part in parts)
        return [x.shared_with(part) for part in found]

    return apply


for _function in (np.split, np.array_split, np.hsplit, np.vsplit):
    implements(_function)(_parted(_function))


@implements(np.append)
def _append(x: Any, values: Any, axis: int | None = None) -> Symbol:
    x, values = lifted(x, values)
    if axis is None:
        x, values, axis = x.reshape(-1), values.reshape(-1), 0
    return _joined(np.concatenate)([x, values], axis=axis)


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


@implements(np.cumprod)
def _cumprod(x: Symbol, axis: int | None = None) -> Symbol:
    if axis is None:
        x, axis = _placed(np.ravel)(x), 0
    own, shift = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1), 1
    x = Symbol(x.builder, x.builder.take(x.as_number().index, own))
    while shift < x.shape[-1]:
        before = [np.ones((*x.shape[:-1], shift)), x[..., :-shift]]
        x = x * _joined(np.concatenate)(before, axis=-1)
        shift *= 2
    return _placed(np.moveaxis)(x, -1, axis)


@implements(np.diff)
def _diff(x: Symbol, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Symbol:
    symbol = innermost((x, prepend, append))
    assert symbol is not None
    x = symbol.lift(x)
    ends = [end if end is None else symbol.lift(end) for end in (prepend, append)]
    one = [1 if i == axis % x.ndim else size for i, size in enumerate(x.shape)]
    before, after = (
        end if end is None or end.shape else _placed(np.broadcast_to)(end, one) for end in ends
    )
    joined = [part for part in (before, x, after) if part is not None]
    x = _joined(np.concatenate)(joined, axis=axis) if joined[1:] else x
    for _ in range(n):
        ahead, behind = (
            _placed(np.take)(x, np.arange(first, x.shape[axis] - 1 + first), axis=axis)
            for first in (1, 0)
        )
        x = ahead - behind
    return x


@implements(np.average)
def _average(x: Symbol, axis: int | None = None, weights: Any = None) -> Symbol:
    if weights is None:
        return _mean(x, axis)
    x, w = lifted(x, weights)
    if w.shape != x.shape and axis is not None:
        w = w.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return _sum(x * w, axis) / _sum(_placed(np.broadcast_to)(w, x.shape), axis)


@implements(np.ptp)
def _ptp(x: Symbol, axis: Axis = None) -> Symbol:
    return _max(x, axis) - _min(x, axis)


@implements(np.all)
def _all(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    return _min(x.as_condition().as_number(), axis, keepdims) > 0.5


@implements(np.any)
def _any(x: Symbol, axis: Axis = None, keepdims: bool = False) -> Symbol:
    return _max(x.as_condition().as_number(), axis, keepdims) > 0.5


@implements(np.count_nonzero)
def _count_nonzero(x: Symbol, axis: Axis = None) -> Symbol:
    return _sum(x if x.is_condition else x != 0.0, axis)


@implements(np.select)
def _select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0.0) -> Symbol:
    one = innermost([*conditions, *choices, default])
    assert one is not None
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        default = one.apply("where", condition, choice, default)
    return cast(Symbol, default)


@implements(np.round, np.around)
def _round(x: Symbol, decimals: int = 0) -> Symbol:
    if decimals:
        raise FormulaError("np.round in a formula rounds to whole numbers")
    return x.apply("rint", x)


@implements(np.interp)
def _interp(x: Any, xp: Any, fp: Any) -> Symbol:
    """Lines between the points: every piece rises from where it begins to where it ends."""
    x, xp, fp = lifted(x, xp, fp)
    rise, run = _diff(fp), _diff(xp)
    beyond: Symbol = x.reshape(*x.shape, 1) - xp[:-1]
    inside = beyond.apply("min", beyond.apply("max", beyond, 0.0), run)
    return cast(Symbol, fp[0] + _sum(inside * (rise / run), axis=-1))


@implements(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Symbol:
    a, v = lifted(a, v)
    if v.size > a.size:
        a, v = v, a
    if mode not in ("full", "same", "valid") or (a.ndim, v.ndim) != (1, 1):
        raise FormulaError("np.convolve in a formula is of vectors, 'full', 'same' or 'valid'")
    first = {"full": 0, "same": (v.size - 1) // 2, "valid": v.size - 1}[mode]
    count = {"full": a.size + v.size - 1, "same": a.size, "valid": a.size - v.size + 1}[mode]
    at = first + np.arange(count)[:, None] - np.arange(v.size)
    there = np.where((at >= 0) & (at < a.size), at, -1)
    return _sum(Symbol(a.builder, a.builder.take(a.index, there)) * v, axis=-1)


@implements(np.polyval)
def _polyval(p: Any, x: Any) -> Symbol:
    p, x = lifted(p, x)
    value: Symbol = _full_like(x, p[0])
    for i in range(1, len(p)):
        value = value * x + p[i]
    return value


@implements(np.clip)
def _clip(x: Any, low: Any = None, high: Any = None, /) -> Any:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


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
        raise FormulaError(
            "products of arrays in a formula are of vectors and matrices; np.einsum has more axes"
        )
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


@implements(np.einsum)
def _einsum(subscripts: Any, *operands: Any) -> Symbol:
    """Products of all elements whose letters agree, and their sums."""
    if not isinstance(subscripts, str) or "." in subscripts:
        raise FormulaError("np.einsum in a formula is written with letters, as in 'ij,j->i'")
    names, arrow, result = subscripts.replace(" ", "").partition("->")
    letters, symbols = names.split(","), lifted(*operands)
    if not arrow:
        result = "".join(sorted(c for c in set(names) - {","} if names.count(c) == 1))
    sizes: dict[str, int] = {}
    for part, symbol in zip(letters, symbols, strict=False):
        sizes |= dict(zip(part, symbol.shape, strict=False))
    own = [tuple(sizes[c] for c in part) for part in letters]
    if own != [symbol.shape for symbol in symbols] or not {*result} <= {*sizes}:
        shapes = ", ".join(str(symbol.shape) for symbol in symbols)
        raise FormulaError(f"np.einsum: {subscripts!r} does not go with shapes {shapes}")
    summed = "".join(c for c in sizes if c not in result)
    product: Symbol | None = None
    for part, symbol in zip(letters, symbols, strict=True):
        once = "".join(dict.fromkeys(part))
        places = np.einsum(f"{part}->{once}", np.arange(symbol.size).reshape(symbol.shape))
        order = [c for c in result + summed if c in once]
        places = np.transpose(places, [once.index(c) for c in order])
        places = places.reshape([sizes[c] if c in once else 1 for c in result + summed])
        factor = Symbol(symbol.builder, symbol.builder.take(symbol.index, places))
        product = factor if product is None else product * factor
    assert product is not None
    return _sum(product, tuple(range(len(result), product.ndim))) if summed else product


@implements(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Symbol:
    a, b = lifted(a, b)
    if isinstance(axes, int):
        axes = range(a.ndim - axes, a.ndim), range(axes)
    of_a, of_b = ([one] if isinstance(one, int) else list(one) for one in axes)
    letters = "abcdefghijklmnopqrstuvwxyz"
    left, right = list(letters[: a.ndim]), list(letters[a.ndim :][: b.ndim])
    for i, j in zip(of_a, of_b, strict=True):
        right[j] = left[i]
    result = [c for c in left + right if (left + right).count(c) == 1]
    return _einsum(f"{''.join(left)},{''.join(right)}->{''.join(result)}", a, b)


@implements(np.cross)
def _cross(a: Any, b: Any) -> Symbol:
    a, b = lifted(a, b)
    if (a.shape[-1:], b.shape[-1:]) != ((3,), (3,)):
        raise FormulaError("np.cross in a formula is of vectors of 3 numbers, along the last axis")
    one, two = [1, 2, 0], [2, 0, 1]
    return cast(Symbol, a[..., one] * b[..., two] - a[..., two] * b[..., one])


@implements(np.meshgrid)
def _meshgrid(*vectors: Any, indexing: Any = "xy") -> list[Symbol]:
    symbols = [one.reshape(-1) for one in lifted(*vectors)]
    own = np.meshgrid(*(np.arange(one.size) for one in symbols), indexing=indexing)
    return [one[places] for one, places in zip(symbols, own, strict=True)]


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


@implements(np.full_like)
def _full_like(x: Any, value: Any) -> Symbol:
    if not isinstance(x, Symbol):
        x, value = lifted(x, value)
    return _placed(np.broadcast_to)(x.lift(value), x.shape)


@implements(np.shape)
def _shape(x: Symbol) -> tuple[int, ...]:
    return x.shape


@implements(np.size)
def _size(x: Symbol) -> int:
    return x.size


@implements(np.ndim)
def _ndim(x: Symbol) -> int:
    return x.ndim
