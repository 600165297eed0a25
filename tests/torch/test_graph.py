"""When a gradient is taken from a CUDA graph. The capture itself is run in `test_cuda`."""

import functools

import pytest
import torch
from torch import nn

import isotherm
from isotherm._backends.array_loop import ArrayLoop
from isotherm_torch.graph import GraphGradient
from isotherm_torch.loop import gradient_of


class Recorded:
    """A stand-in for a graph: it computes what the module computed when it was captured."""

    def __init__(self, gradient, x):
        self.gradient = gradient
        self.result = gradient(x).clone()
        self.replays = 0

    def __call__(self, x):
        self.replays += 1
        self.result.copy_(self.gradient(x))
        return self.result


def network(*more):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), *more, nn.Linear(16, 1))


def run(energy, capture=Recorded, n_steps=10):
    """A run whose gradient may be a graph; the graphs that were made."""
    made = []

    def keep(gradient, x):
        made.append(capture(gradient, x))
        return made[-1]

    function = energy.func if isinstance(energy, functools.partial) else energy
    plan = isotherm.make_plan(
        function, dim=2, n_samples=5, n_steps=n_steps, step_size=0.01, seed=3, backend="torch"
    )
    gradient = GraphGradient(gradient_of(energy), energy, keep)
    loop = ArrayLoop(plan, energy, gradient)
    start = torch.zeros(5, 2)
    with torch.no_grad():
        x = loop.advance(start, 0, n_steps, isotherm.backend.Outputs())
        by_itself = ArrayLoop(plan, energy, gradient_of(energy)).advance(
            start, 0, n_steps, isotherm.backend.Outputs()
        )
    return gradient, made, x, by_itself


@pytest.mark.parametrize("module", [network(), network(nn.Dropout(0.5)).eval()])
def test_later_steps_replay_the_graph(module):
    gradient, (graph,), x, by_itself = run(module)
    assert gradient.status == "gradient in a graph"
    assert graph.replays == 9  # one to prove it, eight in its place
    assert torch.equal(x, by_itself)


def test_keywords_of_a_module_are_captured_with_it():
    class Shifted(nn.Module):
        def forward(self, x, shift):
            return ((x - shift) ** 2).sum(dim=1)

    _, (graph,), x, by_itself = run(functools.partial(Shifted(), shift=torch.ones(2)))
    assert graph.replays == 9
    assert torch.equal(x, by_itself)


def test_randomness_is_noticed():
    gradient, (graph,), _, _ = run(network(nn.Dropout(0.5)))
    assert gradient.status == "no graph: its gradient differs from one call to the next"
    assert graph.replays == 1


def test_what_does_not_follow_x_is_noticed():
    class Frozen(Recorded):
        """As of a module that copies x to the host: its later values are not in the graph."""

        def __call__(self, x):
            return self.result

    gradient, _, x, by_itself = run(network(), Frozen)
    assert gradient.status == "no graph: its gradient depends on more than x"
    assert torch.equal(x, by_itself)


def test_a_capture_that_fails_says_why():
    def fail(gradient, x):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    gradient, made, x, by_itself = run(network(), fail)
    assert gradient.status == (
        "no graph: capture failed: operation not permitted when stream is capturing"
    )
    assert not made
    assert torch.equal(x, by_itself)


def test_what_the_energy_raises_is_not_hidden():
    class Wrong(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Wrong())


@pytest.mark.parametrize(
    ("energy", "reason"),
    [
        (lambda x: x.pow(2), "the energy is no module"),
        (network(nn.BatchNorm1d(16)), "a part of the module in training mode has buffers"),
    ],
)
def test_what_is_not_captured(energy, reason):
    gradient, made, _, _ = run(energy)
    assert gradient.status.startswith(f"no graph: {reason}")
    assert not made


def test_under_autocast_nothing_is_captured():
    torch.set_autocast_enabled("cuda", True)  # torch.autocast does not where there is no device
    try:
        gradient = GraphGradient(gradient_of(network()), network())
    finally:
        torch.set_autocast_enabled("cuda", False)
    assert "autocast is on" in gradient.status


def test_parameters_may_change_but_not_move():
    module = network()
    gradient = GraphGradient(gradient_of(module), module, Recorded)
    x = torch.zeros(5, 2)
    for _ in range(3):
        gradient(x)
    with torch.no_grad():
        module[0].weight.mul_(2.0)
    gradient.check()
    assert gradient.status == "gradient in a graph"
    module[0].weight = nn.Parameter(torch.ones(16, 2))
    gradient.check()
    assert gradient.status == "no graph: the module's parameters were moved"
    assert torch.equal(gradient(x), gradient_of(module)(x))
