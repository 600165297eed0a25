"""The page on writing a transition: its code runs, and its sampler passes on every backend."""

import re
from pathlib import Path

import pytest

import isotherm.testing
from isotherm._transitions import catalogue
from isotherm.testing.transitions import ENERGIES, MASSES

PAGE = (Path(__file__).parents[2] / "docs/new_transition.md").read_text("utf-8")


@pytest.fixture(scope="module")
def names():
    found = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "new_transition.md", "exec"), found)
    yield found
    for name in ("sghmc", "walk"):
        catalogue._transitions.pop(name)


def test_the_pages_python_runs(names):
    assert names["samples"].shape == (1000, 3)
    assert abs(names["variance"] - 0.503) < 0.0005
    assert round(names["info"].acceptance_rate, 2) == 0.61


TESTS = [name for name in dir(isotherm.testing.TransitionConformance) if name.startswith("test")]


@pytest.mark.parametrize("test", TESTS)
def test_its_sampler_passes(names, backend, test):
    class Suite(names["TestSGHMC"]):
        energies = {"terms": ENERGIES["terms"]}  # noqa: RUF012
        masses = {name: MASSES[name] for name in ("unit", "matrix")}  # noqa: RUF012
        n_long = 200

    Suite.backend = backend
    getattr(Suite(), test)()


def test_what_cannot_be_registered_is_said(names):
    tr, step = isotherm.transitions, names["step"]
    made = names["coefficients"]

    def refused(message, error=isotherm.InputError, **given):
        given = {"name": "mine", "function": step, "coefficients": made} | given
        with pytest.raises(error, match=message):
            tr.register(tr.Transition(**given))
        assert "mine" not in catalogue.names()

    formula = isotherm.FormulaError
    both = ("x", "momentum")
    refused("'hmc' is Isotherm's own", name="hmc", carried=both)
    refused("carries .* it can carry", carried=("x", "thermostat"))
    refused("cannot take temper", carried=both, arguments={"temper": 1.0})
    refused("the state has no 'momentum'", formula)
    refused("no 'speed'", formula, carried=both, coefficients=lambda given: {"keep": given.speed})
    refused("reads c.keep", formula, carried=both, coefficients=lambda given: {"step_size": 1.0})
    refused("does not report", formula, carried=both, is_adjusted=True)

    def with_a_pass_of_its_own(state, c, draw):
        return {"x": state.x + draw.substep_normal(c.step_size)}, {}

    refused("the number of the pass", formula, function=with_a_pass_of_its_own)
    with pytest.raises(isotherm.InputError, match="takes no jitter"):
        isotherm.make_plan(
            isotherm.HarmonicEnergy(), dim=1, sampler="sghmc", step_size=0.1, jitter=0.5
        )
