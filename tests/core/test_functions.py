"""Composed functions: their values to 4 units in the last place, and their slopes."""

import math

import mpmath
import numpy as np
import pytest

import isotherm
from isotherm import math as im

WIDE = np.concatenate([np.linspace(-30, 30, 1201), [1e-9, -1e-9, 3e-5, 0.0, 1e-300]])
UNIT = np.concatenate([np.linspace(-0.95, 3, 1500), np.logspace(-18, -1, 100), [1e9, 1e300]])
POSITIVE = np.concatenate(
    [
        np.linspace(0.01, 12, 2400),
        1 + np.logspace(-12, -2, 60),
        2 - np.logspace(-12, -2, 60),
        2 + np.logspace(-12, -2, 60),
        np.logspace(-20, 15, 300),
    ]
)

TRUTH = {
    "log1p": (mpmath.log1p, UNIT),
    "expm1": (mpmath.expm1, WIDE),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), WIDE),
    "expit": (lambda x: 1 / (1 + mpmath.exp(-x)), WIDE),
    "log_expit": (lambda x: -mpmath.log1p(mpmath.exp(-x)), WIDE),
    "arctan": (mpmath.atan, WIDE),
    "sinh": (mpmath.sinh, WIDE),
    "cosh": (mpmath.cosh, WIDE),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), WIDE),
    "erf": (mpmath.erf, WIDE),
    "lgamma": (mpmath.loggamma, POSITIVE),
}


def of(function):
    """A plain function of one argument."""

    def energy(x):
        return function(x)

    return energy


def ulps(got, truth):
    with mpmath.workdps(50):
        units = [
            float(abs(mpmath.mpf(float(g)) - t) / float(np.spacing(abs(g.dtype.type(t)))))
            for g, t in zip(got, truth, strict=True)
        ]
    return max(units)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TRUTH)
def test_values(name, dtype):
    function, points = TRUTH[name]
    points = points[np.abs(points) < (1e30 if dtype == "float32" else np.inf)].astype(dtype)
    points = points[(np.abs(points) > 1e-30) | (points == 0)]
    got = getattr(im, name)(points)
    assert got.dtype == dtype
    with mpmath.workdps(50):
        truth = [function(mpmath.mpf(float(p))) for p in points]
    assert ulps(got, truth) <= 4.0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_digamma_is_the_slope_of_lgamma(dtype):
    energy = isotherm.formula(of(im.lgamma))()
    points = POSITIVE.astype(dtype)
    got = energy.gradient(points.reshape(-1, 1)).ravel()
    with mpmath.workdps(50):
        truth = [mpmath.digamma(mpmath.mpf(float(p))) for p in points]
    assert ulps(got, truth) <= 4.0


PLANE = [(y, x) for y in (-2.0, -0.5, 0.0, 0.5, 3.0) for x in (-2.0, -0.5, 0.0, 0.5, 2.0)]


def test_functions_of_two_numbers():
    y, x = np.array(PLANE).T
    np.testing.assert_allclose(im.arctan2(y, x), np.arctan2(y, x), rtol=4e-16)
    np.testing.assert_allclose(im.hypot(y, x), np.hypot(y, x), rtol=4e-16)
    np.testing.assert_allclose(im.logaddexp(y, x), np.logaddexp(y, x), rtol=1e-15)
    x = np.where(x == 0, 1.5, x)
    np.testing.assert_allclose(im.mod(7.3 * y, x), np.mod(7.3 * y, x), atol=1e-14)
    infinity = np.array([-np.inf, np.inf])
    np.testing.assert_array_equal(im.logaddexp(infinity, infinity), infinity)
    np.testing.assert_array_equal(im.logaddexp(infinity, 0.0), [0.0, np.inf])


@pytest.mark.parametrize("p", [0.3, 1.7, -1.3, 65.0, 70.0, 71.0])
def test_any_power(p):
    x = np.array([[0.2, 0.9, 1.0, 1.1, 3.0]])
    known = isotherm.formula(lambda x: x**p)()
    given = isotherm.formula(lambda x, *, p: x**p)(p=p)
    for energy in (known, given):
        np.testing.assert_allclose(energy.gradient(x), p * x ** (p - 1), rtol=1e-13)
        np.testing.assert_allclose(energy(x), (x**p).sum(axis=1), rtol=1e-13)


def test_powers_of_negative_numbers_and_of_zero():
    x = np.array([[-2.0], [-0.5], [0.0]])
    for p in (2.0, 3.0, 0.0, 67.0):
        given = isotherm.formula(lambda x, *, p: x**p)(p=p)
        np.testing.assert_allclose(given(x), x[:, 0] ** p, rtol=1e-14)
    assert np.isnan(isotherm.formula(lambda x, *, p: x**p)(p=0.5)(x[:1])).all()
    assert isotherm.formula(lambda x: x**1.3)().gradient(x[2:]).tolist() == [[0.0]]


