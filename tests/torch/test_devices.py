"""Devices that are neither CPU nor CUDA, with the CPU's tensors in their place: none was run on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import is_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import isotherm
from isotherm._backends import registry
from isotherm.backend import Outputs, kind_of, noise
from isotherm_torch.loop import TorchLoop
from isotherm_torch.normals import exponentials, fill_normals

BACKEND = registry.load("torch")
MODULE = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


@pytest.fixture
def others(monkeypatch):
    """A Mac with a card of Intel's."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    monkeypatch.setattr(torch.xpu, "current_device", lambda: 1)
    monkeypatch.setattr(
        torch.xpu,
        "get_device_properties",
        lambda device: SimpleNamespace(has_fp64=device == "xpu:0"),
    )


def plan(device, energy=MODULE, **options):
    made = isotherm.make_plan(
        energy, dim=3, n_samples=20, n_steps=9, step_size=0.01, seed=2, backend="torch", **options
    )
    return replace(made, device=device)


def test_they_have_their_names(others):
    assert {"cpu", "mps:0", "xpu:0", "xpu:1"} <= set(BACKEND.status().devices)
    assert BACKEND.resolve_device("mps") == "mps:0"
    assert BACKEND.resolve_device("xpu") == "xpu:1"
    assert BACKEND.resolve_device("xpu:0") == "xpu:0"
    assert BACKEND.resolve_device("cpu:0") == "cpu"
    for unknown in ("xpu:2", "mps:1", "hpu", "a word"):
        with pytest.raises(isotherm.InputError, match=r"does not exist; torch has cpu.*mps:0"):
            BACKEND.resolve_device(unknown)
    assert BACKEND.available_memory("mps:0") is None


def test_where_there_is_none_it_does_not_exist():
    for name in ("mps", "xpu:0"):
        if name not in " ".join(BACKEND.status().devices):
            with pytest.raises(isotherm.InputError, match="does not exist; torch has cpu"):
                BACKEND.resolve_device(name)


@pytest.mark.parametrize(
    ("device", "energy", "options", "reason"),
    [
        ("mps:0", MODULE, {}, None),
        ("xpu:1", MODULE, {"dtype": "bfloat16", "return_trajectory": True}, None),
        ("xpu:0", MODULE, {"dtype": "float64", "return_diagnostics": True}, None),
        ("mps:0", MODULE, {"dtype": "float64"}, "mps:0 has no float64; use dtype='float32'"),
        ("xpu:1", MODULE, {"dtype": "float64"}, "xpu:1 has no float64"),
        ("mps:0", MODULE, {"return_diagnostics": True}, "added up in float64, which mps:0 has not"),
        ("mps:0", isotherm.HarmonicEnergy(), {}, "mps:0 may round otherwise; use device='cpu'"),
        ("cpu", isotherm.HarmonicEnergy(), {"dtype": "float64"}, None),
    ],
)
def test_what_they_lack_is_named(others, device, energy, options, reason):
    found = BACKEND.supports(plan(device, energy, **options), energy)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize("device", ["mps:0", "xpu:1"])
def test_modules_run_there_on_noise_of_the_hosts(others, device):
    elsewhere, here = plan(device), plan("cpu")
    runner = TorchLoop(elsewhere, MODULE)
    assert runner.path == "array loop, autograd, noise from the host"
    state = {"x": torch.zeros(20, 3)}
    got = runner.advance(state, 0, 9, Outputs())
    expected = TorchLoop(here, MODULE).advance(state, 0, 9, Outputs())
    assert torch.equal(got["x"], expected["x"])


class NoFloat64(TorchDispatchMode):
    """A device that refuses it, as a Mac's does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        assert all(one.dtype != torch.float64 for one in tree_leaves(results) if is_tensor(one))
        return results


@pytest.mark.parametrize("sampler", ["langevin", "underdamped", "mala", "hmc"])
def test_modules_run_without_float64(others, sampler):
    elsewhere, here = plan("mps:0", sampler=sampler), plan("cpu", sampler=sampler)
    state = {"x": torch.zeros(20, 3)}
    if "momentum" in elsewhere.transition(kind_of(MODULE)).carried:
        state["momentum"] = torch.ones(20, 3)
    expected = TorchLoop(here, MODULE).advance(state, 0, 9, Outputs())
    runner = TorchLoop(elsewhere, MODULE)
    with NoFloat64():
        runner.begin(state)
        got = runner.advance(state, 0, 9, Outputs())
        assert runner.first_bad_step() == 0
    assert torch.equal(got["x"], expected["x"])


class Elsewhere:
    """A tensor of another device: all that is done with it is that something is copied to it."""

    device = torch.device("mps")

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype

    def __len__(self):
        return self.shape[0]

    def copy_(self, values):
        assert values.device.type == "cpu"
        self.values = values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_noise_is_drawn_by_the_host_and_moved(dtype):
    key = {"seed": 5, "stream": noise.Stream.MOMENTUM, "block": 3, "chain_offset": 2**33}
    shape = (2 if dtype == torch.float64 else 4, 6, 5)
    out, expected = Elsewhere(shape, dtype), torch.empty(shape, dtype=dtype)
    fill_normals(out, **key)
    noise.fill_normals(expected, **key)
    assert torch.equal(out.values, expected)
    assert np.isfinite(expected.double().numpy()).all()


@pytest.mark.parametrize("default", ["cpu", "meta"])  # which users change
def test_numbers_for_accepting_are_drawn_by_the_host_and_moved(monkeypatch, default):
    moved, to = [], torch.Tensor.to

    def moving(one, *args, **options):
        if args[:1] == (like.device,):
            moved.append(args[0])
            args = ("cpu",)
        return to(one, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", moving)
    key = {"seed": 5, "block": 3, "chain_offset": 2**33}
    out = Elsewhere((4, 6, 5), torch.float32)
    like = Elsewhere((6, 5), torch.float32)
    with torch.device(default):
        got = exponentials(like, **key)
        fill_normals(out, **key, stream=noise.Stream.MOMENTUM)
    assert moved == [like.device] * noise.EXPONENTIALS_PER_BLOCK
    expected = noise.exponentials(torch.empty(6), **key)
    assert all(map(torch.equal, got, expected))
    assert out.values.device.type == "cpu"
