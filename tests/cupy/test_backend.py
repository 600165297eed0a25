"""What the backend says where there is a GPU, and where there is none."""

import numpy as np
import pytest

import isotherm
from isotherm import registry

BACKEND = registry.load("cupy")


def test_it_runs_where_it_says_it_can_and_says_why_where_it_cannot():
    energy = isotherm.DoubleWellEnergy()
    options = {"dim": 3, "n_samples": 10, "n_steps": 20, "seed": 1}
    status = BACKEND.status()
    assert "cupy" in status.versions
    if status.reason is None:
        samples = isotherm.sample_chain(energy, backend="cupy", **options)
        expected = isotherm.sample_chain(energy, backend="numpy", **options)
        assert np.array_equal(samples.get(), expected)
    else:
        assert status.devices == ()
        with pytest.raises(isotherm.BackendError, match="backend 'cupy' cannot be used here: "):
            isotherm.sample_chain(energy, backend="cupy", **options)


def test_what_cupy_cannot_do_is_said():
    plan = isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, backend="numpy")
    assert BACKEND.supports(plan, isotherm.HarmonicEnergy()) is None
    assert "does not differentiate" in BACKEND.supports(plan, lambda x: x)
