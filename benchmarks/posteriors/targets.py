"""What is sampled: an energy, its scale of difficulty, and what is known of its means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import isotherm
from benchmarks.posteriors import check, formulas

Numbers = np.ndarray[Any, np.dtype[np.float64]]

SHAPE = (16, 16)  # of the lattice


@dataclass(frozen=True)
class Target:
    """A law to sample.

    Attributes
    ----------
    name, family : str
    data : mapping
    energy : FormulaEnergy
    dim : int
    mass : {"diagonal", "dense"}
        The inverse mass that all programs are told to find.
    dtype : {"float32", "float64"}
        In which the programs calculate that can be told.
    told : callable
        From states, shape (..., dim), to the parameters whose means are known.
    mean, error : array or None
        Of these means, and their Monte Carlo errors; None where nothing is known.
    """

    name: str
    family: str
    data: Mapping[str, Any]
    energy: Any
    dim: int
    mass: str = "diagonal"
    dtype: str = "float32"
    told: Callable[[Numbers], Numbers] = np.asarray
    mean: Numbers | None = None
    error: Numbers | None = None


@isotherm.formula(dim=None)
def gaussian(x, *, precision):
    return 0.5 * np.sum(precision * x * x)


@isotherm.formula(dim=2)
def rosenbrock(x, *, b):
    return (1.0 - x[0]) ** 2 + b * (x[1] - x[0] ** 2) ** 2


@isotherm.formula(dim=SHAPE)
def phi4(x, *, mu):
    neighbours = x * np.roll(x, 1, 0) + x * np.roll(x, 1, 1)
    return np.sum((2.0 - 0.5 * mu) * x**2 + 0.25 * x**4 - neighbours)


@isotherm.formula(dim=None)
def logistic(w, *, X, y):
    z = X @ w
    return np.sum(np.logaddexp(0.0, z) - y * z) + 0.5 * np.sum(w * w)


def targets(path: Path | None) -> list[Target]:
    """Those of a file (see `check`), and what stands here."""
    given = [_of_file(name, one) for name, one in check.targets(path).items()]
    return [*given, _gaussian(), _rosenbrock(), _lattice(), _logistic()]


def _of_file(name: str, target: Mapping[str, Any]) -> Target:
    family, data = target["family"], target["data"]
    reference = target.get("reference")
    is_regression = family == "regression"
    return Target(
        name,
        family,
        data,
        formulas.FAMILIES[family](data),
        target["dim"],
        # Coefficients of raw designs: correlated, and some with many digits before the first one
        # that is uncertain.
        mass="dense" if is_regression else "diagonal",
        dtype="float64" if is_regression or family in _NEED_FLOAT64 else "float32",
        told=lambda x: _TOLD[family](x, data),
        mean=None if reference is None else np.array(reference["mean"]),
        error=None if reference is None else np.array(reference["mcse_mean"]),
    )


#: A jitter of 1e-10 beside a variance of 10 is none in float32.
_NEED_FLOAT64 = ("gp_pois_regr",)


def _gaussian() -> Target:
    variance = np.geomspace(1e-2, 1e2, 100)
    data = {"precision": 1.0 / variance}
    energy, zeros = gaussian(**data, dim=100), np.zeros(100)
    return Target("gaussian 100-D, condition 1e4", "gaussian", data, energy, 100,
                  mean=zeros, error=zeros)  # fmt: skip


def _rosenbrock() -> Target:
    """x ~ N(1, 1/2), y ~ N(x², 1/(2b))."""
    data = {"b": 10.0}
    return Target("rosenbrock, b = 10", "rosenbrock", data, rosenbrock(**data), 2,
                  mean=np.array([1.0, 1.5]), error=np.zeros(2))  # fmt: skip


def _lattice() -> Target:
    data, n = {"mu": 0.8, "shape": SHAPE}, SHAPE[0] * SHAPE[1]
    return Target("phi4 16 x 16", "lattice", data, phi4(mu=data["mu"]), n,
                  mean=np.zeros(n), error=np.zeros(n))  # fmt: skip


def _logistic() -> Target:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    rows = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    data = {"X": np.column_stack([np.ones(len(rows)), rows]), "y": found.target.astype(float)}
    return Target("logistic regression", "logistic", data, logistic(**data, dim=31), 31)


def _shares(t: Numbers) -> Numbers:
    p = 1.0 / (1.0 + np.exp(-t))
    return np.stack([p, 1.0 - p], axis=-1).reshape(*t.shape[:-1], -1)


def _of_regression(x: Numbers, _: Any) -> Numbers:
    return np.concatenate([x[..., :-1], np.exp(x[..., -1:])], axis=-1)


def _of_schools(x: Numbers, _: Any) -> Numbers:
    mu, tau = x[..., 8:9], np.exp(x[..., 9:])
    return np.concatenate([mu + tau * x[..., :8], mu, tau], axis=-1)


def _of_hmm(x: Numbers, _: Any) -> Numbers:
    low = np.exp(x[..., 2:3])
    return np.concatenate([_shares(x[..., :2]), low, low + np.exp(x[..., 3:])], axis=-1)


def _of_drive(x: Numbers, _: Any) -> Numbers:
    parts = [_shares(x[..., :2])]
    for i in (2, 4):
        parts += [x[..., i : i + 1], x[..., i : i + 1] + np.exp(x[..., i + 1 : i + 2])]
    return np.concatenate(parts, axis=-1)


def _of_process(x: Numbers, d: Any) -> Numbers:
    rho, alpha = np.exp(x[..., :1]), np.exp(x[..., 1:2])
    places = np.array(d["x"], float)
    squares = (places[:, None] - places) ** 2
    kernel = alpha[..., None] ** 2 * np.exp(-0.5 * squares / rho[..., None] ** 2)
    root = np.linalg.cholesky(kernel + 1e-10 * np.eye(len(places)))
    f = np.einsum("...ij,...j->...i", root, x[..., 2:])
    return np.concatenate([rho, alpha, f], axis=-1)


_TOLD: Mapping[str, Callable[[Numbers, Any], Numbers]] = {
    "regression": _of_regression,
    "eight_schools_noncentered": _of_schools,
    "arma11": _of_regression,
    "hmm_example": _of_hmm,
    "hmm_drive_1": _of_drive,
    "gp_pois_regr": _of_process,
    "lotka_volterra": lambda x, _: np.exp(x),
}
