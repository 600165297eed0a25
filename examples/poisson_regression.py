"""Poisson regression
==================

Counts with a trend and a season, and a posterior of their rate.

Twelve years of monthly counts, drawn from known rates. Shown are the counts, the true rate and the
posterior's, with its 90 % interval.

Run it as ``python poisson_regression.py [FOLDER] [--steps 1000]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", default=1000, type=int)
given = parser.parse_args()


@isotherm.formula(dim=None)
def likelihood(w, *, X, counts):
    log_rate = X @ w
    return np.sum(np.exp(log_rate) - counts * log_rate)


@isotherm.formula
def prior(w, *, scale=3.0):
    return 0.5 * (w / scale) ** 2


months = np.arange(144)
angle = 2 * np.pi * months / 12
X = np.column_stack([np.ones(144), months / 144 - 0.5, np.sin(angle), np.cos(angle)])
truth = np.array([2.0, 0.8, 0.6, -0.3])
counts = np.random.default_rng(0).poisson(np.exp(X @ truth))
posterior = likelihood(X, counts, dim=4) + prior()
print(isotherm.check_gradient(posterior, seed=0).is_correct)  # True

draws, diagnostics = isotherm.sample_chain(
    posterior, sampler="hmc", n_samples=64, n_steps=given.steps, burn_in=200 + given.steps // 4,
    step_size=0.02, n_leapfrog=15, seed=1, return_trajectory=True, return_diagnostics=True,
)  # fmt: skip
print(f"accepted {diagnostics.acceptance_rate.mean():.2f}")
mean, spread = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1))
print(bool((abs(mean - truth) < 4 * spread).all()))  # True

rates = np.exp(draws[:, -1] @ X.T.astype(draws.dtype))
low, middle, high = np.quantile(rates, [0.05, 0.5, 0.95], axis=0)
figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
axis.plot(months, counts, ".", color="grey", label="counts")
axis.plot(months, np.exp(X @ truth), "k--", lw=0.8, label="true rate")
axis.plot(months, middle, color="#0072B2", label="posterior rate")
axis.fill_between(months, low, high, alpha=0.3, color="#0072B2", label="its 90 % interval")
axis.set_xlabel("month")
axis.set_ylabel("counts a month")
figure.legend(loc="outside upper center", ncols=4)
figure.savefig(given.folder / "poisson.png", dpi=120)
