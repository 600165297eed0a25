"""A Lennard-Jones cluster melts
=============================

The icosahedron is the cluster's ground state, of energy -44.3268 (Wales and Doye, J. Phys. Chem. A
101, 1997). Chains start there and are heated.

Run it as ``python lennard_jones_cluster.py [FOLDER] [--steps 20000]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

plt.style.use("tableau-colorblind10")

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", default=20_000, type=int)
given = parser.parse_args()


@isotherm.formula(dim=(13, 3))
def cluster(x, *, confinement=1.0):
    i, j = np.triu_indices(13, 1)
    s = 1.0 / np.sum((x[i] - x[j]) ** 2, axis=-1) ** 3
    outside = np.maximum(
        np.sum(x * x, axis=-1) - 9.0, 0.0
    )  # a wall at radius 3, against evaporation
    return np.sum(4.0 * (s * s - s)) + confinement * np.sum(outside**2)


golden = (1 + 5**0.5) / 2
corners = [(0, a, b * golden) for a in (1, -1) for b in (1, -1)]
icosahedron = np.array([(0, 0, 0)] + [np.roll(c, k) for c in corners for k in range(3)])
start = icosahedron * (1.0823 / np.linalg.norm(icosahedron[1]))
energy = cluster()

figure, axis = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
for temperature in (0.1, 0.25, 0.4):
    last, diagnostics = isotherm.sample_chain(
        energy, start[None], n_samples=64, n_steps=given.steps, thinning=given.steps // 100,
        temperature=temperature, step_size=2e-5, dtype="float64", seed=1, return_diagnostics=True,
    )  # fmt: skip
    mean = diagnostics.energy.mean(axis=1)
    axis.plot(diagnostics.steps, mean, label=f"T = {temperature}")
    print(f"T {temperature}: mean energy {mean[len(mean) // 2 :].mean():.2f}")
axis.axhline(-44.3268, color="black", lw=0.8, ls=":", label="ground state")
axis.locator_params(axis="x", nbins=5)
axis.set_xlabel("step")
axis.set_ylabel("mean energy (units of ε)")
figure.legend(loc="outside right upper")
figure.savefig(given.folder / "cluster.png", dpi=120)
