"""Calling what users wrote: on memory of its own, and what it returns made an array of ours."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import (
    Array,
    device_name,
    dtype_name,
    is_array,
    library_of,
    move,
    plain_array,
)
from isotherm._energies.origin import is_portable, parameters_dtype
from isotherm._energies.protocol import chain_energies
from isotherm.errors import EnergyWarning, InputError, IsothermError, caller_stacklevel

Function = Callable[[Array], Array]


class EnergyCalls:
    """How a loop over steps calls an energy and its gradient; here those of a built-in energy."""

    def __init__(self, energy: Function, gradient: Function) -> None:
        self._energy = energy
        self._slope = gradient

    def begin(self, x: Array, *, wants_energies: bool, wants_both: bool = False) -> None:
        """Call for the first step already now, so that what is wrong is refused before it."""

    def energies(self, x: Array) -> Array:
        """U of each chain, shape (n_samples,)."""
        return chain_energies(self._energy(x))

    def gradient(self, x: Array) -> Array:
        """∇U of each chain."""
        slope: Array = self._slope(x)
        return slope

    def value_and_gradient(self, x: Array) -> tuple[Array, Array]:
        """U of each chain and ∇U."""
        return self.energies(x), self.gradient(x)

    @property
    def is_pure(self) -> bool:
        """Whether the same state has the same energy, so that a step may be taken again."""
        return True

    @property
    def seen(self) -> Array | None:
        """What the energy returned when the last gradient was calculated, where that is known."""
        return None


class UserCalls(EnergyCalls):
    """The calls of an energy that a user wrote.

    What it is handed is a copy of the state, which it may keep or write to. What it returns is
    checked, and converted where it has another library or dtype than the state.

    Parameters
    ----------
    energy, gradient : callable
        x → U and x → ∇U. A function with an attribute ``hands_copies`` that is true copies by
        itself; one with ``seen`` tells there what the energy returned, and one with ``is_pure``
        whether the same state has the same gradient.
    dtype : str, optional
        In which the functions are given the state, whatever dtype that has.
    keywords : mapping, optional
        What the energy receives besides the state, for messages.
    joint : callable, optional
        A gradient that tells in ``seen`` what the energy returned, where both are had for less.
    """

    def __init__(
        self,
        energy: Function,
        gradient: Function,
        dtype: str | None = None,
        keywords: Mapping[str, Any] | None = None,
        joint: Any = None,
    ) -> None:
        super().__init__(energy, gradient)
        self._dtype = dtype
        self._keywords = keywords or {}
        self._joint = joint
        self._first: Array | None = None
        self._first_value: Array | None = None

    def begin(self, x: Array, *, wants_energies: bool, wants_both: bool = False) -> None:
        if wants_both:
            self._first_value, self._first = self.value_and_gradient(x)
            return
        self._first = _as_gradient(self._call(self._slope, x), x)
        if wants_energies and not hasattr(self._slope, "seen"):
            self.energies(x)

    def energies(self, x: Array) -> Array:
        value = self._call(self._energy, x)
        return chain_energies(as_values(value, x))

    def value_and_gradient(self, x: Array) -> tuple[Array, Array]:
        if self._first_value is not None:
            value, self._first_value = self._first_value, None
            return value, self.gradient(x)
        if self._joint is None:
            return self.energies(x), self.gradient(x)
        slope = _as_gradient(self._call(self._joint, x), x)
        return chain_energies(as_values(self._joint.seen, x)), slope

    @property
    def is_pure(self) -> bool:
        return getattr(self._slope, "is_pure", False)

    @property
    def seen(self) -> Array | None:
        return getattr(self._slope, "seen", None)

    def gradient(self, x: Array) -> Array:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        slope = self._call(self._slope, x)
        if slope.__class__ is x.__class__ and slope.dtype == x.dtype and slope.shape == x.shape:
            return slope
        return _as_gradient(slope, x)

    def _call(self, function: Function, x: Array) -> Any:
        if self._dtype is not None:
            xp = compat.array_namespace(x)
            x = xp.astype(x, getattr(xp, self._dtype))
        elif isinstance(x, np.ndarray):  # the usual case, without the namespace's detour
            x = x.copy()
        elif not getattr(function, "hands_copies", False):
            x = compat.array_namespace(x).asarray(x, copy=True)
        try:
            return function(x)
        except IsothermError:
            raise
        except Exception as error:
            self._explain(error, x)
            raise

    def _explain(self, error: Exception, x: Array) -> None:
        """Add to an error of the user's function what it was called with."""
        for name, value in self._keywords.items():
            if is_array(value) and value.ndim and value.shape[0] not in (1, x.shape[0]):
                raise InputError(
                    f"model_kwargs[{name!r}] has shape {tuple(value.shape)} and there are "
                    f"{x.shape[0]} chains; give it a row for each chain. The energy raised "
                    f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                ) from error
        note = (
            f"the energy was called with x of shape {tuple(x.shape)}, {x.dtype}, on "
            f"{device_name(x)}"
        )
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def check_keywords(name: str, function: Any, keywords: Mapping[str, Any]) -> None:
    """Refuse keywords that a user's function cannot be called with besides a state."""
    try:
        # A module's own call takes anything and hands it to `forward`.
        inspect.signature(getattr(function, "forward", function)).bind(None, **keywords)
    except TypeError as error:
        raise InputError(f"{name} does not take these model_kwargs: {error}") from None
    except ValueError:  # a function written in C may not tell its signature
        pass


class WithKeywords:
    """A user's energy with its own gradient, both called with keywords.

    Parameters
    ----------
    energy : callable with a method ``gradient``
    keywords : mapping of str to anything
    """

    def __init__(self, energy: Any, keywords: Mapping[str, Any]) -> None:
        self.energy = energy
        self.keywords = dict(keywords)

    def __call__(self, x: Array) -> Array:
        return self.energy(x, **self.keywords)

    def gradient(self, x: Array) -> Array:
        return self.energy.gradient(x, **self.keywords)


