"""The step size of samplers that are not adjusted: as large as the bias may be; see `warm_up`."""

from __future__ import annotations

import math

import numpy as np

from isotherm._arithmetic.sums import moments, total
from isotherm._backends.array_loop import matvec
from isotherm._runs.significance import most_errors
from isotherm._warmup.scales import Numbers, variances
from isotherm._warmup.search import Found, Search

_MOST_SEEN = 2**22  # of which gradients are asked for
_FAR_TOO_FLAT = 0.5  # of the least curvature that a law as narrow has


def unbiased(word: str, found: Found, search: Search, bias: float) -> tuple[float, str | None]:
    """The step size of an unadjusted sampler, and what speaks against the gradient."""
    doubt = None
    draws, square = _squared_forces(search, found.states)
    curvature, least = _curvature(search, draws, square), _least_curvature(search, found.states)
    if search.has_bounds:  # which curb the chains where U does not
        curvature = max(curvature, least)
    elif curvature < _FAR_TOO_FLAT * least:
        doubt = (
            "the gradient is too small for how near the pilots stay to each other: they have not "
            "spread yet, or U has jumps, or the gradient is of another function, and "
            f"{word!r}, which never looks at U, would sample another law; take a larger n_warmup, "
            "or sampler='mala' or 'hmc', and see isotherm.check_gradient"
        )
    if not 0.0 < curvature < math.inf:
        return found.step_size, doubt
    if word == "underdamped":
        exact = math.sqrt(2.0 * found.step_size)  # MALA's h = √(2η)
        return min(exact, 2.0 * math.sqrt(bias / curvature)), doubt
    step_size = min(found.step_size, 2.0 * bias / ((1.0 + bias) * curvature))
    # Between walls there is more to it, and from them less: the means are within them.
    shift = 0.0 if search.has_bounds else _mean_shift(search, draws, square)
    return min(step_size, bias / shift) if 0.0 < shift < math.inf else step_size, doubt


def _least_curvature(search: Search, states: Numbers) -> float:
    """What the curvature's mean is at least where U has no jumps and is not cut off.

    In one dimension ⟨U'²⟩/noise_scale² is not below noise_scale²/variance, nor is it in any
    direction: the Cramér-Rao bound of the location, which a Gaussian attains.
    """
    z = search.whitened(search.pilots.centred(states)).reshape(-1, states.shape[2])
    with np.errstate(all="ignore"):
        inverse = 1.0 / variances(z)
    return float(total(inverse, 0)) / len(inverse)


def _squared_forces(search: Search, states: Numbers) -> tuple[Numbers, Numbers]:
    """Some of the draws, (n_draws, n_pilot, dim), and ∇U·M⁻¹∇U of each, (n_draws, n_pilot)."""
    draws = states[:: -(-states.size // _MOST_SEEN)]
    pilot = np.tile(np.arange(draws.shape[1]), len(draws))
    g = search.pilots.gradients(draws.reshape(-1, draws.shape[2]), pilot)
    mass = search.inverse_mass.values
    moved = mass * g if mass.ndim == 1 else matvec(mass, g)
    return draws, np.asarray(total(g * moved, 1)).reshape(draws.shape[:2])


def _curvature(search: Search, draws: Numbers, square: Numbers) -> float:
    """⟨∇U·M⁻¹∇U⟩/(noise_scale² dim), the mean of M⁻¹∇²U over directions and draws."""
    mean = float(total(square.reshape(-1), 0)) / (square.size * draws.shape[2])
    return float(mean / (search.noise_scale * search.noise_scale))


def _mean_shift(search: Search, draws: Numbers, square: Numbers) -> float:
    """By how many standard deviations Langevin steps shift a coordinate's mean, over η.

    The most of all coordinates, to the first order in η: see `warm_up`. What may be chance, by
    how the pilots differ, is none.
    """
    joined = search.pilots.centred(np.concatenate([draws, square[..., None]], axis=2))
    with np.errstate(all="ignore"):
        joined = joined - np.asarray(moments(joined.reshape(-1, joined.shape[2]), 0).mean)
        x, q = joined[..., :-1], joined[..., -1:]
        of_pilots = np.asarray(moments(x * q, 0).mean)
        n_pilot, dim = of_pilots.shape
        covariance = np.asarray(moments(of_pilots, 0).mean)
        error = np.sqrt(variances(of_pilots) / (n_pilot - 1))
        shift = np.abs(covariance) / np.sqrt(variances(x.reshape(-1, dim)))
        is_sure = np.abs(covariance) > most_errors(dim, n_pilot) * error
    most = float(shift[is_sure].max(initial=0.0))
    return most / (4.0 * search.noise_scale * search.noise_scale)
