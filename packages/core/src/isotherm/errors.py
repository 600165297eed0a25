"""What Isotherm raises and warns: one base class, each also an ordinary Python error."""

from __future__ import annotations

import inspect
import re
import reprlib
from typing import Any

_LONGEST_NAME = 80


class IsothermError(Exception):
    """Base of every error that Isotherm raises on purpose."""


class InputError(IsothermError, ValueError):
    """An argument is not usable; the message says what was given and what to do."""


class FormulaError(IsothermError, ValueError):
    """A formula cannot be traced; the message shows the user's line."""


class BackendError(IsothermError, RuntimeError):
    """A backend was asked for by name and cannot run this."""


class BackendNotFoundError(IsothermError, ImportError):
    """A backend, or the library that it needs, is not installed."""


class ExtraNotInstalledError(IsothermError, ImportError):
    """What is optional was asked for, and the library that it needs is not installed."""


class UnknownArgumentError(IsothermError, TypeError):
    """A keyword that the function does not have; the message says which it may stand for."""


class DivergenceError(IsothermError, RuntimeError):
    """Chains left the finite numbers and ``on_divergence="raise"`` was asked for."""


class StoreError(IsothermError, ValueError):
    """A store cannot be used: it is no run's, a part of it is missing, or somebody writes to it."""


class EnergyWarning(UserWarning):
    """What an energy returned may not be what its author meant."""


class DivergenceWarning(RuntimeWarning):
    """Chains left the finite numbers; the result holds their non-finite states."""


class WarmUpWarning(RuntimeWarning):
    """A warm-up did not settle: what it found is not to be trusted."""


class SamplingWarning(RuntimeWarning):
    """A run ended, and its samples may not be what was asked for; the message says why."""


def short_repr(value: object) -> str:
    """A value as messages show it: on one line, and shortened."""
    return " ".join(reprlib.repr(value).split())


def text_of(error: BaseException) -> str:
    """What an error says, where it can say it."""
    try:
        return str(error)
    except Exception:  # of a user's own class
        return "an error whose text cannot be had"


def printable(name: object) -> str:
    """A name as people are shown it, whatever was given for one: a line of text, and short."""
    text = name if isinstance(name, str) else short_repr(name)
    if len(text) > _LONGEST_NAME:
        text = f"{text[: _LONGEST_NAME - 1]}…"
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def plain_name(name: object) -> str:
    """A name as source, paths and logs may hold it: at most 40 ASCII letters, digits and _."""
    return re.sub(r"\W", "_", printable(name)[:40], flags=re.ASCII)


def array_repr(values: Any) -> str:
    """An array of numbers in a few words: its values where there are few, else its shape."""
    if values.size <= 6:
        return str(values.tolist())
    shape = " x ".join(map(str, values.shape))
    return f"<{shape} numbers>"


def caller_stacklevel() -> int:
    """The stack level of the caller outside this package: a warning shows the user's line."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and (
        str(frame.f_globals.get("__name__")).partition(".")[0] == __package__
    ):
        level, frame = level + 1, frame.f_back
    return level - 1
