"""What every program of the comparison is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

STEP_SIZE = 5e-3
NOISE_SCALE = 1.0
FRICTION = 1.0
BARRIER_HEIGHT = 2.0
CORRELATION = 0.5  # of neighbouring coordinates of the Gaussian: Σ_ij = CORRELATION^|i-j|
HIDDEN = 128  # units in each of the perceptron's two hidden layers


@dataclass(frozen=True)
class Workload:
    """Langevin chains in float32 from x = 0 under a noise scale of 1.

    Attributes
    ----------
    sampler : {"langevin", "mala", "underdamped"}
        The last by BAOAB from momenta of the law.
    energy : {"gaussian", "double well", "mlp"}
    records : bool
        Whether every state is kept, and with it mean and variance over the chains and energies.
    """

    name: str
    energy: str
    dim: int
    n_chains: int
    n_steps: int
    records: bool = False
    sampler: str = "langevin"

    @property
    def step_size(self) -> float:
        """η, or h = √(2η), with which an underdamped step begins as an overdamped one."""
        return math.sqrt(2 * STEP_SIZE) if self.sampler == "underdamped" else STEP_SIZE

    @property
    def size(self) -> str:
        return f"{self.n_chains} chains × {self.dim} × {self.n_steps} steps"


MAIN = (
    Workload("2-D Gaussian", "gaussian", 2, 1000, 100),
    Workload("10-D Gaussian", "gaussian", 10, 10_000, 500),
    Workload("10-D Gaussian, trajectory and diagnostics", "gaussian", 10, 250, 500, records=True),
    Workload("10-D Gaussian, MALA", "gaussian", 10, 10_000, 500, sampler="mala"),
    Workload("10-D Gaussian, underdamped", "gaussian", 10, 10_000, 500, sampler="underdamped"),
    Workload("double well", "double well", 32, 4096, 1000),
    Workload("perceptron", "mlp", 2, 1000, 100),
)

SCALING = {
    "chains": tuple(
        Workload(f"chains {n}", "gaussian", 10, n, 100) for n in (100, 1000, 10_000, 100_000)
    ),
    "dimension": tuple(
        Workload(f"dimension {n}", "double well", n, 1000, 100) for n in (1, 10, 100, 1000)
    ),
    "steps": tuple(
        Workload(f"steps {n}", "gaussian", 10, 1000, n) for n in (10, 100, 1000, 10_000)
    ),
}

MEMORY = (MAIN[2], MAIN[5])


def tiny(workload: Workload) -> Workload:
    """The same work in a size that tests whether it runs."""
    n_chains, n_steps = min(workload.n_chains, 20), min(workload.n_steps, 5)
    return replace(workload, n_chains=n_chains, n_steps=n_steps)
