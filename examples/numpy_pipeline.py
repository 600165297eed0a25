"""NumPy in, pandas out
====================

A posterior's samples in a pipeline that has no torch.

Run it as ``python numpy_pipeline.py``. Needs pandas.
"""

import sys

import numpy as np
import pandas as pd

import isotherm

rng = np.random.default_rng(0)
features = rng.standard_normal((200, 2))
outcomes = features @ [1.0, -0.5] + 0.3 * rng.standard_normal(200)

# Linear regression with known noise and a standard normal prior: the posterior is a Gaussian.
precision = features.T @ features / 0.3**2 + np.eye(2)
cov = np.linalg.inv(precision)
mean = cov @ features.T @ outcomes / 0.3**2

weights = isotherm.sample_chain(
    isotherm.GaussianEnergy(mean, cov), np.zeros(2), n_samples=2000, n_steps=400, step_size=1e-4,
    seed=0,
)  # fmt: skip
print(pd.DataFrame(weights, columns=["first", "second"]).describe())
print("exact mean", mean.round(3))
assert "torch" not in sys.modules
