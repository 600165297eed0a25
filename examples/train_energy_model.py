"""Train an energy-based model
===========================

A network's energy is trained on two moons, with persistent chains and with short ones.

The gradient of the log likelihood is the energy's mean over samples of the model less its mean over
data, both differentiated by the parameters. Persistent chains go on from one training step to the
next (Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
gradient", ICML 2008). Short ones begin anew each time (Nijkamp et al., "Learning non-convergent
non-persistent short-run MCMC", NeurIPS 2019): they end like the data, and yet the energy is not
that of the data, as chains that run on show.

Run it as ``python train_energy_model.py [FOLDER] [--steps 1000]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import make_moons
from torch import nn

from isotherm import ChainBuffer, LangevinDynamics

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", type=int, default=1000)
options = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.set_num_threads(1)  # the network is so small that threads would wait for each other

points, _ = make_moons(5096, noise=0.08, random_state=0)
points = torch.tensor(points, dtype=torch.float32, device=device)
points = (points - points.mean(dim=0)) / points.std(dim=0)
data, held_out = points[:4096], points[4096:]


class Energy(nn.Module):
    """A network beside a wide Gaussian's energy, which keeps the chains from leaving."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x):
        return self.network(x).squeeze(1) + 0.5 * (x / 2.0).square().sum(dim=1)


def train(reinit_probability):
    """An energy, and a buffer of its chains, of which such a part begins anew at each step."""
    torch.manual_seed(0)  # governs the buffer too
    energy = Energy().to(device)
    sampler = LangevinDynamics(energy, step_size=0.005)
    buffer = ChainBuffer(
        sampler, capacity=2048, shape=2, init="normal", reinit_probability=reinit_probability
    )
    optimizer = torch.optim.Adam(energy.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for step in range(1, options.steps + 1):
        positive = data[torch.randint(len(data), (256,), device=device)]
        negative = buffer.draw(256, n_steps=10)
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
    return energy, sampler, buffer


def distance(x):
    """From a sample to the next held-out point, and from there to the next sample, on average."""
    apart = torch.cdist(x, held_out)
    return 0.5 * (apart.amin(dim=1).mean() + apart.amin(dim=0).mean()).item()


axis = torch.linspace(-2.7, 2.7, 200, device=device)
grid = torch.cartesian_prod(axis, axis)
extent = (-2.7, 2.7, -2.7, 2.7)
figure, rows = plt.subplots(2, 2, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
# A few persistent chains begin anew each time, or all would age in one moon.
for row, (name, part) in zip(rows, {"persistent": 0.03, "short": 1.0}.items(), strict=True):
    energy, sampler, buffer = train(part)
    start = 2.0 * torch.randn(1000, 2, device=device)
    samples = sampler.sample_chain(x=start, n_steps=500)
    with torch.no_grad():
        landscape = energy(grid).reshape(200, 200).T
        gap = energy(start).mean() - energy(held_out).mean()
    drawn = distance(buffer.draw(1000, n_steps=10))
    print(f"{name}: U(noise) - U(held-out data) = {gap:.3f}")
    print(f"{name}: distance to the data {distance(start):.3f} at the start, "
          f"{drawn:.3f} in training, {distance(samples):.3f} after 500 steps")  # fmt: skip
    landscape = (landscape - landscape.min()).clamp(max=8.0).cpu().numpy()
    picture = row[0].imshow(landscape, origin="lower", extent=extent, cmap="viridis_r")
    figure.colorbar(picture, ax=row[0], label="U - min U")
    row[0].set_title(f"{name} chains: learned energy")
    row[1].scatter(*data[:1000].cpu().T, s=3, color="#0072B2", label="data")
    row[1].scatter(*samples.cpu().T, s=3, color="#E69F00", label="samples")
    row[1].set_title("data, and chains after 500 steps")
    row[1].set_aspect("equal")
    row[1].legend(loc="lower left", markerscale=3)
    row[0].set_ylabel("$x_2$")
for axis in rows[1]:
    axis.set_xlabel("$x_1$")
figure.savefig(options.folder / "two_moons.png", dpi=120)
