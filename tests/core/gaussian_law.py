"""The exact law of the discrete Langevin chain of a Gaussian energy, and tests of samples."""

import numpy as np
from scipy import stats

FALSE_ALARMS = 1e-6
"""How often `check` would fail on other seeds, shared by its comparisons; with one seed: never."""


def moments(start, mean, precision, step_sizes, noise_scales, inverse_mass=1.0):
    """Mean and covariance after one step for each of the step sizes, from one start.

    x' = x - η W P (x - μ) + s √(2η) √W ξ is linear: with A = I - ηWP the mean's distance to μ
    becomes A times itself, and the covariance A C Aᵀ + 2 η s² W. W is the inverse mass.
    """
    distance = start - mean
    covariance = np.zeros_like(precision)
    identity = np.eye(len(mean))
    inverse_mass = inverse_mass if np.ndim(inverse_mass) == 2 else inverse_mass * identity
    for step_size, noise_scale in zip(step_sizes, noise_scales, strict=True):
        shrink = identity - step_size * inverse_mass @ precision
        distance = shrink @ distance
        covariance = shrink @ covariance @ shrink.T + 2 * step_size * noise_scale**2 * inverse_mass
    return mean + distance, covariance


def check(samples, mean, covariance, false_alarms=FALSE_ALARMS):
    """Fail unless samples, shape (n, dim), are what n independent draws of the law may be.

    Chi-square tests, exact for Gaussian samples: of the mean, and of the variance along every
    axis and every diagonal of two axes, which together fix the covariance.
    """
    n, dim = samples.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance), (samples - mean).T)
    directions = [np.eye(dim)[i] for i in range(dim)]
    directions += [
        (np.eye(dim)[i] + sign * np.eye(dim)[j]) / np.sqrt(2)
        for i in range(dim)
        for j in range(i)
        for sign in (1, -1)
    ]
    bound = false_alarms / (1 + len(directions))
    distance = n * (white.mean(axis=1) ** 2).sum()
    assert stats.chi2.sf(distance, dim) > bound, f"mean {samples.mean(axis=0)}, expected {mean}"
    for direction in directions:
        square = ((direction @ white) ** 2).sum()
        tails = stats.chi2.cdf(square, n), stats.chi2.sf(square, n)
        assert 2 * min(tails) > bound, f"covariance {np.cov(samples.T)}, expected {covariance}"
