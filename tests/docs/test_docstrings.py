"""Docstrings: their examples run, and every public parameter is in them."""

import doctest
import importlib
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from numpydoc.validate import validate

import isotherm
from tests import backends

ROOT = Path(__file__).parents[2]
# What is checked of numpydoc's rules: there is a docstring with a summary, and in it are all
# parameters, none that there is not, and what is returned.
RULES = {"GL08", "SS01", "PR01", "PR02", "RT01"}
# What users do not make, and formulas, whose face is their decorator's.
NOT_CALLED = {"Diagnostics", "RunInterrupted"}
MADE_ELSEWHERE = {"isotherm.errors", "isotherm._energies.builtin"}
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts[3:])
    for path in ROOT.glob("packages/*/src/**/*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_run(name, monkeypatch):
    package = name.partition(".")[0]
    if package == "isotherm":  # on the reference: Numba compiles for seconds
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
        if "numba" in sys.modules:
            monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    elif package.removeprefix("isotherm_") not in backends.names():
        pytest.skip("its backend cannot be used here")
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.attempted > 0
    assert result.failed == 0


def public():
    for name in {*isotherm.__all__} - NOT_CALLED:
        held = getattr(isotherm, name)
        is_record = is_dataclass(held) or getattr(held, "__module__", "") in MADE_ELSEWHERE
        if callable(held) and not is_record:
            yield f"isotherm.{name}"
    yield from (f"isotherm.plot.{name}" for name in ("samples", "trajectories", "diagnostics"))
    for name in ("langevin", "metropolis"):
        module = importlib.import_module(f"isotherm._samplers.{name}")
        yield from (
            f"isotherm.{cls}.sample_chain" for cls in vars(module) if cls in isotherm.__all__
        )


@pytest.mark.parametrize("name", sorted({*public()}))
def test_every_public_parameter_is_documented(name):
    found = [f"{code}: {text}" for code, text in validate(name)["errors"] if code in RULES]
    assert not found
