"""Functions that work on a formula's symbols, on arrays of symbols and on plain numbers alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from isotherm._arithmetic import functions
from isotherm._programs.symbols import Symbol, as_symbols

__all__ = [
    "cos",
    "exp",
    "log",
    "logsumexp",
    "maximum",
    "minimum",
    "sin",
    "sqrt",
    "tanh",
    "where",
]


def _elementwise(op: str, numeric: Callable[..., Any]) -> Callable[..., Symbol]:
    """A function of symbols, applied element by element; `numeric` where there is no symbol."""

    def one(*operands: Any) -> Any:
        symbol = next((o for o in operands if isinstance(o, Symbol)), None)
        return numeric(*operands) if symbol is None else symbol.apply(op, *operands)

    def function(*operands: Any) -> Symbol:
        if any(isinstance(o, np.ndarray) for o in operands):
            return cast(Symbol, np.frompyfunc(one, len(operands), 1)(*map(as_symbols, operands)))
        return cast(Symbol, one(*operands))

    function.__name__ = function.__qualname__ = op
    return function


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
_stop = _elementwise("stop", np.positive)


def logsumexp(values: Any) -> Any:
    """Log Σ exp(v) of a sequence, safe from overflow: the largest value is taken out first.

    The largest value cancels from the gradient, so none is taken through it.
    """
    largest = values[0]
    for value in values[1:]:
        largest = maximum(largest, value)
    largest = _stop(largest)
    return largest + log(sum(exp(value - largest) for value in values))
