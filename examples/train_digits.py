"""An energy of handwritten digits
===============================

A class-conditional energy, a convolutional network, is trained with a buffer of chains.

The 8 x 8 digits of scikit-learn, blurred a little, so that there is a density to learn. Negatives
come from persistent chains of each class (Du and Mordatch, NeurIPS 2019), which the energy is asked
about with their labels. With ``--sampler mala`` each step ends in a Metropolis decision, so that
the chains have the law of the energy whatever the step size.

Run it as ``python train_digits.py [FOLDER] [--steps 300] [--sampler langevin|mala]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import isotherm

BLUR = 0.15
N_HELD_OUT = 297

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--sampler", choices=["langevin", "mala"], default="langevin")
options = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)  # governs the buffer too
torch.set_num_threads(1)

digits = load_digits()
images = torch.tensor(digits.images / 8.0 - 1.0, dtype=torch.float32, device=device)[:, None]
classes = torch.tensor(digits.target, device=device)
shuffled = torch.randperm(len(images), device=device)
held_out, training = shuffled[:N_HELD_OUT], shuffled[N_HELD_OUT:]


def batch_of(rows, n):
    """Some of these digits, blurred, and what they are."""
    rows = rows[torch.randint(len(rows), (n,), device=device)]
    return images[rows] + BLUR * torch.randn(n, 1, 8, 8, device=device), classes[rows]


def one_a_class(x, labels):
    """The first of each class, side by side, with a gap between two: (9, 90)."""
    first = (labels == torch.arange(10, device=device)[:, None]).int().argmax(dim=1)
    return nn.functional.pad(x[first, 0], (0, 1, 0, 1), value=-1.0).permute(1, 0, 2).flatten(1)


class Energy(nn.Module):
    """U(x, y): a number for each class, beside a Gaussian's energy that keeps chains in reach."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(32 * 16, 64), nn.SiLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def of_all_classes(self, x):
        return self.network(x) + 0.5 * x.square().sum(dim=(1, 2, 3))[:, None]

    def forward(self, x, labels):
        return self.of_all_classes(x).gather(1, labels[:, None])[:, 0]


energy = Energy().to(device)
make = {"langevin": isotherm.LangevinDynamics, "mala": isotherm.MALA}[options.sampler]
buffer = isotherm.ChainBuffer(
    make(energy, step_size=0.01),
    capacity=2000,
    shape=(1, 8, 8),
    init="normal",
    reinit_probability=0.02,
    n_classes=10,
)
optimizer = torch.optim.Adam(energy.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
gaps, ages, pictures = [], [], {}

for step in range(1, options.steps + 1):
    positive, labels = batch_of(training, 100)
    negative, _ = buffer.draw(100, n_steps=20, labels=labels)
    energy_of_data, energy_of_samples = energy(positive, labels), energy(negative, labels)
    gap = energy_of_samples.mean() - energy_of_data.mean()
    # The likelihood does not see a constant in U; this keeps it small.
    penalty = 0.001 * (energy_of_data.square().mean() + energy_of_samples.square().mean())
    optimizer.zero_grad()
    (penalty - gap).backward()
    optimizer.step()
    schedule.step()
    gaps.append(gap.item())
    ages.append(buffer.ages.mean())
    if step % max(1, options.steps // 5) == 0:
        pictures[f"step {step}"] = one_a_class(negative, labels)
        rate = buffer.info.acceptance_rate
        accepted = "" if rate is None else f", {rate:.0%} accepted"
        print(f"step {step}: U(samples) - U(digits) = {gap.item():+.2f}{accepted}", flush=True)

with torch.no_grad():
    seen, labels = batch_of(held_out, 1000)
    noise = images.mean() + images.std() * torch.randn_like(seen)
    real, of_noise = energy(seen, labels), energy(noise, labels)
    found = energy.of_all_classes(seen).argmin(dim=1)
below = (real[:, None] < of_noise[None]).float().mean()
print(f"held out: U(digits) = {real.mean():.2f}, U(noise) = {of_noise.mean():.2f}")
print(f"a digit is below noise in {below:.1%} of pairs, its class is the lowest in "
      f"{(found == labels).float().mean():.1%}")  # fmt: skip
print(f"{buffer.n_reinitialised} chains began anew, {buffer.n_diverged} diverged")

pictures["held out"] = one_a_class(seen, labels)
figure = plt.figure(figsize=(9, 8), layout="constrained")
axis, left, right = figure.subplot_mosaic("AA;AA;BC").values()
axis.imshow(torch.cat([*pictures.values()]).cpu(), cmap="gray_r", vmin=-1, vmax=1)
axis.set_xticks(9 * torch.arange(10) + 4, range(10))
axis.set_yticks(9 * torch.arange(len(pictures)) + 4, pictures)
axis.tick_params(length=0)
axis.set_xlabel("class")
axis.set_title("chains in training, and digits that it has not seen")
left.plot(gaps, color="#0072B2", lw=0.8)
left.set(xlabel="training step", ylabel="U(samples) - U(digits)")
right.plot(ages, color="#0072B2")
right.set(xlabel="training step", ylabel="mean age of the chains (steps)")
figure.savefig(options.folder / "digits.png", dpi=120)
