"""A Gaussian in ten dimensions
============================

Ten thousand chains, and the trajectory and diagnostics of 250 of them.

Run it as ``python torch_gaussian_10d.py [FOLDER]``.
"""

import sys
from pathlib import Path

import torch

from isotherm import GaussianEnergy, LangevinDynamics, plot

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

sampler = LangevinDynamics(
    energy_function=GaussianEnergy(mean=torch.zeros(10), cov=torch.eye(10)),
    step_size=5e-3,
    device=device,
).to(device)

samples = sampler.sample_chain(dim=10, n_steps=500, n_samples=10000, return_trajectory=False)
print(tuple(samples.shape))  # (10000, 10)

trajectory, diagnostics = sampler.sample_chain(
    dim=10, n_steps=500, n_samples=250, return_trajectory=True, return_diagnostics=True
)
print(tuple(trajectory.shape))  # (250, 500, 10)
print(tuple(diagnostics.shape))  # (500, 3, 250, 10)
plot.diagnostics(diagnostics).savefig(folder / "diagnostics.png", dpi=120)