def calls_of(
    energy: Any,
    value: Function,
    gradient: Function,
    dtype: str | None = None,
    joint: Any = None,
) -> EnergyCalls:
    """The calls of an energy, whose value and gradient a backend calculates with these functions.

    Parameters
    ----------
    energy : callable
        As the backend was given it.
    value, gradient : callable
        x → U and x → ∇U.
    dtype : str, optional
        In which a user's functions are given the state; that of the state by default.
    joint : callable, optional
        A gradient with an attribute ``seen``; see `UserCalls`.
    """
    if is_portable(energy):
        return EnergyCalls(value, gradient)
    return UserCalls(value, gradient, dtype, getattr(energy, "keywords", None), joint)


def state_dtype(energy: Any, dtype: str) -> str | None:
    """In which dtype an energy is given a state of this one; None for the same.

    A network takes its parameters' own: the state of a float32 network may be float64, and that
    of a bfloat16 one float32.
    """
    own = parameters_dtype(energy)
    return None if own == dtype else own


def as_values(value: Any, x: Array) -> Array:
    """What an energy returned for states `x`, as an array of their library; checked.

    Its shape is (n_samples,) followed by axes of one, or of a first axis of one and others (patches
    of an image, which are summed), or that of `x`; with one chain the first axis may lack.
    """
    if isinstance(value, np.generic):  # as NumPy returns a sum
        value = np.asarray(value)
    value = _in_library("energy(x)", value, x)
    shape, states = tuple(value.shape), tuple(x.shape)
    if _is_of_chains(shape, states):
        is_squeezed = shape[:1] != states[:1]  # of the one chain
        return compat.array_namespace(x).reshape(value, (1, -1)) if is_squeezed else value
    n = states[0]
    expected = f"({n},)" if states[1:] == (1,) else f"({n},) or that of x"
    message = f"energy(x) returned shape {shape} for x of shape {states}; "
    if shape == ():
        message += (
            f"its shape must be {expected}: one energy a chain, not their sum or mean. For an "
            "energy of one state write isotherm.vectorize(energy)"
        )
    elif shape == (n, n):
        message += f"that is what (n, 1) and (n,) broadcast to; its shape must be {expected}"
    else:
        message += f"its shape must be {expected}"
    raise InputError(message)


def has_row_a_chain(value: Array, x: Array) -> bool:
    """Whether what an energy returned for states `x` has, by its shape, a row for each chain."""
    shape = tuple(value.shape)
    return shape[:1] == tuple(x.shape[:1]) and _is_of_chains(shape, tuple(x.shape))


@lru_cache
def _is_of_chains(shape: tuple[int, ...], states: tuple[int, ...]) -> bool:
    """Whether an energy of this shape has a row, or a number, for each chain."""
    n = states[0]
    if n == 1 and (shape == () or shape[0] != 1 or len(shape) == 1):
        squeezed = tuple(size for size in states[1:] if size != 1)
        return len(shape) == 2 or shape in ((), (1,), squeezed, states[1:])
    return shape[0:1] == (n,) and (shape == states or shape[1:2] in ((), (1,)))


def _as_gradient(slope: Any, x: Array) -> Array:
    slope = _in_library("energy.gradient(x)", slope, x, ("real floating",))
    shape, states = tuple(slope.shape), tuple(x.shape)
    if (
        shape != states
        and states[0] == 1
        and shape
        in (
            states[1:],
            tuple(size for size in states if size != 1),
        )
    ):
        return compat.array_namespace(x).reshape(slope, states)  # of one chain, squeezed
    if shape != states:
        raise InputError(
            f"energy.gradient(x) returned shape {shape} for x of shape {states}; its shape must be "
            "that of x"
        )
    return slope if slope.dtype == x.dtype else compat.array_namespace(x).astype(slope, x.dtype)


def _in_library(
    what: str, value: Any, x: Array, kinds: tuple[str, ...] = ("real floating", "integral")
) -> Array:
    """What a function returned, as an array of the library of `x`; refused if of other kinds."""
    if not is_array(value):
        raise InputError(
            f"{what} returned {type(value).__name__} for x of shape {tuple(x.shape)}; it must "
            "return an array"
        )
    if (
        value.__class__ is x.__class__
        and value.dtype == x.dtype
        and not getattr(value, "requires_grad", False)
        and getattr(value, "device", None) == getattr(x, "device", None)
    ):
        return value
    value = plain_array(f"what {what} returned", value)
    where, library = device_name(value), library_of(x)
    if not compat.array_namespace(value).isdtype(value.dtype, kinds):
        wanted = "real" if "integral" in kinds else "real floating-point numbers, which do not wrap"
        raise InputError(f"{what} returned numbers of dtype {value.dtype}; they must be {wanted}")
    if where != device_name(x):
        raise InputError(
            f"{what} returned an array of {library_of(value)} on {where} for x on "
            f"{device_name(x)}; return it there"
        )
    if library_of(value) != library:
        return move(value, library, dtype_name(x.dtype), where)
    return value.detach() if hasattr(value, "detach") else value


def warn_of_terms(n_coupled: int) -> None:
    """Say once that one number a coordinate is summed, where it may be something else."""
    warnings.warn(
        f"the energy returned one number a coordinate, and the first of them depends on "
        f"{n_coupled} coordinates: they are summed to U. If they are a score or a force, give them "
        "as a gradient; if they are terms of U, sum them yourself and nothing is said",
        EnergyWarning,
        stacklevel=caller_stacklevel(),
    )
