"""Products of a matrix with the rows of a tile, whose sums stay in registers until they are done.

A loop over lanes would read and write its sums for every few columns. Here the lanes of a register
are one value, a vector, and several rows of the product are made at a time: for a column that takes
one vector of the tile, and for each row a number of the matrix, which a processor spreads as it
multiplies. So these numbers lie one after another (see `in_blocks`).
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba import uint64 as u64
from numba.extending import intrinsic, models, register_model

from isotherm_numba.codegen_cache import shared

_ALIGNED = 4  # bytes that any address of a vector is a multiple of
_ROWS = 8  # at a time: enough additions that do not wait for each other, and few for the registers


def _register_bits() -> int:
    """How wide a register of this processor is; lanes of a tile fill whole ones."""
    features = llvmlite.binding.get_host_cpu_features()
    return 512 if features.get("avx512f") else 256 if features.get("avx") else 128


_REGISTER = _register_bits()


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
            for lane in range(u64(0), u64(n), u64(_lanes(source))):
                there, column = w * u64(stride) + lane, matrix + i * u64(columns)
                sums = _zeros(source)
                for _ in range(u64(columns)):
                    sums = _add_column(sums, parameters, column, source, there)
                    there += step
                    column += u64(_ROWS)
                here = i * step + w * u64(stride) + lane
                _store(sums, out, here, step, u64(rows) - i)


class _Vector(types.Type):
    """As many lanes as a register holds, as one value."""

    def __init__(self, number: Any) -> None:
        self.number = number
        self.lanes = _REGISTER // number.bitwidth
        super().__init__(name=f"Vector({number})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Vector) -> None:
        number = manager.lookup(kind.number).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, kind.lanes))


@intrinsic
def _lanes(typing_context: Any, array: Any) -> Any:
    """How many lanes of an array are one value."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.IntType(64)(_Vector(array.dtype).lanes)

    return types.uint64(array), generate


@intrinsic
def _zeros(typing_context: Any, array: Any) -> Any:
    """Sums of no products of an array's lanes."""
    kind = types.UniTuple(_Vector(array.dtype), _ROWS)

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
        lanes = builder.load(_place(context, builder, signature, args, 3, there), align=_ALIGNED)
        undefined = ir.Constant(lanes.type, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes.type.count), None)
        given = context.make_array(numbers)(context, builder, args[1])
        for row in range(_ROWS):
            place = builder.gep(given.data, [builder.add(column, column.type(row))])
            number = builder.insert_element(undefined, builder.load(place), ir.IntType(32)(0))
            number = builder.shuffle_vector(number, undefined, everywhere)
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
                place = _place(context, builder, signature, args, 1, here)
                builder.store(builder.extract_value(made, row), place, align=_ALIGNED)
            here = builder.add(here, step)
        return context.get_dummy_value()

    return types.void(sums, out, here, step, rows), generate


def _place(context: Any, builder: Any, signature: Any, args: Any, array: int, at: Any) -> Any:
    """Where the lanes of an argument that is an array begin at an index, as those of one vector."""
    kind = signature.args[array]
    data = context.make_array(kind)(context, builder, args[array]).data
    vector = context.get_value_type(_Vector(kind.dtype))
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())
