"""An annealed score network
=========================

A score network of two moons, sampled by annealed Langevin dynamics.

s(x, σ) is trained by denoising score matching at ten noise levels (Song and Ermon, NeurIPS 2019,
equation 6), and `isotherm.annealed` takes the chains through them. Beside it stand chains that see
the last level alone. Of a network trained for long they find the moons too; of one that was trained
for ``--steps 100`` only the annealed ones do.

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

points, _ = make_moons(4096, noise=0.05, random_state=0)
data = torch.tensor(points, dtype=torch.float32)
data = (data - data.mean(dim=0)) / data.std(dim=0)
sigmas = torch.logspace(0.7, -1.3, 10)  # 5 to 0.05


class Score(nn.Module):
    """s(x, σ) = f(x/√(1 + σ²), log σ)/σ, whose size a network can have at all levels."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2)
        )

    def forward(self, x, sigma):
        sigma = torch.as_tensor(sigma).expand(len(x))[:, None]
        return self.network(torch.cat([x / (1 + sigma**2).sqrt(), sigma.log()], dim=1)) / sigma


score = Score()
optimizer = torch.optim.Adam(score.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
for step in range(1, options.steps + 1):
    x = data[torch.randint(len(data), (512,))]
    sigma = sigmas[torch.randint(len(sigmas), (512,))]
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

start = sigmas[0] * torch.randn(1000, 2)
sampled = {
    "annealed": isotherm.annealed(
        isotherm.score(score), sigmas, start, n_steps_each=30, step_size=5e-4, seed=0
    ),
    "last level alone": isotherm.sample_chain(
        isotherm.score(score), start, n_steps=300, step_size=5e-4, seed=0,
        model_kwargs={"sigma": sigmas[-1].item()},
    ),
}  # fmt: skip


def distance(x):
    return torch.cdist(x, data).amin(dim=1).mean().item()


figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained")
for axis, (name, x) in zip(axes, sampled.items(), strict=True):
    axis.scatter(*data[:1000].T, s=3, label="data")
    axis.scatter(*x.T, s=3, label="samples")
    axis.set_title(name)
    axis.set(xlim=(-4, 4), ylim=(-4, 4))
    print(f"{name}: mean distance to the data {distance(x):.3f}")
axes[0].legend(loc="upper right")
figure.savefig(options.folder / "score_moons.png", dpi=120)
