"""Gradients of formulas against central differences and known derivatives."""

import functools
import math
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import isotherm
from isotherm import math as im
from tests.core import random_formulas


def central_differences(function, x):
    """Slopes of a function of a list of numbers, in 60 digits: exact for float64's purposes."""
    width = mpmath.mpf(10) ** -25
    slopes = []
    for i in range(len(x)):
        ahead, behind = list(x), list(x)
        ahead[i] += width
        behind[i] -= width
        slopes.append((function(ahead) - function(behind)) / (2 * width))
    return slopes


@pytest.mark.parametrize("dim", [None, 1, 3])
@given(data=st.data())
def test_random_formulas_against_central_differences(dim, data):
    tree = data.draw(random_formulas.trees(dim or 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = rng.uniform(-2, 2, size=(2, dim or 2))
    p = rng.uniform(0.5, 2, size=random_formulas.N_PARAMETERS)
    energy = random_formulas.formula_energy(tree, p, dim)
    energies, gradients = energy(x), energy.gradient(x)
    # An elementwise formula is one of each coordinate alone.
    states = x if dim else x.reshape(-1, 1)
    gradients = gradients.reshape(states.shape)
    margins, values = [], []
    with mpmath.workdps(60):
        truth = functools.partial(
            random_formulas.random_energy,
            tree,
            p=[mpmath.mpf(v) for v in p],
            m=random_formulas.Exact,
        )
        for state, gradient in zip(states, gradients, strict=True):
            point = [mpmath.mpf(v) for v in state]
            values.append(float(truth(point, note=lambda margin: margins.append(abs(margin)))))
            assume(all(margin > 1e-9 for margin in margins))
            slopes = np.array([float(v) for v in central_differences(truth, point)])
            np.testing.assert_allclose(gradient, slopes, rtol=1e-9, atol=1e-9)
    expected = np.reshape(values, (2, -1)).sum(axis=1)
    np.testing.assert_allclose(energies, expected, rtol=1e-10, atol=1e-10)


DERIVATIVES = {
    "add": (lambda x: x + 3.0, lambda x: 1.0),
    "subtract": (lambda x: 3.0 - x, lambda x: -1.0),
    "multiply": (lambda x: x * (x + 1.0), lambda x: 2 * x + 1),
    "divide": (lambda x: (x + 1.0) / x, lambda x: -1 / x**2),
    "negative": (lambda x: -x, lambda x: -1.0),
    "sqrt": (im.sqrt, lambda x: 0.5 / math.sqrt(x)),
    "exp": (im.exp, math.exp),
    "log": (im.log, lambda x: 1 / x),
    "sin": (im.sin, math.cos),
    "cos": (im.cos, lambda x: -math.sin(x)),
    "tanh": (im.tanh, lambda x: 1 / math.cosh(x) ** 2),
    "abs": (lambda x: abs(x - 1.0), lambda x: math.copysign(1.0, x - 1.0)),
    "minimum": (lambda x: im.minimum(x * x, 1.0), lambda x: 2 * x if x < 1 else 0.0),
    "maximum": (lambda x: im.maximum(1.0, x * x), lambda x: 2 * x if x > 1 else 0.0),
    "where": (lambda x: im.where(x >= 1.0, x * x, -x), lambda x: 2 * x if x >= 1 else -1.0),
    "power 5": (lambda x: x**5, lambda x: 5 * x**4),
    "power 7/2": (lambda x: x**3.5, lambda x: 3.5 * x**2.5),
    "power -3": (lambda x: x**-3, lambda x: -3 * x**-4),
    "power -1/2": (lambda x: x**-0.5, lambda x: -0.5 * x**-1.5),
    "power 0": (lambda x: x**0, lambda x: 0.0),
    "square": (np.square, lambda x: 2 * x),
    "reciprocal": (np.reciprocal, lambda x: -1 / x**2),
    "positive": (lambda x: +x, lambda x: 1.0),
    "logsumexp": (lambda x: im.logsumexp([x, 2.0 * x]), lambda x: 1 + 1 / (1 + math.exp(-x))),
    "np.exp": (np.exp, math.exp),
    "np.where": (lambda x: np.where(x < 1.0, x, 2.0 * x), lambda x: 1.0 if x < 1 else 2.0),
    "np.maximum": (lambda x: np.maximum(x, 1.0), lambda x: 1.0 if x > 1 else 0.0),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivative_of_each_operation(name):
    formula, slope = DERIVATIVES[name]
    energy = isotherm.formula(lambda x: +formula(x))()  # a plain function, unlike np.square
    points = np.array([0.3, 0.9, 1.1, 2.5])
    expected = [[slope(point)] for point in points]
    np.testing.assert_allclose(energy.gradient(points[:, None]), expected, rtol=1e-14, atol=1e-15)


def test_the_slope_of_an_absolute_value_at_its_kink_is_zero():
    energy = isotherm.formula(lambda x: 2.0 * abs(x))()
    assert energy.gradient(np.zeros((1, 1))).tolist() == [[0.0]]


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_ackley_has_no_slope_at_its_centre(dim):
    energy = isotherm.AckleyEnergy()
    assert energy.gradient(np.zeros((1, dim))).tolist() == [[0.0] * dim]
    np.testing.assert_allclose(energy(np.zeros((1, dim))), [0.0], atol=1e-14)


class Planted:
    """U = Σ x⁴ / 4, whose gradient is wrong at one coordinate."""

    def __init__(self, error, coordinate=1):
        self.error = error
        self.coordinate = coordinate

    def __call__(self, x):
        return (x**4).sum(axis=1) / 4

    def gradient(self, x):
        gradient = x**3
        gradient[:, self.coordinate] *= 1.0 + self.error
        return gradient


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-3), ("float32", 0.1)])
def test_check_gradient_finds_a_planted_error(dtype, error):
    x = np.array([[0.5, 1.5, -1.0], [1.0, 2.0, 0.1]], dtype=dtype)
    report = isotherm.check_gradient(Planted(error), x)
    assert not report.is_correct
    assert (report.chain, report.coordinate) == (1, 1)
    assert report.given == pytest.approx(8.0 * (1 + error))
    assert report.expected == pytest.approx(8.0, rel=error / 10)
    assert "chain 1, coordinate 1" in str(report)
    right = isotherm.check_gradient(Planted(0.0), x)
    assert right.is_correct
    assert right.worst_error <= right.tolerance
    assert "is right" in str(right)


