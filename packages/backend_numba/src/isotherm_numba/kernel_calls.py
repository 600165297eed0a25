"""Functions that are compiled apart from those that call them."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_DATA = ".4"  # Numba's name of the part of an array that points to its numbers


@intrinsic
def compiled_apart(typing_context: Any) -> Any:
    """Keep the function that calls this from being inlined.

    Among the other loops of a large function LLVM no longer proves that the rows of a loop are
    apart, and leaves it to one lane at a time.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def arrays_apart(typing_context: Any) -> Any:
    """Tell the compiler that the arrays given to the function that calls this do not overlap.

    Else a loop over more than a few of them stays one of single lanes. It is compiled apart, too.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        for arg in builder.function.args:
            if arg.type.is_pointer and arg.name.endswith(_DATA):
                arg.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), generate


def number_type(dtype: str) -> Any:
    """Numba's type of a plan's dtype."""
    return types.float32 if dtype == "float32" else types.float64


def array_type(of: Any, ndim: int, layout: str = "C", *, readonly: bool = False) -> Any:
    """Numba's type of an array; arrays that are more special are taken for one."""
    return types.Array(of, ndim, layout, readonly=readonly)


def kernel_signature(dtype: str) -> Any:
    """The types of ``gradient`` and ``terms`` of a kernel (see `isotherm_numba.tiles`)."""
    lanes = array_type(number_type(dtype), 1)
    parameters = array_type(number_type(dtype), 1, readonly=True)
    return types.void(lanes, lanes, lanes, parameters, types.int64, types.int64, types.int64)


@intrinsic
def call(
    typing_context: Any, address: Any, x: Any, out: Any, scratch: Any, parameters: Any, dim: Any,
    stride: Any, n: Any, first: Any,
) -> Any:  # fmt: skip
    """Call a kernel's function at an address of `address_of`, for lanes of `x` from `first` on.

    So the loop over tiles is compiled once for all energies. Numba's own first-class functions
    would do the same, but take a tenth of a millisecond to be passed.
    """
    of = kernel_signature(str(x.dtype)).args

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(types.void, of)
        function = builder.inttoptr(args[0], kind.as_pointer())
        *given, first = args[1:]
        for i in (0, 1):  # a slice would be counted as one more reference, which takes its time
            moved = context.make_array(of[i])(context, builder, given[i])
            moved.data = builder.gep(moved.data, [first])
            given[i] = moved._getvalue()
        status, _ = convention.call_function(builder, function, types.void, of, given)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.uint64, *of, types.int64), generate


@cache
def address_of(dispatcher: Any) -> int:
    """Where the only compiled version of a function of Numba's lies, for `call`."""
    (compiled,) = dispatcher.overloads.values()
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
