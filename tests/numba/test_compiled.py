"""Energies of functions of one chain, compiled into the fused loop."""

import pickle
from functools import partial

import numba
import numpy as np
import pytest

import isotherm
from isotherm_numba import CompiledEnergy


def huber(x):
    total = 0.0
    for i in range(x.size):
        total += abs(x[i]) if abs(x[i]) > 1 else (x[i] * x[i] + 1) / 2
    return total


def huber_gradient(x, out):
    for i in range(x.size):
        out[i] = np.sign(x[i]) if abs(x[i]) > 1 else x[i]


OPTIONS = {
    "dim": 3, "n_samples": 130, "n_steps": 40, "step_size": 0.05, "seed": 11, "thinning": 3,
    "return_trajectory": True, "return_diagnostics": True,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compile_", [lambda f: f, numba.njit], ids=["plain", "njit"])
def test_fused_chains_have_the_references_bits(compile_, dtype):
    energy = CompiledEnergy(compile_(huber), compile_(huber_gradient))
    results = []
    for backend in ("numba", "numpy"):
        plan = isotherm.make_plan(energy, backend=backend, dtype=dtype, **OPTIONS)
        results.append(isotherm.run(plan, energy))
    fused, reference = results
    assert fused.info.path == "fused functions of a chain"
    assert fused.trajectory.tobytes() == reference.trajectory.tobytes()
    np.testing.assert_array_equal(fused.diagnostics.energy, reference.diagnostics.energy)


def test_a_gradient_is_made_of_differences():
    energy = CompiledEnergy(huber, dim=3)
    x = np.random.default_rng(0).normal(scale=2.0, size=(20, 3))
    x[abs(abs(x) - 1.0) < 0.01] = 0.5  # away from where its curvature leaps
    np.testing.assert_allclose(energy.gradient(x), np.clip(x, -1.0, 1.0), rtol=1e-10, atol=1e-11)
    assert isotherm.check_gradient(energy, x).is_correct
    results = [
        isotherm.run(isotherm.make_plan(energy, backend=backend, **OPTIONS), energy)
        for backend in ("numba", "numpy")
    ]
    fused, reference = results
    assert fused.info.path == "fused functions of a chain, the gradient by differences"
    assert fused.trajectory.tobytes() == reference.trajectory.tobytes()


def test_it_is_what_numpy_arrays_run_by_default():
    assert isotherm.make_plan(CompiledEnergy(huber, huber_gradient), **OPTIONS).backend == "numba"


def test_it_may_read_a_table_and_may_be_pickled():
    energy = pickle.loads(pickle.dumps(CompiledEnergy(huber, huber_gradient, dim=2)))
    table = np.linspace(0.0, 1.0, 5)

    def gradient(x, out):
        for i in range(x.size):
            out[i] = x[i] + table[i]

    looked_up = CompiledEnergy(huber, gradient)
    x = np.float64([[1.5, -0.5], [0.0, 3.0]])
    np.testing.assert_allclose(energy(x), [1.5 + 0.625, 0.5 + 3.0])
    np.testing.assert_allclose(looked_up.gradient(x), x + table[:2])


def test_check_gradient_takes_it():
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert isotherm.check_gradient(CompiledEnergy(huber, huber_gradient), x).is_correct
    assert isotherm.check_gradient(CompiledEnergy(huber, huber_gradient), dim=3, seed=2).is_correct


def unknown_name(x, out):
    out[0] = x[0]
    out[1] = no_such_function(x)  # noqa: F821


def unknown_attribute(x, out):
    out[0] = x.nonsense


def returns_text(x, out):
    return "text"


def returns_array(x):
    return x


@pytest.mark.parametrize(
    ("energy", "gradient", "message"),
    [
        (huber, unknown_name, r"cannot compile gradient, line \d+: out\[1\] = no_such_function"),
        (huber, unknown_attribute, r"cannot compile gradient, line \d+: out\[0\] = x.nonsense"),
        (huber, returns_text, "gradient must write to out and return nothing"),
        (returns_array, huber_gradient, "energy must return a number"),
    ],
)
def test_what_numba_cannot_compile_is_refused_with_its_line(energy, gradient, message):
    wrong = CompiledEnergy(energy, gradient)
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.sample_chain(wrong, **OPTIONS)


@pytest.mark.parametrize("wrong", [3.0, partial(huber), np.sum, [].append])
def test_what_is_no_function_is_refused(wrong):
    with pytest.raises(isotherm.InputError, match="energy must be a function that Numba compiles"):
        CompiledEnergy(wrong, huber_gradient)
    with pytest.raises(isotherm.InputError, match="gradient must be a function"):
        CompiledEnergy(huber, wrong)


def test_states_of_another_dimension_are_refused():
    energy = CompiledEnergy(huber, huber_gradient, dim=5)
    for function in (energy, energy.gradient):
        with pytest.raises(isotherm.InputError, match="the energy has dimension 5"):
            function(np.ones((3, 2)))


@pytest.mark.parametrize("name", ["a\nraise SystemExit\n#", "../x", "{x}", "a\0b", "\ud800", "é"])
def test_the_functions_may_have_any_names(name):
    def energy(x):
        return x[0] * x[0] / 2

    def gradient(x, out):
        out[:] = x

    energy.__name__ = gradient.__name__ = name
    named = CompiledEnergy(energy, gradient)
    assert isotherm.sample_chain(named, dim=1, n_samples=2, n_steps=3).shape == (2, 1)
    assert repr(named).isprintable()


SCALE = np.array([1.0, 1.0])


def scaled(x):
    return SCALE[0] * x[0] * x[0]


def test_a_changed_global_is_seen(monkeypatch):
    energy, x = CompiledEnergy(scaled), np.ones((1, 1))
    run = {"x": x, "n_steps": 1, "step_size": 0.1, "noise_scale": 1e-9, "backend": "numba"}
    assert energy(x) == [1.0]
    before = isotherm.sample_chain(energy, **run)
    monkeypatch.setitem(globals(), "SCALE", np.array([3.0, 1.0]))
    assert energy(x) == [3.0]
    np.testing.assert_allclose(energy.gradient(x), [[6.0]], rtol=1e-9)
    np.testing.assert_allclose([before, isotherm.sample_chain(energy, **run)], [[[0.8]], [[0.4]]])


def offset(x):
    return 1e12 + 0.5 * x[0] ** 2


def stepped(x):
    return 5.0 if x[0] < 0.0 else x[0]


def walled(x):
    return np.inf if x[0] < 0.0 else 2.0 * x[0] + x[0] ** 2


def gamma(x):
    return x[0] - 3.0 * np.log(x[0])


def beta(x):
    return -2.0 * np.log(x[0]) - np.log(1.0 - x[0])


@pytest.mark.parametrize(
    ("function", "slope", "states"),
    [
        (walled, lambda x: 2.0 + 2.0 * x, [0.0, 1e-9, 1e-4, 1e-3, 1.0]),
        (gamma, lambda x: 1.0 - 3.0 / x, [1e-5, 1e-3, 0.1, 5.0]),
        (beta, lambda x: 1.0 / (1.0 - x) - 2.0 / x, [1e-4, 0.5, 1.0 - 1e-4]),
    ],
)
def test_differences_do_not_reach_over_an_edge(function, slope, states):
    x = np.array(states)[:, None]
    with np.errstate(all="ignore"):
        found = CompiledEnergy(function).gradient(x)
    np.testing.assert_allclose(found, slope(x), rtol=1e-5)


def test_a_sampler_between_walls_needs_no_gradient_of_ones_own():
    run = {"n_samples": 500, "n_steps": 400, "step_size": 0.05, "seed": 0, "backend": "numba"}
    x = isotherm.sample_chain(CompiledEnergy(walled), x=np.ones(1), bounds=(0.0, None), **run)
    assert (x >= 0.0).all()
    assert abs(float(x.mean()) - 0.3195) < 0.05


def half(x):
    return 0.5 * x[0] ** 2


def not_its_slope(x, out):
    out[0] = 2.0 * x[0]


@pytest.mark.parametrize(
    ("functions", "start", "message"),
    [
        ((offset,), 1.0, "offset: the slope of U by differences .*give CompiledEnergy a gradient"),
        ((stepped,), 1e-9, "stepped: the slope of U by differences"),
        ((half, not_its_slope), 1.0, "half: .* gradient writes 2, but U has the slope 1"),
    ],
)
def test_slopes_that_are_not_right_are_told(functions, start, message):
    with pytest.warns(isotherm.EnergyWarning, match=message):
        isotherm.sample_chain(
            CompiledEnergy(*functions), x=np.full((1, 1), start), n_steps=1, step_size=1e-12,
            noise_scale=1e-9, backend="numba", on_divergence="ignore",
        )  # fmt: skip
