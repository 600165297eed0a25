"""Functions that are compiled apart from those that call them."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


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


def kernel_signature(number: Any) -> Any:
    """The types of ``gradient`` and ``terms`` of a kernel (see `isotherm_numba.tiles`)."""
    lanes = types.Array(number, 1, "C")
    parameters = types.Array(number, 1, "C", readonly=True)
    return types.void(lanes, lanes, lanes, parameters, types.int64, types.int64, types.int64)


@intrinsic
def call(
    typing_context: Any, address: Any, x: Any, out: Any, scratch: Any, parameters: Any, dim: Any,
    stride: Any, n: Any,
) -> Any:  # fmt: skip
    """Call a kernel's function at an address of `address_of`.

    So the loop over tiles is compiled once for all energies. Numba's own first-class functions
    would do the same, but take a tenth of a millisecond to be passed.
    """
    of = kernel_signature(x.dtype).args

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(types.void, of)
        function = builder.inttoptr(args[0], kind.as_pointer())
        status, _ = convention.call_function(builder, function, types.void, of, args[1:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.uint64, *of), generate


@cache
def address_of(dispatcher: Any) -> int:
    """Where the only compiled version of a function of Numba's lies, for `call`."""
    (compiled,) = dispatcher.overloads.values()
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
