"""Posteriors of posteriordb as formulas: U = -log density of unconstrained coordinates.

Models and data are those of M. Magnusson et al., posteriordb (https://github.com/stan-dev/
posteriordb), each up to a constant; positive parameters are exp of a coordinate and shares the
logistic function of one, with the Jacobian. A term is a function of its own where several models
have it, and terms add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import isotherm
import isotherm.math as im

Data = Mapping[str, Any]


@isotherm.formula(dim=None)
def gaussian_regression(x, *, R, beta_hat, rss, n):
    """y ~ normal(X b, σ), x = (b, log σ), X = Q R: RSS = rss + |R (b - b̂)|²."""
    b, s = x[:-1], x[-1]
    r = R @ (b - beta_hat)
    return (n - 1.0) * s + 0.5 * np.exp(-2.0 * s) * (rss + np.sum(r * r))


@isotherm.formula(dim=None)
def normal_coefficients(x, *, mean, sd):
    z = (x[:-1] - mean) / sd
    return 0.5 * np.sum(z * z)


@isotherm.formula(dim=None)
def last_student(x, *, mean, sd, df):
    """Normal priors but for the last coefficient, whose prior is Student's t."""
    z = (x[:-1] - mean) / sd
    return 0.5 * np.sum(z[:-1] ** 2) + 0.5 * (df + 1.0) * np.log1p(z[-1] ** 2 / df)


@isotherm.formula(dim=None)
def half_student_scale(x, *, df, scale):
    z = np.exp(x[-1]) / scale
    return 0.5 * (df + 1.0) * np.log1p(z * z / df)


@isotherm.formula(dim=None)
def half_normal_scale(x, *, scale):
    return 0.5 * (np.exp(x[-1]) / scale) ** 2


def regression(data: Data) -> Any:
    """A Gaussian linear regression with the priors that the data name."""
    p = len(data["beta_hat"])
    R = np.zeros((p, p))
    R[np.triu_indices(p)] = data["R"]
    energy = gaussian_regression(R, data["beta_hat"], data["rss"], data["n"], dim=p + 1)
    mean, sd = data["beta_mean"], data["beta_sd"]
    if data["beta_prior"] == "normal":
        energy += normal_coefficients(mean, sd)
    elif data["beta_prior"] != "flat":
        energy += last_student(mean, sd, data["last_df"])
    if data["sigma_prior"] == "student":
        energy += half_student_scale(data["sigma_df"], data["sigma_scale"])
    elif data["sigma_prior"] == "normal":
        energy += half_normal_scale(data["sigma_scale"])
    return energy


@isotherm.formula(dim=10)
def eight_schools(x, *, y, sigma):
    """x = (e[1..8], μ, log τ) with θ = μ + τ e (Rubin, J. Educ. Stat. 6, 1981, non-centred)."""
    e, mu, t = x[:8], x[8], x[9]
    z = (mu + np.exp(t) * e - y) / sigma
    return 0.5 * (np.sum(z * z) + np.sum(e * e) + (mu / 5) ** 2) + np.log1p(np.exp(2 * t) / 25) - t


@isotherm.formula(dim=4)
def arma(x, *, y):
    """ARMA(1, 1) with x = (μ, φ, θ, log σ): e[t] = y[t] - μ - φ y[t-1] - θ e[t-1]."""
    mu, phi, theta, s = x

    def step(e, row):
        now, before = row
        e = now - mu - phi * before - theta * e
        return e, e

    first = y[0] - mu * (1.0 + phi)
    _, e = im.scan(step, first, (y[1:], y[:-1]))
    square = first * first + np.sum(e * e)
    priors = (mu / 10) ** 2 + (phi / 2) ** 2 + (theta / 2) ** 2
    likelihood = len(y) * s + 0.5 * np.exp(-2.0 * s) * square
    return likelihood + 0.5 * priors + np.log1p((np.exp(s) / 2.5) ** 2) - s


def forward(emission, stay, leave):
    """Log likelihood of a hidden chain of two states, from weights (1, 1).

    Parameters
    ----------
    emission : array, shape (n, 2)
        Log densities of the rows in each state.
    stay, leave : numbers
        The chance of state 1 after state 1, and of state 1 after state 2: as logits.
    """
    stays, leaves = im.log_expit(stay), im.log_expit(-stay)
    comes, remains = im.log_expit(leave), im.log_expit(-leave)

    def step(weights, row):
        a, b = weights
        a, b = (
            im.logaddexp(a + stays, b + comes) + row[0],
            im.logaddexp(a + leaves, b + remains) + row[1],
        )
        return (a, b), None

    (a, b), _ = im.scan(step, tuple(emission[0]), emission[1:])
    return im.logaddexp(a, b)


