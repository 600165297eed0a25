"""Tempering on Rastrigin's energy
===============================

Chains that are cooled leave poor wells that chains at the final temperature never leave.

``noise_scale`` and ``temperature`` take a schedule: one number a step, or a function of the step.
The energy has its least value 0 at the origin, and a well near every point of whole numbers.

Run it as ``python tempering_rastrigin.py [FOLDER] [--steps 20000]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", default=20_000, type=int)
given = parser.parse_args()

COLD, HOT = 0.2, 10.0
energy = isotherm.RastriginEnergy(a=5.0)
starts = 4.0 * np.random.default_rng(0).uniform(-1.0, 1.0, (500, 2)).astype(np.float32)


def cooling(step):
    return max(HOT * (COLD / HOT) ** (step / (0.8 * given.steps)), COLD)


ends = {
    name: isotherm.sample_chain(
        energy, starts, n_steps=given.steps, step_size=2e-3, temperature=temperature, seed=1
    )
    for name, temperature in {"always cold": COLD, "cooled": cooling}.items()
}

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
axes[0].semilogy([cooling(step) for step in range(given.steps)], color="black")
axes[0].set_xlabel("step")
axes[0].set_ylabel("temperature")
axes[0].set_title("cooling")
for (name, x), axis in zip(ends.items(), axes[1:], strict=True):
    axis.plot(*starts.T, ".", color="0.8", ms=3, label="start")
    axis.plot(*x.T, ".", color="#0072B2", ms=4, label="end")
    axis.set_title(f"{name}: mean energy {energy(x).mean():.1f}")
    axis.set_xlabel("$x_1$")
    axis.set_ylabel("$x_2$")
    axis.set_aspect("equal")
figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower right", ncols=2)
figure.savefig(given.folder / "tempering.png", dpi=120)
print(energy(ends["cooled"]).mean() < 0.5 * energy(ends["always cold"]).mean())  # True
