"""The network that the torch programs sample."""

from __future__ import annotations

import torch
from torch import nn
from workloads import HIDDEN


def perceptron(dim: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(dim, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(),
        nn.Linear(HIDDEN, 1), nn.Flatten(0),
    )  # fmt: skip
