"""TorchEBM's sampler with its own energies. Its diagnostics hold one mean energy a step."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from torchebm.core import BaseModel, DoubleWellModel, GaussianModel
from torchebm.samplers import LangevinDynamics
from workloads import BARRIER_HEIGHT, NOISE_SCALE, STEP_SIZE, Workload

from peers.gaussian import covariance
from peers.perceptron import perceptron


def versions() -> dict[str, str]:
    return {"torchebm": version("torchebm"), "torch": torch.__version__}


def threads() -> int:
    return torch.get_num_threads()


class _Perceptron(BaseModel):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = perceptron(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    sampler = LangevinDynamics(_model(workload), step_size=STEP_SIZE, noise_scale=NOISE_SCALE)
    start = torch.zeros(workload.n_chains, workload.dim)
    records = workload.records

    def run(seed: int) -> np.ndarray:
        result = sampler.sample(
            x=start.clone(),
            n_steps=workload.n_steps,
            return_trajectory=records,
            return_diagnostics=records,
            generator=torch.Generator().manual_seed(seed),
        )
        return (result[0][:, -1] if records else result).numpy()

    return run


def _model(workload: Workload) -> BaseModel:
    if workload.energy == "gaussian":
        cov = torch.as_tensor(covariance(workload.dim), dtype=torch.float32)
        return GaussianModel(torch.zeros(workload.dim), cov)
    if workload.energy == "double well":
        return DoubleWellModel(barrier_height=BARRIER_HEIGHT)
    return _Perceptron(workload.dim)
