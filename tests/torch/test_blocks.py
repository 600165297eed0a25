"""Steps of a module from a graph: the bits of those that are taken one by one, in every option.

The graph is a recording of what is done to memory, with the kernels in Triton's interpreter.
"""

import gc
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

if sys.platform != "linux":
    pytest.skip("Triton is for Linux alone", allow_module_level=True)

import isotherm
from isotherm._backends.watch import Watch
from isotherm.backend import Outputs, Segments
from isotherm_torch import graph, kernel, loop
from isotherm_torch.backend import TorchBackend
from isotherm_torch.loop import TorchLoop
from tests.torch.stand_in import Launched, Recording, interpreted, is_view, record

N_STEPS = 26


@pytest.fixture(scope="module")
def kernels():
    with interpreted(kernel) as module:
        for name in ("_fill", "_exponentials", "_matvec"):
            setattr(module, name, Launched(getattr(module, name)))
        yield module


@pytest.fixture
def on_device(kernels, monkeypatch, limits):
    """Where this is used, chains on the CPU run as on CUDA; its runners."""
    runners = []

    def kernels_for(plan, program, in_memory=None):
        if in_memory is None:  # of steps one by one
            return kernels, Segments(program, plan.state_dtype)
        segments = kernels.Segments(program, plan.state_dtype, in_memory)
        segments._kernels = {one: Launched(found) for one, found in segments._kernels.items()}
        return kernels, segments

    def prepare(self, plan, energy):
        runners.append(TorchLoop(replace(plan, device="cuda:0"), energy))
        return runners[-1]

    monkeypatch.setattr(loop, "_kernels", kernels_for)
    monkeypatch.setattr(loop, "LEAST_STEPS", 10)
    monkeypatch.setattr(graph, "capture_on_device", record)
    monkeypatch.setattr(TorchBackend, "prepare", prepare)
    monkeypatch.setattr(record, "copies", 0)
    monkeypatch.setattr(record, "replays", 0)
    limits(piece_seconds=1e6)  # so that the length of pieces hangs on no time
    return runners


class Network(nn.Module):
    scale = 1.0

    def __init__(self, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 8, generator=generator).to(dtype))

    def forward(self, x):
        return torch.tanh(x @ self.weight).sum(dim=1) + self.scale * x.pow(2).sum(dim=1)


def run(module, callback=None, **options):
    options = {"n_samples": 5, "n_steps": N_STEPS, "step_size": 0.05, "seed": 2**64 - 5} | options
    plan = isotherm.make_plan(module, dim=3, backend="torch", **options)
    return isotherm.run(plan, module, callback=callback)


DIAGNOSTICS = "mean", "variance", "energy", "acceptance_rate", "energy_error", "diverging"


COUNTED = "acceptance_rate", "n_divergences", "n_diverging_chains", "n_stuck_chains"


def parts_of(result):
    told = {name: getattr(result.diagnostics, name, None) for name in DIAGNOSTICS}
    counted = {name: getattr(result.info, name) for name in COUNTED}
    return {**told, **counted, **result.state, "trajectory": result.trajectory}


def assert_same(result, other):
    expected = parts_of(other)
    for name, value in parts_of(result).items():
        if torch.is_tensor(value):
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, equal_nan=True)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, expected[name])
        else:
            assert value == expected[name], name


