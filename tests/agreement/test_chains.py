"""The same chain from the same seed on every backend.

Each backend is named, so that what is compared is its own and nothing that it hands on. What any
backend must keep by itself is in `isotherm.testing`; here are long chains and extreme
numbers.
"""

import numpy as np
import pytest

import isotherm
from isotherm import DivergenceWarning
from isotherm._arithmetic.arrays import to_numpy

DIM = 3
ENERGIES = [
    isotherm.HarmonicEnergy(k=1.3),
    isotherm.DoubleWellEnergy(barrier_height=0.7, b=1.2),
    isotherm.RosenbrockEnergy(b=3.0),
    isotherm.GaussianEnergy([1.0, -1.0, 0.5], [[1.0, 0.5, 0.1], [0.5, 2.0, 0.3], [0.1, 0.3, 1.0]]),
    isotherm.GaussianMixtureEnergy([[0.0, 0.0, 1.0], [3.0, 1.0, 0.0]], [1.0, 0.7], [0.4, 0.6]),
    isotherm.RastriginEnergy(a=1.0),
    isotherm.AckleyEnergy(),
]


each_energy = pytest.mark.parametrize("energy", ENERGIES, ids=lambda energy: energy.name)


def assert_equal_bits(got, expected):
    """Equal as bits, in which 0 and -0 differ; of NaN there are many."""
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), ~number)
    bits = f"u{expected.dtype.itemsize}"
    np.testing.assert_array_equal(got[number].view(bits), expected[number].view(bits))


def run(energy, backend, x=None, **options):
    """Everything that a run gives, as NumPy arrays."""
    options = {"seed": 20, "return_trajectory": True, "return_diagnostics": True} | options
    plan = isotherm.make_plan(energy, x, backend=backend, **options)
    result = isotherm.run(plan, energy, x)
    assert result.info.backend == backend
    found = result.diagnostics
    arrays = (result.samples, result.trajectory, found.mean, found.variance, found.energy)
    names = ("samples", "trajectory", "mean", "variance", "energy")
    return {name: to_numpy(array) for name, array in zip(names, arrays, strict=True)}


@each_energy
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_chains_have_equal_bits(backend, energy, dtype):
    options = {
        "dim": DIM,
        "n_samples": 67,
        "n_steps": 1000,
        "burn_in": 13,
        "thinning": 9,
        "step_size": lambda t: 0.004 / (1 + 0.001 * t),
        "noise_scale": lambda t: 1.0 + 0.1 * np.sin(t),
        "dtype": dtype,
    }
    got, expected = run(energy, backend, **options), run(energy, "numpy", **options)
    for name, value in expected.items():
        assert got[name].dtype == value.dtype == dtype
        assert_equal_bits(got[name], value)


@each_energy
def test_one_step_has_equal_bits_where_numbers_are_extreme(backend, energy):
    # Subnormal numbers, infinite squares and zeros of both signs, where shortcuts show. The
    # coordinates of a chain are alike, so that no sum of several orders of size hides any.
    values = [0.0, -0.0, 1e-45, -1e-39, 1e-20, 3e-12, 1.0, -1e6, 1e12, -1e19, 3e38]
    x = np.repeat(np.array(values, dtype=np.float32)[:, None], 3, axis=1)
    options = {"n_steps": 1, "step_size": 0.01, "noise_scale": 0.0, "on_divergence": "ignore"}
    got, expected = run(energy, backend, x, **options), run(energy, "numpy", x, **options)
    for name, value in expected.items():
        assert_equal_bits(got[name], value)


@each_energy
def test_a_chain_does_not_depend_on_the_others(backend, energy):
    options = {"dim": DIM, "n_steps": 50, "step_size": 0.01}
    whole = run(energy, backend, n_samples=1000, **options)
    for first, count in ((0, 1), (0, 313), (7, 1), (313, 687)):
        part = run(energy, backend, n_samples=count, chain_offset=first, **options)
        rows = slice(first, first + count)
        np.testing.assert_array_equal(part["trajectory"], whole["trajectory"][rows])
        np.testing.assert_array_equal(part["energy"], whole["energy"][:, rows])


def test_divergence_is_found_at_the_same_step(backend):
    energy = isotherm.HarmonicEnergy(k=1025.0)  # x is multiplied by -2**10 in each step
    x = np.array([[0.0], [1.0], [2.0**-30]], dtype=np.float32)
    plan = isotherm.make_plan(
        energy, x, n_steps=20, step_size=1.0, noise_scale=0.0, backend=backend
    )
    with pytest.warns(DivergenceWarning, match="2 of 3 chains"):
        result = isotherm.run(plan, energy, x)
    assert result.info.divergence == isotherm.Divergence(first_step=13, n_chains=2)
