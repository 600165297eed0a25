"""Parameters of energies, and the places where they are needed; checked."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import numpy as np

from isotherm._arithmetic.arrays import (
    FLOATING,
    device_name,
    dtype_name,
    is_array,
    library_of,
    plain_array,
    real_numbers,
)
from isotherm._energies.origin import Declared
from isotherm.errors import InputError, short_repr

_FIXED = (
    "the parameters of an energy cannot be changed, as chains that are planned would not follow; "
    "make another energy, which compiles nothing"
)


class Parameters(dict[str, Any]):
    """Values by name, which stay as they are: what was made of them would not follow a change."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise InputError(_FIXED)

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class FixedParameters(Declared):
    """An energy whose parameters are set once; the attributes are named in `_set_once`."""

    _set_once: ClassVar[tuple[str, ...]] = ("parameters",)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._set_once and name in self.__dict__:
            raise InputError(_FIXED)
        super().__setattr__(name, value)


def finite_numbers(name: str, parameter: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A parameter's value in float64, in host memory, checked."""
    numbers = real_numbers(value)
    if numbers is None:
        raise InputError(
            f"{name}: {parameter} must be a number or an array of numbers, not {short_repr(value)}"
        )
    if not np.isfinite(numbers).all():
        raise InputError(f"{name}: {parameter} must be finite, not {short_repr(value)}")
    numbers.flags.writeable = False
    return numbers


def place_of(name: str, x: Any) -> tuple[str, str, str]:
    """The library, dtype and device of states that an energy is asked for; checked.

    Integers are refused: parameters that were moved to their dtype would lose their fractions.
    """
    if not is_array(x):
        raise InputError(f"{name}: x must be an array, not {type(x).__name__}")
    plain_array(f"{name}: x", x)
    dtype = dtype_name(x.dtype)
    if dtype not in FLOATING:
        raise InputError(
            f"{name}: x has dtype {x.dtype}; convert it to one of {', '.join(FLOATING)}"
        )
    return library_of(x), dtype, device_name(x)
