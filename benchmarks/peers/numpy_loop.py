"""A loop in NumPy as an expert writes it: gradients by hand, memory used again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from workloads import BARRIER_HEIGHT, NOISE_SCALE, STEP_SIZE, Workload

from peers import Unsupported
from peers.gaussian import precision


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


def threads() -> int:
    return 1  # but for BLAS, of whose products these are too small to be split


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    if workload.records:
        raise Unsupported("one loop without diagnostics says enough about NumPy")
    gradient = _gradient(workload)
    shape = (workload.n_chains, workload.dim)
    step_size, scale = np.float32(STEP_SIZE), np.float32(NOISE_SCALE * np.sqrt(2 * STEP_SIZE))

    def run(seed: int) -> np.ndarray:
        # SFC64 is NumPy's fastest generator.
        generator = np.random.Generator(np.random.SFC64(seed))
        x = np.zeros(shape, np.float32)
        slope, noise = np.empty_like(x), np.empty_like(x)
        for _ in range(workload.n_steps):
            gradient(x, slope)
            slope *= step_size
            x -= slope
            generator.standard_normal(out=noise, dtype=np.float32)
            noise *= scale
            x += noise
        return x

    return run


def _gradient(workload: Workload) -> Callable[[np.ndarray, np.ndarray], object]:
    """What writes ∇U(x) into memory that it is given."""
    if workload.energy == "gaussian":
        matrix = precision(workload.dim)
        return lambda x, out: np.matmul(x, matrix, out=out)
    if workload.energy == "double well":
        height = np.float32(4 * BARRIER_HEIGHT)

        def slope(x: np.ndarray, out: np.ndarray) -> None:
            np.multiply(x, x, out=out)
            out -= np.float32(1.0)
            out *= x
            out *= height

        return slope
    raise Unsupported("the network is a torch module")