@isotherm.formula(dim=4)
def hmm_example(x, *, y):
    """x = (logit θ₁₁, logit θ₂₁, log μ₁, log(μ₂ - μ₁))."""
    first, second, a, b = x
    low = np.exp(a)
    mu = np.stack([low, low + np.exp(b)])
    emission = -0.5 * (y[:, None] - mu) ** 2
    jacobian = sum(im.log_expit(t) + im.log_expit(-t) for t in (first, second)) + a + b
    prior = 0.5 * ((mu[0] - 3.0) ** 2 + (mu[1] - 10.0) ** 2)
    return prior - forward(emission, first, second) - jacobian


@isotherm.formula(dim=6)
def hmm_drive(x, *, u, v, alpha, tau, rho):
    """x = (logit θ₁₁, logit θ₂₁, φ₁, log(φ₂ - φ₁), λ₁, log(λ₂ - λ₁))."""
    first, second = x[0], x[1]
    phi = np.stack([x[2], x[2] + np.exp(x[3])])
    lam = np.stack([x[4], x[4] + np.exp(x[5])])
    of_u, of_v = (u[:, None] - phi) / tau, (v[:, None] - lam) / rho
    emission = -0.5 * (of_u**2 + of_v**2)
    shares = sum(
        alpha[k, 0] * im.log_expit(t) + alpha[k, 1] * im.log_expit(-t)
        for k, t in enumerate((first, second))
    )
    prior = 0.5 * (phi[0] ** 2 + lam[0] ** 2 + (phi[1] - 3.0) ** 2 + (lam[1] - 3.0) ** 2)
    return prior - forward(emission, first, second) - shares - x[3] - x[5]


@isotherm.formula(dim=13)
def gaussian_process(x, *, places, counts):
    """Poisson counts with log rates f = L w, L the factor of a squared-exponential kernel."""
    rho, alpha, w = np.exp(x[0]), np.exp(x[1]), x[2:]
    squares = (places[:, None] - places[None, :]) ** 2
    K = alpha * alpha * np.exp(squares * (-0.5 / (rho * rho)))
    f = np.linalg.cholesky(K + 1e-10 * np.eye(len(w))) @ w
    energy = 0.5 * np.sum(w * w) + np.sum(np.exp(f) - counts * f)
    return energy + 4.0 * rho - 25.0 * x[0] + (alpha * alpha) / 8.0 - x[1]


@isotherm.formula(dim=8)
def lotka_volterra(x, *, y_init, y, substeps: int):
    """Hare and lynx by the classical Runge-Kutta scheme; all eight coordinates are logarithms."""
    a, b, c, d = np.exp(x[:4])
    state = np.exp(x[4:6])
    h = 1.0 / substeps

    def slope(z):
        return np.stack([(a - b * z[1]) * z[0], (d * z[0] - c) * z[1]])

    def step(state, _):
        k1 = slope(state)
        k2 = slope(state + 0.5 * h * k1)
        k3 = slope(state + 0.5 * h * k2)
        k4 = slope(state + h * k3)
        state = state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        return state, state

    _, states = im.scan(step, state, np.zeros(substeps * len(y)))
    states = np.concatenate([state[None], states[substeps - 1 :: substeps]])
    observed = np.log(np.concatenate([y_init[None], y]))
    deviation = ((observed - np.log(states)) / np.exp(x[6:])) ** 2
    rates = ((a - 1.0) / 0.5) ** 2 + ((c - 1.0) / 0.5) ** 2
    rates = rates + ((b - 0.05) / 0.05) ** 2 + ((d - 0.05) / 0.05) ** 2
    scales = np.sum((x[6:] + 1.0) ** 2) + np.sum((x[4:6] - np.log(10.0)) ** 2)
    return (
        0.5 * (np.sum(deviation) + rates + scales) + (len(y) + 1.0) * np.sum(x[6:]) - np.sum(x[:4])
    )


FAMILIES: Mapping[str, Callable[[Data], Any]] = {
    "regression": regression,
    "eight_schools_noncentered": lambda d: eight_schools(d["y"], d["sigma"]),
    "arma11": lambda d: arma(d["y"]),
    "hmm_example": lambda d: hmm_example(d["y"]),
    "hmm_drive_1": lambda d: hmm_drive(d["u"], d["v"], d["alpha"], d["tau"], d["rho"]),
    "gp_pois_regr": lambda d: gaussian_process(d["x"], d["k"]),
    "lotka_volterra": lambda d: lotka_volterra(d["y_init"], d["y"], d["substeps"]),
}
