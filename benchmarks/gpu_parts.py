"""The parts of benchmarks/gpu.py: what each process does on the card.

    RECORDS=FILE python benchmarks/gpu_parts.py {versions,kernels,times,tiny,peers}

Every check and figure becomes a line of the file at once, and a check that fails stops no other.
Where SHARE is ``2/12``, the process does each twelfth check, from the third on.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from gpu import read
from reference import machine

import isotherm
import isotherm.math as im
from isotherm.backend import Outputs, registry, to_numpy
from isotherm.testing import UsersEnergy
from isotherm_cupy import CudaEnergy

PACKAGES = (
    "isotherm", "isotherm-cupy", "isotherm-torch", "numpy", "array-api-compat", "cupy-cuda12x",
    "cupy-cuda13x", "torch", "triton", "torchebm",
)  # fmt: skip


LOST = 3  # the exit status of a process whose card answers no more; the next goes on behind it


class Records:
    """A line of a file for each thing found.

    Parameters
    ----------
    file : path
    part : str
        To which the lines belong; what it has in the file already is not done again.
    share : str
        ``"2/12"``: of twelve processes the third.
    synchronize : callable
        Raises where the card answers no more, as after an access beyond its memory.
    """

    def __init__(
        self,
        file: Path,
        part: str = "",
        share: str = "0/1",
        synchronize: Callable[[], object] = lambda: None,
    ) -> None:
        self._file, self._part, self._synchronize = file, part, synchronize
        self._own, self._copies = map(int, share.split("/"))
        self._before = {one["name"]: one for one in read(file, part)}
        self._n_checks = 0
        self.n_bad = 0

    def add(self, name: str, **found: Any) -> None:
        line = json.dumps({"part": self._part, "name": name, **found}, ensure_ascii=False)
        with self._file.open("ab", buffering=0) as file:
            file.write(
                f"\n{line}\n".encode(errors="backslashreplace")
            )  # at once, as others write too, or did not end theirs
        print(line, flush=True)

    def check(self, name: str, work: Callable[[], dict[str, Any] | None]) -> None:
        """Note what some work finds, or why it fails."""
        self._n_checks += 1
        if self._n_checks % self._copies != self._own:
            return
        before = self._before.get(name)
        if before is None:
            self._try(name, work)
        elif "begun" in before:
            self._fail(name, "the process ended within it; parts.log may say how")
        else:
            self.n_bad += not before["ok"]

    def _try(self, name: str, work: Callable[[], dict[str, Any] | None]) -> None:
        self.add(name, begun=time.strftime("%H:%M:%S"))
        began = time.perf_counter()
        try:
            found = work() or {}
        except Exception as error:
            self._fail(name, f"{type(error).__name__}: {error}", traceback.format_exc())
        else:
            self.add(name, ok=True, seconds=round(time.perf_counter() - began, 2), **found)
        try:
            self._synchronize()
        except Exception:
            sys.exit(LOST)

    def _fail(self, name: str, error: str, told: str = "") -> None:
        self.n_bad += 1
        self.add(name, ok=False, error=error[:2000], traceback=told[-2000:])


@dataclass(frozen=True)
class Card:
    """Where kernels run, and how their time is taken.

    Attributes
    ----------
    backend, device : str
    xp : module
        The library of its arrays.
    synchronize : callable
        Waits for all that was launched.
    kernel_seconds : callable
        Of some work, between two events on the card itself.
    normals : callable
        So many of the library's, in float32.
    """

    backend: str
    device: str
    xp: Any
    synchronize: Callable[[], object]
    kernel_seconds: Callable[[Callable[[], object]], float]
    normals: Callable[[int], Any]


def the_card() -> Card:
    import cupy

    def kernel_seconds(work: Callable[[], object]) -> float:
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        if find_spec("torch"):
            import torch

            # The card waits a millisecond, for the host to have launched all that is timed: the
            # time that the host takes for it is no kernel's.
            torch.cuda._sleep(2_000_000)
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, stop)) / 1000

    def normals(size: int) -> Any:
        return cupy.random.standard_normal(size, dtype="float32")

    synchronize = cupy.cuda.runtime.deviceSynchronize
    return Card("cupy", "cuda:0", cupy, synchronize, kernel_seconds, normals)


def versions(records: Records) -> None:
    """What there is; nothing of it is needed for the other parts."""
    records.add("python", version=platform.python_version(), host=machine())
    for name in PACKAGES:
        try:
            records.add(name, version=version(name))
        except PackageNotFoundError:
            records.add(name, version=None)
    for name in ("cupy", "torch"):
        if name in registry.names():
            status = registry.load(name).status()
            records.add(f"backend {name}", reason=status.reason, devices=status.devices)
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ]
    records.check("nvidia-smi", lambda: {"output": subprocess.check_output(command, text=True)})


# -- every kind of kernel, against the reference

STANDARD = CudaEnergy(
    energy="real total = 0; for (int i = 0; i < dim; ++i) total += x[i] * x[i] / 2; return total;",
    gradient="for (int i = 0; i < dim; ++i) out[i] = x[i];",
)


def gaussian(dim: int) -> Any:
    return isotherm.GaussianEnergy(np.linspace(-1, 1, dim), np.eye(dim) + 0.3)


def flat_well(x: Any) -> Any:
    return 0.0 * x


# Name, energy, the energy for the reference, coordinates, the path, whether bits are equal.
Kinds = list[tuple[str, Any, Any, int | tuple[int, ...], str, bool]]
FUSED, QUADRATIC, LOOP = "fused program", "fused quadratic form", "array loop"
MIXTURE = isotherm.GaussianMixtureEnergy([[0.0, 1.0, 0.5], [1.0, -1.0, 0.0]], [1.0, 0.7])
KINDS: Kinds = [
    ("elementwise", isotherm.DoubleWellEnergy(), None, 5, FUSED, True),
    ("elementwise, blocks", isotherm.RastriginEnergy(a=1.0), None, 40, FUSED, True),
    ("elementwise, wide blocks", isotherm.DoubleWellEnergy(), None, 600, FUSED, True),
    ("whole state", isotherm.RosenbrockEnergy(b=2.0), None, 4, FUSED, True),
    ("whole state, functions", MIXTURE, None, 3, FUSED, True),
    ("whole state, long", isotherm.RosenbrockEnergy(b=2.0), None, 20, FUSED, True),
    ("quadratic, small", gaussian(3), None, 3, QUADRATIC, True),
    ("quadratic, tiles", gaussian(40), None, 40, QUADRATIC, True),
    ("quadratic, large", gaussian(100), None, 100, QUADRATIC, False),
    ("array loop", UsersEnergy(2.0), None, 40, LOOP, True),
    ("CUDA functions", STANDARD, isotherm.HarmonicEnergy(), 3, "fused CUDA functions", True),
    ("CUDA functions on arrays", STANDARD, UsersEnergy(1.0), 40, LOOP, True),
]


@isotherm.formula(dim=None)
def lattice(x: Any) -> Any:
    """Neighbours by index arithmetic and tables."""
    pull = x * np.roll(x, 1, 0) + x * np.roll(x, 1, 1)
    return np.sum(2 * x**2 + 0.25 * x**4 - pull)


@isotherm.formula(dim=(13, 3))
def cluster(x: Any) -> Any:
    """Pairs, and for each particle the sum over its own."""
    i, j = np.triu_indices(13, 1)
    s = 1.0 / (0.5 + np.sum((x[i] - x[j]) ** 2, axis=-1)) ** 3
    return np.sum(4.0 * (s * s - s)) + np.sum(x * x)


@isotherm.formula(dim=None)
def logistic(w: Any, *, X: Any, y: Any) -> Any:
    """Products with data, which are a library's in the reference."""
    z = X @ w
    return np.sum(np.logaddexp(0.0, z) - y * z) + 0.5 * np.sum(w * w)


