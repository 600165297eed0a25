"""No cliff without a word: why an energy is not fused, and what a step costs."""

import logging
import re

import numpy as np
import pytest

import isotherm
from isotherm._runs import advance


class Object:
    def __call__(self, x):
        return 0.5 * (x * x).sum(axis=1)

    def gradient(self, x):
        return x


@isotherm.formula(dim=30)
def long(x):
    return sum(a * a * b * b for a in x for b in x)


@pytest.fixture
def with_numba():
    pytest.importorskip("isotherm_numba")


@pytest.mark.usefixtures("with_numba")
@pytest.mark.parametrize("named", ["numpy", "numba", None])
@pytest.mark.parametrize(
    ("energy", "reason"),
    [
        (Object(), "an object whose methods take arrays.*CompiledEnergy"),
        (long(), r"program of \d+ operations.*arrays in the place of loops"),
    ],
)
def test_the_path_says_why_chains_are_not_fused(energy, reason, named):
    plan = isotherm.make_plan(energy, dim=30, n_steps=2, backend=named)
    result = isotherm.run(plan, energy)
    assert result.info.path.startswith("array loop")
    assert re.search(reason, result.info.path)


@pytest.mark.usefixtures("with_numba")
def test_a_long_run_says_so_once(caplog, monkeypatch, limits):
    monkeypatch.setattr(advance, "_reasons_told", set())
    limits(worth_a_word=0.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            isotherm.sample_chain(Object(), dim=3, n_steps=5000, backend="numba")
    told = [record.getMessage() for record in caplog.records if "not fused" in record.getMessage()]
    assert len(told) == 1
    assert "CompiledEnergy" in told[0]


def test_an_explanation(backend):
    found = isotherm.explain(isotherm.DoubleWellEnergy(), dim=3, n_samples=10, backend=backend)
    assert found.backend == backend
    assert found.seconds > 0
    for part in ("DoubleWellEnergy", "float32", backend, "µs a chain and step", "10 chains"):
        assert part in str(found)
    assert 1 <= found.steps_measured <= 100
    assert f"(measured over {found.steps_measured})" in str(found)
    plan = isotherm.make_plan(isotherm.DoubleWellEnergy(), dim=3, n_steps=7, backend=backend)
    assert isotherm.explain(isotherm.DoubleWellEnergy(), plan=plan).n_steps == 7


def test_explaining_takes_no_step_of_the_users_state():
    x = np.ones((4, 2), np.float32)
    isotherm.explain(isotherm.HarmonicEnergy(), x, backend="numpy")
    assert (x == 1).all()


def test_a_start_of_another_shape_is_refused():
    energy = isotherm.HarmonicEnergy()
    plan = isotherm.make_plan(energy, np.ones((4, 2)), backend="numpy")
    with pytest.raises(isotherm.InputError, match=r"\(5, 2\) but the plan was made for \(4, 2\)"):
        isotherm.explain(energy, np.ones((5, 2)), plan=plan)
