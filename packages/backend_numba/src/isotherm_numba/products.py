"""Products of a matrix with the rows of a tile, whose sums stay in registers until they are done.

A loop over lanes would read and write its sums for every few columns. Here several rows of the
product are made at a time: for a column that takes one vector of the tile, and for each row a
number of the matrix, which a processor spreads as it multiplies. So these numbers lie one after
another (see `in_blocks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba import uint64 as u64
from numba.extending import intrinsic

from isotherm_numba.codegen_cache import shared
from isotherm_numba.vectors import Vector, lanes_of, loaded, spread, stored

_ROWS = 8  # at a time: enough additions that do not wait for each other, and few for the registers


def in_blocks(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A matrix as `multiply` reads it: some rows at a time, and of those column by column.

    Rows that the last block lacks are zeros.
    """
    rows, columns = matrix.shape
    count = -(-rows // _ROWS)
    filled = np.zeros((count * _ROWS, columns), matrix.dtype)
    filled[:rows] = matrix
    return filled.reshape(count, _ROWS, columns).swapaxes(1, 2)


@shared
def multiply(
    source: Any, out: Any, parameters: Any, matrix: Any, rows: Any, columns: Any, width: Any,
    stride: Any, n: Any,
) -> None:  # fmt: skip
    """Row (i, w) of `out` is Σ_j M_ij times row (j, w) of `source`, in the order of j.

    M stands in blocks among the parameters from `matrix` on.
    """
    step = u64(width) * u64(stride)
    for w in range(u64(width)):
        for i in range(u64(0), u64(rows), u64(_ROWS)):
            for lane in range(u64(0), u64(n), u64(lanes_of(source))):
                there, column = w * u64(stride) + lane, matrix + i * u64(columns)
                sums = _zeros(source)
                for _ in range(u64(columns)):
                    sums = _add_column(sums, parameters, column, source, there)
                    there += step
                    column += u64(_ROWS)
                here = i * step + w * u64(stride) + lane
                _store(sums, out, here, step, u64(rows) - i)


@intrinsic
def _zeros(typing_context: Any, array: Any) -> Any:
    """Sums of no products of an array's lanes."""
    kind = types.UniTuple(Vector(array.dtype), _ROWS)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(kind), None)

    return kind(array), generate


@intrinsic
def _add_column(
    typing_context: Any, sums: Any, numbers: Any, column: Any, source: Any, there: Any
) -> Any:
    """The sums, each with the product of its number in a column and the lanes there added."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        added, _, column, _, there = args
        lanes = loaded(context, builder, signature.args[3], args[3], there)
        given = context.make_array(numbers)(context, builder, args[1])
        for row in range(_ROWS):
            place = builder.gep(given.data, [builder.add(column, column.type(row))])
            number = spread(builder, builder.load(place), lanes.type)
            one = builder.fadd(builder.extract_value(added, row), builder.fmul(number, lanes))
            added = builder.insert_value(added, one, row)
        return added

    return sums(sums, numbers, column, source, there), generate


@intrinsic
def _store(typing_context: Any, sums: Any, out: Any, here: Any, step: Any, rows: Any) -> Any:
    """Write the sums to `out`, `step` apart from `here` on; only as many as there are rows."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made, _, here, step, rows = args
        for row in range(_ROWS):
            with builder.if_then(builder.icmp_unsigned(">", rows, rows.type(row))):
                one = builder.extract_value(made, row)
                stored(context, builder, one, signature.args[1], args[1], here)
            here = builder.add(here, step)
        return context.get_dummy_value()

    return types.void(sums, out, here, step, rows), generate
