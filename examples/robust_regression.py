"""Robust regression
=================

Errors of Student's t forgive outliers.

Of sixty points on a line every sixth is far off. Shown are least squares, which follow those, and
lines from the posterior with errors of Student's t (Lange, Little and Taylor, J. Am. Stat. Assoc.
84, 1989).

Run it as ``python robust_regression.py [FOLDER] [--steps 1000]``.
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


@isotherm.formula(dim=3)
def robust(x, *, t, y, freedom=3.0):
    """x = (intercept, slope, log scale), with normal priors of spread 10, 10 and 1."""
    intercept, slope, log_scale = x
    z = (y - intercept - slope * t) * np.exp(-log_scale)
    errors = 0.5 * (freedom + 1.0) * np.sum(np.log1p(z * z / freedom)) + y.size * log_scale
    return errors + 0.5 * ((intercept**2 + slope**2) / 100.0 + log_scale**2)


rng = np.random.default_rng(0)
t = np.linspace(-1.0, 1.0, 60)
truth = np.array([1.0, 2.0])
y = truth[0] + truth[1] * t + 0.2 * rng.normal(size=60)
y[::6] += 4.0 * (1.0 - t[::6])
posterior = robust(t, y)
print(isotherm.check_gradient(posterior, seed=0).is_correct)  # True

draws, diagnostics = isotherm.sample_chain(
    posterior, sampler="hmc", n_samples=64, n_steps=given.steps, burn_in=200 + given.steps // 4,
    step_size=0.03, n_leapfrog=10, seed=1, return_trajectory=True, return_diagnostics=True,
)  # fmt: skip
print(f"accepted {diagnostics.acceptance_rate.mean():.2f}")
slope, intercept = np.polyfit(t, y, 1)
lines = draws[:, -1, :2].astype(np.float64)
print(bool(np.all(abs(np.median(lines, axis=0) - truth) < 0.3)), intercept > 1.5)  # True True

figure, axis = plt.subplots(figsize=(6, 4))
axis.plot(t, (lines[:, :1] + lines[:, 1:] * t).T, color="C0", lw=0.5, alpha=0.2)
axis.plot([], [], color="C0", label="posterior, Student's t")
axis.plot(t, intercept + slope * t, "C1", label="least squares")
axis.plot(t, truth[0] + truth[1] * t, "k--", lw=0.8, label="truth")
axis.plot(t, y, ".", color="grey")
axis.set_xlabel("t")
axis.set_ylabel("y")
axis.legend(loc="upper right")
figure.savefig(given.folder / "robust.png", dpi=120, bbox_inches="tight")
