"""Composed functions of plain numbers: the same bits as in a program."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from isotherm._programs.functions import COMPOSED
from isotherm._programs.program import Builder, Evaluator
from isotherm._programs.symbols import Symbol


def composed(op: str) -> Callable[..., Any]:
    """A composed function of numbers and of NumPy's arrays."""

    def function(*operands: Any) -> Any:
        arrays = [np.asarray(operand) for operand in operands]
        dtype = np.result_type(*arrays, np.float32)
        rows = np.broadcast_arrays(*(array.astype(dtype) for array in arrays))
        with np.errstate(all="ignore"):  # of choices that are not taken
            (value,) = _evaluator(op, len(rows), dtype.name)(rows)
        return value[()]

    return function


@cache
def _evaluator(op: str, n_operands: int, dtype: str) -> Evaluator:
    builder = Builder()
    operands = [Symbol(builder, builder.coordinate(i)) for i in range(n_operands)]
    value = COMPOSED[op].sequence(*operands).index
    program = builder.program(op, n_operands, (), value, ())
    return Evaluator(program, [program.energy], np.empty(0, dtype))
