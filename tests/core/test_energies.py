"""The built-in energies against NumPy formulas written on their own."""

import copy
import math
import pickle

import numpy as np
import pytest

import isotherm
from isotherm import InputError

X = np.random.default_rng(7).normal(scale=1.5, size=(6, 3))
MEAN = np.array([1.0, -1.0, 0.5])
COV = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 0.7]])
MEANS = np.array([[0.0, 1.0, 2.0], [-1.0, 0.5, 0.0]])
SCALES = np.array([0.5, 1.5])
WEIGHTS = np.array([2.0, 6.0])


def mixture(x):
    density = sum(
        w * np.exp(-((x - m) ** 2).sum(axis=1) / (2 * s**2)) / s**3
        for m, s, w in zip(MEANS, SCALES, WEIGHTS / WEIGHTS.sum(), strict=True)
    )
    return -np.log(density)


def ackley(x):
    distance = np.sqrt((x**2).mean(axis=1))
    waves = np.cos(3.0 * x).mean(axis=1)
    return -10.0 * np.exp(-0.5 * distance) - np.exp(waves) + 10.0 + math.e


EXPECTED = [
    (isotherm.HarmonicEnergy(k=2.5), lambda x: 1.25 * (x**2).sum(axis=1)),
    (isotherm.HarmonicEnergy(), lambda x: 0.5 * (x**2).sum(axis=1)),
    (
        isotherm.DoubleWellEnergy(barrier_height=3.0, b=1.5),
        lambda x: 3.0 * ((x**2 - 2.25) ** 2).sum(axis=1),
    ),
    (isotherm.DoubleWellEnergy(), lambda x: 2.0 * ((x**2 - 1.0) ** 2).sum(axis=1)),
    (
        isotherm.RosenbrockEnergy(a=2.0, b=10.0),
        lambda x: (10.0 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (2.0 - x[:, :-1]) ** 2).sum(axis=1),
    ),
    (
        isotherm.RastriginEnergy(a=4.0),
        lambda x: (4.0 + x**2 - 4.0 * np.cos(2 * np.pi * x)).sum(axis=1),
    ),
    (isotherm.AckleyEnergy(a=10.0, b=0.5, c=3.0), ackley),
    (isotherm.GaussianMixtureEnergy(MEANS, SCALES, WEIGHTS), mixture),
    (
        isotherm.GaussianEnergy(MEAN, COV),
        lambda x: [0.5 * (row - MEAN) @ np.linalg.solve(COV, row - MEAN) for row in x],
    ),
]


NAMES = [f"{energy.name}-{number}" for number, (energy, _) in enumerate(EXPECTED)]


@pytest.mark.parametrize(("energy", "expected"), EXPECTED, ids=NAMES)
def test_values(energy, expected):
    assert energy(X).shape == (6,)
    np.testing.assert_allclose(energy(X), expected(X), rtol=1e-12)


@pytest.mark.parametrize("energy", [energy for energy, _ in EXPECTED], ids=NAMES)
def test_float32_in_float32_out(energy):
    x = X.astype(np.float32)
    assert energy(x).dtype == np.float32
    assert energy.gradient(x).dtype == np.float32
    assert energy.gradient(x).shape == x.shape
    np.testing.assert_allclose(energy(x), energy(X), rtol=1e-4)


def test_elementwise_energies_take_states_of_any_shape():
    x = X.reshape(1, 3, 6)
    energy = isotherm.DoubleWellEnergy()
    np.testing.assert_allclose(energy(x), [energy(X).sum()])
    assert energy.gradient(x).shape == x.shape


def test_a_mixture_far_from_its_components_neither_overflows_nor_vanishes():
    energy = isotherm.GaussianMixtureEnergy([[0.0], [1.0]], scales=0.01)
    x = np.array([[-50.0], [50.0]])
    np.testing.assert_allclose(energy.gradient(x), [[-50.0 / 1e-4], [49.0 / 1e-4]])
    assert np.isfinite(energy(x)).all()


def test_the_precision_of_a_gaussian():
    energy = isotherm.GaussianEnergy(MEAN, COV)
    np.testing.assert_allclose(energy.precision @ COV, np.eye(3), atol=1e-14)
    np.testing.assert_array_equal(energy.precision, energy.precision.T)
    np.testing.assert_allclose(energy.gradient(MEAN[None]), np.zeros((1, 3)))


def test_a_covariance_that_came_through_float32_is_symmetric_enough():
    cov = COV.copy()
    cov[0, 1] += 1e-9
    assert isotherm.GaussianEnergy(MEAN, cov).dim == 3


