"""What a warm-up found, as plain numbers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from isotherm._arithmetic.arrays import Array, real_numbers
from isotherm._planning.sampler_arguments import as_inverse_mass
from isotherm._transitions.catalogue import find, names
from isotherm._warmup.scales import Numbers
from isotherm._warmup.starts import Starts
from isotherm.errors import InputError, short_repr

_FORMAT = "isotherm tuning"
_VERSION = 1
_LONGEST_FILE = 2**28  # bytes
_MOST = sys.float_info.max
_WIDEST = math.sqrt(_MOST)  # of steps and masses: their squares are finite
MASS_RANGE = f"from {1.0 / _WIDEST:.3g} to {_WIDEST:.3g}"
MOST_LEAPFROG = 1024  # substeps of a trajectory

# From what to what the fields of a tuning are, and what they are where JSON has null.
_NUMBERS = {
    "step_size": (1.0 / _WIDEST, _WIDEST), "friction": (0.0, _WIDEST), "acceptance": (0.0, 1.0),
    "target_accept": (0.0, 1.0), "r_hat": (0.0, _MOST), "slowest": (0.0, _MOST),
    "seconds": (0.0, _MOST),
}  # fmt: skip
_COUNTS = {
    "n_leapfrog": (1, MOST_LEAPFROG), "n_warmup": (1, 2**53), "n_pilot": (1, 2**53),
    "seed": (0, 2**64 - 1),
}  # fmt: skip
_NULL = {"friction": None, "n_leapfrog": None, "r_hat": math.nan}


class Tunable(Protocol):
    """What a warm-up needs of a sampler."""

    name: ClassVar[str]
    exact: ClassVar[str]
    energy_function: Any
    step_size: Any
    seed: Any

    def given(self, name: str) -> Any:
        """An argument that the caller gave; None for none, or where a warm-up found it."""

    def pilot(self, x: Array | None, options: Mapping[str, Any]) -> Any:
        """The plan of the pilots, of the exact sampler that stands for this one."""

    def tuned(self, arguments: Mapping[str, Any], tuning: str) -> Any:
        """The sampler with these arguments instead of its own, and `tuning` in its plans."""


def is_in_range(inverse_mass: Numbers) -> bool:
    """Whether it is a number that a tuning may hold: its square is one of float64, and not 0."""
    diagonal = inverse_mass if inverse_mass.ndim == 1 else inverse_mass.diagonal()
    return bool((np.abs(inverse_mass) <= _WIDEST).all() and (diagonal >= 1.0 / _WIDEST).all())


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a warm-up found: plain numbers, which `str` shows as a table.

    Attributes
    ----------
    word : str
        The sampler's: ``"hmc"``, ``"mala"``, ``"underdamped"``, ``"langevin"``.
    step_size : float
    inverse_mass : array, shape (dim,) or (dim, dim)
        1 of a frozen coordinate.
    n_leapfrog : int or None
        Of ``"hmc"``, before jitter.
    friction : float or None
        Of ``"underdamped"``.
    acceptance, target_accept : float
        Which part of the pilots' last steps, with the numbers found, was accepted; and which was
        aimed at. The pilots of unadjusted samplers are those of ``"mala"``.
    r_hat : float
        The largest of the coordinates', over the pilots.
    slowest : float
        The standard deviation along the widest direction that the inverse mass leaves, where 1 is
        that of all.
    n_warmup, n_pilot, seed : int
    seconds : float
    advice : tuple of str
        Where the warm-up did not settle, a sentence for each reason.
    event_shape : tuple of int
    """

    word: str
    step_size: float
    inverse_mass: Numbers
    n_leapfrog: int | None
    friction: float | None
    acceptance: float
    target_accept: float
    r_hat: float
    slowest: float
    n_warmup: int
    n_pilot: int
    seed: int
    seconds: float
    advice: tuple[str, ...]
    event_shape: tuple[int, ...]
    _tuned: Any = field(default=None, repr=False)
    _starts: Starts | None = field(default=None, repr=False)

    @property
    def settled(self) -> bool:
        """Whether nothing speaks against what was found."""
        return not self.advice

    @property
    def arguments(self) -> dict[str, Any]:
        """What was found, by the names of `sample_chain`'s keywords."""
        given = {
            "step_size": self.step_size,
            "inverse_mass": self.inverse_mass.reshape(
                self.event_shape if self.inverse_mass.ndim == 1 else self.inverse_mass.shape
            ),
            "n_leapfrog": self.n_leapfrog,
            "friction": self.friction,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def sampler(self) -> Any:
        """The sampler that was warmed up, with what was found."""
        if self._tuned is None:
            raise InputError(
                "this tuning was read from JSON, which holds no energy; pass what it found to a "
                "sampler: Sampler(energy, **tuning.arguments)"
            )
        return self._tuned

    @property
    def x(self) -> Starts:
        """Where chains start, in the states of the pilots: chain i's start depends on i alone."""
        if self._starts is None:
            raise InputError(
                "this tuning was read from JSON, which holds no states; let the chains start from "
                "N(0, I), or pass an x of your own"
            )
        return self._starts

    def to_json(self) -> str:
        """The numbers as JSON; the energy and the pilots' states are not in it."""
        held = {one.name: getattr(self, one.name) for one in fields(self) if one.name[0] != "_"}
        held["inverse_mass"] = self.inverse_mass.tolist()
        held = {name: None if value != value else value for name, value in held.items()}
        return json.dumps({"format": _FORMAT, "version": _VERSION, **held}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """A tuning from what `to_json` gave.

        Raises
        ------
        InputError
            It is no tuning, or a number in it is none that a warm-up finds.
        """
        if not isinstance(text, (str, bytes)) or len(text) > _LONGEST_FILE:
            raise InputError("a tuning must be the text that Tuning.to_json gave")
        try:
            held = json.loads(text, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError):
            raise InputError("this is no tuning: it is not JSON, or names a field twice") from None
        if not isinstance(held, dict) or held.pop("format", None) != _FORMAT:
            raise InputError('this is no tuning: "format" does not say so')
        version = held.pop("version", None)
        if type(version) is not int or version != _VERSION:
            raise InputError(f"a tuning's version must be {_VERSION}; make it anew")
        return cls(**_checked(held))

    def __str__(self) -> str:
        diagonal = (
            self.inverse_mass if self.inverse_mass.ndim == 1 else self.inverse_mass.diagonal()
        )
        rows = {
            "sampler": self.word,
            "step size": f"{self.step_size:.4g}",
            "inverse mass": f"{' x '.join(map(str, self.inverse_mass.shape))} numbers, "
            f"{diagonal.min():.3g} to {diagonal.max():.3g} on the diagonal",
        }
        if self.n_leapfrog is not None:
            rows["substeps"] = str(self.n_leapfrog)
        if self.friction is not None:
            rows["friction"] = f"{self.friction:.4g}"
        rows |= {
            "acceptance": f"{self.acceptance:.3f} (aim {self.target_accept:.3f})",
            "R-hat": f"{self.r_hat:.3f}",
            "pilots": f"{self.n_pilot}, {self.n_warmup} steps, seed {self.seed}",
            "time": f"{self.seconds:.3g} s",
            "advice": "; ".join(map(_shown, self.advice)) or "none: it settled",
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _shown(text: str) -> str:
    """Advice that somebody else may have written: a line, without a terminal's commands."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError
    return made


def _checked(held: dict[str, Any]) -> dict[str, Any]:
    """The fields of a tuning that somebody else may have written."""
    wanted = [one.name for one in fields(Tuning) if one.name[0] != "_"]
    if held.keys() != set(wanted):
        wrong = sorted(held.keys() ^ set(wanted))[0]
        raise InputError(f"a tuning must have {', '.join(wanted)}; it differs in {wrong[:40]!r}")
    if held["word"] not in names():
        raise _wrong(held, "word", f"one of {', '.join(names())}")
    for name, has_it in (
        ("friction", held["word"] == "underdamped"),
        ("n_leapfrog", "n_leapfrog" in find(held["word"]).arguments),
    ):
        if (held[name] is not None) != has_it:
            raise _wrong(held, name, f"{'a number' if has_it else 'null'} for {held['word']!r}")
    if not (isinstance(held["advice"], list) and all(type(a) is str for a in held["advice"])):
        raise _wrong(held, "advice", "a list of sentences")
    shape = _shape(held)
    return {
        **held,
        **{name: _number(held, name) for name in _NUMBERS},
        **{name: _count(held, name) for name in _COUNTS},
        "advice": tuple(held["advice"]),
        "event_shape": shape,
        "inverse_mass": _mass(held, math.prod(shape)),
    }


def _number(held: dict[str, Any], name: str) -> float | None:
    value, (low, high) = held[name], _NUMBERS[name]
    if value is None and name in _NULL:
        return _NULL[name]
    if type(value) not in (int, float) or not low <= value <= high:
        raise _wrong(held, name, f"a number from {low:g} to {high:g}")
    return float(value)


def _count(held: dict[str, Any], name: str) -> int | None:
    value, (least, most) = held[name], _COUNTS[name]
    if value is None and name in _NULL:
        return None
    if type(value) is not int or not least <= value <= most:
        raise _wrong(held, name, f"an integer from {least} to {most}")
    return value


def _shape(held: dict[str, Any]) -> tuple[int, ...]:
    shape = held["event_shape"]
    is_shape = isinstance(shape, list) and 0 < len(shape) <= 32
    if not is_shape or not all(type(n) is int and 0 < n < 2**32 for n in shape):
        raise _wrong(held, "event_shape", "a list of positive integers")
    return tuple(shape)


def _mass(held: dict[str, Any], dim: int) -> Numbers:
    given = held["inverse_mass"]
    try:  # millions of numbers take a while, so their count is looked at first
        is_as_long = isinstance(given, list) and len(given) == dim
        values = real_numbers(given) if is_as_long else None
    except (TypeError, ValueError, OverflowError):
        values = None
    if values is None or values.shape not in ((dim,), (dim, dim)):
        raise _wrong(held, "inverse_mass", f"{short_repr(dim)} numbers, or a matrix of them")
    as_inverse_mass(values, (dim,))
    if not is_in_range(values):
        raise _wrong(held, "inverse_mass", MASS_RANGE)
    return values


def _wrong(held: dict[str, Any], name: str, wanted: str) -> InputError:
    return InputError(f"a tuning's {name} must be {wanted}, not {short_repr(held[name])}")
