"""Underdamped Langevin dynamics: the exact law of a Gaussian, order two, and both limits."""

import numpy as np
import pytest
from scipy import integrate, linalg

import isotherm
from isotherm.backend import noise
from tests.core import gaussian_law

N_SAMPLES = 5_000
MEAN = np.array([1.0, -1.0])
COV = np.array([[1.0, 0.5], [0.5, 2.0]])
START = np.array([3.0, 2.0])

# Options, inverse mass, and the step size, friction and noise scale of step t.
CASES = {
    "constant": ({"friction": 1.3}, np.eye(2), lambda t: (0.4, 1.3, 1.0)),
    "matrix": (
        {"friction": 0.5, "temperature": 2.0, "inverse_mass": [[0.8, 0.3], [0.3, 1.2]]},
        np.array([[0.8, 0.3], [0.3, 1.2]]),
        lambda t: (0.4, 0.5, np.sqrt(2.0)),
    ),
    "schedules": (
        {
            "step_size": lambda t: 0.4 / (1 + 0.01 * t),
            "friction": lambda t: 1.0 + 0.5 * np.sin(t),
            "noise_scale": lambda t: 1.0 + 0.5 * np.cos(t),
            "inverse_mass": [0.5, 1.5],
        },
        np.diag([0.5, 1.5]),
        lambda t: (0.4 / (1 + 0.01 * t), 1.0 + 0.5 * np.sin(t), 1.0 + 0.5 * np.cos(t)),
    ),
}


def linear_step(precision, inverse_mass, step_size, friction, noise_scale):
    """The matrix by which a step multiplies (x - μ, p), and the covariance that it adds."""
    dim, half = len(precision), step_size / 2
    one, zero = np.eye(dim), np.zeros((dim, dim))
    kick = np.block([[one, zero], [-half * precision, one]])
    drift = np.block([[one, half * inverse_mass], [zero, one]])
    decay = np.exp(-friction * step_size)
    refresh = linalg.block_diag(one, decay * one)
    noise_added = noise_scale**2 * (1 - decay**2) * np.linalg.inv(inverse_mass)
    after = kick @ drift
    added = after @ linalg.block_diag(zero, noise_added) @ after.T
    return after @ refresh @ drift @ kick, added


@pytest.mark.parametrize("n_steps", [1, 10, 1000])
@pytest.mark.parametrize("case", CASES)
def test_moments_of_position_and_momentum(case, n_steps):
    options, inverse_mass, numbers = CASES[case]
    energy = isotherm.GaussianEnergy(MEAN, COV)
    plan = isotherm.make_plan(
        energy,
        START,
        sampler="underdamped",
        n_samples=N_SAMPLES,
        n_steps=n_steps,
        backend="numpy",
        seed=2026,
        **{"step_size": 0.4, **options},
    )
    state = isotherm.run(plan, energy, START).state
    mean = np.concatenate([START - MEAN, np.zeros(2)])
    first_scale = numbers(0)[2]
    covariance = linalg.block_diag(np.zeros((2, 2)), first_scale**2 * np.linalg.inv(inverse_mass))
    for t in range(n_steps):
        step, added = linear_step(np.linalg.inv(COV), inverse_mass, *numbers(t))
        mean, covariance = step @ mean, step @ covariance @ step.T + added
    samples = np.concatenate([state["x"] - MEAN, state["momentum"]], axis=1)
    gaussian_law.check(samples, mean, covariance)


@pytest.mark.parametrize("of_limit", [0.1, 0.9])
@pytest.mark.parametrize("k", [0.5, 16.0])
def test_a_harmonic_energy_has_its_exact_variance_at_every_stable_step(k, of_limit):
    noise_scale, step_size = 0.7, of_limit * 2 / np.sqrt(k)
    friction = 2 * np.sqrt(k)
    step, added = linear_step(np.eye(1) * k, np.eye(1), step_size, friction, noise_scale)
    limit = linalg.solve_discrete_lyapunov(step, added)
    assert limit[0, 0] == pytest.approx(noise_scale**2 / k, rel=1e-12)
    samples = isotherm.sample_chain(
        isotherm.HarmonicEnergy(k=k),
        dim=2,
        sampler="underdamped",
        n_samples=20_000,
        n_steps=200,
        step_size=step_size,
        friction=friction,
        noise_scale=noise_scale,
        backend="numpy",
        seed=1,
    )
    gaussian_law.check(samples.astype(np.float64), np.zeros(2), noise_scale**2 / k * np.eye(2))


@isotherm.formula
def wells(x, *, k=3.0):
    """Two wells of bounded curvature."""
    return 0.5 * x * x + k * isotherm.math.exp(-x * x)


