"""Trajectories over a landscape
=============================

Paths of a few chains over an energy of many wells, which they seldom leave.

Run it as ``python landscape_trajectories.py [FOLDER]``.
"""

import sys
from pathlib import Path

import isotherm
from isotherm import plot

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
energy = isotherm.RastriginEnergy(a=2.0)
starts = [[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]]

paths = isotherm.sample_chain(
    energy, starts, n_steps=2000, thinning=5, step_size=2e-3, seed=1, return_trajectory=True
)
plot.trajectories(energy, paths).savefig(folder / "trajectories.png", dpi=120)
print(f"{paths.shape[0]} chains, {paths.shape[1]} kept states each")
