"""The demo
========

Two energies, a thousand chains each, on the fastest backend that is there; and the paths of a few.

Run it as ``python demo.py [FOLDER]``, or as ``python3 -m nox -s demo``.
"""

import sys
from pathlib import Path

import numpy as np
from rich.console import Console

import isotherm
from isotherm import plot
from isotherm.cli import summary_table

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
folder.mkdir(parents=True, exist_ok=True)
console = Console()

energies = {
    "gaussian": isotherm.GaussianEnergy([1.0, -1.0], [[1.0, 0.5], [0.5, 2.0]]),
    "mixture": isotherm.GaussianMixtureEnergy(
        means=[[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]], scales=0.7, weights=[0.25, 0.5, 0.25]
    ),
}
console.print("The first run of an energy compiles its chains, which its time counts.")
for name, energy in energies.items():
    plan = isotherm.make_plan(energy, n_samples=1000, n_steps=4000, step_size=0.02, seed=0)
    result = isotherm.run(plan, energy)
    path = folder / f"{name}.png"
    plot.samples(energy, np.asarray(result.samples)).savefig(path, dpi=120)
    console.print(name, summary_table(energy, result))
    console.print(f"drawn in {path}")

starts = [[-3.0, -1.0], [3.0, -1.0], [0.0, 4.0]]
paths = isotherm.sample_chain(
    energies["mixture"], starts, n_steps=200, step_size=0.02, seed=1, return_trajectory=True
)
path = folder / "trajectories.png"
plot.trajectories(energies["mixture"], paths).savefig(path, dpi=120)
console.print(f"three chains on their way to the mixture are drawn in {path}")
