"""A mark for functions whose loops must not melt into their caller's."""

from __future__ import annotations

from typing import Any

from numba import types
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
