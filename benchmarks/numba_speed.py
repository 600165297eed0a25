"""What the Numba backend's time goes into, beside torch's normals alone.

    python benchmarks/numba_speed.py [--rounds 7] [--out benchmarks/results/numba_speed.json]

Compared in turn, round by round, so that whatever else the machine does falls on both sides; what
is printed are medians and, behind ±, half the range of the middle half.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from reference import commit, machine

import isotherm
from isotherm.backend import noise
from isotherm_numba import fill_normals

FLOAT32 = np.float32
GAUSSIAN = isotherm.GaussianEnergy(np.zeros(10, FLOAT32), np.eye(10, dtype=FLOAT32) + FLOAT32(0.3))


EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@isotherm.formula(dim=10)
def eight_schools(x: Any, *, y: Any = EFFECTS, s: Any = ERRORS) -> Any:
    """Rubin's eight schools, not centred: mean, log of the spread, and each school's own."""
    mean, spread = x[0], np.exp(x[1])
    u = mean * mean / 50 + spread * spread / 50 - x[1]
    for j in range(8):
        z = (y[j] - (mean + spread * x[2 + j])) / s[j]
        u = u + 0.5 * x[2 + j] * x[2 + j] + 0.5 * z * z
    return u


@isotherm.formula
def flat(x: Any) -> Any:
    """No force: what a step costs without an energy."""
    return 0.0 * x


def chains(energy: Any, **options: Any) -> Callable[[], object]:
    plan = isotherm.make_plan(energy, backend="numba", seed=0, **{"dtype": "float32"} | options)
    return lambda: isotherm.run(plan, energy)


def normals(dtype: str) -> Callable[[], object]:
    """A million normals into memory that is used again."""
    out = np.empty(
        (noise.steps_per_block(dtype), 2**20 // 10 // noise.steps_per_block(dtype), 10), dtype
    )
    return lambda: fill_normals(out, seed=0, stream=noise.Stream.LANGEVIN, block=0)


def torch_normals(n_samples: int, dim: int, n_steps: int) -> Callable[[], object]:
    """The noise of a whole run, step by step into memory that is used again."""
    out = torch.empty(n_samples, dim)

    def draw() -> None:
        for _ in range(n_steps):
            torch.randn(n_samples, dim, out=out)

    return draw


def measured(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each work, all of them once a round, after one call that may compile."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return {name: summary(values) for name, values in times.items()}


def summary(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "spread": (high - low) / 2, "best": min(values)}


def report(title: str, found: dict[str, dict[str, float]], per: dict[str, float]) -> None:
    print(title)
    for name, time_ in found.items():
        ns = f"{1e9 * time_['median'] / per[name]:8.2f} ns" if name in per else 11 * " "
        print(f"  {name:<44}{1e3 * time_['median']:10.3f} ms ±{1e3 * time_['spread']:<8.3f}{ns}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    threads = numba.get_num_threads()
    torch.set_num_threads(threads)
    results: dict[str, Any] = {
        "machine": machine(), "commit": commit(), "threads": threads, "rounds": arguments.rounds,
        "versions": {"python": platform.python_version(), "numpy": np.__version__,
                     "numba": numba.__version__, "torch": torch.__version__},
    }  # fmt: skip
    print(f"{results['machine']}; {threads} threads; ns are per normal, or coordinate and step")

    numba.set_num_threads(1)
    torch.set_num_threads(1)
    buffer = torch.empty(2**20)
    works = {
        "float32": normals("float32"),
        "float64": normals("float64"),
        "torch.randn float32": buffer.normal_,
    }
    results["normals on one thread"] = found = measured(works, arguments.rounds)
    report("normals, one thread", found, dict.fromkeys(works, 2**20))

    shape = {"dim": 32, "n_samples": 4096, "n_steps": 200}
    works = {
        "update": chains(flat(), **shape, noise_scale=0.0, step_size=1e-3),
        "update and gradient of the double well": chains(
            isotherm.DoubleWellEnergy(), **shape, noise_scale=0.0, step_size=1e-3
        ),
        "update and noise": chains(flat(), **shape, step_size=1e-3),
        "all of the double well": chains(isotherm.DoubleWellEnergy(), **shape, step_size=1e-3),
    }
    results["parts of a step on one thread"] = found = measured(works, arguments.rounds)
    report("parts of a step, one thread", found, dict.fromkeys(works, 4096 * 32 * 200))
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)

    gaussian = {"n_samples": 10_000, "n_steps": 500, "step_size": 5e-3}
    well = {"dim": 32, "n_samples": 4096, "n_steps": 1000, "step_size": 5e-3}
    both = {"return_trajectory": True, "return_diagnostics": True}
    plane = isotherm.GaussianEnergy(np.float32([1, -1]), np.float32([[1, 0.5], [0.5, 2]]))
    works = {
        "10-D Gaussian, 10,000 × 500": chains(GAUSSIAN, **gaussian),
        "torch.randn of as many": torch_normals(10_000, 10, 500),
        "double well 32-D, 4096 × 1000": chains(isotherm.DoubleWellEnergy(), **well),
        "torch.randn of as many ": torch_normals(4096, 32, 1000),
        "2-D Gaussian, 1000 × 100": chains(plane, n_samples=1000, n_steps=100, step_size=0.01),
        "10-D, 250 × 500, trajectory, diagnostics": chains(
            GAUSSIAN, n_samples=250, n_steps=500, step_size=5e-3, **both
        ),
    }
    per = [10_000 * 10 * 500] * 2 + [4096 * 32 * 1000] * 2 + [1000 * 2 * 100, 250 * 10 * 500]
    results["whole chains"] = found = measured(works, arguments.rounds)
    report("whole chains", found, dict(zip(works, per, strict=True)))
    for mine, randn in (list(works)[:2], list(works)[2:4]):
        ratio = found[mine]["median"] / found[randn]["median"]
        results[f"{mine}: time over torch.randn's alone"] = ratio
        print(f"  {mine}: {ratio:.2f} of the time of torch.randn alone")

    samplers: dict[str, dict[str, Any]] = {
        "overdamped": {},
        "underdamped": {"sampler": "underdamped", "friction": 1.0},
        "MALA": {"sampler": "mala"},
    }
    works = {
        f"{name}, {of}": chains(energy, **options, **own)
        for of, energy, options in (
            ("10-D Gaussian", GAUSSIAN, gaussian),
            ("double well", isotherm.DoubleWellEnergy(), well | {"n_steps": 200}),
        )
        for name, own in samplers.items()
    }
    results["samplers"] = found = measured(works, arguments.rounds)
    report("samplers", found, {})
    for name, of in ((name, of) for of in ("10-D Gaussian", "double well") for name in samplers):
        ratio = found[f"{name}, {of}"]["median"] / found[f"overdamped, {of}"]["median"]
        results[f"{name}, {of}: time over overdamped"] = ratio
        print(f"  {name}, {of}: {ratio:.2f} of the time of overdamped")

    options = {"sampler": "hmc", "n_leapfrog": 12, "step_size": 0.5, "n_samples": 1024}
    schools = eight_schools()
    works = {"eight schools": chains(schools, n_steps=1000, return_trajectory=True, **options)}
    plan = isotherm.make_plan(schools, n_steps=1000, backend="numba", **options)
    gradients = 1024 * float(np.sum(1 + plan.coefficients(0, 1000)["n_before_last"]))
    results["Hamiltonian Monte Carlo"] = found = measured(works, arguments.rounds)
    report("Hamiltonian Monte Carlo, 1024 chains, 1000 draws kept", found, {})
    rate = gradients / found["eight schools"]["median"]
    results["eight schools: gradients a second"] = rate
    print(f"  {rate / 1e6:.0f} million gradients a second")

    works, per = {}, []
    for n_samples in (100, 1000, 10_000, 100_000):
        works[f"{n_samples} chains of 10"] = chains(
            GAUSSIAN, n_samples=n_samples, n_steps=100, step_size=5e-3
        )
        per.append(n_samples * 10 * 100)
    for dim in (1, 3, 10, 30, 100, 300, 1000):
        dense = isotherm.GaussianEnergy(
            np.zeros(dim, FLOAT32), np.eye(dim, dtype=FLOAT32) + FLOAT32(0.3)
        )
        options = {"n_samples": 2000, "n_steps": 20, "step_size": 1e-4}
        works[f"Gaussian in {dim} dimensions"] = chains(dense, **options)
        works[f"double well in {dim} dimensions"] = chains(
            isotherm.DoubleWellEnergy(), dim=dim, **options
        )
        per += [2000 * dim * 20] * 2
    for n_steps in (100, 1000, 10_000):
        works[f"{n_steps} steps of 1000 chains of 10"] = chains(
            GAUSSIAN, n_samples=1000, n_steps=n_steps, step_size=5e-3
        )
        per.append(1000 * 10 * n_steps)
    results["scaling"] = found = measured(works, arguments.rounds)
    report("scaling", found, dict(zip(works, per, strict=True)))

    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
