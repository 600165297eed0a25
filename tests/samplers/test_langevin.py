"""Preconditioned Langevin dynamics has the exact law of its linear recursion."""

import numpy as np
import pytest

import isotherm
from tests.core import gaussian_law

MEAN = np.array([1.0, -1.0])
COV = np.array([[1.0, 0.5], [0.5, 2.0]])
START = np.array([3.0, 2.0])
MASSES = {
    "number": 0.5,
    "vector": np.array([0.5, 1.5]),
    "matrix": np.array([[0.8, 0.3], [0.3, 1.2]]),
}


@pytest.mark.parametrize("n_steps", [1, 10, 1000])
@pytest.mark.parametrize("mass", MASSES)
def test_moments(mass, n_steps):
    samples = isotherm.sample_chain(
        isotherm.GaussianEnergy(MEAN, COV),
        START,
        n_samples=5_000,
        n_steps=n_steps,
        step_size=0.2,
        noise_scale=0.8,
        inverse_mass=MASSES[mass],
        backend="numpy",
        seed=7,
    )
    precision = np.linalg.inv(COV)
    steps = [0.2] * n_steps, [0.8] * n_steps
    law = gaussian_law.moments(START, MEAN, precision, *steps, inverse_mass=MASSES[mass])
    gaussian_law.check(samples.astype(np.float64), *law)
