"""Arithmetic that gives the same bits in every array library where a library's own does not."""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array


def exact_sqrt(x: Any) -> Any:
    """Return the correctly rounded square root of a floating-point array, element by element.

    IEEE 754 asks for it, and NumPy, CuPy and torch on CUDA give it. On the CPU torch may call a
    vector library that is one unit in the last place off for about 1 % of the values, in float32
    and in float64 alike, so NumPy computes there, on the same memory; unless autograd is watching,
    which must see torch's own.

    Parameters
    ----------
    x : array, any shape, float16, bfloat16, float32 or float64
        Not negative.

    Returns
    -------
    array
        Of the shape, dtype and library of `x`.
    """
    xp = array_namespace(x)
    # Torch's root of half precision is right: the tests try every number.
    if (
        is_torch_array(x)
        and x.device.type == "cpu"
        and not x.requires_grad
        and x.dtype in (xp.float32, xp.float64)
    ):
        return xp.asarray(np.sqrt(x.numpy()), device=x.device)
    return xp.sqrt(x)
