"""Functions that work on a formula's symbols, on arrays of symbols and on plain numbers alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isotherm._arithmetic import factors, functions
from isotherm._programs import arrays
from isotherm._programs.evaluate import composed
from isotherm._programs.scan import scan
from isotherm._programs.symbols import Symbol

__all__ = [
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cbrt",
    "ceil",
    "cholesky",
    "clip",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "expit",
    "expm1",
    "floor",
    "hypot",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_expit",
    "logaddexp",
    "logsumexp",
    "maximum",
    "minimum",
    "mod",
    "power",
    "rint",
    "scan",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "solve_triangular",
    "sqrt",
    "tan",
    "tanh",
    "where",
]  # fmt: skip


def _elementwise(op: str, numeric: Callable[..., Any]) -> Callable[..., Any]:
    """A function of symbols, element by element; `numeric` where there is none."""

    def function(*operands: Any) -> Any:
        symbol = next((found for o in operands if (found := _symbol_in(o)) is not None), None)
        return numeric(*operands) if symbol is None else symbol.apply(op, *operands)

    function.__name__ = function.__qualname__ = op
    return function


def _symbol_in(operand: Any) -> Symbol | None:
    """A symbol that an operand is, or that is among its elements."""
    if isinstance(operand, Symbol):
        return operand
    if isinstance(operand, (list, tuple)) or getattr(operand, "dtype", None) == np.object_:
        elements = np.asarray(operand, dtype=object).ravel().tolist()
        return next((element for element in elements if isinstance(element, Symbol)), None)
    return None


def _of_numbers(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One of core's functions, for plain numbers as well: the same bits on every machine."""

    def numeric(x: Any) -> Any:
        x = np.asarray(x)
        return function(x if x.dtype.kind == "f" else x.astype(np.float64))[()]

    return numeric


sqrt = _elementwise("sqrt", np.sqrt)
exp = _elementwise("exp", _of_numbers(functions.exp))
log = _elementwise("log", _of_numbers(functions.log))
sin = _elementwise("sin", _of_numbers(functions.sin))
cos = _elementwise("cos", _of_numbers(functions.cos))
tanh = _elementwise("tanh", _of_numbers(functions.tanh))
minimum = _elementwise("min", np.minimum)
maximum = _elementwise("max", np.maximum)
where = _elementwise("where", np.where)
tan = _elementwise("tan", np.tan)
floor = _elementwise("floor", np.floor)
ceil = _elementwise("ceil", np.ceil)
rint = _elementwise("rint", np.rint)
log2 = _elementwise("log2", np.log2)
log10 = _elementwise("log10", np.log10)
exp2 = _elementwise("exp2", np.exp2)
power = _elementwise("pow", np.power)
log1p = _elementwise("log1p", composed("log1p"))
expm1 = _elementwise("expm1", composed("expm1"))
softplus = _elementwise("softplus", composed("softplus"))
logaddexp = _elementwise("logaddexp", composed("logaddexp"))
expit = _elementwise("expit", composed("expit"))
log_expit = _elementwise("log_expit", composed("log_expit"))
arctan = _elementwise("arctan", composed("arctan"))
arctan2 = _elementwise("arctan2", composed("arctan2"))
arcsin = _elementwise("arcsin", composed("arcsin"))
arccos = _elementwise("arccos", composed("arccos"))
arcsinh = _elementwise("arcsinh", composed("arcsinh"))
arccosh = _elementwise("arccosh", composed("arccosh"))
arctanh = _elementwise("arctanh", composed("arctanh"))
sinh = _elementwise("sinh", composed("sinh"))
cosh = _elementwise("cosh", composed("cosh"))
hypot = _elementwise("hypot", composed("hypot"))
cbrt = _elementwise("cbrt", composed("cbrt"))
sign = _elementwise("sign", composed("sign"))
mod = _elementwise("mod", composed("mod"))
erf = _elementwise("erf", composed("erf"))
lgamma = _elementwise("lgamma", composed("lgamma"))
_stop = _elementwise("stop", np.positive)


def clip(x: Any, low: Any, high: Any) -> Any:
    """`x` put into [low, high]; outside, its slope is 0."""
    return minimum(maximum(x, low), high)


def cholesky(matrix: Any) -> Any:
    """The lower factor L of a symmetric positive definite matrix A = L @ L.T.

    As `numpy.linalg.cholesky`, which a formula may call as well, only the lower triangle is read;
    where A is not positive definite L is NaN. The log determinant of A is
    ``2 * np.sum(np.log(np.diagonal(L)))``.

    Parameters
    ----------
    matrix : array, shape (n, n)
        Made of x or of parameters.
    """
    symbol = _symbol_in(matrix)
    if symbol is None:
        return factors.cholesky(np.asarray(matrix, dtype=np.float64))
    return arrays.cholesky(symbol.lift(matrix))


def solve_triangular(lower: Any, right: Any, *, transposed: bool = False) -> Any:
    """The X of L @ X = B, or of L.T @ X = B, with a lower triangular matrix L.

    With L = `cholesky` (A), ``solve_triangular(L, solve_triangular(L, b), transposed=True)``
    solves A x = b, and ``np.sum(solve_triangular(L, b) ** 2)`` is b A⁻¹ b.

    Parameters
    ----------
    lower : array, shape (n, n)
        Only the lower triangle is read.
    right : array, shape (n,) or (n, m)
    transposed : bool, optional
    """
    symbol = next((found for o in (lower, right) if (found := _symbol_in(o)) is not None), None)
    if symbol is not None:
        return arrays.solve_triangular(symbol.lift(lower), symbol.lift(right), transposed)
    lower, right = (np.asarray(one, dtype=np.float64) for one in (lower, right))
    solved = factors.solve(lower, right.reshape(len(right), -1), transposed)
    return solved.reshape(right.shape)


def logsumexp(values: Any, axis: int | None = None) -> Any:
    """Log Σ exp(v), safe from overflow: the largest value is taken out first.

    The largest value cancels from the gradient, so none is taken through it.

    Parameters
    ----------
    values : array or sequence
    axis : int, optional
        All elements by default.
    """
    if isinstance(values, Symbol) and (values.ndim > 1 or axis is not None):
        largest = _stop(values.call(np.max, axis=axis, keepdims=True))
        total = log(np.sum(exp(values - largest), axis=axis))
        return np.reshape(largest, total.shape) + total
    largest = values[0]
    for value in values[1:]:
        largest = maximum(largest, value)
    largest = _stop(largest)
    return largest + log(sum(exp(value - largest) for value in values))
