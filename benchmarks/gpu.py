"""The evidence of one GPU: does every test pass on it, and how fast is it.

    python benchmarks/gpu.py [--rounds 7] [--seconds 480] [--out benchmarks/results/gpu.json]

Whole chains are timed beside a loop written by hand in CuPy, the noise beside cuRAND's, and beside
torch and TorchEBM's sampler where they are installed: round by round, each synchronised, medians.
Final states are hashed and compared with those of the reference on the CPU. Then the agreement and
conformance suites run on the device, with CuPy and with torch. The JSON file is written after each
part, so that a machine that is taken away leaves what was measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from reference import commit, machine

import isotherm
from isotherm.backend import registry, to_numpy

TESTS = ["tests/agreement", "tests/conformance", "tests/cupy", "tests/torch", "tests/noise"]
FLOAT32 = np.float32
GAUSSIAN = isotherm.GaussianEnergy(np.zeros(10, FLOAT32), np.eye(10, dtype=FLOAT32) + FLOAT32(0.3))
WORKLOADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "double well, 4096 x 32 x 1000": (
        isotherm.DoubleWellEnergy(),
        {"dim": 32, "n_samples": 4096, "n_steps": 1000, "step_size": 5e-3},
    ),
    "10-D Gaussian, 10,000 x 500": (
        GAUSSIAN,
        {"n_samples": 10_000, "n_steps": 500, "step_size": 5e-3},
    ),
}


def by_hand(energy: Any, dim: int, n_samples: int, n_steps: int, step_size: float) -> Any:
    """The loop that one would write: CuPy's normals, the energy's gradient, the step."""
    import cupy

    x = cupy.zeros((n_samples, dim), cupy.float32)
    scale = cupy.float32(np.sqrt(2 * step_size))
    for _ in range(n_steps):
        noise = cupy.random.standard_normal(x.shape, dtype=cupy.float32)
        x = x - cupy.float32(step_size) * energy.gradient(x) + scale * noise
    return x


def torchebm(energy: Any, dim: int, n_samples: int, n_steps: int, step_size: float) -> Any:
    import torch
    from torchebm.core import DoubleWellModel, GaussianModel
    from torchebm.samplers import LangevinDynamics

    if isinstance(energy, isotherm.GaussianEnergy):
        model = GaussianModel(torch.tensor(energy.mean), torch.tensor(energy.cov))
    else:
        model = DoubleWellModel(barrier_height=2.0)
    sampler = LangevinDynamics(model.float().cuda(), step_size=step_size, device="cuda")
    x = torch.zeros(n_samples, dim, device="cuda")
    return sampler.sample(x=x, n_steps=n_steps)


def timed(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    import cupy

    def once(work: Callable[[], object]) -> float:
        cupy.cuda.Device().synchronize()
        began = time.perf_counter()
        work()
        cupy.cuda.Device().synchronize()
        return time.perf_counter() - began

    first = {name: once(work) for name, work in works.items()}
    times = {name: [first[name]] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(once(work))
    return {
        name: {"first": t[0], "median": statistics.median(t[1:]), "best": min(t[1:])}
        for name, t in times.items()
    }


def evidence(name: str, rounds: int) -> dict[str, Any]:
    """Times and ratios of one workload, and whether its states are those of the CPU."""
    energy, options = WORKLOADS[name]
    plan = isotherm.make_plan(energy, backend="cupy", seed=0, dtype="float32", **options)
    shape = {key: value for key, value in options.items() if key != "dim"}
    shape["dim"] = plan.n_coordinates
    works: dict[str, Callable[[], object]] = {
        "cupy": lambda: isotherm.run(plan, energy),
        "CuPy by hand": lambda: by_hand(energy, **shape),
    }
    if find_spec("torch"):
        on_torch = isotherm.make_plan(
            energy, backend="torch", device="cuda", seed=0, dtype="float32", **options
        )
        works["torch-cuda"] = lambda: isotherm.run(on_torch, energy)
    if find_spec("torchebm"):
        works["TorchEBM"] = lambda: torchebm(energy, **shape)
    found: dict[str, Any] = {"seconds": timed(works, rounds)}
    found["missing"] = [name for name in ("torch", "torchebm") if not find_spec(name)]
    ours = found["seconds"]["cupy"]["median"]
    found["times as long as cupy"] = {
        other: time_["median"] / ours for other, time_ in found["seconds"].items()
    }
    short = options | {"n_steps": 100}
    states = {
        backend: to_numpy(
            isotherm.sample_chain(energy, backend=backend, seed=0, dtype="float32", **short)
        )
        for backend in ("cupy", "numpy")
    }
    found["sha256 after 100 steps"] = {
        backend: hashlib.sha256(state.tobytes()).hexdigest() for backend, state in states.items()
    }
    found["largest difference"] = float(np.abs(states["cupy"] - states["numpy"]).max())
    return found


def noise(rounds: int) -> dict[str, Any]:
    """Our normals, made and used up where they are, beside cuRAND's, written to memory."""
    import cupy

    @isotherm.formula
    def flat(x: Any) -> Any:
        return 0.0 * x

    energy = flat()
    plan = isotherm.make_plan(
        energy, dim=32, n_samples=2**16, n_steps=400, backend="cupy", seed=0, dtype="float32"
    )
    shape = (2**16, 32)

    def draw() -> None:
        for _ in range(400):
            cupy.random.standard_normal(shape, dtype=cupy.float32)

    works = {"chains without a force": lambda: isotherm.run(plan, energy), "cuRAND": draw}
    found = timed(works, rounds)
    count = 2**16 * 32 * 400
    return {name: time_ | {"per second": count / time_["median"]} for name, time_ in found.items()}


def suite(seconds: float) -> dict[str, Any]:
    """What the tests of everything that runs on the device say; the last lines where they fail."""
    backends = [name for name in ("numpy", "torch", "cupy") if name == "numpy" or find_spec(name)]
    paths = [path for path in TESTS if path != "tests/torch" or "torch" in backends]
    environment = os.environ | {"ISOTHERM_TEST_BACKENDS": ",".join(backends)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    if find_spec("xdist"):
        command += ["--numprocesses", "logical", "--maxprocesses", "4", "--dist", "worksteal"]
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"tests": f"cut off after {seconds:g} s", "tests passed": False}
    print(ended.stdout[-4000:], ended.stderr[-1000:])
    passed = ended.returncode == 0
    return {"tests": ended.stdout.strip().rpartition("\n")[2], "tests passed": passed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=480.0, help="at most for the tests")
    parser.add_argument("--commit", help="of a copy that has no repository")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    arguments = parser.parse_args()
    reason = registry.load("cupy").status().reason
    if reason is not None:
        sys.exit(f"this needs a GPU: {reason}")
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    packages = ("isotherm", "cupy-cuda12x", "cupy-cuda13x", "torch", "numpy", "torchebm")
    result: dict[str, Any] = {
        "device": properties["name"].decode(),
        "host": machine(),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "versions": {name: _version(name) for name in packages},
        "commit": arguments.commit or commit(),
        "workloads": {},
    }

    def write() -> None:
        text = json.dumps(result, indent=1, ensure_ascii=False)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n", encoding="utf-8")

    for name in WORKLOADS:
        result["workloads"][name] = evidence(name, arguments.rounds)
        write()
    result["normals"] = noise(arguments.rounds)
    write()
    result |= suite(arguments.seconds)
    write()
    print(arguments.out.read_text(encoding="utf-8"))
    sys.exit(not result["tests passed"])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
