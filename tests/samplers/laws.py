"""Energies whose law is known exactly, and the test that samples have it.

Every comparison of `check` fails for one seed in a million divided by their number, if the samples
are independent draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

import isotherm
from tests.core import gaussian_law


@dataclass(frozen=True)
class Law:
    """exp(-U/noise_scale²): its energy, exact draws, and distributions of functions of x."""

    energy: Any
    draw: Callable[[np.random.Generator, int], np.ndarray]
    distributions: Mapping[str, tuple[Callable, Callable]]
    noise_scale: float = 1.0

    def check(self, samples: np.ndarray) -> None:
        """Kolmogorov and Smirnov's test of each function, and its normal scores' two moments."""
        samples = samples.astype(np.float64)
        for name, (function, cdf) in self.distributions.items():
            quantiles = cdf(function(samples))
            bound = gaussian_law.FALSE_ALARMS / len(self.distributions) / 2
            assert stats.kstest(quantiles, "uniform").pvalue > bound, name
            scores = stats.norm.ppf(quantiles)[:, None]
            gaussian_law.check(scores, np.zeros(1), np.eye(1), bound)


def coordinate(i: int) -> Callable:
    return lambda x: x[:, i]


def gaussian(noise_scale: float = 0.8) -> Law:
    mean, cov = np.array([1.0, -1.0]), np.array([[1.0, 0.5], [0.5, 2.0]])
    root = noise_scale * np.linalg.cholesky(cov)

    def white(x):
        return np.linalg.solve(root, (x - mean).T).T

    return Law(
        isotherm.GaussianEnergy(mean, cov),
        lambda rng, n: mean + rng.normal(size=(n, 2)) @ root.T,
        {
            "first": (lambda x: white(x)[:, 0], stats.norm.cdf),
            "second": (lambda x: white(x)[:, 1], stats.norm.cdf),
            "radius": (lambda x: (white(x) ** 2).sum(axis=1), stats.chi2(2).cdf),
        },
        noise_scale,
    )


def of_weight(energy: Any, weight: Callable, low: float, high: float, dim: int = 2) -> Law:
    """Independent coordinates of a density on an interval, by quadrature."""
    x = np.linspace(low, high, 200_001)
    middles = weight(0.5 * (x[1:] + x[:-1]))
    cdf = np.concatenate([[0.0], np.cumsum(middles)]) / middles.sum()
    return Law(
        energy,
        lambda rng, n: np.interp(rng.uniform(size=(n, dim)), cdf, x),
        {f"x[{i}]": (coordinate(i), lambda v: np.interp(v, x, cdf)) for i in range(dim)},
    )


def double_well() -> Law:
    return of_weight(
        isotherm.DoubleWellEnergy(barrier_height=2.0),
        lambda x: np.exp(-2.0 * (x * x - 1.0) ** 2),
        -3.0,
        3.0,
    )


def mixture() -> Law:
    means, scales, weights = np.array([[0.0, 1.0], [2.0, -1.0]]), [1.0, 0.6], [0.4, 0.6]

    def draw(rng, n):
        which = rng.choice(2, size=n, p=weights)
        return means[which] + np.array(scales)[which, None] * rng.normal(size=(n, 2))

    def cdf(i):
        parts = [stats.norm(m[i], s) for m, s in zip(means, scales, strict=True)]
        return lambda v: sum(w * one.cdf(v) for w, one in zip(weights, parts, strict=True))

    return Law(
        isotherm.GaussianMixtureEnergy(means, scales, weights),
        draw,
        {f"x[{i}]": (coordinate(i), cdf(i)) for i in range(2)},
    )


@isotherm.formula
def semicircle(x):
    """-2 √(1 - x²), which has no value outside of (-1, 1)."""
    return -2.0 * isotherm.math.sqrt(1.0 - x * x)


def on_an_interval() -> Law:
    return of_weight(semicircle(), lambda x: np.exp(2.0 * np.sqrt(1.0 - x * x)), -1.0, 1.0, dim=1)


LAWS = {"gaussian": gaussian(), "double well": double_well(), "mixture": mixture()}


def kept(law: Law, *, n_samples: int = 10_000, n_steps: int = 8, dtype: str = "float64", **options):
    """Chains that start from exact draws, after some steps: samples, diagnostics and info."""
    x = law.draw(np.random.default_rng(options.get("seed", 1) + 1), n_samples).astype(dtype)
    given = {"backend": "numpy", "seed": 1, "noise_scale": law.noise_scale, **options}
    return isotherm.sample_chain(
        law.energy, x, n_steps=n_steps, return_diagnostics=True, return_info=True, **given
    )