RISING = np.linspace(0.02, 0.08, N_STEPS + 7)
KEPT = {"return_trajectory": True, "return_diagnostics": True}
OPTIONS = {
    "plain": {},
    "kept": {"thinning": 3, "burn_in": 7, "step_size": RISING, **KEPT},
    "going on": {"step_offset": 6, "chain_offset": 2**33 - 3, "decay": 0.01},
    "limits": {
        "bounds": (-1.0, 0.75), "gradient_clip": 1.5, "gradient_clip_norm": 2.0,
        "inverse_mass": [1.0, 2.0, 0.5], "frozen": [False, True, False],
        "dtype": "float64",
    },
    "clamp": {"clamp": (-1.0, 0.5), "dtype": "bfloat16"},
    "underdamped": {
        "sampler": "underdamped", "burn_in": 7, "noise_scale": np.abs(RISING - 0.05) // 0.01,
        **KEPT,
    },
    "mala": {"sampler": "mala", "burn_in": 7, "thinning": 2, "step_size": RISING, **KEPT},
    "mala in float64": {"sampler": "mala", "dtype": "float64", "step_offset": 5},
    "a matrix": {"inverse_mass": np.eye(3) + 0.5},
    "mala of a matrix": {
        "sampler": "mala", "inverse_mass": np.eye(3) + 0.5, "step_size": RISING[7:],
    },
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_steps_in_a_graph_have_the_bits_of_steps_one_by_one(request, options):
    module = Network(getattr(torch, options.get("dtype", "float32")))
    by_itself = run(module, **options)
    request.getfixturevalue("on_device")
    result = run(module, **options)
    assert result.info.path == "array loop, autograd, fused step, steps in a graph"
    assert record.replays > 2  # the first of which is the proof
    assert_same(result, by_itself)


class Counting(TorchDispatchMode):
    """How often the host asks for something but a replay, and for what it copies to the graph."""

    n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n += not is_view(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("sampler", "step_size", "n_copies"),
    [("langevin", 0.05, 0), ("underdamped", np.linspace(0.02, 0.05, 28), 1)],
)
def test_the_host_launches_a_block_of_steps_at_once(on_device, sampler, step_size, n_copies):
    module = Network()
    plan = isotherm.make_plan(
        module, dim=3, n_samples=5, n_steps=28, backend="torch", sampler=sampler,
        step_size=step_size,
    )  # fmt: skip
    runner = TorchBackend().prepare(plan, module)
    state = {"x": torch.ones(5, 3), "momentum": torch.ones(5, 3)}
    runner.begin(state)
    state = runner.advance(state, 0, 8, Outputs())
    counts = []
    for stop in (16, 16, 28):  # the first draws noise that is kept for the second
        record.replays = record.copies = 0
        with Counting() as others:
            runner.advance(state, 8, stop, Outputs())
        counts.append([record.replays, record.copies, others.n])
    assert np.subtract(counts[2], counts[1]).tolist() == [3, 3 * n_copies, 0]


def test_a_number_that_a_callback_changes_is_noticed(request):
    def run_changed():
        module = Network()

        def change(progress):
            module.scale = 0.25

        return run(module, change)

    by_itself = run_changed()
    request.getfixturevalue("on_device")
    result = run_changed()
    assert result.info.path.endswith("fused step, no graph: its gradient depends on more than x")
    assert torch.equal(result.samples, by_itself.samples)


class Fragile(Network):
    """Does what no graph can."""

    def forward(self, x):
        if Recording.current is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        return super().forward(x)


def test_a_module_that_cannot_be_captured_goes_on_by_itself(request):
    by_itself = run(Network(), sampler="mala")
    request.getfixturevalue("on_device")
    result = run(Fragile(), sampler="mala")
    assert result.info.path.endswith(
        "no graph: capture failed: operation not permitted when stream is capturing"
    )
    assert_same(result, by_itself)


def test_trajectories_of_one_length_are_in_a_graph(request):
    options = HMC | {"jitter": 0.0, "friction": 0.5, "inverse_mass": np.eye(3) + 0.5}
    by_itself = run(Network(), **options)
    request.getfixturevalue("on_device")
    result = run(Network(), **options)
    assert result.info.path.endswith("fused step, steps in a graph")
    assert_same(result, by_itself)


HMC = {"sampler": "hmc", "n_leapfrog": 3}


@pytest.mark.parametrize("options", [{}, {"inverse_mass": np.eye(3) + 0.5}])
def test_what_steps_have_no_graph_takes_the_gradient_from_one(request, options):
    by_itself = run(Network(), **HMC, **options)
    request.getfixturevalue("on_device")
    result = run(Network(), **HMC, **options)
    assert result.info.path == (
        "array loop, autograd, fused step, gradient in a graph, as steps differ in their number of "
        "substeps"
    )
    # Energies too: of a trajectory's end both are asked for.
    lengths = isotherm.make_plan(
        Network(), dim=3, n_steps=N_STEPS, step_size=0.05, backend="torch", **HMC
    ).coefficients(0, N_STEPS)["n_before_last"]
    assert record.replays == 1 + sum(lengths + 1) - 1  # and one that was to be proven
    assert_same(result, by_itself)


@pytest.mark.parametrize("sampler", ["langevin", "mala", "hmc"])
def test_one_chain_whose_energy_is_a_number(request, sampler):
    class One(Network):
        def forward(self, x):
            return super().forward(x).sum()

    by_itself = run(One(), n_samples=1, sampler=sampler)
    request.getfixturevalue("on_device")
    result = run(One(), n_samples=1, sampler=sampler)
    assert " in a graph" in result.info.path
    assert_same(result, by_itself)


def test_replayed_gradients_are_not_watched(on_device, monkeypatch):
    noted = []
    monkeypatch.setattr(Watch, "note", lambda self, x, step, *energies: noted.append(step))
    assert "gradient in a graph" in run(Network(), **HMC).info.path
    assert not noted  # the first was asked for, and shown to be right, before the first step


class Cubic(nn.Module):
    """Leaves the finite numbers after some steps."""

    def __init__(self):
        super().__init__()
        self.power = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return -self.power * (x**4).sum(dim=1)


@pytest.mark.parametrize(
    ("step_size", "has_steps_in_graph"), [(0.1, True), (0.02, True), (0.012, True), (0.012, False)]
)
def test_the_step_after_which_chains_diverge_is_found(request, step_size, has_steps_in_graph):
    if not has_steps_in_graph:
        request.getfixturevalue("monkeypatch").setattr(loop, "why_not", lambda *_: "of a test")

    def first_bad():
        with pytest.warns(isotherm.DivergenceWarning):
            return run(Cubic(), on_divergence="warn", step_size=step_size, noise_scale=0.1)

    by_itself = first_bad()
    request.getfixturevalue("on_device")
    result = first_bad()
    assert result.info.divergence.first_step == by_itself.info.divergence.first_step
    assert_same(result, by_itself)


@pytest.mark.parametrize("sampler", ["langevin", "hmc"])  # steps in a graph, and the gradient alone
def test_what_a_run_needed_goes_with_it(on_device, sampler):
    """A graph's memory on the device is not garbage to be collected some day."""
    module = Network()
    run(module, sampler=sampler)  # caches fill
    on_device.clear()
    gc.disable()
    try:
        assert "in a graph" in run(module, sampler=sampler).info.path
        parts = [weakref.ref(one) for one in (on_device[0], on_device[0]._graph)]
        on_device.clear()
        assert [one() for one in parts] == [None, None]
    finally:
        gc.enable()
