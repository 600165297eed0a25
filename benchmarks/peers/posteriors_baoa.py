"""posteriors' underdamped Langevin dynamics, vmapped over chains.

Its BAOA is BAOAB but for a half kick at either end, with which positions have the same law.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from posteriors.sgmcmc import baoa
from workloads import FRICTION, NOISE_SCALE, Workload

from peers import torch_loop

SAMPLERS = ("underdamped",)
threads = torch_loop.threads


def versions() -> dict[str, str]:
    return torch_loop.versions() | {"posteriors": version("posteriors")}


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    energy, _ = torch_loop.energy_and_gradient(workload)
    transform = baoa.build(
        lambda x, _: (-energy(x[None])[0], torch.empty(0)),
        lr=workload.step_size,
        alpha=FRICTION,
        temperature=NOISE_SCALE**2,
    )
    shape = (workload.n_chains, workload.dim)

    def step(x: torch.Tensor, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state, _ = transform.update(baoa.BAOAState(x, p), None)
        return state.params, state.momenta

    chains = torch.vmap(step, randomness="different")

    def run(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        x, p = torch.zeros(shape), torch.randn(shape)
        for _ in range(workload.n_steps):
            x, p = chains(x, p)
        return x.numpy()

    return torch.no_grad()(run)
