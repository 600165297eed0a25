"""Trajectory lengths: the warm-up's closed form, beside what the criterion of ChEES would choose.

    python -m benchmarks.posteriors.lengths [--targets FILE] [--only WORD ...]

For trajectories of some multiples of the length that `isotherm.warm_up` finds: effective draws a
gradient, of the worst coordinate and of its squared deviation, as a part of the most; and the
criterion of Hoffman, Radul and Sountsov, AISTATS 2021, the mean of (|x' - m|² - |x - m|²)²/4 over
steps from x to x', in the metric of the inverse mass.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import isotherm
from benchmarks.posteriors.targets import Target, targets

FACTORS = (0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 3.0)
N_CHAINS, N_STEPS = 512, 192


def ess(x: Any) -> float:
    """Effective draws of the worst coordinate, by how far the means of chains lie apart."""
    return len(x) * float((x.var(axis=(0, 1)) / x.mean(axis=1).var(axis=0, ddof=1)).min())


def measured(target: Target, tuning: isotherm.Tuning, n_leapfrog: int) -> tuple[float, float]:
    """Effective draws a gradient, and the criterion."""
    sampler = isotherm.HamiltonianMonteCarlo(
        target.energy, dtype="float64", **{**tuning.arguments, "n_leapfrog": n_leapfrog}
    )
    start = tuning.x.rows(0, N_CHAINS)
    plan = sampler.plan(start, n_steps=N_STEPS, seed=1, return_trajectory=True)
    x = isotherm.run(plan, target.energy, start).trajectory.reshape(N_CHAINS, N_STEPS, -1)
    substeps = plan.kept_substeps(N_STEPS)
    assert substeps is not None
    centred = x - x.mean(axis=(0, 1))
    mass = tuning.inverse_mass
    if mass.ndim == 1:
        white = centred / np.sqrt(mass)
    else:
        white = centred @ np.linalg.inv(np.linalg.cholesky(mass)).T
    squares = (white * white).sum(axis=2)
    criterion = float(((squares[:, 1:] - squares[:, :-1]) ** 2).mean() / 4.0)
    return min(ess(centred), ess(centred**2)) / (N_CHAINS * int(substeps.sum())), criterion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=Path, help="targets.json or its folder")
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    options = parser.parse_args()
    for target in targets(options.targets):
        if options.only and not any(word in target.name for word in options.only):
            continue
        sampler = isotherm.HamiltonianMonteCarlo(target.energy, dtype="float64")
        shape = target.energy.dim if isinstance(target.energy.dim, tuple) else target.dim
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuning = isotherm.warm_up(sampler, dim=shape, mass=target.mass, seed=1)
            assert tuning.n_leapfrog is not None
            tried = sorted({max(1, round(f * tuning.n_leapfrog)) for f in FACTORS})
            found = {n: measured(target, tuning, n) for n in tried}
        most = max(draws for draws, _ in found.values())
        chosen = max(found, key=lambda n: found[n][1])
        print(
            f"{target.name}: of the most effective draws a gradient the closed form, "
            f"{tuning.n_leapfrog} substeps, has {found[tuning.n_leapfrog][0] / most:.2f}, ChEES, "
            f"{chosen}, has {found[chosen][0] / most:.2f}; "
            + ", ".join(f"{n}: {draws / most:.2f}" for n, (draws, _) in found.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