def test_check_gradient_finds_an_error_beside_a_large_energy():
    class Offset(Planted):
        def __call__(self, x):
            return super().__call__(x) + 1e6

    x = np.array([[0.5, 1.5, -1.0], [1.0, 2.0, 0.1]])
    assert not isotherm.check_gradient(Offset(1e-2), x).is_correct
    assert isotherm.check_gradient(Offset(0.0), x).is_correct


def test_check_gradient_counts_a_gradient_that_is_not_a_number_as_wrong():
    report = isotherm.check_gradient(Planted(math.nan), np.ones((2, 2)))
    assert not report.is_correct
    assert report.coordinate == 1


BUILT_IN = {
    "harmonic": isotherm.HarmonicEnergy(k=2.5),
    "double well": isotherm.DoubleWellEnergy(b=1.5),
    "rosenbrock": isotherm.RosenbrockEnergy(),
    "rastrigin": isotherm.RastriginEnergy(),
    "ackley": isotherm.AckleyEnergy(),
    "gaussian": isotherm.GaussianEnergy([1.0, -1.0, 0.0], np.diag([1.0, 2.0, 3.0]) + 0.5),
    "mixture": isotherm.GaussianMixtureEnergy(np.eye(3) * 4, scales=[0.5, 1.0, 2.0]),
}


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_check_gradient_passes_on_the_built_in_energies(name, dtype):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    report = isotherm.check_gradient(BUILT_IN[name], x)
    assert report.is_correct, report


@pytest.mark.parametrize(
    ("energy", "x", "message"),
    [
        (lambda x: x, np.ones((2, 2)), "no method gradient"),
        (Planted(0.0), np.ones(2), "x must have shape"),
        (isotherm.HarmonicEnergy(), np.ones((2, 2), dtype=int), "x has dtype int64"),
    ],
)
def test_check_gradient_refuses_what_it_cannot_check(energy, x, message):
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.check_gradient(energy, x)


def test_check_gradient_draws_states_and_tells_their_seed():
    report = isotherm.check_gradient(isotherm.RosenbrockEnergy(), dim=4)
    assert report.is_correct
    assert f"seed={report.seed}" in str(report)
    again = isotherm.check_gradient(isotherm.RosenbrockEnergy(), dim=4, seed=report.seed)
    assert again == report
    assert isotherm.check_gradient(isotherm.GaussianEnergy([0.0, 1.0], np.eye(2))).is_correct
    with pytest.raises(isotherm.InputError, match="or dim, the shape of one"):
        isotherm.check_gradient(isotherm.RosenbrockEnergy())
    assert isotherm.check_gradient(isotherm.HarmonicEnergy(), np.ones((2, 3))).seed is None


def test_check_gradient_of_a_formula_with_data():
    @isotherm.formula(dim=None)
    def logistic(w, *, X, y):
        z = X @ w
        return np.sum(np.logaddexp(0.0, z) - y * z)

    rng = np.random.default_rng(0)
    energy = logistic(rng.normal(size=(60, 3)), rng.integers(0, 2, 60), dim=3)
    assert isotherm.check_gradient(energy, seed=1).is_correct


NESTED = {
    "products": lambda e, x, k: k * e,
    "products and signs": lambda e, x, k: -(k * e),
    "products with x": lambda e, x, k: x * e,
    "quotients": lambda e, x, k: e / k,
    "sums": lambda e, x, k: k + e,
    "choices": lambda e, x, k: im.where(x > 0, e * x, e + k),
    "roots": lambda e, x, k: im.sqrt(1.0 + e * e),
}


@pytest.mark.parametrize("deeper", NESTED.values(), ids=NESTED)
def test_formulas_may_be_nested_as_deeply_as_they_are_long(deeper):
    def nested(x, *, k=1.0):
        energy = x
        for _ in range(1500):
            energy = deeper(energy, x, k)
        return energy

    energy = isotherm.formula(nested)()
    x = np.ones((2, 1))
    slope = (energy(x + 1e-6) - energy(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(energy.gradient(x)[:, 0], slope, rtol=1e-3)
    assert pickle.loads(pickle.dumps(energy.program())) == energy.program()
    assert len(str(energy.program()).splitlines()) > 2
