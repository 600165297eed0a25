"""Parameters of energies, and the places where they are needed; checked."""

from __future__ import annotations

from collections.abc import Mapping
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
    round_to,
)
from isotherm._energies.origin import Declared
from isotherm.errors import InputError, printable, short_repr

_FIXED = (
    "the parameters of an energy cannot be changed, as chains that are planned would not follow; "
    "make another energy, which compiles nothing"
)

#: What an energy tells about itself; see `Declared`.
DESCRIPTION = ("name", "kind", "dim", "library", "dtype", "device")


class Parameters(dict[str, Any]):
    """Values by name, which stay as they are: what was made of them would not follow a change."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise InputError(_FIXED)

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class FixedParameters(Declared):
    """An energy that stays as it was made: its constructor sets what `_set_once` names."""

    _set_once: ClassVar[tuple[str, ...]] = ("parameters", "dim")

    def __setattr__(self, name: str, value: Any) -> None:
        is_own = name.startswith("_")
        if not is_own and (name not in self._set_once or name in self.__dict__):
            owner = printable(getattr(self, "name", type(self).__name__))
            raise InputError(f"{owner}.{printable(name)} cannot be set: {_FIXED}")
        super().__setattr__(name, value)

    def used_numbers(self) -> Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """What it calculates with, by names for people."""
        found: Mapping[str, Any] = getattr(self, "parameters", {})
        return found


def check_held(energy: Any, dtype: str) -> None:
    """Refuse an energy whose numbers are others once they are rounded to the dtype of its states.

    Raises
    ------
    InputError
        One becomes infinite, or an array, or a number, nothing but 0.
    """
    if dtype == "float64" or not isinstance(energy, FixedParameters):
        return
    for name, given in energy.used_numbers().items():
        values = np.atleast_1d(given)
        with np.errstate(over="ignore"):
            rounded = round_to(values, dtype)
        is_lost = np.isinf(rounded)
        if not rounded.any() and values.any():  # small elements among others are no loss
            is_lost = values != 0.0
        if is_lost.any():
            raise InputError(
                f"{printable(energy.name)}: {name} is {float(values[is_lost][0])!r}, which rounds "
                f"to {float(rounded[is_lost][0]):g} in {dtype}; scale the energy or its "
                "coordinates, or take dtype='float64'"
            )


def finite_numbers(
    name: str, parameter: str, value: Any, *, takes_truths: bool = False
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A parameter's value in float64, in host memory, checked; see `real_numbers`."""
    numbers = real_numbers(value, takes_truths=takes_truths)
    if numbers is None and hasattr(value, "to_numpy"):  # of a table a line shows nothing
        raise InputError(
            f"{name}: {parameter} is a {type(value).__name__} of other things than numbers; give "
            "its columns of numbers, and words as codes"
        )
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
