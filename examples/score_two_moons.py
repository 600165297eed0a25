"""An annealed score network
=========================

Where samples lie is not enough: how many lie where, by annealed Langevin dynamics and without.

Four fifths of the data are in one moon, a fifth is in the other. s(x, σ) is trained by denoising
score matching at ten noise levels (Song and Ermon, NeurIPS 2019, equation 6), and
`isotherm.annealed` takes the chains through them. Beside it stand chains with the same start and
number of steps that see the last level alone. These lie on the moons too, but go to the nearer one
and stay there: between the moons there are no data, and the score does not know their shares
(section 3.2.2). Both are held against data that the network has not seen.

Run it as ``python score_two_moons.py [FOLDER] [--steps 3000]``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import make_moons
from torch import nn

import isotherm

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=".", type=Path)
parser.add_argument("--steps", type=int, default=3000)
options = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)  # the network is so small that threads would wait for each other


def moons(n, seed):
    """Points, four fifths of them in the upper moon, and which are there."""
    points, lower = make_moons((n - n // 5, n // 5), noise=0.05, random_state=seed)
    points = (points - [0.3, 0.4]) / [0.8, 0.45]  # about mean and spread of the data
    return torch.tensor(points, dtype=torch.float32), torch.tensor(lower == 0)


data, _ = moons(5000, seed=0)
held_out, is_upper = moons(2000, seed=1)
sigmas = torch.logspace(0.7, -1.3, 10)  # 5 to 0.05


class Score(nn.Module):
    """s(x, σ) = f(x/√(1 + σ²), log σ)/σ, whose size a network can have at all levels."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
            nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2),
        )  # fmt: skip

    def forward(self, x, sigma):
        sigma = torch.as_tensor(sigma).expand(len(x))[:, None]
        return self.network(torch.cat([x / (1 + sigma**2).sqrt(), sigma.log()], dim=1)) / sigma


score = Score()
optimizer = torch.optim.Adam(score.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
for step in range(1, options.steps + 1):
    x = data[torch.randint(len(data), (256,))]
    sigma = sigmas[torch.randint(len(sigmas), (256,))]
    noise = torch.randn_like(x)
    blurred = x + sigma[:, None] * noise
    # The score of N(x, σ²) is -noise/σ; the weight σ² makes all levels count alike.
    loss = (sigma[:, None] * score(blurred, sigma) + noise).square().sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if step % max(1, options.steps // 5) == 0:
        print(f"step {step}: loss {loss.item():.3f}", flush=True)

start = sigmas[0] * torch.randn(2000, 2)
sampled = {
    "held-out data": moons(2000, seed=2)[0],
    "annealed": isotherm.annealed(
        isotherm.score(score), sigmas, start, n_steps_each=30, step_size=5e-4, seed=0
    ),
    "last level alone": isotherm.sample_chain(
        isotherm.score(score), start, n_steps=300, step_size=5e-4, seed=0,
        model_kwargs={"sigma": sigmas[-1].item()},
    ),
}  # fmt: skip


def energy_distance(x, y):
    """0 where x and y have one law, and only there (Székely and Rizzo, 2013)."""
    between, of_x, of_y = (torch.cdist(*pair).mean() for pair in ((x, y), (x, x), (y, y)))
    return (2.0 * between - of_x - of_y).item()


figure, axes = plt.subplots(1, 3, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for axis, (name, x) in zip(axes, sampled.items(), strict=True):
    upper = is_upper[torch.cdist(x, held_out).argmin(dim=1)]  # as the nearest of the held-out data
    share, distance = upper.float().mean().item(), energy_distance(x, held_out)
    axis.scatter(*x[upper].T, s=2, color="#0072B2", label="upper moon")
    axis.scatter(*x[~upper].T, s=2, color="#D55E00", label="lower moon")
    axis.set_title(f"{name}\n{share:.0%} in the upper moon")
    axis.set(xlim=(-2.5, 2.5), ylim=(-3, 2.5), xlabel="$x_1$")
    print(f"{name}: {share:.1%} in the upper moon, energy distance {distance:.4f}")
axes[0].set_ylabel("$x_2$")
axes[0].legend(loc="lower left", markerscale=4)
figure.savefig(options.folder / "score_moons.png", dpi=120)
