"""Energies that take the next batch at each call (Welling and Teh, ICML 2011)."""

import numpy as np
import pytest

import isotherm


class Counting:
    """½x² with a gradient of its own, which counts its calls."""

    def __init__(self, from_call=None):
        self.n_calls = self.n_values = 0
        self._from_call = from_call

    def __call__(self, x):
        self.n_values += 1
        return 0.5 * (x**2).sum(-1)

    def gradient(self, x):
        self.n_calls += 1
        is_lost = self._from_call is not None and self.n_calls >= self._from_call
        return x * (float("nan") if is_lost else 1.0)


OPTIONS = {"dim": 2, "n_samples": 5, "step_size": 0.1, "seed": 0}


@pytest.mark.parametrize(
    "options", [{}, {"burn_in": 7, "thinning": 3}, {"return_trajectory": True}]
)
@pytest.mark.parametrize("n_steps", [3, 37])
def test_a_gradient_is_asked_once_a_step(n_steps, options, backend):
    energy = Counting()
    isotherm.make_plan(energy, n_steps=n_steps, backend=backend, **OPTIONS)
    sampler = isotherm.LangevinDynamics(energy, backend=backend)
    sampler.plan(dim=2)
    repr(sampler)
    assert energy.n_calls == energy.n_values == 0
    isotherm.sample_chain(energy, n_steps=n_steps, backend=backend, **OPTIONS, **options)
    assert energy.n_calls == n_steps + options.get("burn_in", 0)
    assert energy.n_values == 0


@pytest.mark.parametrize("lost_at", [1, 5, 30])
def test_it_is_not_asked_again_for_where_chains_diverged(lost_at, backend):
    energy = Counting(from_call=lost_at)
    with pytest.warns(isotherm.DivergenceWarning, match=f"the first at step {lost_at} of 37"):
        isotherm.sample_chain(energy, n_steps=37, backend=backend, **OPTIONS)
    assert energy.n_calls == 37


def test_a_module_is_asked_once_a_step_too():
    torch = pytest.importorskip("torch")
    calls = []

    def energy(x):
        calls.append(torch.is_grad_enabled())
        return 0.5 * x.square().sum(1)

    isotherm.sample_chain(energy, n_steps=37, backend="torch", **OPTIONS)
    assert len(calls) == 37
    sampler = isotherm.LangevinDynamics(energy, step_size=0.1, backend="torch")
    buffer = isotherm.ChainBuffer(sampler, capacity=10, shape=2)
    for _ in range(3):
        buffer.draw(4, n_steps=5)
    assert len(calls) == 37 + 15


class Batches:
    """N numbers y_i ~ N(θ, 1) under a flat prior, n of them a call and chain, times N/n."""

    def __init__(self, y, n, rng):
        self.y, self.n, self.rng = y, n, rng

    def gradient(self, theta):
        rows = self.rng.integers(len(self.y), size=(len(theta), self.n))
        return len(self.y) * (theta - self.y[rows].mean(1)[:, None])


def test_the_bias_of_a_constant_step_is_that_of_the_exact_law():
    """x ← x - η(N(x - m) + ζ) + √(2η) ξ, ζ of variance v: a variance of (2 + ηv)/(N(2 - ηN))."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=100)
    v = len(y) ** 2 * y.var() / 10
    n_chains = 4000
    for step_size in (2e-3, 5e-4):
        samples = isotherm.sample_chain(
            Batches(y, 10, rng), dim=1, n_samples=n_chains, n_steps=int(0.05 / step_size) + 10,
            step_size=step_size, dtype="float64", seed=1, x=np.full((1, 1), y.mean()),
            backend="numpy",
        )  # fmt: skip
        expected = (2 + step_size * v) / (len(y) * (2 - step_size * len(y)))
        assert abs(samples.var() / expected - 1.0) < 5 * (2 / n_chains) ** 0.5
        assert expected > 1.2 / len(y)  # the posterior's is 1/N: the bias is what is tested
        assert abs(samples.mean() - y.mean()) < 5 * (expected / n_chains) ** 0.5
