"""As many lanes as a register of the processor holds, as one value: a vector.

A loop over lanes reads and writes its sums again and again, and is a loop to begin and to end;
vectors stay in registers until they are done.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

_ALIGNED = 4  # bytes that any address of a vector is a multiple of


def _register_bits() -> int:
    """How wide a register of this processor is; lanes of a tile fill whole ones."""
    features = llvmlite.binding.get_host_cpu_features()
    return 512 if features.get("avx512f") else 256 if features.get("avx") else 128


_REGISTER = _register_bits()


class Vector(types.Type):
    """The type of a vector of numbers."""

    def __init__(self, number: Any) -> None:
        self.number = number
        self.lanes = _REGISTER // number.bitwidth
        super().__init__(name=f"Vector({number})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        number = manager.lookup(kind.number).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, kind.lanes))


def place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Where the lanes of an array begin at an index, as those of one vector: a pointer of LLVM."""
    data = context.make_array(kind)(context, builder, array).data
    vector = context.get_value_type(Vector(kind.dtype))
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def loaded(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """The vector there."""
    return builder.load(place(context, builder, kind, array, at), align=_ALIGNED)


def stored(context: Any, builder: Any, vector: Any, kind: Any, array: Any, at: Any) -> None:
    """Write a vector there."""
    builder.store(vector, place(context, builder, kind, array, at), align=_ALIGNED)


@intrinsic
def lanes_of(typing_context: Any, array: Any) -> Any:
    """How many lanes of an array are one vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.IntType(64)(Vector(array.dtype).lanes)

    return types.uint64(array), generate


@intrinsic
def load(typing_context: Any, array: Any, at: Any) -> Any:
    """The vector that begins at an index of an array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return loaded(context, builder, signature.args[0], *args)

    return Vector(array.dtype)(array, at), generate


@intrinsic
def everywhere(typing_context: Any, array: Any, number: Any) -> Any:
    """The vector of an array's lanes that holds a number in all of them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return spread(builder, args[1], context.get_value_type(signature.return_type))

    return Vector(array.dtype)(array, array.dtype), generate


@intrinsic
def store(typing_context: Any, vector: Any, array: Any, at: Any) -> Any:
    """Write a vector to an array, from an index on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        stored(context, builder, args[0], signature.args[1], *args[1:])
        return context.get_dummy_value()

    return types.void(vector, array, at), generate


@intrinsic
def times(typing_context: Any, vector: Any, other: Any) -> Any:
    """The product of two vectors."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return vector(vector, other), generate


@intrinsic
def less_product(typing_context: Any, vector: Any, other: Any, another: Any) -> Any:
    """A vector less the product of two others, which is rounded by itself."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(args[0], builder.fmul(*args[1:]))

    return vector(vector, other, another), generate


@intrinsic
def divide(typing_context: Any, vector: Any, other: Any) -> Any:
    """The quotient of two vectors."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return vector(vector, other), generate


@intrinsic
def root(typing_context: Any, vector: Any) -> Any:
    """The square roots of a vector's lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        name = f"llvm.sqrt.v{vector.lanes}f{vector.number.bitwidth}"
        of_vector = ir.FunctionType(kind, [kind])
        function = cgutils.get_or_insert_function(builder.module, of_vector, name)
        return builder.call(function, args)

    return vector(vector), generate


def spread(builder: Any, number: Any, kind: Any) -> Any:
    """A vector of a type of LLVM that holds a number in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
    one = builder.insert_element(undefined, number, ir.IntType(32)(0))
    return builder.shuffle_vector(one, undefined, everywhere)
