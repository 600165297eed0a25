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


UNUSUAL = {
    "sparse": lambda: torch.ones(3, 2).to_sparse(),
    "sparse rows": lambda: torch.ones(3, 2).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "jagged": lambda: torch.nested.nested_tensor(
        [torch.ones(2), torch.ones(3)], layout=torch.jagged
    ),
    "meta": lambda: torch.ones(3, 2, device="meta"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_tensors_that_others_cannot_read_are_refused_in_a_sentence(kind):
    x = UNUSUAL[kind]()
    energy = isotherm.HarmonicEnergy()
    for call in (
        lambda: isotherm.sample_chain(energy, x, n_steps=3),
        lambda: isotherm.sample_chain(energy, dim=2, n_steps=3, step_size=x),
        lambda: isotherm.GaussianEnergy(x, torch.eye(2)),
        lambda: isotherm.check_gradient(energy, x),
    ):
        with pytest.raises(isotherm.InputError, match=r"tensor; (give|which holds)"):
            call()


def test_tensors_that_are_yet_to_be_negated_are_read():
    negated = torch.complex(torch.zeros(3, 2), torch.ones(3, 2)).conj().imag
    assert negated.is_neg()
    plain = -torch.ones(3, 2)
    for energy in (isotherm.HarmonicEnergy(), isotherm.GaussianEnergy([0.0, 1.0], np.eye(2))):
        got, expected = (run(energy, x=x).samples for x in (negated, plain))
        assert torch.equal(got, expected)
    means = (isotherm.GaussianEnergy(x[0], torch.eye(2)).mean for x in (negated, plain))
    np.testing.assert_array_equal(*means)


class Negated:
    """An energy whose gradient is yet to be negated."""

    def __call__(self, x):
        return 0.5 * (x * x).sum(1)

    def gradient(self, x):
        return torch.complex(torch.zeros_like(x), -x).conj().imag


def test_a_gradient_that_is_yet_to_be_negated_is_read():
    got, expected = (run(e, dim=2).samples for e in (Negated(), isotherm.HarmonicEnergy()))
    assert torch.equal(got, expected)
