"""Networks as energies: what they are called with, and that they are left as they were found."""

import copy

import pytest
import torch
from torch import nn

import isotherm
from isotherm_torch import loop


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(0.0), nn.Linear(16, 1))


def conv_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 6 * 5, 1)
    )


def run(energy, x=None, model_kwargs=None, **options):
    options = {"step_size": 0.01, "n_steps": 20, "seed": 3, "backend": "torch"} | options
    plan = isotherm.make_plan(energy, x, **options)
    return isotherm.run(plan, energy, x, model_kwargs=model_kwargs)


def descend(energy, x, **options):
    """The state after one step without noise of step size 1: x - ∇U(x)."""
    return run(energy, x, n_steps=1, noise_scale=0.0, step_size=1.0, **options).samples


@pytest.mark.parametrize(
    ("module", "shape"), [(network(), (5, 2)), (conv_network(), (5, 3, 6, 5))], ids=["mlp", "conv"]
)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_gradient_of_a_module_is_autograds(module, shape, mode):
    leaf = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(module(leaf).sum(), leaf)
    with mode():
        after = descend(module, leaf.detach().clone(), return_diagnostics=True)
    assert not after.requires_grad
    assert torch.equal(after, leaf.detach() - gradient)


@pytest.mark.parametrize("engine", [None, loop._engine], ids=["autograd.grad", "engine"])
def test_the_gradient_is_had_with_the_engine_and_without(engine, monkeypatch):
    monkeypatch.setattr(loop, "_engine", engine)
    x, module = torch.linspace(-1.0, 1.0, 6).reshape(3, 2), network()
    leaf = x.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(module(leaf).sum(), leaf)
    assert torch.equal(loop.gradient_of(module)(x), expected)
    with pytest.raises(isotherm.InputError, match="not connected to x"):
        loop.gradient_of(lambda x: module[0].weight.sum() * torch.ones(len(x)))(x)


class WritesToItsGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.square().sum(1)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.mul_(2.0)[:, None].expand(-1, 2)


def test_a_backward_that_writes_to_what_it_is_given_spoils_no_later_step():
    slope = loop.gradient_of(WritesToItsGradient.apply)
    for _ in range(3):
        assert torch.equal(slope(torch.zeros(3, 2)), torch.full((3, 2), 2.0))


def test_energies_of_several_shapes_give_the_same_chains():
    def image(x):
        return (x**2).sum(dim=(1, 2, 3))

    same = [image, lambda x: image(x)[:, None], lambda x: x**2]
    results = [run(e, dim=(3, 4, 4), n_samples=5, return_diagnostics=True) for e in same]
    for result in results[1:]:
        assert torch.equal(result.samples, results[0].samples)
        torch.testing.assert_close(result.diagnostics.energy, results[0].diagnostics.energy)


