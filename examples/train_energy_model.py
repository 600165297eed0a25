"""Train an energy-based model
===========================

A network's energy is trained on two moons by persistent contrastive divergence.

The gradient of the log likelihood is the energy's mean over samples of the model less its mean over
data, both differentiated by the parameters. The samples come from chains that are kept from one
training step to the next in a buffer (Tieleman, "Training restricted Boltzmann machines using
approximations to the likelihood gradient", ICML 2008). Takes about a minute on a CPU.

Run it as ``python train_energy_model.py [FOLDER] [--steps 1500]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import make_moons
from torch import nn

from isotherm import LangevinDynamics

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", type=int, default=1500)
options = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)  # governs the sampler too
torch.set_num_threads(1)  # the network is so small that threads would wait for each other

points, _ = make_moons(4096, noise=0.08, random_state=0)
data = torch.tensor(points, dtype=torch.float32, device=device)
data = (data - data.mean(dim=0)) / data.std(dim=0)


class Energy(nn.Module):
    """A network beside a wide Gaussian's energy, which keeps the chains from leaving."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x):
        return self.network(x).squeeze(1) + 0.5 * (x / 2.0).square().sum(dim=1)


energy = Energy().to(device)
sampler = LangevinDynamics(energy, step_size=0.005)
optimizer = torch.optim.Adam(energy.parameters(), lr=4e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
buffer = torch.randn(2048, 2, device=device)

for step in range(1, options.steps + 1):
    rows = torch.randperm(len(buffer), device=device)[:256]
    start = buffer[rows]
    start[:8] = torch.randn(8, 2, device=device)  # a few begin anew, or all would age in one moon
    negative = sampler.sample_chain(x=start, n_steps=10)
    buffer[rows] = negative
    positive = data[torch.randint(len(data), (256,), device=device)]

    energy_of_data, energy_of_samples = energy(positive), energy(negative)
    contrast = energy_of_data.mean() - energy_of_samples.mean()
    # The likelihood does not see a constant in U; this keeps it small.
    penalty = 0.001 * (energy_of_data.square().mean() + energy_of_samples.square().mean())
    optimizer.zero_grad()
    (contrast + penalty).backward()
    optimizer.step()
    schedule.step()
    if step % 250 == 0:
        print(f"step {step}: U(data) - U(samples) = {contrast.item():+.3f}", flush=True)

start = 2.0 * torch.randn(1000, 2, device=device)
samples = sampler.sample_chain(x=start, n_steps=500)


def distance(x):
    return torch.cdist(x, data).amin(dim=1).mean().item()


print(f"mean distance to the data: {distance(samples):.3f}, at the start {distance(start):.3f}")

axis = torch.linspace(-2.7, 2.7, 200, device=device)
grid = torch.cartesian_prod(axis, axis)
with torch.no_grad():
    landscape = energy(grid).reshape(200, 200).T
landscape = (landscape - landscape.min()).clamp(max=8.0).cpu().numpy()
figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True, sharey=True, layout="constrained")
extent = (-2.7, 2.7, -2.7, 2.7)
picture = axes[0].imshow(landscape, origin="lower", extent=extent, cmap="viridis_r")
figure.colorbar(picture, ax=axes[0], label="U - min U")
axes[0].set_title("learned energy")
axes[1].scatter(*data[:1000].cpu().T, s=3, label="data")
axes[1].scatter(*samples.cpu().T, s=3, label="samples")
axes[1].set_title("data and samples")
axes[1].set_aspect("equal")
axes[1].legend(loc="upper right")
figure.savefig(options.folder / "two_moons.png", dpi=120)
