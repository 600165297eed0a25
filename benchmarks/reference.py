"""What the NumPy reference costs, beside the least that any sampler in NumPy must do.

    python benchmarks/reference.py [--rounds 5] [--out benchmarks/results/reference.json]

The least: as many float32 normals from NumPy's own generator, into memory that is used again, and
the plain update. Both are timed in turn, the reference with core's own normals (a faster source is
used where isotherm-numba is installed, so that package is left out here); the ratio is taken round
by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

from isotherm import GaussianEnergy, Plan, make_plan
from isotherm.backend import ArrayLoop, Outputs

N_CHAINS, DIM, N_STEPS, STEP_SIZE = 10_000, 10, 500, 5e-3


def machine() -> str:
    """The processor's name and how many cores this process may use."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    """The commit that is checked out."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tell(result: dict[str, Any], out: Path | None) -> None:
    """Print what was measured, and keep it in a file where one is named."""
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")


def least() -> None:
    """NumPy's normals and x ← (x - η g) + s ξ, with g = x: nothing of the energy."""
    generator = np.random.default_rng(0)
    x = np.zeros((N_CHAINS, DIM), np.float32)
    normals = np.empty_like(x)
    for _ in range(N_STEPS):
        generator.standard_normal(out=normals, dtype=np.float32)
        x -= np.float32(STEP_SIZE) * x
        normals *= np.float32(np.sqrt(2 * STEP_SIZE))
        x += normals


def reference(plan: Plan, energy: GaussianEnergy) -> None:
    loop = ArrayLoop(plan, energy, energy.gradient)
    loop.advance({"x": np.zeros(plan.shape, np.float32)}, 0, plan.n_total, Outputs())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    energy = GaussianEnergy(np.zeros(DIM), np.eye(DIM))
    plan = make_plan(
        energy, n_samples=N_CHAINS, n_steps=N_STEPS, step_size=STEP_SIZE, seed=0,
        dtype="float32", backend="numpy",
    )  # fmt: skip
    rounds = [
        (seconds(lambda: reference(plan, energy)), seconds(least)) for _ in range(options.rounds)
    ]
    ratios = sorted(ours / theirs for ours, theirs in rounds)
    result = {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "array-api-compat": array_api_compat.__version__,
        },
        "commit": commit(),
        "workload": f"{DIM}-D Gaussian, {N_CHAINS} chains, {N_STEPS} steps, float32",
        "reference_seconds": [ours for ours, _ in rounds],
        "numpy_normals_and_update_seconds": [theirs for _, theirs in rounds],
        "ratio_median": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
    }
    tell(result, options.out)


if __name__ == "__main__":
    main()