@isotherm.formula(dim=4)
def garch(x: Any, *, y: Any) -> Any:
    """A recursion over rows."""
    omega, alpha, beta = im.exp(x[0]), im.expit(x[1]), im.expit(x[2])

    def step(variance: Any, now: Any) -> Any:
        return omega + alpha * now * now + beta * variance, variance

    _, variance = im.scan(step, im.exp(x[3]), y)
    return 0.5 * np.sum(np.log(variance) + y * y / variance) + 0.5 * np.sum(x * x)


def regression() -> Any:
    rng = np.random.default_rng(0)
    return logistic(rng.normal(size=(569, 31)), (rng.uniform(size=569) < 0.5).astype(float))


ARRAYS: Kinds = [
    ("lattice", lattice(), None, (8, 8), FUSED, True),
    ("cluster", cluster(), None, (13, 3), FUSED, True),
    ("logistic", regression(), None, 31, FUSED, False),
    ("recursion", garch(np.linspace(-1, 1, 200)), None, 4, FUSED, True),
    ("written out", isotherm.RosenbrockEnergy(b=2.0), None, 40, FUSED, True),
    ("separable", isotherm.DoubleWellEnergy(), None, 1100, FUSED, True),
]
# More chains than a block; a last block of steps that is not whole.
N_CHAINS = 777
PLAIN: dict[str, Any] = {"n_samples": N_CHAINS, "n_steps": 13, "step_size": 0.01, "seed": 2**63 + 5}
KEPT: dict[str, Any] = {"return_trajectory": True, "return_diagnostics": True}
LIMITS: dict[str, Any] = {"bounds": (-1.1, 1.1), "gradient_clip": 2.0, "gradient_clip_norm": 3.0}
LADDER = np.linspace(0.5, 2.0, N_CHAINS)[:, None]
HMC: dict[str, Any] = {**KEPT, "sampler": "hmc", "step_size": 0.05}


