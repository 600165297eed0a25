"""Crossing a barrier: friction
============================

How often does a chain of underdamped Langevin dynamics cross from well to well?

The rate of crossing is small for little friction, where energy is slow to come and go, and for
much, where every step is soon taken back: Kramers's turnover (Physica 7, 1940). Transition state
theory, which counts what turns back too, is above all of them.

Run it as ``python underdamped_double_well.py [FOLDER] [--steps 20000]``.
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
parser.add_argument("--steps", type=int, default=20_000)
given = parser.parse_args()
n_steps = given.steps

HEIGHT, STEP_SIZE, THINNING, LAG = 5.0, 0.05, 5, 400
energy = isotherm.DoubleWellEnergy(barrier_height=HEIGHT)  # wells at -1 and 1, U'' = 8 HEIGHT
# Of transition state theory: crossings a unit of time, ω/2π exp(-HEIGHT).
highest = np.sqrt(8.0 * HEIGHT) / (2.0 * np.pi) * np.exp(-HEIGHT)

start = np.where(np.arange(1000) % 2, 1.0, -1.0)[:, None].astype(np.float32)
rates, errors = {}, {}
for friction in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0):
    trajectory = isotherm.sample_chain(
        energy, start, sampler="underdamped", n_steps=n_steps, burn_in=400, thinning=THINNING,
        step_size=STEP_SIZE, friction=friction, return_trajectory=True, seed=0,
    )[:, :, 0]  # fmt: skip
    # Which side a chain is on is forgotten as exp(-2 rate time); what soon turns back leaves no
    # trace (Chandler, J. Chem. Phys. 68, 1978).
    sides = np.sign(trajectory)
    remembered = (sides[:, LAG:] * sides[:, :-LAG]).mean(axis=1).reshape(10, 100).mean(axis=1)
    of_groups = -np.log(remembered) / (2.0 * LAG * THINNING * STEP_SIZE)
    rates[friction] = of_groups.mean()
    errors[friction] = of_groups.std(ddof=1) / np.sqrt(10)
    print(f"friction {friction:5g}: {rates[friction]:.5f} ± {errors[friction]:.5f}")

# Kramers's formula for strong friction, with the curvature at the top, U'' = -4 HEIGHT.
at_top = np.sqrt(4.0 * HEIGHT)
strong = np.geomspace(1.0, 40.0)
kramers = highest * (np.sqrt(strong**2 / 4.0 + at_top**2) - strong / 2.0) / at_top
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.errorbar(
    rates.keys(), rates.values(), errors.values(), fmt="o", color="#0072B2", capsize=3,
    label="sampled, and its standard error",
)  # fmt: skip
axis.plot(strong, kramers, color="#009E73", label="Kramers, strong friction")
axis.axhline(highest, color="#D55E00", ls="--", label="transition state theory")
axis.set(xscale="log", yscale="log", ylim=(2e-4, 1e-2))
axis.set_xlabel("friction (1 / unit of time)")
axis.set_ylabel("crossings a unit of time")
axis.legend(loc="lower center")
figure.savefig(given.folder / "crossings.png", dpi=120)
print(f"transition state theory: {highest:.5f}")
print(max(rates.values()) < highest)  # True
print(rates[0.03] < rates[0.3] > rates[30.0])  # True
