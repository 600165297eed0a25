"""A φ⁴ lattice
============

A field on a square lattice goes through its phase transition.

U(x) = Σ_i 2 x_i² - μ x_i²/2 + x_i⁴/4 - Σ_<ij> x_i x_j on a square lattice with periodic bounds. For
larger μ neighbours agree, and the mean field leaves 0.

Run it as ``python lattice_phi4.py [FOLDER] [--size 64] [--steps 4000]``.
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
parser.add_argument("--size", default=64, type=int)
parser.add_argument("--steps", default=4000, type=int)
given = parser.parse_args()
shape = (given.size, given.size)


@isotherm.formula(dim=shape)
def phi4(x, *, mu=1.0):
    neighbours = x * np.roll(x, 1, 0) + x * np.roll(x, 1, 1)
    return np.sum((2.0 - 0.5 * mu) * x**2 + 0.25 * x**4 - neighbours)


masses = [0.8, 1.3, 1.8]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
for mu, axis in zip(masses, axes, strict=True):
    fields = isotherm.sample_chain(
        phi4(mu=mu), n_samples=16, n_steps=given.steps, step_size=0.05, seed=1
    )
    order = np.abs(fields.mean(axis=(1, 2))).mean()
    picture = axis.imshow(fields[0], cmap="RdBu_r", vmin=-2, vmax=2)
    axis.set_title(f"μ = {mu}\n|mean field| {order:.2f}")
    axis.axis("off")
    print(f"mu {mu}: mean field {order:.3f}")
figure.colorbar(picture, ax=axes, label="field x", shrink=0.8)
figure.savefig(given.folder / "phi4.png", dpi=120)
