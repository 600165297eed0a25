"""Isotherm, with the backend that is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from workloads import BARRIER_HEIGHT, FRICTION, NOISE_SCALE, Workload

import isotherm
from isotherm.backend import empty, registry, to_numpy
from peers import Unsupported
from peers.gaussian import covariance

SAMPLERS = ("langevin", "mala", "underdamped")


def versions(backend: str) -> dict[str, str]:
    used = registry.usable(backend).status().versions
    return {"isotherm": version("isotherm"), "numpy": np.__version__} | used


def threads(backend: str) -> int:
    if backend == "torch":
        import torch

        return torch.get_num_threads()
    if "numba" in registry.names():  # whose threads make the reference's normals as well
        import numba

        return numba.get_num_threads()
    return len(os.sched_getaffinity(0))


def prepare(workload: Workload, backend: str) -> Callable[[int], np.ndarray]:
    energy = _energy(workload, backend)
    options = {
        "n_steps": workload.n_steps, "step_size": workload.step_size, "noise_scale": NOISE_SCALE,
        "backend": backend, "return_trajectory": workload.records,
        "return_diagnostics": workload.records, "sampler": workload.sampler,
        "friction": FRICTION if workload.sampler == "underdamped" else None,
    }  # fmt: skip
    x = empty(registry.load(backend).library, (workload.n_chains, workload.dim), "float32", "cpu")
    x[...] = 0.0

    def run(seed: int) -> np.ndarray:
        result = isotherm.sample_chain(energy, x, seed=seed, **options)
        return to_numpy(result[0][:, -1] if workload.records else result)

    return run


def _energy(workload: Workload, backend: str) -> object:
    if workload.energy == "gaussian":
        return isotherm.GaussianEnergy(np.zeros(workload.dim), covariance(workload.dim))
    if workload.energy == "double well":
        return isotherm.DoubleWellEnergy(barrier_height=BARRIER_HEIGHT)
    if backend != "torch":
        raise Unsupported("a torch module runs on torch")
    from peers.perceptron import perceptron

    return perceptron(workload.dim)
