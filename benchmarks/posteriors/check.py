"""Compare the formulas with an independent computation, target by target.

Run ``python -m benchmarks.posteriors.check --posteriordb CLONE`` with a clone of posteriordb, or
``--targets FOLDER``, where FOLDER (or the file itself) holds ``targets.json``: data and reference
moments of its posteriors. The repository carries none of them but eight schools.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import isotherm
from benchmarks.posteriors import formulas, independent, posteriordb

#: Rubin, "Estimation in parallel randomized experiments", J. Educ. Stat. 6, 1981, table 1.
EIGHT_SCHOOLS = {
    "family": "eight_schools_noncentered",
    "dim": 10,
    "data": {"y": [28, 8, -3, 7, -1, 1, 18, 12], "sigma": [15, 10, 16, 11, 9, 11, 10, 18]},
}
TOLERANCE = 1e-8


def targets(path: Path | None) -> dict[str, Any]:
    """The targets of a file or folder; without one, eight schools."""
    if path is None:
        return {"eight_schools-eight_schools_noncentered": EIGHT_SCHOOLS}
    file = path / "targets.json" if path.is_dir() else path
    if not file.exists():
        raise SystemExit(
            f"there is no {file}; give --targets the folder with targets.json, or --posteriordb a "
            "clone of posteriordb, or neither to check eight schools alone"
        )
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))["targets"]
    return found


def states(target: dict[str, Any], n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Some states near where the posterior is."""
    noise = np.random.default_rng(seed).normal(size=(n, target["dim"]))
    data = target["data"]
    if target["family"] == "regression":
        p = len(data["beta_hat"])
        R = np.zeros((p, p))
        R[np.triu_indices(p)] = data["R"]
        sigma = np.sqrt(data["rss"] / data["n"])
        b = data["beta_hat"] + sigma * np.linalg.solve(R, noise[:, :p].T).T
        return np.column_stack([b, np.log(sigma) + 0.1 * noise[:, p]])
    centre = {
        "lotka_volterra": np.log([0.55, 0.028, 0.8, 0.024, 34.0, 6.0, 0.25, 0.25]),
        "gp_pois_regr": np.r_[np.log([5.0, 2.0]), np.zeros(11)],
        "hmm_example": np.array([0.5, -1.0, 1.0, 1.8]),
        "arma11": np.array([0.0, 0.8, 0.2, -1.5]),
    }.get(target["family"], np.zeros(target["dim"]))
    return centre + 0.1 * noise


def check(target: dict[str, Any]) -> tuple[float, isotherm.GradientReport]:
    """The largest difference of log densities, for their size, and the gradient's report."""
    x = states(target, 5)
    energy = formulas.FAMILIES[target["family"]](target["data"])
    density = independent.FAMILIES[target["family"]]
    expected = np.array([-density(one, target["data"]) for one in x])
    got = energy(x)
    gap = (got - got[0]) - (expected - expected[0])  # up to the constant
    return float((np.abs(gap) / (1.0 + np.abs(expected))).max()), isotherm.check_gradient(energy, x)


def main() -> None:
    """Check all targets; the exit status tells whether all are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--targets", type=Path, help="targets.json or its folder")
    source.add_argument("--posteriordb", type=Path, help="the folder of a clone of posteriordb")
    given, is_right = parser.parse_args(), True
    clone = given.posteriordb
    found = targets(given.targets) if clone is None else posteriordb.targets(clone)
    for name, target in found.items():
        gap, report = check(target)
        is_right &= gap <= TOLERANCE and report.is_correct
        print(f"{name}: log density within {gap:.1e}; {report}")
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
