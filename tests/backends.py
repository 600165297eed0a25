"""Which backends the tests run on."""

import os
from functools import cache
from importlib import import_module

import pytest

from isotherm._backends import registry
from isotherm.errors import IsothermError

ASKED = os.environ.get("ISOTHERM_TEST_BACKENDS")
"""The backends that must be there, with commas between them; where unset, those that are."""


@cache
def names() -> tuple[str, ...]:
    """The backends under test, whether or not this machine has the device that they need.

    Raises
    ------
    pytest.UsageError
        One that was asked for, or the library of the same name that it runs on, cannot be imported.
    """
    if ASKED is None:
        return registry.names()
    for name in ASKED.split(","):
        try:
            registry.load(name)
            import_module(name)
        except (ImportError, IsothermError) as error:
            raise pytest.UsageError(f"ISOTHERM_TEST_BACKENDS is {ASKED!r}, but {error}") from error
    return tuple(ASKED.split(","))


def unusable() -> dict[str, str]:
    """The backends under test that cannot run on this machine, and why."""
    reasons = {name: registry.load(name).status().reason for name in names()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def host_builds() -> list[str]:
    """CuPy's source on the host, where CuPy is under test."""
    return [import_module("tests.cupy.host").HostBackend.name] if "cupy" in names() else []


def usable() -> list[str]:
    """The backends under test that can run chains on this machine."""
    return [name for name in names() if name not in unusable()]