@pytest.mark.parametrize(
    ("mean", "cov", "message"),
    [
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], r"positive definite; its smallest eigenvalue is -1"),
        ([0.0, 0.0], np.zeros((2, 2)), "positive definite"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "cov must be symmetric"),
        ([0.0, 0.0], np.eye(3), r"cov must have shape \(2, 2\), not \(3, 3\)"),
        ([0.0, 0.0], [1.0, 1.0], r"cov must have shape \(2, 2\)"),
        ([[0.0]], [[1.0]], r"mean must have shape \(dim,\)"),
        ([], [], r"mean must have shape \(dim,\)"),
        ([0.0, math.nan], np.eye(2), "mean must be finite"),
        ([0.0, 0.0], [[math.inf, 0.0], [0.0, 1.0]], "cov must be finite"),
        (["a"], [[1.0]], "mean must be a number or an array of numbers"),
        ([0.0], [[1j]], "cov must be a number or an array of numbers"),
        ([0.0], [[1e-310]], "too small to be inverted"),
    ],
)
def test_a_gaussian_is_validated(mean, cov, message):
    with pytest.raises(InputError, match=message) as caught:
        isotherm.GaussianEnergy(mean, cov)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"means": [1.0, 2.0]}, "means must have shape"),
        ({"means": np.zeros((0, 2))}, "means must have shape"),
        ({"scales": 0.0}, "scales must be positive"),
        ({"scales": [1.0, 2.0, 3.0]}, "scales must be positive, one number or 2"),
        ({"weights": [1.0, -1.0]}, "weights must be positive"),
        ({"scales": 1e-200}, "must be finite"),
    ],
)
def test_a_mixture_is_validated(arguments, message):
    with pytest.raises(InputError, match=message):
        isotherm.GaussianMixtureEnergy(**{"means": MEANS} | arguments)


def test_rosenbrock_needs_two_dimensions():
    with pytest.raises(isotherm.FormulaError, match="at least 2 dimensions"):
        isotherm.make_plan(isotherm.RosenbrockEnergy(), dim=1, backend="numpy")


def test_energies_refuse_states_of_another_dimension():
    for energy in (isotherm.GaussianEnergy(MEAN, COV), isotherm.GaussianMixtureEnergy(MEANS)):
        with pytest.raises(InputError, match="dimension 3"):
            energy(np.ones((2, 4)))


def energies_of_parameters():
    return {
        "formula": isotherm.HarmonicEnergy(k=1.0),
        "gaussian": isotherm.GaussianEnergy([0.0], [[1.0]]),
        "mixture": isotherm.GaussianMixtureEnergy([[0.0], [1.0]]),
    }


CHANGES = {
    "formula": [
        lambda e: e.parameters.update(k=np.array(4.0)),
        lambda e: e.parameters.__setitem__("k", np.array(4.0)),
        lambda e: e.parameters.pop("k"),
        lambda e: e.parameters.clear(),
        lambda e: setattr(e, "parameters", {"k": np.array(4.0)}),
        lambda e: setattr(e, "k", 4.0),
        lambda e: setattr(e, "is_elementwise", False),
        lambda e: e.parameters["k"].__setitem__((), 4.0),
        lambda e: e.static.update(n=2),
    ],
    "gaussian": [
        lambda e: setattr(e, "name", "another"),
        lambda e: setattr(e, "dim", 2),
        lambda e: setattr(e, "dtype", "float64"),
        lambda e: setattr(e, "covariance", np.array([[5.0]])),  # which it has not
        lambda e: setattr(e, "mean", np.array([5.0])),
        lambda e: setattr(e, "cov", np.array([[5.0]])),
        lambda e: setattr(e, "precision", np.array([[5.0]])),
        lambda e: e.mean.__setitem__(0, 5.0),
        lambda e: e.precision.__setitem__(0, 5.0),
    ],
    "mixture": [
        lambda e: e.parameters.update(means=np.array([[5.0], [6.0]])),
        lambda e: setattr(e, "weights", [1.0, 2.0]),
    ],
}


@pytest.mark.parametrize("kind", CHANGES)
def test_parameters_cannot_be_changed(kind):
    energy = energies_of_parameters()[kind]
    before = energy.gradient(np.ones((2, 1)))
    for change in CHANGES[kind]:
        with pytest.raises(ValueError, match=r"cannot be changed|read-only"):
            change(energy)
    np.testing.assert_array_equal(energy.gradient(np.ones((2, 1))), before)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda energy: pickle.loads(pickle.dumps(energy)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", CHANGES)
def test_copies_are_equal_and_as_fixed(kind, copied):
    energy = energies_of_parameters()[kind]
    other = copied(energy)
    x = np.ones((2, 1))
    np.testing.assert_array_equal(other.gradient(x), energy.gradient(x))
    with pytest.raises(InputError, match="make another energy"):
        CHANGES[kind][0](other)


def test_the_callers_array_may_change_and_the_energy_does_not(backend):
    mean = np.zeros(2)
    energy = isotherm.GaussianEnergy(mean, np.eye(2))
    options = {"n_samples": 3, "n_steps": 4, "seed": 0, "backend": backend}
    before = np.asarray(isotherm.sample_chain(energy, **options))
    mean[:] = 7.0
    np.testing.assert_array_equal(isotherm.sample_chain(energy, **options), before)
