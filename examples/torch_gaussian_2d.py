"""A Gaussian in two dimensions
============================

A thousand chains on their way to a Gaussian, with little noise.

Run it as ``python torch_gaussian_2d.py [FOLDER]``.
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

from isotherm import GaussianEnergy, LangevinDynamics

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

mean = torch.tensor([1.0, -1.0])
cov = torch.tensor([[1.0, 0.5], [0.5, 2.0]])
energy_fn = GaussianEnergy(mean, cov, device=device)

sampler = LangevinDynamics(
    energy_function=energy_fn, step_size=0.01, noise_scale=0.1, device=device
)
samples = sampler.sample_chain(x=torch.zeros(1000, 2), n_steps=100, n_samples=1000)
print(tuple(samples.shape))  # (1000, 2)

samples = samples.cpu().numpy()
figure, axis = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
axis.scatter(samples[:, 0], samples[:, 1], s=4, color="#0072B2")
axis.set_xlabel("$x_1$")
axis.set_ylabel("$x_2$")
axis.set_aspect("equal")
figure.savefig(folder / "gaussian_2d.png", dpi=120)
