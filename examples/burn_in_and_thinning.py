"""Burn-in and thinning
====================

How long is the burn-in, and how far apart are states worth keeping? The diagnostics tell.

Run it as ``python burn_in_and_thinning.py [FOLDER]``.
"""

import sys
from pathlib import Path

import numpy as np

import isotherm
from isotherm import plot

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
energy = isotherm.GaussianEnergy([0.0, 0.0], [[1.0, 0.5], [0.5, 2.0]])
sampler = isotherm.LangevinDynamics(energy, step_size=0.02)

# From far away, with every state kept: the chains have arrived where energy, means and variances
# are as they are in the second half of the run. (The energy alone is there before the means are.)
states, found = sampler.sample_chain(
    [8.0, 8.0], n_samples=500, n_steps=1000, seed=0, return_trajectory=True,
    return_diagnostics=True,
)  # fmt: skip
series = np.column_stack([np.mean(found.energy, axis=1), found.mean, found.variance])
settled = series[500:]
has_arrived = (abs(series - settled.mean(axis=0)) < 3.0 * settled.std(axis=0)).all(axis=1)
burn_in = int(found.steps[np.argmax(has_arrived)])
figure = plot.diagnostics(found)
for axes in figure.axes:
    axes.axvline(burn_in, color="black", ls="--", lw=0.8)
figure.axes[0].text(burn_in, series[:, 0].max(), f" burn-in: {burn_in} steps", va="top")
figure.savefig(folder / "burn_in.png", dpi=120)

# Of what follows, states a correlation time apart are worth keeping.
x = states[:, burn_in:, 0] - states[:, burn_in:, 0].mean()
lags = range(1, 300)
correlation = [float((x[:, lag:] * x[:, :-lag]).mean() / x.var()) for lag in lags]
thinning = next(lag for lag, c in zip(lags, correlation, strict=True) if c < np.exp(-1))

kept = sampler.sample_chain(
    [8.0, 8.0], n_samples=500, n_steps=10 * thinning, burn_in=burn_in, thinning=thinning, seed=1,
    return_trajectory=True,
)  # fmt: skip
print(f"burn_in={burn_in}, thinning={thinning}: kept {kept.shape}")
print("covariance", np.cov(kept.reshape(-1, 2).T).round(2).tolist())
