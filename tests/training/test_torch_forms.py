"""Energies in the forms that users of torch have."""

import copy

import pytest

import isotherm

torch = pytest.importorskip("torch")
nn, func = torch.nn, torch.func


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


START = torch.linspace(-1.0, 1.0, 48).reshape(16, 3)


def sample(energy, x=START, **options):
    return isotherm.sample_chain(energy, x, n_steps=10, step_size=0.05, seed=1, **options)


def negatives(energy, **options):
    """What a buffer gives after some training steps that change the network."""
    sampler = isotherm.LangevinDynamics(energy, step_size=0.05)
    buffer = isotherm.ChainBuffer(sampler, capacity=32, shape=3, seed=1, **options)
    return [buffer.draw(16, 5) for _ in range(3)][-1]


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda net: torch.compile(net, backend="aot_eager")],
    ids=["DataParallel", "compile"],
)
def test_a_wrapped_network_gives_the_chains_of_the_network(wrap):
    net = network()
    wrapped = wrap(net)
    torch.testing.assert_close(sample(wrapped), sample(net))
    torch.testing.assert_close(negatives(wrapped), negatives(net))
    with torch.no_grad():  # the same object, with the weights that it has now
        net[0].weight.mul_(2.0)
    torch.testing.assert_close(sample(wrapped), sample(net))
    assert isinstance(sample(wrapped, None, dim=3), torch.Tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_ensemble_by_functional_call(dtype):
    nets = [network(i).to(dtype) for i in range(4)]
    parameters, buffers = func.stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def ensemble(x):
        def member(p, b):
            return func.functional_call(skeleton, (p, b), (x,))

        return torch.vmap(member)(parameters, buffers).mean(0)

    def plain(x):
        return sum(net(x) for net in nets) / 4

    torch.testing.assert_close(sample(ensemble), sample(plain))
    # The skeleton holds no numbers; the parameters tell where chains run, and in what.
    assert sample(ensemble, None, dim=3, n_samples=2).dtype == dtype
    assert negatives(ensemble).dtype == dtype


def test_weights_as_a_state():
    """Chains of networks: the posterior of a linear one is a Gaussian."""
    net = nn.Linear(2, 1)
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    targets = torch.tensor([[1.0], [2.0], [3.0], [-1.0]])
    x, unpack = isotherm.pack(dict(net.named_parameters()))
    assert not x.requires_grad

    def energy(x):
        def of_one(weights):
            return (func.functional_call(net, weights, (inputs,)) - targets).square().sum()

        weights = unpack(x)
        prior = sum(w.flatten(1).square().sum(1) for w in weights.values())
        return 2.0 * torch.vmap(of_one)(weights) + 0.5 * prior

    design = torch.cat([inputs, torch.ones(4, 1)], dim=1)
    precision = 4.0 * design.T @ design + torch.eye(3)
    mean = torch.linalg.solve(precision, 4.0 * design.T @ targets)[:, 0]
    samples = isotherm.sample_chain(
        energy, x, n_samples=500, n_steps=150, sampler="mala", step_size=0.03, seed=0
    )
    assert list(unpack(samples)) == ["weight", "bias"]
    assert unpack(samples)["weight"].shape == (500, 1, 2)
    torch.testing.assert_close(samples.mean(0), mean, atol=0.08, rtol=0.0)
    stacked, _ = func.stack_module_state([net, net])
    rows, _ = isotherm.pack(stacked, stacked=True)
    assert torch.equal(rows, torch.stack([x, x]))


def test_a_network_in_channels_last():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(120, 1))
    x = torch.linspace(-1.0, 1.0, 4 * 90).reshape(4, 3, 6, 5)
    expected = sample(net, x)
    last = net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(sample(last, x), expected)
    strided = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(sample(last, strided), expected)
    sampler = isotherm.LangevinDynamics(last, step_size=0.05)
    buffer = isotherm.ChainBuffer(sampler, capacity=8, shape=(3, 6, 5), init=strided)
    assert buffer.draw(4, 2).shape == (4, 3, 6, 5)


def test_under_autocast_the_states_keep_their_dtype():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = negatives(network())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, negatives(network()), atol=1e-2, rtol=0.0)
    assert not torch.equal(low, negatives(network()))


def test_labels_go_with_the_chains():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.centres = nn.Embedding(4, 3)

        def forward(self, x, y):
            return 0.5 * (x - self.centres(y)).square().sum(1)

    net = Conditional()
    sampler = isotherm.LangevinDynamics(net, step_size=1.0, noise_scale=0.0)
    buffer = isotherm.ChainBuffer(
        sampler, capacity=40, shape=3, n_classes=4, label_keyword="y", seed=0
    )
    for given in (None, torch.tensor([3, 3, 0, 1, 2, 0])):
        states, labels = buffer.draw(6, 1, labels=given, batch_size=4)
        assert labels.dtype == torch.int64
        assert given is None or torch.equal(labels, given)
        torch.testing.assert_close(states, net.centres(labels).detach())


@pytest.mark.parametrize(
    "sampler",
    [
        isotherm.LangevinDynamics,
        isotherm.UnderdampedLangevin,
        isotherm.MALA,
        isotherm.HamiltonianMonteCarlo,
    ],
)
def test_inference_mode_changes_nothing(sampler):
    net = network()
    made = sampler(net, step_size=0.05)
    expected = made.sample_chain(START, n_steps=3, seed=0)
    whole = isotherm.ChainBuffer(made, capacity=8, shape=3, seed=0)
    with torch.inference_mode():
        assert torch.equal(made.sample_chain(START, n_steps=3, seed=0), expected)
        assert torch.equal(made.sample_chain(START.clone(), n_steps=3, seed=0), expected)
        buffer = isotherm.ChainBuffer(made, capacity=8, shape=3, seed=0)
        buffer.load_state_dict(buffer.state_dict())
        negative = buffer.draw(4, 3)
    net(negative).mean().backward()
    assert torch.equal(negative, whole.draw(4, 3))
    assert torch.equal(buffer.draw(4, 3), whole.draw(4, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_negatives_have_the_dtype_of_the_network(dtype):
    net = network().to(dtype)
    made = isotherm.LangevinDynamics(net, step_size=0.05)
    buffer = isotherm.ChainBuffer(made, capacity=8, shape=3, init="normal", seed=0)
    negative = buffer.draw(8, 3)
    assert (negative.dtype, buffer.states.dtype) == (dtype, torch.float32)
    assert torch.equal(negative, made.sample_chain(dim=3, n_samples=8, n_steps=3, seed=0))
