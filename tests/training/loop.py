"""A training run that keeps checkpoints, and goes on from the last: ``python ... PATH STEPS DIE``.

It ends itself by SIGKILL in the middle of the draw of step DIE.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

import isotherm

CHECKPOINT_EVERY = 4


class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, 16)
        self.first, self.last = nn.Linear(2, 16), nn.Linear(16, 1)
        self.dies_in: int | None = None

    def forward(self, x, labels):
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        hidden = nn.functional.silu(self.first(x) + self.embedding(labels))
        return self.last(hidden)[:, 0] + 0.5 * x.square().sum(1)


def train(path: Path, n_steps: int, die_at: int | None = None, sampler: str = "LangevinDynamics"):
    """All tensors of the run after so many steps, gone on with from the file where there is one."""
    torch.manual_seed(0)
    energy = Energy()
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.01)
    chains = isotherm.ChainBuffer(
        getattr(isotherm, sampler)(energy, step_size=0.05),
        capacity=48, shape=2, n_classes=3, reinit_probability=0.1,
    )  # fmt: skip
    data = torch.randn(300, 2) * 0.3 + torch.arange(3.0).repeat(100)[:, None]
    first = 0
    if path.exists():
        held = torch.load(path)
        first = held["step"]
        energy.load_state_dict(held["energy"])
        optimizer.load_state_dict(held["optimizer"])
        chains.load_state_dict(held["chains"])
        torch.set_rng_state(held["rng"])
    for step in range(first, n_steps):
        energy.dies_in = 3 if step == die_at else None
        rows = torch.randint(300, (16,))
        negative, labels = chains.draw(16, n_steps=5, labels=rows % 3)
        loss = (energy(data[rows], labels) - energy(negative, labels)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % CHECKPOINT_EVERY == 0:
            held = {
                "step": step + 1, "energy": energy.state_dict(), "chains": chains.state_dict(),
                "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(),
            }  # fmt: skip
            torch.save(held, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
    return [*energy.parameters(), chains.states, torch.from_numpy(chains.ages)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
