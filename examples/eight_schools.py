"""Eight schools
=============

The hierarchical posterior that everybody knows, by HMC after a warm-up, and ArviZ's pictures of it.

The effect of coaching in eight schools, each measured with a known error (Rubin, 1981; Gelman et
al., "Bayesian Data Analysis", section 5.5), in the non-centred form: θ_i = μ + τ η_i with
η_i ~ N(0, 1), μ ~ N(0, 5), τ half-Cauchy of scale 5. The state is (μ, log τ, η_1, ..., η_8).

Run it as ``python eight_schools.py [FOLDER] [--chains 64]``. Needs ``isotherm[arviz]``.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ tells of its next version
    import arviz

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--chains", type=int, default=64)
given = parser.parse_args()

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@isotherm.formula(dim=10)
def eight_schools(x):
    """Minus the log of the posterior's density, up to a constant."""
    mean, log_scale, etas = x[0], x[1], x[2:]
    scale = np.exp(log_scale)
    prior = 0.5 * (mean / 5.0) ** 2 + np.log1p((scale / 5.0) ** 2) - log_scale
    distances = (EFFECTS - (mean + scale * etas)) / ERRORS
    return prior + 0.5 * np.sum(etas**2 + distances**2)


# %%
# The warm-up finds the step size, the inverse mass and the length of trajectories.
sampler = isotherm.HamiltonianMonteCarlo(eight_schools(), dtype="float64")
tuning = isotherm.warm_up(sampler, seed=0)
print(tuning)

# %%
# The chains start where its pilots are.
draws, info = tuning.sampler.sample_chain(
    x=tuning.x, n_samples=given.chains, n_steps=500, seed=0,
    return_trajectory=True, return_info=True,
)  # fmt: skip
print(f"accepted {info.acceptance_rate:.0%}, {info.n_divergences} divergences")
print(isotherm.summary(draws))

# %%
# The schools' effects, as ArviZ draws them.
effects = draws[..., :1] + np.exp(draws[..., 1:2]) * draws[..., 2:]
(axis,) = arviz.plot_forest({"effect": effects}, combined=True, hdi_prob=0.9, figsize=(6, 4))
axis.set_xlabel("effect of coaching (points of the test)")
plt.savefig(given.folder / "effects.png", dpi=120, bbox_inches="tight")
arviz.plot_rank({"μ": draws[:4, :, 0], "log τ": draws[:4, :, 1]}, figsize=(8, 3))
plt.savefig(given.folder / "ranks.png", dpi=120, bbox_inches="tight")

# By quadrature over τ: μ 4.4, and 3.6 the mean of τ.
print(abs(draws[..., 0].mean() - 4.4) < 0.3)  # True
print(abs(np.exp(draws[..., 1]).mean() - 3.6) < 0.3)  # True
