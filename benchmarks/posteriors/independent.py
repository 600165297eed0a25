"""The same log densities from the data by NumPy and SciPy, for one state at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import linalg, special, stats

Data = Mapping[str, Any]
State = np.ndarray[Any, np.dtype[np.float64]]


def regression(x: State, d: Data) -> float:
    b, sigma = x[:-1], np.exp(x[-1])
    # The sums of squares and products of the raw design, in more digits, as they cancel.
    wide = b.astype(np.longdouble)
    XX = np.array(d["XX"], np.longdouble)
    rss = float(d["yy"] - 2 * wide @ np.array(d["Xy"], np.longdouble) + wide @ XX @ wide)
    value = -d["n"] * np.log(sigma) - rss / (2 * sigma**2) + x[-1]
    if d["beta_prior"] == "normal":
        value += stats.norm.logpdf(b, d["beta_mean"], d["beta_sd"]).sum()
    elif d["beta_prior"] != "flat":
        value += stats.norm.logpdf(b[:-1], d["beta_mean"][:-1], d["beta_sd"][:-1]).sum()
        value += stats.t.logpdf(b[-1], d["last_df"], d["beta_mean"][-1], d["beta_sd"][-1])
    if d["sigma_prior"] == "student":
        value += stats.t.logpdf(sigma, d["sigma_df"], scale=d["sigma_scale"])
    elif d["sigma_prior"] == "normal":
        value += stats.norm.logpdf(sigma, scale=d["sigma_scale"])
    return float(value)


def eight_schools(x: State, d: Data) -> float:
    e, mu, tau = x[:8], x[8], np.exp(x[9])
    value = stats.norm.logpdf(d["y"], mu + tau * e, d["sigma"]).sum()
    value += stats.norm.logpdf(e).sum() + stats.norm.logpdf(mu, 0, 5)
    return float(value + stats.halfcauchy.logpdf(tau, scale=5) + x[9])


def arma(x: State, d: Data) -> float:
    mu, phi, theta, s = x
    y, e = d["y"], [d["y"][0] - (mu + phi * mu)]
    for t in range(1, len(y)):
        e.append(y[t] - (mu + phi * y[t - 1] + theta * e[-1]))
    value = stats.norm.logpdf(e, 0, np.exp(s)).sum() + stats.norm.logpdf(mu, 0, 10)
    value += stats.norm.logpdf([phi, theta], 0, 2).sum()
    return float(value + stats.halfcauchy.logpdf(np.exp(s), scale=2.5) + s)


def _hidden_chain(emission: State, theta: State) -> float:
    log_weights, log_theta = emission[0], np.log(theta)
    for row in emission[1:]:
        log_weights = special.logsumexp(log_weights[:, None] + log_theta, axis=0) + row
    return float(special.logsumexp(log_weights))


def _shares(t: State) -> State:
    p = special.expit(t)
    return np.stack([p, 1 - p], axis=1)


def hmm_example(x: State, d: Data) -> float:
    theta, mu = _shares(x[:2]), np.cumsum(np.exp(x[2:]))
    emission = stats.norm.logpdf(np.array(d["y"])[:, None], mu, 1)
    value = _hidden_chain(emission, theta) + stats.norm.logpdf(mu, [3, 10], 1).sum()
    return float(value + np.log(theta).sum() + x[2:].sum())


def hmm_drive(x: State, d: Data) -> float:
    theta = _shares(x[:2])
    phi, lam = (np.array([x[i], x[i] + np.exp(x[i + 1])]) for i in (2, 4))
    emission = stats.norm.logpdf(np.array(d["u"])[:, None], phi, d["tau"])
    emission = emission + stats.norm.logpdf(np.array(d["v"])[:, None], lam, d["rho"])
    value = _hidden_chain(emission, theta)
    value += sum(stats.dirichlet.logpdf(p, a) for p, a in zip(theta, d["alpha"], strict=True))
    value += sum(stats.norm.logpdf(z, [0, 3], 1).sum() for z in (phi, lam))
    return float(value + np.log(theta).sum() + x[3] + x[5])


def gaussian_process(x: State, d: Data) -> float:
    rho, alpha, w = np.exp(x[0]), np.exp(x[1]), x[2:]
    places = np.array(d["x"], float)
    kernel = alpha**2 * np.exp(-((places[:, None] - places) ** 2) / (2 * rho**2))
    f = linalg.cholesky(kernel + 1e-10 * np.eye(len(w)), lower=True) @ w
    value = stats.poisson.logpmf(d["k"], np.exp(f)).sum() + stats.norm.logpdf(w).sum()
    value += stats.gamma.logpdf(rho, 25, scale=1 / 4) + stats.halfnorm.logpdf(alpha, scale=2)
    return float(value + x[0] + x[1])


def lotka_volterra(x: State, d: Data) -> float:
    alpha, beta, gamma, delta = np.exp(x[:4])
    z, sigma, h = np.exp(x[4:6]), np.exp(x[6:]), 1 / d["substeps"]

    def slope(z: State) -> State:
        return np.array([(alpha - beta * z[1]) * z[0], (delta * z[0] - gamma) * z[1]])

    value = stats.norm.logpdf(np.log(d["y_init"]), np.log(z), sigma).sum()
    for observed in d["y"]:
        for _ in range(d["substeps"]):
            k1 = slope(z)
            k2 = slope(z + h / 2 * k1)
            k3 = slope(z + h / 2 * k2)
            k4 = slope(z + h * k3)
            z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        value += stats.norm.logpdf(np.log(observed), np.log(z), sigma).sum()
    value += stats.norm.logpdf([alpha, gamma], 1, 0.5).sum()
    value += stats.norm.logpdf([beta, delta], 0.05, 0.05).sum()
    # Densities of logarithms: the lognormals' own 1/x is the Jacobian.
    value += stats.norm.logpdf(x[6:], -1, 1).sum() + stats.norm.logpdf(x[4:6], np.log(10), 1).sum()
    return float(value + x[:4].sum())


FAMILIES: Mapping[str, Callable[[State, Data], float]] = {
    "regression": regression,
    "eight_schools_noncentered": eight_schools,
    "arma11": arma,
    "hmm_example": hmm_example,
    "hmm_drive_1": hmm_drive,
    "gp_pois_regr": gaussian_process,
    "lotka_volterra": lotka_volterra,
}
