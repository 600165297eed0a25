"""The bias of a step size, where it is known exactly."""

import re

import numpy as np
import pytest

import isotherm


def test_langevins_is_that_of_a_gaussian():
    # The step's stationary variance along a direction of precision k is 1/(k (1 - ηk/2)).
    precision = np.array([1.0, 2.0, 0.5])
    energy = isotherm.GaussianEnergy(mean=[1.0, 0.0, -1.0], cov=np.diag(1.0 / precision))
    found = isotherm.bias(
        isotherm.LangevinDynamics(energy, step_size=0.2, dtype="float64"), n_steps=500,
        burn_in=100, seed=1,
    )  # fmt: skip

    def variance(step):
        return 1.0 / (precision * (1.0 - 0.5 * step * precision))

    expected = 2.0 * (variance(0.2) - variance(0.1))
    assert (np.abs(found.variance - expected) < 4.0 * found.variance_error).all()
    exact = variance(0.2) - 1.0 / precision
    assert np.allclose(found.variance, exact, rtol=0.3)  # the next order is ηk/2 of it
    assert (np.abs(found.mean) < 4.0 * found.mean_error).all()
    assert found.is_seen
    assert "bias is seen over 1000 chains" in str(found)


def test_the_same_noise_makes_errors_small():
    sampler = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), step_size=0.1)
    options = {"dim": 1, "n_samples": 500, "n_steps": 200, "burn_in": 100}
    found = isotherm.bias(sampler, seed=1, **options)
    apart = [
        sampler.sample_chain(seed=seed, return_trajectory=True, thinning=4, **options).mean(axis=1)
        for seed in (2, 3)
    ]
    alone = 2.0 * (apart[0] - apart[1]).std(axis=0) / np.sqrt(500)
    assert found.mean_error < 0.6 * alone


def test_baoab_has_none_of_a_gaussian():
    sampler = isotherm.UnderdampedLangevin(
        isotherm.HarmonicEnergy(), step_size=0.5, dtype="float64"
    )
    found = isotherm.bias(sampler, dim=2, n_steps=400, burn_in=100, seed=3)
    assert not found.is_seen, found
    assert (found.variance_error < 0.05).all()


def test_a_large_bias_is_told_as_it_is_of_a_gaussian():
    for step_size in (1.0, 1.6):  # the variance is 1/(1 - η/2)
        sampler = isotherm.LangevinDynamics(
            isotherm.HarmonicEnergy(), step_size=step_size, backend="numpy"
        )
        found = isotherm.bias(sampler, dim=1, n_steps=256, n_samples=2000, burn_in=50, seed=1)
        expected = 1.0 / (1.0 - 0.5 * step_size) - 1.0
        assert abs(found.relative - expected) < 4.0 * found.relative_error
        assert found.relative_error < 0.05 * expected


@pytest.mark.parametrize(
    ("step_size", "n_chains", "told"),
    [(0.5, 64, "not known: 64 of 64"), (0.12, 400, r"not known: \d+ of 400"),
     (0.01, 4, "cannot tell"), (0.01, 400, "no bias is seen")],
)  # fmt: skip
def test_no_bias_is_seen_only_where_it_would_be(step_size, n_chains, told):
    class Quartic:
        def __call__(self, x):
            return (x**4).sum(-1)

        def gradient(self, x):
            return 4.0 * x**3

    sampler = isotherm.LangevinDynamics(Quartic(), step_size=step_size, backend="numpy")
    found = isotherm.bias(sampler, dim=1, n_samples=n_chains, n_steps=400, burn_in=400, seed=0)
    assert re.search(told, str(found)), found
    assert found.is_seen == (found.n_diverged > 0)


@pytest.mark.parametrize("step_size", [np.full(40, 0.1), lambda step: 0.1])
def test_schedules_are_halved(step_size):
    sampler = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), step_size=step_size)
    plain = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), step_size=0.1)
    made = [
        isotherm.bias(one, dim=2, n_samples=8, n_steps=20, burn_in=20, seed=1)
        for one in (sampler, plain)
    ]
    assert np.array_equal(made[0].variance, made[1].variance)


def test_bad_input():
    energy = isotherm.HarmonicEnergy()
    with pytest.raises(isotherm.InputError, match="MALA has none"):
        isotherm.bias(isotherm.MALA(energy, step_size=0.1), dim=2)
    with pytest.raises(isotherm.InputError, match="at least 2 chains"):
        isotherm.bias(isotherm.LangevinDynamics(energy), dim=2, n_samples=1)
    with pytest.raises(isotherm.InputError, match="n_steps"):
        isotherm.bias(isotherm.LangevinDynamics(energy), dim=2, n_steps=0)
    with pytest.raises(isotherm.InputError, match="not <class"):
        isotherm.bias(isotherm.LangevinDynamics, dim=2)
    cold = isotherm.LangevinDynamics(energy, step_size=0.1, noise_scale=0.0)
    with pytest.raises(isotherm.InputError, match="without noise"):
        isotherm.bias(cold, dim=2)


def test_a_start_of_the_shape_of_a_state_is_of_many_chains():
    sampler = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), step_size=0.1, backend="numpy")
    found = isotherm.bias(sampler, np.ones((2, 3)), dim=(2, 3), n_steps=2, burn_in=0, seed=0)
    assert found.n_chains == 1000
