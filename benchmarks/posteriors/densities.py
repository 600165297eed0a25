"""The same energies for JAX, written as its users would: scans where a formula has loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Data = Mapping[str, Any]
Energy = Callable[[Any], Any]


def regression(d: Data) -> Energy:
    p = len(d["beta_hat"])
    R = np.zeros((p, p))
    R[np.triu_indices(p)] = d["R"]
    numbers = ("beta_hat", "beta_mean", "beta_sd")
    R, beta_hat, mean, sd = map(jnp.asarray, (R, *(np.array(d[name]) for name in numbers)))

    def energy(x: Any) -> Any:
        b, s = x[:-1], x[-1]
        r, z = R @ (b - beta_hat), (b - mean) / sd
        u = (d["n"] - 1.0) * s + 0.5 * jnp.exp(-2.0 * s) * (d["rss"] + r @ r)
        if d["beta_prior"] == "normal":
            u += 0.5 * z @ z
        elif d["beta_prior"] != "flat":
            u += 0.5 * z[:-1] @ z[:-1]
            u += 0.5 * (d["last_df"] + 1.0) * jnp.log1p(z[-1] ** 2 / d["last_df"])
        if d["sigma_prior"] == "student":
            ratio = jnp.exp(s) / d["sigma_scale"]
            u += 0.5 * (d["sigma_df"] + 1.0) * jnp.log1p(ratio**2 / d["sigma_df"])
        elif d["sigma_prior"] == "normal":
            u += 0.5 * (jnp.exp(s) / d["sigma_scale"]) ** 2
        return u

    return energy


def eight_schools(d: Data) -> Energy:
    y, sigma = jnp.asarray(d["y"], float), jnp.asarray(d["sigma"], float)

    def energy(x: Any) -> Any:
        e, mu, t = x[:8], x[8], x[9]
        z = (mu + jnp.exp(t) * e - y) / sigma
        prior = jnp.log1p(jnp.exp(2.0 * t) / 25.0) - t
        return 0.5 * (z @ z + e @ e + (mu / 5.0) ** 2) + prior

    return energy


def arma(d: Data) -> Energy:
    y = jnp.asarray(d["y"])

    def energy(x: Any) -> Any:
        mu, phi, theta, s = x

        def step(e: Any, pair: Any) -> Any:
            e = pair[0] - mu - phi * pair[1] - theta * e
            return e, e

        first = y[0] - mu * (1.0 + phi)
        _, e = jax.lax.scan(step, first, (y[1:], y[:-1]))
        square = first**2 + e @ e
        priors = 0.5 * ((mu / 10.0) ** 2 + (phi / 2.0) ** 2 + (theta / 2.0) ** 2)
        half_cauchy = jnp.log1p((jnp.exp(s) / 2.5) ** 2) - s
        return len(y) * s + 0.5 * jnp.exp(-2.0 * s) * square + priors + half_cauchy

    return energy


def _hidden_chain(emission: Any, logits: Any) -> Any:
    """Log likelihood by the forward algorithm, from weights (1, 1)."""
    steps = jnp.stack([jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)], axis=1)

    def step(weights: Any, row: Any) -> Any:
        return jax.nn.logsumexp(weights[:, None] + steps, axis=0) + row, None

    last, _ = jax.lax.scan(step, emission[0], emission[1:])
    return jax.nn.logsumexp(last)


def hmm_example(d: Data) -> Energy:
    y = jnp.asarray(d["y"])

    def energy(x: Any) -> Any:
        low = jnp.exp(x[2])
        mu = jnp.stack([low, low + jnp.exp(x[3])])
        emission = -0.5 * (y[:, None] - mu) ** 2
        shares = jax.nn.log_sigmoid(x[:2]) + jax.nn.log_sigmoid(-x[:2])
        prior = 0.5 * ((mu[0] - 3.0) ** 2 + (mu[1] - 10.0) ** 2)
        return prior - _hidden_chain(emission, x[:2]) - shares.sum() - x[2] - x[3]

    return energy


def hmm_drive(d: Data) -> Energy:
    u, v, alpha = (jnp.asarray(d[name], float) for name in ("u", "v", "alpha"))

    def energy(x: Any) -> Any:
        phi = jnp.stack([x[2], x[2] + jnp.exp(x[3])])
        lam = jnp.stack([x[4], x[4] + jnp.exp(x[5])])
        of_u, of_v = (u[:, None] - phi) / d["tau"], (v[:, None] - lam) / d["rho"]
        shares = alpha[:, 0] * jax.nn.log_sigmoid(x[:2]) + alpha[:, 1] * jax.nn.log_sigmoid(-x[:2])
        prior = phi[0] ** 2 + lam[0] ** 2 + (phi[1] - 3.0) ** 2 + (lam[1] - 3.0) ** 2
        likelihood = _hidden_chain(-0.5 * (of_u**2 + of_v**2), x[:2])
        return 0.5 * prior - likelihood - shares.sum() - x[3] - x[5]

    return energy


def gaussian_process(d: Data) -> Energy:
    places, counts = jnp.asarray(d["x"], float), jnp.asarray(d["k"], float)
    squares = (places[:, None] - places) ** 2

    def energy(x: Any) -> Any:
        rho, alpha, w = jnp.exp(x[0]), jnp.exp(x[1]), x[2:]
        kernel = alpha**2 * jnp.exp(-0.5 * squares / rho**2) + 1e-10 * jnp.eye(len(places))
        f = jnp.linalg.cholesky(kernel) @ w
        likelihood = jnp.sum(jnp.exp(f) - counts * f)
        return likelihood + 0.5 * w @ w + 4.0 * rho - 25.0 * x[0] + alpha**2 / 8.0 - x[1]

    return energy


def lotka_volterra(d: Data) -> Energy:
    y_init, y = jnp.asarray(d["y_init"], float), jnp.asarray(d["y"], float)
    h = 1.0 / d["substeps"]

    def energy(x: Any) -> Any:
        a, b, c, e = jnp.exp(x[:4])
        sd = jnp.exp(x[6:])

        def slope(z: Any) -> Any:
            return jnp.stack([(a - b * z[1]) * z[0], (e * z[0] - c) * z[1]])

        def year(z: Any, _: Any) -> Any:
            for _ in range(d["substeps"]):
                k1 = slope(z)
                k2 = slope(z + 0.5 * h * k1)
                k3 = slope(z + 0.5 * h * k2)
                k4 = slope(z + h * k3)
                z = z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
            return z, z

        _, states = jax.lax.scan(year, jnp.exp(x[4:6]), None, length=len(y))
        deviation = jnp.sum(((jnp.log(y) - jnp.log(states)) / sd) ** 2)
        deviation += jnp.sum(((jnp.log(y_init) - x[4:6]) / sd) ** 2)
        rates = ((a - 1.0) / 0.5) ** 2 + ((c - 1.0) / 0.5) ** 2
        rates += ((b - 0.05) / 0.05) ** 2 + ((e - 0.05) / 0.05) ** 2
        scales = jnp.sum((x[6:] + 1.0) ** 2) + jnp.sum((x[4:6] - jnp.log(10.0)) ** 2)
        constants = (len(y) + 1.0) * jnp.sum(x[6:]) - jnp.sum(x[:4])
        return 0.5 * (deviation + rates + scales) + constants

    return energy


def gaussian(d: Data) -> Energy:
    precision = jnp.asarray(d["precision"])
    return lambda x: 0.5 * jnp.sum(precision * x * x)


def rosenbrock(d: Data) -> Energy:
    return lambda x: (1.0 - x[0]) ** 2 + d["b"] * (x[1] - x[0] ** 2) ** 2


def lattice(d: Data) -> Energy:
    def energy(x: Any) -> Any:
        x = x.reshape(d["shape"])
        neighbours = x * jnp.roll(x, 1, 0) + x * jnp.roll(x, 1, 1)
        return jnp.sum((2.0 - 0.5 * d["mu"]) * x**2 + 0.25 * x**4 - neighbours)

    return energy


def logistic(d: Data) -> Energy:
    X, y = jnp.asarray(d["X"]), jnp.asarray(d["y"], float)

    def energy(w: Any) -> Any:
        z = X @ w
        return jnp.sum(jnp.logaddexp(0.0, z) - y * z) + 0.5 * w @ w

    return energy


FAMILIES: Mapping[str, Callable[[Data], Energy]] = {
    "regression": regression,
    "eight_schools_noncentered": eight_schools,
    "arma11": arma,
    "hmm_example": hmm_example,
    "hmm_drive_1": hmm_drive,
    "gp_pois_regr": gaussian_process,
    "lotka_volterra": lotka_volterra,
    "gaussian": gaussian,
    "rosenbrock": rosenbrock,
    "lattice": lattice,
    "logistic": logistic,
}
