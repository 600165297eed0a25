"""Peers sample what Isotherm does: their densities are the formulas', up to a constant."""

import numpy as np
import pytest

pytest.importorskip("jax")
pytest.importorskip("sklearn")

import jax

from benchmarks.posteriors import densities
from benchmarks.posteriors.targets import targets


@pytest.mark.parametrize("target", targets(None), ids=lambda target: target.family)
def test_jax_has_the_same_energy(target):
    jax.config.update("jax_enable_x64", True)
    x = np.random.default_rng(0).normal(size=(4, target.dim))
    shape = target.energy.dim if isinstance(target.energy.dim, tuple) else (target.dim,)
    ours = target.energy(x.reshape(-1, *shape))
    theirs = np.array([densities.FAMILIES[target.family](target.data)(one) for one in x])
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], rtol=1e-9, atol=1e-9)
