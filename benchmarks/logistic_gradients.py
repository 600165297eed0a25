"""Gradients a second of a logistic regression, beside the same energy in JAX, for 1000 chains.

    python benchmarks/logistic_gradients.py --jax PYTHON [--chains 1000] [--rounds 7]
        [--out benchmarks/results/logistic_gradients.json]

PYTHON is the interpreter of an environment with jax and scikit-learn. The data are scikit-learn's
breast cancer, 569 rows and 31 columns, in float32. JAX takes steps down ``vmap(grad(U))`` in one
compiled loop; Isotherm takes Langevin steps, noise included. Compared in turn, round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers.jax_logistic import STEPS, problem
from reference import commit, machine

import isotherm


@isotherm.formula(dim=None)
def posterior(w: Any, *, X: Any, y: Any) -> Any:
    """Logistic regression with N(0, 1) on each coefficient."""
    z = X @ w
    return np.sum(np.logaddexp(0.0, z) - y * z) + 0.5 * np.sum(w * w)


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jax", required=True, help="python of an environment with jax")
    parser.add_argument("--chains", default=1000, type=int)
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    X, y = problem()
    energy = posterior(X, y)
    start = np.zeros((given.chains, X.shape[1]), np.float32)
    plan = isotherm.make_plan(
        energy, start, n_steps=STEPS, step_size=1e-4, backend="numba", seed=0
    )  # fmt: skip
    path = isotherm.run(plan, energy, start).info.path

    command = [given.jax, str(Path(__file__).parent / "peers/jax_logistic.py"), str(given.chains)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        versions = worker.stdout.readline().strip()
        rates: dict[str, list[float]] = {"isotherm": [], "jax": []}
        for _ in range(given.rounds):
            began = time.perf_counter()
            isotherm.run(plan, energy, start)
            rates["isotherm"].append(given.chains * STEPS / (time.perf_counter() - began))
            print("go", file=worker.stdin, flush=True)
            rates["jax"].append(given.chains * STEPS / float(worker.stdout.readline()))
        worker.stdin.close()
    middle = {name: statistics.median(found) for name, found in rates.items()}
    ratios = [a / b for a, b in zip(rates["isotherm"], rates["jax"], strict=True)]
    print(f"{path}; {versions}; {given.chains} chains")
    for name, rate in middle.items():
        print(f"{name}: {rate:.3g} gradients a second")
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if given.out is not None:
        results = {
            "machine": machine(), "commit": commit(), "rounds": given.rounds, "versions": versions,
            "path": path, "chains": given.chains, "steps": STEPS,
            "gradients a second": middle, "ratios": ratios,
        }  # fmt: skip
        given.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
