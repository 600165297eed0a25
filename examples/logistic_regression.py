"""Logistic regression
===================

A posterior on the breast-cancer data, the model written in three lines.

569 rows and 30 standardised measurements, with an intercept; N(0, 1) on each coefficient. Shown are
the coefficients' posterior means and standard deviations. Step size and starts come from a
warm-up: with a step size of 0.1, a third of the chains that start from N(0, 1) stand still.

Run it as ``python logistic_regression.py [FOLDER] [--steps 400]``. Needs scikit-learn.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_breast_cancer

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", default=400, type=int)
given = parser.parse_args()


@isotherm.formula(dim=None)
def likelihood(w, *, X, y):
    z = X @ w
    return np.sum(np.logaddexp(0.0, z) - y * z)


@isotherm.formula
def prior(w, *, scale=1.0):
    return 0.5 * (w / scale) ** 2


data = load_breast_cancer()
standardised = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
X = np.column_stack([np.ones(len(standardised)), standardised])
posterior = likelihood(X, data.target, dim=31) + prior()
print(isotherm.check_gradient(posterior, seed=0).is_correct)  # True

draws, diagnostics = isotherm.sample_chain(
    posterior, sampler="hmc", n_samples=100, n_steps=given.steps, n_warmup=500, seed=1,
    return_trajectory=True, return_diagnostics=True,
)  # fmt: skip
mean, spread = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1))
print(f"accepted {diagnostics.acceptance_rate.mean():.2f}")

figure, axis = plt.subplots(figsize=(6, 6))
names = ["intercept", *data.feature_names]
axis.errorbar(mean, range(31), xerr=spread, fmt="o", ms=4)
axis.axvline(0.0, color="grey", lw=0.8)
axis.set_yticks(range(31), names, fontsize=7)
axis.set_xlabel("coefficient, mean and standard deviation")
figure.savefig(given.folder / "regression.png", dpi=120, bbox_inches="tight")