class Fragile(nn.Sequential):
    """Raises at its third call."""

    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 3:
            raise RuntimeError("broken")
        return super().forward(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("breaks", [True, False], ids=["raises", "returns"])
def test_a_module_is_left_as_it_was(training, breaks):
    module = network() if not breaks else Fragile(*network())
    module.train(training)
    module[0].weight.requires_grad_(False)
    module[3].bias.grad = torch.ones(1)
    before = copy.deepcopy(module.state_dict())
    if breaks:
        with pytest.raises(RuntimeError, match="broken"):
            run(module, dim=2, n_samples=7)
    else:
        run(module, dim=2, n_samples=7)
    assert torch.is_grad_enabled()
    assert module.training is training
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    assert torch.equal(module[3].bias.grad, torch.ones(1))
    assert module[0].bias.grad is None
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("autocast", [True, False])
def test_a_training_graph_is_left_alone(autocast):
    """Sampling between a forward and its backward changes no parameter's gradient."""
    gradients = []
    for samples_between in (False, True):
        module = network()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            if samples_between:
                with torch.no_grad():  # as many write it; autocast keeps cast weights meanwhile
                    run(module, dim=2, n_samples=3)
            data = module(torch.ones(4, 2)).sum()
            if samples_between:
                run(module, dim=2, n_samples=3)
            loss = data - module(torch.zeros(4, 2)).sum()
        loss.backward()
        gradients.append([p.grad for p in module.parameters()])
    assert all(map(torch.equal, *gradients))


class ModeWatcher(nn.Module):
    """Notes what it is called with."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1))
        self.seen = []

    def forward(self, x):
        product = x @ self.scale
        self.seen.append((self.training, x.dtype, product.dtype))
        return product.float() ** 2


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_is_honoured_and_the_state_keeps_its_dtype(low, training):
    module = ModeWatcher().train(training)
    with torch.autocast("cpu", dtype=low):
        result = run(module, torch.ones(3, 1), return_diagnostics=True, return_trajectory=True)
    assert set(module.seen) == {(training, torch.float32, low)}
    for part in (result.samples, result.trajectory, result.diagnostics.energy):
        assert part.dtype == torch.float32


def test_built_in_energies_keep_their_chains_under_autocast():
    energy = isotherm.GaussianEnergy([0.1, 0.2], [[1.0, 0.3], [0.3, 2.0]])
    plain = run(energy, n_samples=9, return_diagnostics=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(energy, n_samples=9, return_diagnostics=True)
    assert torch.equal(plain.samples, cast.samples)
    assert torch.equal(plain.diagnostics.energy, cast.diagnostics.energy)


def test_buffers_follow_the_modules_mode():
    """In training mode BatchNorm counts every call, as it would in a loop of the user's own."""
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    run(module.eval(), dim=2, n_samples=5)
    assert module[1].num_batches_tracked == 0
    run(module.train(), dim=2, n_samples=5, n_steps=20)
    assert module[1].num_batches_tracked == 20


class Conditional(nn.Module):
    """½ (x - label)² · weight, for a label per chain."""

    def forward(self, x, label, *, weight=1.0):
        return 0.5 * weight * ((x - label) ** 2).sum(dim=1)


@pytest.mark.parametrize("energy", [Conditional(), Conditional().forward], ids=["module", "plain"])
def test_model_kwargs_reach_every_call(energy):
    labels = torch.arange(3.0)[:, None]
    keywords = {"label": labels, "weight": 0.5}
    sampler = isotherm.LangevinDynamics(energy, step_size=1.0, noise_scale=0.0, backend="torch")
    samples, diagnostics = sampler.sample_chain(
        dim=1, n_samples=3, n_steps=40, return_diagnostics=True, model_kwargs=keywords
    )
    torch.testing.assert_close(samples, labels)
    torch.testing.assert_close(diagnostics.energy[-1], torch.zeros(3))
    same = isotherm.sample_chain(
        energy, dim=1, n_samples=3, n_steps=40, step_size=1.0, noise_scale=0.0, backend="torch",
        model_kwargs=keywords, seed=1,
    )  # fmt: skip
    torch.testing.assert_close(same, labels)
    assert set(keywords) == {"label", "weight"}


@pytest.mark.parametrize(
    ("energy", "keywords", "message"),
    [
        (Conditional(), {"labels": 0.0}, "does not take these model_kwargs: missing a required"),
        (Conditional(), {"label": 0.0, "y": 1}, "unexpected keyword argument 'y'"),
        (Conditional(), {"label": 0.0, 3: 1}, "keywords must be strings"),
        (Conditional(), [0.0], "must map the names of keywords to their values; got list"),
        (isotherm.HarmonicEnergy(), {"k": 2.0}, "FormulaEnergy has a gradient of its own"),
    ],
)
def test_model_kwargs_that_cannot_be_passed_are_refused(energy, keywords, message):
    with pytest.raises(isotherm.InputError, match=message):
        run(energy, dim=1, model_kwargs=keywords)


@pytest.mark.parametrize(
    "energy",
    [lambda x: torch.zeros(x.shape[0]), lambda x: network()(torch.ones(x.shape[0], 2))],
    ids=["constant", "of parameters alone"],
)
def test_an_energy_that_autograd_cannot_see_through_is_refused(energy):
    with pytest.raises(isotherm.InputError, match="not connected to x"):
        run(energy, dim=2)


def test_what_a_backward_pass_does_to_its_weights_is_of_one_step():
    """Not to be seen by a tensor's version: through ``.data``, NumPy, or an accumulating hook."""

    class Writes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, slope):
            kept = slope.clone()
            slope.data.mul_(2.0)
            slope.numpy()[...] += 1.0
            return kept

    sums = []

    def accumulate(slope):
        if sums:
            sums[0] += slope
        else:
            sums.append(slope)

    def plain(x):
        return 0.5 * x.square().sum(dim=1)

    def writes(x):
        return Writes.apply(plain(x))

    def hooked(x):
        u = plain(x)
        u.register_hook(accumulate)
        return u

    def run(energy):
        return isotherm.sample_chain(
            energy, torch.ones(4, 3), n_steps=5, step_size=0.1, noise_scale=0.0, seed=0
        )

    assert torch.equal(run(writes), run(plain))
    assert torch.equal(run(hooked), run(plain))


def test_complex_energies_are_refused():
    with pytest.raises(isotherm.InputError, match="must be real"):
        isotherm.sample_chain(
            lambda x: torch.complex(x.sum(dim=1), x.sum(dim=1)), torch.ones(4, 3), n_steps=2,
            step_size=0.1, seed=0,
        )  # fmt: skip


def test_a_sampler_sees_the_dtype_to_which_a_network_inside_a_gradient_was_moved():
    network = torch.nn.Linear(3, 3)
    sampler = isotherm.LangevinDynamics(isotherm.score(network), step_size=0.1)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
        network.to(dtype)
        x = sampler.sample_chain(torch.ones(4, 3), n_steps=2, seed=0)
        fresh = isotherm.LangevinDynamics(isotherm.score(network), step_size=0.1)
        assert torch.equal(x, fresh.sample_chain(torch.ones(4, 3), n_steps=2, seed=0))
