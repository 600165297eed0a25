"""Modules and tensors as energies, and what sampling leaves untouched."""

import copy

import numpy as np
import pytest
import torch

import isotherm


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Dropout(0.0), torch.nn.Linear(16, 1)
    )


def run(energy, **options):
    options = {"step_size": 0.01, "n_steps": 20, "seed": 3, "backend": "torch"} | options
    return isotherm.run(isotherm.make_plan(energy, **options), energy, options.get("x"))


def test_the_gradient_of_a_module_is_autograds():
    module, x = network(), torch.linspace(-1, 1, 10).reshape(5, 2)
    after = run(module, x=x, n_steps=1, noise_scale=0.0).samples
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(leaf).sum(), leaf)
    assert torch.equal(after, x - torch.tensor(0.01) * gradient)


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_left_as_it_was(training):
    module = network().train(training)
    module[0].weight.requires_grad_(False)
    module[3].bias.grad = torch.ones(1)
    before = copy.deepcopy(module.state_dict())
    samples = run(module, dim=2, n_samples=7).samples
    assert not samples.requires_grad
    assert module.training is training
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    assert torch.equal(module[3].bias.grad, torch.ones(1))
    assert module[0].bias.grad is None
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_sampling_works_under_no_grad_and_leaves_a_graph_alone():
    module = network()
    loss = module(torch.ones(1, 2)).sum()
    with torch.no_grad():
        run(module, dim=2, n_samples=3)
    loss.backward()
    assert module[0].weight.grad is not None


def test_images_and_energies_of_several_shapes_give_the_same_chains():
    def image(x):
        return (x**2).sum(dim=(1, 2, 3))

    same = [image, lambda x: image(x)[:, None], lambda x: x**2]
    results = [run(e, dim=(3, 4, 4), n_samples=5, return_diagnostics=True) for e in same]
    for result in results[1:]:
        assert torch.equal(result.samples, results[0].samples)
        torch.testing.assert_close(result.diagnostics.energy, results[0].diagnostics.energy)


def test_an_energy_that_autograd_cannot_see_through_is_refused():
    with pytest.raises(isotherm.InputError, match="not connected to x"):
        run(lambda x: torch.zeros(x.shape[0]), dim=2)


def test_torchs_seeds_govern():
    energy = isotherm.HarmonicEnergy()

    def draw(seed=None):
        return run(energy, dim=3, seed=seed)

    torch.manual_seed(1)
    first = draw()
    torch.manual_seed(1)
    again = draw()
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(draw().samples, first.samples)
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    states = [draw(generator).samples for generator in generators]
    assert torch.equal(*states)
    assert torch.equal(draw(first.info.seed).samples, first.samples)


def test_tensors_without_a_named_backend_come_back_as_tensors_of_the_same_chain():
    energy = isotherm.GaussianEnergy(torch.zeros(3), torch.eye(3))
    options = {"n_samples": 50, "n_steps": 30, "step_size": 0.05, "seed": 2}
    samples = isotherm.sample_chain(energy, torch.ones(3), **options)
    assert isinstance(samples, torch.Tensor)
    expected = isotherm.sample_chain(energy, np.ones(3, np.float32), backend="numpy", **options)
    np.testing.assert_allclose(samples.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(dtype):
    samples = run(isotherm.HarmonicEnergy(), x=torch.zeros(4000, 2, dtype=dtype), n_steps=200,
                  step_size=0.1).samples  # fmt: skip
    assert samples.dtype == dtype
    # The variance of the discrete chain is 1 / (1 - 0.05); 8000 draws know it to 1.6 %.
    assert abs(samples.float().var().item() * 0.95 - 1.0) < 0.08


def test_a_tensor_that_requires_grad_may_be_the_start_and_is_not_written_to():
    x = torch.ones(4, 2, requires_grad=True)
    samples = run(isotherm.DoubleWellEnergy(), x=x).samples
    assert not samples.requires_grad
    assert torch.equal(x.detach(), torch.ones(4, 2))


def test_a_device_that_does_not_exist_is_refused_by_name():
    with pytest.raises(isotherm.InputError, match="'cuda:99' does not exist"):
        run(isotherm.HarmonicEnergy(), dim=2, device="cuda:99")
