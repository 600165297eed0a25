"""What sampling a network costs beside its gradients alone, and TorchEBM on the same network.

    python benchmarks/torch_modules.py [--rounds 9] [--device cpu] [--threads 1] [--out FILE.json]

The programs are timed in turn, round by round, on the same module and start: a loop that only calls
forward and ``autograd.grad``; our sampler; on the CPU the same with the noise that it has without
isotherm-numba; and TorchEBM's sampler, where it is installed. Ratios are taken within a round. On a
GPU the kernels launched in a step are counted as well.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from reference import machine, tell
from torch import nn

import isotherm
from isotherm.backend import ArrayLoop, Outputs, noise
from isotherm_torch.loop import gradient_of

STEP_SIZE = 1e-3


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1),
        nn.Flatten(0),
    )  # fmt: skip


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.SiLU(),
        nn.Flatten(), nn.Linear(128 * 4 * 4, 1), nn.Flatten(0),
    )  # fmt: skip


WORKLOADS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "MLP 2-128-128-1, 1000 chains, 100 steps": (perceptron, (1000, 2), 100),
    "3 convolutions of 32 to 128 channels, 64 chains of 3 x 32 x 32, 100 steps": (
        convolutions,
        (64, 3, 32, 32),
        100,
    ),
}


def gradients_alone(module: nn.Module, x: torch.Tensor, n_steps: int) -> Callable[[], object]:
    def work() -> None:
        for _ in range(n_steps):
            leaf = x.detach().requires_grad_(True)
            torch.autograd.grad(module(leaf).sum(), leaf)

    return work


def ours(module: nn.Module, x: torch.Tensor, n_steps: int) -> Callable[[], object]:
    sampler = isotherm.LangevinDynamics(module, step_size=STEP_SIZE)
    return lambda: sampler.sample_chain(x=x, n_steps=n_steps, seed=0)


def without_numba(module: nn.Module, x: torch.Tensor, n_steps: int) -> Callable[[], object]:
    plan = isotherm.make_plan(module, x, n_steps=n_steps, step_size=STEP_SIZE, seed=0)

    def fill(out: torch.Tensor, **counter: Any) -> None:
        noise.fill_normals(out.numpy(), **counter)

    def work() -> None:
        loop = ArrayLoop(plan, module, gradient_of(module), fill)
        with torch.no_grad():
            loop.advance({"x": x}, 0, plan.n_total, Outputs())

    return work


def torchebm(module: nn.Module, x: torch.Tensor, n_steps: int) -> Callable[[], object]:
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__(device=x.device)
            self.module = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.module(x)

    sampler = LangevinDynamics(Model(), step_size=STEP_SIZE, device=x.device)
    return lambda: sampler.sample(x=x, n_steps=n_steps)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def launches(work: Callable[[], object]) -> int:
    """Kernels that the work launches on a GPU."""
    with torch.profiler.profile() as profile:
        work()
    return sum("LaunchKernel" in event.name for event in profile.events())


def compare(
    programs: dict[str, Callable[[], object]], rounds: int, device: torch.device, n_steps: int
) -> dict[str, Any]:
    for work in programs.values():  # compiled and cached
        seconds(work, device)
    times = [
        {name: seconds(work, device) for name, work in programs.items()} for _ in range(rounds)
    ]
    result: dict[str, Any] = {
        "seconds_median": {
            name: statistics.median(times_of[name] for times_of in times) for name in programs
        }
    }
    for name in list(programs)[1:]:
        ratios = sorted(times_of[name] / times_of["gradients alone"] for times_of in times)
        result[f"{name} / gradients alone"] = {
            "median": statistics.median(ratios),
            "range": [ratios[0], ratios[-1]],
        }
    if device.type == "cuda":
        result["launches_per_step"] = {
            name: launches(work) / n_steps for name, work in programs.items()
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    programs = {"gradients alone": gradients_alone, "isotherm": ours}
    if options.device.type == "cpu":
        programs["isotherm without isotherm-numba"] = without_numba
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("isotherm-numba", "torchebm"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    if versions["torchebm"] != "not installed":
        programs["torchebm"] = torchebm

    results = {}
    for name, (make, shape, n_steps) in WORKLOADS.items():
        torch.manual_seed(0)
        module = make().to(options.device)
        x = torch.randn(shape, device=options.device)
        ready = {kind: program(module, x, n_steps) for kind, program in programs.items()}
        results[name] = compare(ready, options.rounds, options.device, n_steps)
    device = machine()
    if options.device.type == "cuda":
        device = f"{torch.cuda.get_device_name(options.device)}; {device}"
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    result = {
        "machine": device,
        "threads": options.threads,
        "versions": versions,
        "commit": commit.stdout.strip(),
        "results": results,
    }
    tell(result, options.out)


if __name__ == "__main__":
    main()