def masses(shape: tuple[int, ...]) -> Any:
    return np.linspace(0.5, 2.0, math.prod(shape)).reshape(shape)


def covariance(shape: tuple[int, ...]) -> Any:
    distance = np.abs(np.subtract.outer(*2 * [np.arange(math.prod(shape))]))
    return np.eye(len(distance)) + 0.1 * np.exp(-distance)


def every_third(shape: tuple[int, ...]) -> Any:
    return np.arange(math.prod(shape)).reshape(shape) % 3 == 1


# What is a function is one of a state's shape.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kept": {**KEPT, "burn_in": 3, "thinning": 3},
    "few chains": {**KEPT, "n_samples": 37},
    "schedule, clamp": {
        **KEPT, "step_size": [0.01] * 6 + [0.02] * 7, "clamp": (-1.0, 0.5),
        "noise_scale": [1.0] * 4 + [0.0] * 5 + [0.5] * 4,
    },
    "far in the stream": {"chain_offset": 2**40 - 100, "step_offset": 2**32 - 7},
    "no noise": {"noise_scale": 0.0},
    "bounds, clip": {**KEPT, **LIMITS},
    "masses": {**KEPT, "inverse_mass": masses, "decay": 0.01},
    "matrix": {**KEPT, "inverse_mass": covariance},
    "frozen": {**KEPT, "frozen": every_third},
    "temperatures": {**KEPT, "temperature": LADDER, "decay": 0.01},
    "underdamped": {**KEPT, "sampler": "underdamped", "step_size": 0.05},
    "underdamped that cools": {
        **KEPT, "sampler": "underdamped", "step_size": 0.05, "noise_scale": np.linspace(1, 0, 13),
        "friction": np.linspace(1, 2, 13), "inverse_mass": masses,
    },
    "mala": {**KEPT, "sampler": "mala", "step_size": 0.02},
    "mala of temperatures": {
        **KEPT, "sampler": "mala", "step_size": 0.02, "temperature": LADDER, "burn_in": 2,
    },
    "hmc": {**HMC, "n_leapfrog": 5},
    "hmc in bounds": {**HMC, **LIMITS, "n_leapfrog": 4},
    "hmc that diverges": {**HMC, "n_leapfrog": [3] * 6 + [7] * 7, "divergence_threshold": 1e-3},
    "malt": {**HMC, "n_leapfrog": 9, "jitter": 0.0, "friction": 0.5},
    "malt of a matrix": {
        **HMC, "n_leapfrog": 4, "friction": 0.5, "temperature": LADDER,
        "inverse_mass": covariance,
    },
}  # fmt: skip
# Loops over arrays take long to compile: of each kind some, all of them together.
SOME = (
    ("kept", "float32"), ("mala", "float64"), ("malt", "float32"), ("underdamped", "float64"),
    ("bounds, clip", "float64"), ("malt of a matrix", "float32"), ("temperatures", "float32"),
    ("frozen", "float32"),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A run that is held to the reference's.

    Attributes
    ----------
    name : str
    energy, reference : energy
    shape : tuple of int
        Of a chain's state.
    path : str
        With which its path begins.
    has_bits : bool
        Whether bits are equal.
    options : dict
        Of the plan.
    """

    name: str
    energy: Any
    reference: Any
    shape: tuple[int, ...]
    path: str
    has_bits: bool
    options: dict[str, Any]

    def start(self) -> Any:
        x = np.linspace(-1, 1, math.prod(self.shape)).reshape(1, *self.shape)
        return x.astype(self.options["dtype"])

    def plan(self, backend: str, energy: Any) -> Any:
        return isotherm.make_plan(energy, self.start(), backend=backend, **self.options)


def cases() -> Iterator[Case]:
    """Every kind of kernel with every option; of loops over arrays some of these."""
    everything = product(OPTIONS, ("float32", "float64", "float16"))
    tried = [(KINDS, tuple(everything)), (ARRAYS, SOME)]
    for (name, energy, reference, dim, path, has_bits), (option, dtype) in (
        pair for kinds, some in tried for pair in product(kinds, some)
    ):
        shape = (dim,) if isinstance(dim, int) else dim
        given = OPTIONS[option]
        is_user = isinstance(energy, CudaEnergy)
        if given.get("sampler") in ("mala", "hmc") and (not has_bits or is_user):
            continue  # decisions by numbers that are the reference's to rounding alone
        if dtype == "float16" and (path != LOOP or is_user):
            continue
        if "matrix" in option and math.prod(shape) > 64:
            continue  # no plan takes one
        options = {
            key: value(shape) if callable(value) else value
            for key, value in (PLAIN | {"dtype": dtype} | given).items()
        }
        label = f"{name}, {dtype}, {option}"
        yield Case(label, energy, reference or energy, shape, path, has_bits, options)


def kernels(card: Card, records: Records) -> None:
    for case in cases():
        if card.backend == "cupy" or not isinstance(case.energy, CudaEnergy):
            records.check(case.name, partial(compared, card, case))
    records.check("subnormal numbers", lambda: subnormal(card))
    records.check("a start drawn", lambda: drawn(card))


def compared(card: Card, case: Case) -> dict[str, Any]:
    """The largest difference from the reference, which is none where the bits are to be equal."""
    results = []
    for energy, backend in ((case.energy, card.backend), (case.reference, "numpy")):
        plan = case.plan(backend, energy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of divergence, and of chains that hardly move
            results.append(isotherm.run(plan, energy, case.start()))
    got, expected = results
    assert got.info.path.startswith(case.path), got.info.path
    largest = 0.0
    for name in ("samples", "trajectory"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        if theirs is not None:
            largest = max(largest, differing(name, to_numpy(ours), theirs, case.has_bits))
    if expected.diagnostics is not None:
        for name in ("energy_error", "diverging"):
            theirs = getattr(expected.diagnostics, name)
            if theirs is not None:
                differing(name, to_numpy(getattr(got.diagnostics, name)), theirs, case.has_bits)
        close = 1e-2 if case.options["dtype"] == "float16" else 1e-4
        for name in ("mean", "variance", "energy"):
            ours, theirs = (to_numpy(getattr(r.diagnostics, name)) for r in results)
            np.testing.assert_allclose(ours, theirs, rtol=close, atol=close / 10, err_msg=name)
    assert got.info.acceptance_rate == expected.info.acceptance_rate, (
        f"acceptance: got {got.info.acceptance_rate}, expected {expected.info.acceptance_rate}"
    )
    return {"largest difference": largest}


def differing(name: str, got: Any, expected: Any, has_bits: bool = True) -> float:
    """The largest difference; an error that tells where the first is, where there is to be none."""
    got, expected = np.ascontiguousarray(got), np.ascontiguousarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), (
        f"{name}: got {got.dtype} of {got.shape}, expected {expected.dtype} of {expected.shape}"
    )
    distance = np.abs(got.astype(float) - expected.astype(float))
    largest = float(np.max(distance, initial=0.0))
    bits = f"u{got.itemsize}"
    is_other = got.view(bits) != expected.view(bits) if has_bits else ~(distance < 1e-3)
    if is_other.any():
        first = tuple(map(int, np.argwhere(is_other)[0]))
        raise AssertionError(
            f"{name}: {is_other.sum()} of {is_other.size} differ, by {largest:.3g} at most; the "
            f"first at {first}: got {got[first]!r}, expected {expected[first]!r}"
        )
    return largest


def subnormal(card: Card) -> None:
    x = np.ldexp(np.random.default_rng(5).normal(size=(64, 3)), -130).astype(np.float32)
    options: dict[str, Any] = {"n_steps": 6, "step_size": 0.25, "noise_scale": 1e-38, "seed": 1}
    energy = isotherm.HarmonicEnergy()
    ours, theirs = (
        isotherm.sample_chain(energy, x, backend=backend, **options)
        for backend in (card.backend, "numpy")
    )
    differing("samples", ours, theirs)


def drawn(card: Card) -> None:
    for dtype in ("float32", "float64"):
        ours, theirs = (
            isotherm.sample_chain(
                isotherm.HarmonicEnergy(), dim=7, n_samples=999, n_steps=1, seed=4, dtype=dtype,
                backend=backend, chain_offset=2**33,
            )
            for backend in (card.backend, "numpy")
        )  # fmt: skip
        differing(dtype, to_numpy(ours), theirs)


def tiny(card: Card, records: Records) -> None:
    """Each kind small, and with a trajectory, for a tool that watches every access."""
    options: dict[str, Any] = {
        "n_samples": 37,
        "n_steps": 9,
        "thinning": 2,
        "step_size": 0.01,
        "seed": 1,
    }
    samplers = {"langevin": {}, "malt": {"sampler": "hmc", "n_leapfrog": 3, "friction": 0.5}}
    for (name, energy, _, dim, _, _), sampler in product(KINDS + ARRAYS, samplers):
        if isinstance(energy, CudaEnergy) and card.backend != "cupy":
            continue
        given = {"dim": dim, "dtype": "float32", "backend": card.backend, **KEPT, **options}

        def work(energy: Any = energy, given: Any = given | samplers[sampler]) -> None:
            isotherm.sample_chain(energy, **given)
            card.synchronize()

        records.check(f"{name}, {sampler}", work)


# -- how fast

flat = isotherm.formula(flat_well)
WORKLOADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "double well, 4096 x 32 x 1000": (
        isotherm.DoubleWellEnergy(),
        {"dim": 32, "n_samples": 4096, "n_steps": 1000},
    ),
    "10-D Gaussian, 10,000 x 500": (gaussian(10), {"n_samples": 10_000, "n_steps": 500}),
    "100-D Gaussian, 4096 x 500": (gaussian(100), {"n_samples": 4096, "n_steps": 500}),
    "10-D Rosenbrock, 10,000 x 500": (
        isotherm.RosenbrockEnergy(),
        {"dim": 10, "n_samples": 10_000, "n_steps": 500},
    ),
    "no force, 65,536 x 32 x 400": (flat(), {"dim": 32, "n_samples": 2**16, "n_steps": 400}),
    "lattice of 64 x 64, 1024 x 100": (
        lattice(),
        {"dim": (64, 64), "n_samples": 1024, "n_steps": 100},
    ),
    "13 particles, 10,000 x 200": (cluster(), {"n_samples": 10_000, "n_steps": 200}),
    "logistic, 569 x 31, 1000 x 100": (
        regression(),
        {"dim": 31, "n_samples": 1000, "n_steps": 100},
    ),
    "GARCH of 200 rows, 10,000 x 100": (
        garch(np.linspace(-1, 1, 200)),
        {"n_samples": 10_000, "n_steps": 100},
    ),
}
COMMON: dict[str, Any] = {"step_size": 5e-4, "seed": 0, "dtype": "float32"}


def times(card: Card, records: Records, rounds: int = 7, **smaller: int) -> None:
    """Kernels by events, whole calls by the clock; the first call, which compiles, apart."""
    for name, (energy, options) in WORKLOADS.items():
        records.check(name, partial(timed, card, energy, options | smaller, rounds))
    if find_spec("torch"):
        for width in (64, 512):
            work = partial(module_times, card, width, rounds, **smaller)
            records.check(f"perceptron, {width} wide", work)


def timed(card: Card, energy: Any, options: dict[str, Any], rounds: int) -> dict[str, Any]:
    plan = isotherm.make_plan(
        energy, backend=card.backend, on_divergence="ignore", **COMMON | options
    )
    began = time.perf_counter()
    isotherm.run(plan, energy)
    card.synchronize()
    first = time.perf_counter() - began
    runner = registry.load(plan.backend).prepare(plan, energy)
    state = {"x": card.xp.zeros(plan.shape, plan.dtype)}
    by_events, by_clock = [], []
    for _ in range(rounds):
        by_events.append(
            card.kernel_seconds(lambda: runner.advance(state, 0, plan.n_total, Outputs()))
        )
        began = time.perf_counter()
        isotherm.run(plan, energy)
        card.synchronize()
        by_clock.append(time.perf_counter() - began)
    work = plan.n_samples * plan.n_coordinates * plan.n_total
    return {
        "first call": first,
        "kernel": spread(by_events),
        "call": spread(by_clock),
        "microseconds a step": statistics.median(by_events) / plan.n_total * 1e6,
        "coordinates and steps a second": work / statistics.median(by_events),
    }


def spread(seconds: list[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "best": min(seconds), "worst": max(seconds)}


def module_times(
    card: Card, width: int, rounds: int, n_samples: int = 1000, n_steps: int = 1000
) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)
    ).to(card.device)
    x = torch.zeros(n_samples, 2, device=card.device)
    found: dict[str, Any] = {}
    kinds: dict[str, Any] = {"watched": "warn", "not watched": "ignore"}
    for name, divergence in kinds.items():
        plan = isotherm.make_plan(
            module, x, backend="torch", n_steps=n_steps, seed=0, on_divergence=divergence
        )
        seconds = []
        for _ in range(rounds + 1):
            card.synchronize()
            began = time.perf_counter()
            result = isotherm.run(plan, module, x)
            card.synchronize()
            seconds.append((time.perf_counter() - began) / n_steps * 1e6)
        found[f"microseconds a step, {name}"] = spread(seconds[1:])
        found["path"] = result.info.path
    return found


# -- beside others


def peers(card: Card, records: Records, rounds: int = 5, **smaller: int) -> None:
    for name in ("torch", "torchebm"):
        if find_spec(name) is None:
            records.add(f"beside {name}", ok=None, why="it is not installed")
    for name in ("double well, 4096 x 32 x 1000", "10-D Gaussian, 10,000 x 500"):
        energy, options = WORKLOADS[name]
        plan = isotherm.make_plan(energy, backend=card.backend, **COMMON | options | smaller)
        for peer, work in works(card, plan, energy):
            records.check(f"{name}: {peer}", partial(clocked, card, work, rounds))
    n_chains, n_steps = smaller.get("n_samples", 2**16), smaller.get("n_steps", 400)

    def normals() -> None:
        for _ in range(n_steps):
            card.normals(n_chains * 32)

    records.check("as many normals of the library", lambda: clocked(card, normals, 3))


def clocked(card: Card, work: Callable[[], object], rounds: int) -> dict[str, Any]:
    seconds = []
    for _ in range(rounds + 1):
        card.synchronize()
        began = time.perf_counter()
        work()
        card.synchronize()
        seconds.append(time.perf_counter() - began)
    return {"first call": seconds[0], "call": spread(seconds[1:])}


def works(card: Card, plan: Any, energy: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    """Isotherm and whoever else is there, on the same work."""
    yield "Isotherm", lambda: isotherm.run(plan, energy)
    yield "by hand", lambda: by_hand(card, plan, energy)
    if find_spec("torch"):
        on_torch = isotherm.make_plan(
            energy, backend="torch", device=card.device.partition(":")[0], dim=plan.event_shape,
            n_samples=plan.n_samples, n_steps=plan.n_steps, **COMMON,
        )  # fmt: skip
        yield "Isotherm's torch loop", lambda: isotherm.run(on_torch, energy)
    if find_spec("torchebm"):
        yield "TorchEBM", lambda: torchebm(card, plan, energy)


def by_hand(card: Card, plan: Any, energy: Any) -> Any:
    """The loop that one would write: the library's normals, the energy's gradient, the step."""
    xp = card.xp
    x = xp.zeros(plan.shape, plan.dtype)
    size = COMMON["step_size"]
    scale = (2 * size) ** 0.5
    for _ in range(plan.n_steps):
        x = x - size * energy.gradient(x) + scale * card.normals(x.size).reshape(x.shape)
    return x


def torchebm(card: Card, plan: Any, energy: Any) -> Any:
    import torch
    from torchebm.core import DoubleWellModel, GaussianModel
    from torchebm.samplers import LangevinDynamics

    if isinstance(energy, isotherm.GaussianEnergy):
        model = GaussianModel(torch.tensor(energy.mean), torch.tensor(energy.cov))
    else:
        model = DoubleWellModel(barrier_height=2.0)
    device = card.device.partition(":")[0]
    sampler = LangevinDynamics(
        model.float().to(device), step_size=COMMON["step_size"], device=device
    )
    return sampler.sample(x=torch.zeros(plan.shape, device=device), n_steps=plan.n_steps)


def main() -> None:
    name, part = sys.argv[1], os.environ.get("PART", sys.argv[1])
    given = Path(os.environ["RECORDS"]), part, os.environ.get("SHARE", "0/1")
    if name == "versions":
        records = Records(*given)
        versions(records)
        sys.exit(records.n_bad > 0)
    reason = registry.load("cupy").status().reason
    if reason is not None:
        Records(*given).add("the card", ok=False, error=f"there is no device: {reason}")
        sys.exit(1)
    card = the_card()
    if name == "tiny":  # what lies behind an array is then nobody's, and the tool sees it
        card.xp.cuda.set_allocator(None)
    records = Records(*given, card.synchronize)
    {"kernels": kernels, "tiny": tiny, "times": times, "peers": peers}[name](card, records)
    sys.exit(records.n_bad > 0)


if __name__ == "__main__":
    main()
