"""Tensors in and out, torch's seeds, dtypes and devices."""

import numpy as np
import pytest
import torch

import isotherm


def run(energy, **options):
    options = {"step_size": 0.01, "n_steps": 20, "seed": 3, "backend": "torch"} | options
    return isotherm.run(isotherm.make_plan(energy, **options), energy, options.get("x"))


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


def test_a_generator_moves_on_and_torchs_own_state_does_not():
    generator, before = torch.Generator().manual_seed(5), torch.get_rng_state()
    sampler = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), backend="torch")
    first, second = (sampler.sample_chain(dim=3, seed=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    run(isotherm.HarmonicEnergy(), dim=3, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


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