SMOOTH = {
    "log1p": (0.3, 2.0),
    "expm1": (-0.4, 0.7, 3.0),
    "softplus": (-3.0, 0.5, 40.0),
    "expit": (-3.0, 0.5),
    "log_expit": (-3.0, 0.5),
    "arctan": (-3.0, -0.7, 0.2),
    "sinh": (-3.0, 0.4),
    "cosh": (-3.0, 0.4),
    "cbrt": (-3.0, 0.4),
    "erf": (-3.0, -0.4, 1.4),
    "lgamma": (0.3, 1.2, 2.6, 9.0),
    "sign": (-1.0, 2.0),
    "floor": (0.3, -0.2),
    "ceil": (0.3, -0.2),
    "rint": (0.3, 0.7),
    "tan": (0.3, -0.2),
    "log2": (0.3,),
    "log10": (0.3,),
    "exp2": (0.3,),
    "arcsin": (0.3, -0.9),
    "arccos": (0.3, -0.9),
    "arcsinh": (0.3, -0.9),
    "arccosh": (1.3, 4.0),
    "arctanh": (0.3, -0.9),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes(name):
    function = getattr(im, name)
    energy = isotherm.formula(of(function))()
    points = np.array(SMOOTH[name]).reshape(-1, 1)
    np.testing.assert_allclose(energy(points), function(points)[:, 0], rtol=1e-14)
    numpy = getattr(np, name, None)
    if numpy is not None:
        np.testing.assert_allclose(energy(points), numpy(points)[:, 0], rtol=1e-14)
    h = 1e-5
    slopes = (energy(points + h) - energy(points - h)) / (2 * h)
    np.testing.assert_allclose(energy.gradient(points)[:, 0], slopes, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "function",
    [np.arctan2, np.hypot, np.logaddexp, np.remainder, lambda x, y: (x * x) ** y],
)
def test_slopes_by_two_numbers(function):
    energy = isotherm.formula(dim=2)(lambda x: function(x[0], x[1]))()
    points = np.array([[0.3, 0.8], [-2.3, 0.7], [1.4, -1.1]])
    h = 1e-5
    for i in range(2):
        step = h * np.eye(2)[i]
        slopes = (energy(points + step) - energy(points - step)) / (2 * h)
        np.testing.assert_allclose(energy.gradient(points)[:, i], slopes, rtol=1e-8, atol=1e-8)


def test_kinks_have_a_slope_of_zero():
    energy = isotherm.formula(dim=2)(lambda x: np.hypot(x[0], x[1]))()
    assert energy.gradient(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]
    inside = isotherm.formula(lambda x: im.clip(3.0 * x, -1.0, 1.0))()
    assert inside.gradient(np.array([[-2.0, 0.1, 2.0]])).tolist() == [[0.0, 3.0, 0.0]]


@pytest.mark.parametrize("name", ["lgamma", "erf", "softplus", "arctan", "cbrt", "expm1"])
def test_the_same_bits_on_every_backend(name, backend):
    function = getattr(im, name)
    energy = isotherm.formula(lambda x: 0.5 * function(1.5 + x * x / (1.0 + x * x)) + 0.5 * x * x)()
    for dtype in ("float32", "float64"):
        given = {"dim": 3, "n_samples": 40, "n_steps": 30, "step_size": 0.05, "seed": 1}
        got, expected = (
            np.asarray(isotherm.sample_chain(energy, dtype=dtype, backend=b, **given))
            for b in (backend, "numpy")
        )
        np.testing.assert_allclose(got, expected, rtol=2e-4 if dtype == "float32" else 1e-10)


def test_what_is_not_known_names_what_is():
    for wrong, near in ((np.i0, "elementwise"), (np.linalg.inv, "no pivots")):
        with pytest.raises(isotherm.FormulaError, match=f"{near}.*in formula"):
            isotherm.formula(of(wrong))().program()


def test_infinities_and_nan():
    with np.errstate(all="ignore"):
        assert im.log1p(np.array([-1.0, np.inf])).tolist() == [-math.inf, math.inf]
        assert np.isnan(im.log1p(np.array([-2.0, np.nan]))).all()
        assert im.expm1(np.array([-np.inf, np.inf])).tolist() == [-1.0, math.inf]
        assert im.lgamma(np.array([0.0, np.inf])).tolist() == [math.inf, math.inf]
        assert im.erf(np.array([-np.inf, np.inf])).tolist() == [-1.0, 1.0]
        assert im.arctan(np.array([np.inf])).tolist() == [math.pi / 2]