def test_the_bias_of_a_double_well_is_of_order_two():
    def weight(x):
        return np.exp(-(0.5 * x * x + 3.0 * np.exp(-x * x)))

    exact = integrate.quad(lambda x: x * x * weight(x), -9, 9)[0] / integrate.quad(weight, -9, 9)[0]
    energy, n_samples = wells(), 200_000

    def bias(step_size):
        plan = isotherm.make_plan(
            energy, sampler="underdamped", dim=1, n_samples=n_samples, n_steps=int(15 / step_size),
            step_size=step_size, backend="numpy", seed=11,
        )  # fmt: skip
        state = isotherm.run(plan, energy).state
        return [
            (state[name].astype(np.float64) ** 2).mean() - limit
            for name, limit in (("x", exact), ("momentum", 1.0))
        ]

    (_, coarse), (position, fine) = bias(0.6), bias(0.3)
    # Five standard errors: one false alarm in a million. Positions have hardly any bias.
    assert abs(position) < 5 * np.sqrt(2.0 / n_samples) * exact + 0.005
    # Order two divides that of the momenta by 4, and order one by 2.
    error = np.sqrt(2.0 / n_samples)
    assert abs(fine - coarse / 4) < 5 * error
    assert abs(fine - coarse / 2) > 5 * error


def hamiltonian(energy, state):
    return energy(state["x"]) + 0.5 * (state["momentum"] ** 2).sum(axis=1)


def without_friction(energy, state, n_steps, step_size):
    plan = isotherm.make_plan(
        energy, state["x"], sampler="underdamped", friction=0.0, n_steps=n_steps,
        step_size=step_size, backend="numpy", seed=0,
    )  # fmt: skip
    return isotherm.run(plan, energy, state["x"], momentum=state["momentum"]).state


def test_without_friction_it_is_the_leapfrog():
    energy = isotherm.DoubleWellEnergy(barrier_height=1.0)
    rng = np.random.default_rng(3)
    start = {name: rng.uniform(-1.2, 1.2, size=(200, 2)) for name in ("x", "momentum")}
    errors, state = [], start
    for _ in range(20):
        state = without_friction(energy, state, 101, 0.05)
        errors.append(np.abs(hamiltonian(energy, state) - hamiltonian(energy, start)))
    # Of order h², and no more after 2020 steps than after 101.
    assert np.max(errors) < 0.2
    assert np.mean(errors[10:]) < 1.3 * np.mean(errors[:10])
    halved = without_friction(energy, start, 202, 0.025)
    error = np.abs(hamiltonian(energy, halved) - hamiltonian(energy, start))
    assert np.mean(errors[0]) / np.mean(error) == pytest.approx(4.0, rel=0.2)
    # Back in time, by the momentum's sign.
    there = without_friction(energy, start, 50, 0.05)
    back = without_friction(energy, {"x": there["x"], "momentum": -there["momentum"]}, 50, 0.05)
    np.testing.assert_allclose(back["x"], start["x"], atol=1e-9)


def test_with_large_friction_every_step_has_a_fresh_momentum():
    """Then x ← x - ½h² ∇U(x) + ½h noise_scale (ξ + ξ'), of Leimkuhler and Matthews, 2013."""
    h, n, key = 0.3, 50, {"seed": 9, "block": 0}
    well = isotherm.DoubleWellEnergy(barrier_height=0.5)
    normals = np.empty((2, n, 2))
    noise.fill_normals(normals, stream=noise.Stream.LANGEVIN, **key)
    x = np.random.default_rng(0).normal(size=(n, 2))
    momentum = np.random.default_rng(1).normal(size=(n, 2))
    found = isotherm.sample_chain(
        well, x, sampler="underdamped", friction=1e6, step_size=h, n_steps=2, seed=9,
        momentum=momentum, backend="numpy", return_trajectory=True,
    )  # fmt: skip
    first = x + 0.5 * h * (momentum - 0.5 * h * well.gradient(x)) + 0.5 * h * normals[0]
    np.testing.assert_allclose(found[:, 0], first, rtol=1e-12)
    second = first - 0.5 * h * h * well.gradient(first) + 0.5 * h * (normals[0] + normals[1])
    np.testing.assert_allclose(found[:, 1], second, rtol=1e-12)


def test_a_momentum_that_is_none_is_refused():
    x = np.zeros((4, 2), np.float32)
    sampler = isotherm.UnderdampedLangevin(isotherm.HarmonicEnergy(), step_size=0.1)
    for momentum, message in {
        1j: "momentum has dtype complex128; it must be real",
        True: "momentum has dtype bool; it must be real",
    }.items():
        with pytest.raises(isotherm.InputError, match=message):
            sampler.sample_chain(x=x, momentum=np.full(x.shape, momentum))
    with pytest.raises(isotherm.InputError, match="momentum must be an array of shape"):
        sampler.sample_chain(x=x, momentum="p")
