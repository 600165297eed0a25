"""Eight schools (Rubin, 1981; Gelman et al., "Bayesian Data Analysis", section 5.5) by HMC.

The effect of coaching in eight schools, each measured with a known error, in the non-centred form:
θ_i = μ + τ η_i with η_i ~ N(0, 1), μ ~ N(0, 5), τ half-Cauchy of scale 5. The state is
(μ, log τ, η_1, ..., η_8). Needs ``isotherm[arviz]``.

Run it as ``python eight_schools.py [folder] [--chains 64]``.
"""

import argparse

import numpy as np

import isotherm

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?")  # nothing is drawn
parser.add_argument("--chains", type=int, default=64)
n_chains = parser.parse_args().chains

EFFECTS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
ERRORS = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]


@isotherm.formula(dim=10)
def eight_schools(x):
    """Minus the log of the posterior's density, up to a constant."""
    mean, log_scale, *etas = x
    scale = isotherm.math.exp(log_scale)
    energy = 0.5 * (mean / 5.0) * (mean / 5.0)
    ratio = scale / 5.0
    energy = energy + isotherm.math.log(1.0 + ratio * ratio) - log_scale
    for eta, effect, error in zip(etas, EFFECTS, ERRORS, strict=True):
        distance = (effect - (mean + scale * eta)) / error
        energy = energy + 0.5 * (eta * eta + distance * distance)
    return energy


sampler = isotherm.HamiltonianMonteCarlo(
    eight_schools(), step_size=0.4, n_leapfrog=10, dtype="float64",
    inverse_mass=[10.0, *[1.0] * 9],  # about the variance of each coordinate
)  # fmt: skip
draws, info = sampler.sample_chain(
    n_samples=n_chains, burn_in=500, n_steps=500, seed=0,
    return_trajectory=True, return_info=True,
)  # fmt: skip
print(f"accepted {info.acceptance_rate:.0%}, {info.n_divergences} divergences")
print(isotherm.summary(draws))

# By quadrature over τ: μ 4.4, and 3.6 the mean of τ.
print(abs(draws[..., 0].mean() - 4.4) < 0.3)  # True
print(abs(np.exp(draws[..., 1]).mean() - 3.6) < 0.3)  # True
