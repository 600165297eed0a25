"""Functions that work on a formula's symbols, on arrays of symbols and on plain numbers alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

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


sqrt = _elementwise("sqrt", np.sqrt)
exp = _elementwise("exp", np.exp)
log = _elementwise("log", np.log)
sin = _elementwise("sin", np.sin)
cos = _elementwise("cos", np.cos)
tanh = _elementwise("tanh", np.tanh)
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
