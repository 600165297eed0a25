"""torch modules as energies of other libraries' arrays, where torch is installed."""

from importlib.util import find_spec

import numpy as np
import pytest

import isotherm
from isotherm_cupy import TorchEnergy
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
