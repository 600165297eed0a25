"""torch modules as energies of other libraries' arrays, where torch is installed."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

import isotherm
from isotherm._arithmetic.arrays import device_name, to_numpy
from isotherm._backends import registry
from isotherm_cupy import TorchEnergy, torch_energy
from tests.cupy.host import HostBackend

if find_spec("torch") is None:
    pytest.skip("the backend does not need torch", allow_module_level=True)

import torch


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 0.5, 2.0]))

    def forward(self, x):
        assert isinstance(x, torch.Tensor)
        self.seen.append(x.data_ptr())
        return (self.weight * torch.cosh(x)).sum(1)


def test_a_torch_module_sees_the_same_memory_and_gives_its_autograd_gradient():
    network = Network()
    energy = TorchEnergy(network)
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    weight = network.weight.detach().numpy()
    np.testing.assert_allclose(energy(x), (weight * np.cosh(x)).sum(1), rtol=1e-6)
    np.testing.assert_allclose(energy.gradient(x), weight * np.sinh(x), rtol=1e-5)
    assert network.seen == [x.ctypes.data] * 2
    assert network.weight.grad is None
    options = {"dim": 3, "n_samples": 40, "n_steps": 30, "step_size": 0.02, "seed": 4}
    got = isotherm.sample_chain(energy, backend=HostBackend.name, **options)
    expected = isotherm.sample_chain(network, backend="torch", **options)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_torch_is_not_asked_to_wait_for_a_stream_of_cupys(monkeypatch):
    """It would refuse each thread's own default stream."""
    given = []
    cupy = SimpleNamespace(from_dlpack=given.append)
    monkeypatch.setattr(torch_energy.compat, "is_cupy_array", lambda x: True)
    monkeypatch.setattr(torch_energy.compat, "array_namespace", lambda x: cupy)
    torch_energy._shared(torch.ones(3, requires_grad=True), None)
    assert type(given[0]).__name__ == "PyCapsule"


needs_a_card = pytest.mark.skipif(
    registry.load("cupy").status().reason is not None or not torch.cuda.is_available(),
    reason="there is no card that both libraries can use",
)


@needs_a_card
@pytest.mark.parametrize("kind", ["null", "ptds", "own"])
def test_torch_works_on_any_stream_of_cupys(kind):
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True) if kind == "own" else None
    stream = stream or getattr(cupy.cuda.Stream, kind)
    network = Network().cuda()
    x = cupy.asarray(np.random.default_rng(1).normal(size=(5000, 3)).astype(np.float32))
    cupy.cuda.Device().synchronize()
    with stream:
        y = x
        for _ in range(200):  # each gradient is of what the one before left
            y = 0.5 * y + 0.01 * TorchEnergy(network).gradient(y)
        found = cupy.asnumpy(y)
    expected = cupy.asnumpy(x)
    weight = network.weight.detach().cpu().numpy()
    for _ in range(200):
        expected = 0.5 * expected + 0.01 * weight * np.sinh(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@needs_a_card
def test_chains_of_tensors_are_queued_where_torch_queues():
    """Work that the stream waits for is done before the chains start from it, and after them."""
    energy = isotherm.DoubleWellEnergy()
    options = {"n_steps": 50, "step_size": 0.01, "seed": 3, "on_divergence": "ignore"}
    start = torch.full((20_000, 4), 0.5)
    expected = isotherm.sample_chain(energy, start, **options)
    x, stream = torch.zeros(20_000, 4, device="cuda"), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    sums = []
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # some hundredths of a second
        x.fill_(0.5)
        plan = isotherm.make_plan(energy, x.clone(), **options)
        assert plan.backend == "cupy"
        for _ in range(20):  # memory that is given back is written to by the next run
            samples = isotherm.run(plan, energy, x).samples
            torch.cuda._sleep(1_000_000)
            sums.append(samples.double().sum())
            del samples
    torch.cuda.synchronize()
    assert {float(value) for value in sums} == {float(sums[0])}
    assert float(sums[0]) == pytest.approx(float(expected.double().sum()), rel=1e-12)


@needs_a_card
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one card")
def test_a_start_on_one_card_for_chains_on_another():
    import cupy

    energy = isotherm.DoubleWellEnergy()
    options = {"n_steps": 5, "step_size": 0.01, "seed": 3, "device": "cuda:1"}
    expected = isotherm.sample_chain(
        energy, np.ones((9, 3), np.float32), **options | {"device": "cpu"}
    )
    for x in (torch.ones(9, 3, device="cuda:0"), cupy.ones((9, 3), "float32")):
        samples = isotherm.sample_chain(energy, x, **options)
        assert device_name(samples) == "cuda:1"
        np.testing.assert_array_equal(to_numpy(samples), expected)
        assert torch.cuda.current_device() == 0
