"""A loop in torch as an expert writes it: gradients by hand, memory used again."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from workloads import BARRIER_HEIGHT, NOISE_SCALE, STEP_SIZE, Workload

from peers.gaussian import precision
from peers.perceptron import perceptron


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def threads() -> int:
    return torch.get_num_threads()


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    energy, gradient = energy_and_gradient(workload)
    shape = (workload.n_chains, workload.dim)
    scale = NOISE_SCALE * math.sqrt(2 * STEP_SIZE)

    def run(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        x, slope, noise = torch.zeros(shape), torch.empty(shape), torch.empty(shape)
        record = _Record(workload) if workload.records else None
        for step in range(workload.n_steps):
            gradient(x, slope)
            torch.randn(shape, out=noise)
            x.add_(slope, alpha=-STEP_SIZE).add_(noise, alpha=scale)
            if record:
                record(step, x, energy)
        return x.numpy()

    with_gradients = workload.energy == "mlp"  # autograd is asked for within
    return run if with_gradients else torch.inference_mode()(run)


class _Record:
    """Every state, its mean and variance over the chains, and its energies."""

    def __init__(self, workload: Workload) -> None:
        n, dim, n_steps = workload.n_chains, workload.dim, workload.n_steps
        self.trajectory = torch.empty(n, n_steps, dim)
        self.mean, self.variance = torch.empty(n_steps, dim), torch.empty(n_steps, dim)
        self.energy = torch.empty(n_steps, n)

    def __call__(self, step: int, x: torch.Tensor, energy: Callable) -> None:
        self.trajectory[:, step] = x
        self.variance[step], self.mean[step] = torch.var_mean(x, dim=0, correction=0)
        self.energy[step] = energy(x)


def energy_and_gradient(workload: Workload) -> tuple[Callable, Callable]:
    """U(x), and what writes ∇U(x) into memory that it is given."""
    if workload.energy == "gaussian":
        matrix = torch.as_tensor(precision(workload.dim))
        return (
            lambda x: 0.5 * (x * (x @ matrix)).sum(dim=1),
            lambda x, out: torch.mm(x, matrix, out=out),
        )
    if workload.energy == "double well":

        def slope(x: torch.Tensor, out: torch.Tensor) -> None:
            torch.mul(x, x, out=out)
            out.sub_(1.0).mul_(x).mul_(4 * BARRIER_HEIGHT)

        return lambda x: BARRIER_HEIGHT * (x * x - 1.0).square().sum(dim=1), slope
    network = perceptron(workload.dim).requires_grad_(False)

    def autograd(x: torch.Tensor, out: torch.Tensor) -> None:
        leaf = x.detach().requires_grad_()
        out.copy_(torch.autograd.grad(network(leaf).sum(), leaf)[0])

    return network, autograd
