"""Chains of a Gaussian energy have the exact law of the discrete chain after every step.

20,000 chains show a variance that is off by 6 %. In the cases below the discrete chain's stationary
variance, s²/(p(1 - ηp/2)) for an eigenvalue p of the precision, is up to 14 % above the limit s²/p.
"""

import numpy as np
import pytest

import isotherm
from tests.core import gaussian_law

N_SAMPLES = 20_000
MEAN = np.array([1.0, -1.0])
COV = np.array([[1.0, 0.5], [0.5, 2.0]])
START = np.array([3.0, 2.0])
STEP_SIZE = 0.2

CASES = {
    "constant": ({"step_size": STEP_SIZE}, lambda t: STEP_SIZE, lambda t: 1.0),
    "noise scale": (
        {"step_size": STEP_SIZE, "noise_scale": 0.5},
        lambda t: STEP_SIZE,
        lambda t: 0.5,
    ),
    "temperature": (
        {"step_size": STEP_SIZE, "temperature": 3.0},
        lambda t: STEP_SIZE,
        lambda t: np.sqrt(3.0),
    ),
    "decay": (
        {"step_size": 0.3, "decay": 0.01},
        lambda t: 0.3 * 0.99**t,
        lambda t: 1.0,
    ),
    "schedules": (
        {
            "step_size": lambda t: 0.3 / (1 + 0.05 * t),
            "noise_scale": lambda t: 1.0 + 0.5 * np.cos(t),
        },
        lambda t: 0.3 / (1 + 0.05 * t),
        lambda t: 1.0 + 0.5 * np.cos(t),
    ),
}


@pytest.mark.parametrize("n_steps", [1, 10, 1000])
@pytest.mark.parametrize("case", CASES)
def test_moments(case, n_steps):
    options, step_size, noise_scale = CASES[case]
    samples = isotherm.sample_chain(
        isotherm.GaussianEnergy(MEAN, COV),
        START.astype(np.float32),
        n_samples=N_SAMPLES,
        n_steps=n_steps,
        backend="numpy",
        seed=2026,
        **options,
    )
    step_sizes = [step_size(t) for t in range(n_steps)]
    noise_scales = [noise_scale(t) for t in range(n_steps)]
    law = gaussian_law.moments(START, MEAN, np.linalg.inv(COV), step_sizes, noise_scales)
    gaussian_law.check(samples.astype(np.float64), *law)


def test_the_law_is_told_from_its_limit():
    precision = np.linalg.inv(COV)
    law = gaussian_law.moments(START, MEAN, precision, [STEP_SIZE] * 1000, [1.0] * 1000)
    samples = np.random.default_rng(0).multivariate_normal(*law, size=N_SAMPLES)
    gaussian_law.check(samples, *law)
    with pytest.raises(AssertionError, match="covariance"):
        gaussian_law.check(samples, MEAN, COV)
    with pytest.raises(AssertionError, match="mean"):
        gaussian_law.check(samples, MEAN + 0.1, law[1])


@pytest.mark.parametrize("k", [0.5, 1.0, 4.0])
def test_stationary_variance(k):
    noise_scale = 0.7
    samples = isotherm.sample_chain(
        isotherm.HarmonicEnergy(k=k),
        dim=2,
        n_samples=N_SAMPLES,
        n_steps=200,
        step_size=STEP_SIZE,
        noise_scale=noise_scale,
        backend="numpy",
        seed=1,
    )
    variance = noise_scale**2 / (k * (1 - STEP_SIZE * k / 2))
    gaussian_law.check(samples.astype(np.float64), np.zeros(2), variance * np.eye(2))


def test_without_x_chains_start_from_a_standard_normal():
    # One step so short, and so quiet, that it does not move the start in float64.
    samples = isotherm.sample_chain(
        isotherm.HarmonicEnergy(),
        dim=2,
        n_samples=N_SAMPLES,
        n_steps=1,
        step_size=1e-30,
        noise_scale=0.0,
        dtype="float64",
        backend="numpy",
        seed=3,
    )
    gaussian_law.check(samples, np.zeros(2), np.eye(2))
