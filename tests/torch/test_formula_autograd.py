"""Gradients of formulas against torch's autograd."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import isotherm
from tests.core import random_formulas


def on_tensors(function):
    """The function, which torch gives for tensors only, on numbers too."""

    def tensor(operand):
        is_tensor = isinstance(operand, torch.Tensor)
        return operand if is_tensor else torch.tensor(operand, dtype=torch.float64)

    return staticmethod(lambda *operands: function(*map(tensor, operands)))


class TorchMath:
    """`isotherm.math` on tensors."""

    sqrt, exp, log, sin, cos, tanh, minimum, maximum, where = (
        on_tensors(getattr(torch, name))
        for name in ("sqrt", "exp", "log", "sin", "cos", "tanh", "minimum", "maximum", "where")
    )


@pytest.mark.parametrize("dim", [None, 3])
@given(data=st.data())
def test_random_formulas(dim, data):
    tree = data.draw(random_formulas.trees(dim or 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = rng.uniform(-2, 2, size=(4, dim or 2))
    p = rng.uniform(0.5, 2, size=random_formulas.N_PARAMETERS)
    energy = random_formulas.formula_energy(tree, p, dim)
    margins = []

    leaf = torch.tensor(x, requires_grad=True)
    coordinates = [leaf] if dim is None else leaf.unbind(dim=1)
    parameters = torch.tensor(p).unbind()
    value = random_formulas.random_energy(
        tree, coordinates, parameters, TorchMath, note=margins.append
    )
    assume(all((torch.as_tensor(margin).abs() > 1e-9).all() for margin in margins))
    (expected,) = torch.autograd.grad(value.sum(), leaf)

    np.testing.assert_allclose(energy.gradient(x), expected.numpy(), rtol=1e-9, atol=1e-9)
    of_tensors = energy.gradient(torch.tensor(x))
    np.testing.assert_allclose(of_tensors.numpy(), expected.numpy(), rtol=1e-9, atol=1e-9)


ENERGIES = {
    "harmonic": isotherm.HarmonicEnergy(k=2.5),
    "double well": isotherm.DoubleWellEnergy(b=1.5),
    "rosenbrock": isotherm.RosenbrockEnergy(),
    "rastrigin": isotherm.RastriginEnergy(),
    "ackley": isotherm.AckleyEnergy(),
    "gaussian": isotherm.GaussianEnergy([1.0, -1.0, 0.0], np.diag([1.0, 2.0, 3.0]) + 0.5),
    "mixture": isotherm.GaussianMixtureEnergy(np.eye(3) * 4, scales=[0.5, 1.0, 2.0]),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_built_in_energies(name):
    energy = ENERGIES[name]
    x = torch.tensor(np.random.default_rng(1).normal(size=(6, 3)), requires_grad=True)
    (expected,) = torch.autograd.grad(energy(x).sum(), x)
    given_gradient = energy.gradient(x.detach())
    np.testing.assert_allclose(given_gradient.numpy(), expected.numpy(), rtol=1e-10, atol=1e-10)
