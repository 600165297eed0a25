"""When a gradient is taken from a CUDA graph, and what its capture leaves behind.

The capture itself is run in `test_cuda`; here stands in for CUDA what remembers like it.
"""

import functools
import gc

import pytest
import torch
from torch import nn

import isotherm
from isotherm._backends.array_loop import ArrayLoop
from isotherm_torch import graph as graphs
from isotherm_torch.graph import GraphGradient
from isotherm_torch.loop import gradient_of
from tests.torch.stand_in import Cuda, record


class Recorded:
    """A stand-in for a graph: it computes what the module computed when it was captured."""

    def __init__(self, gradient, x):
        self.gradient = gradient
        self.results = [one.clone() for one in gradient(x)]
        self.replays = 0

    def __call__(self, x):
        self.replays += 1
        for place, one in zip(self.results, self.gradient(x), strict=True):
            place.copy_(one)
        return self.results


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
        x = loop.advance({"x": start}, 0, n_steps, isotherm.backend.Outputs())["x"]
        by_itself = ArrayLoop(plan, energy, gradient_of(energy)).advance(
            {"x": start}, 0, n_steps, isotherm.backend.Outputs()
        )["x"]
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


def test_the_energy_that_was_seen_is_the_graphs():
    module = network()
    gradient = GraphGradient(gradient_of(module), module, Recorded)
    for x in torch.randn(4, 5, 2):
        gradient(x)
        assert torch.equal(gradient.seen, module(x).detach())
    assert gradient.is_pure


def test_randomness_is_noticed():
    gradient, (graph,), _, _ = run(network(nn.Dropout(0.5)))
    assert gradient.status == "no graph: its gradient differs from one call to the next"
    assert graph.replays == 1


def test_what_does_not_follow_x_is_noticed():
    class Frozen(Recorded):
        """As of a module that copies x to the host: its later values are not in the graph."""

        def __call__(self, x):
            return self.results

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


def test_a_number_that_a_callback_changes_is_noticed_at_the_next_piece():
    module = network()

    def scaled(x):
        return scaled.scale * gradient_of(module)(x)

    scaled.scale = 1.0
    gradient, x = GraphGradient(scaled, module, record), torch.ones(5, 2)
    for _ in range(3):
        gradient.check()
        gradient(x)
    assert gradient.status == "gradient in a graph"
    scaled.scale = 2.0
    gradient.check()
    assert torch.equal(gradient(x), scaled(x))
    assert gradient.status == "no graph: its gradient depends on more than x"
    assert torch.equal(gradient(x), scaled(x))


def test_a_graph_is_proven_once_a_piece():
    module = network()
    calls = []

    def noted(x):
        calls.append(x)
        return gradient_of(module)(x)

    gradient, x = GraphGradient(noted, module, Recorded), torch.ones(5, 2)
    gradient(x), gradient(x)
    for _ in range(2):
        gradient.check()
        calls.clear()
        for _ in range(4):
            gradient(x)
        assert len(calls) == 4 + 1  # the stand-in calculates what it replays
    assert gradient.status == "gradient in a graph"


def test_chains_that_diverge_keep_their_graph():
    gradient, (graph,), _, _ = run(Cubic())
    assert gradient.status == "gradient in a graph"
    assert graph.replays == 9


class Cubic(nn.Module):
    def forward(self, x):
        return (x**4).sum(dim=1) * torch.inf


@pytest.fixture(params=[False, True], ids=["torch to 2.12", "later"])
def cuda(request, monkeypatch):
    cuda = Cuda(cleans_up=request.param)
    cuda.install(monkeypatch)
    monkeypatch.setattr(graphs, "_places", {})
    monkeypatch.setattr(graphs, "_failed", [])
    return cuda


def as_before(cuda):
    """Whether everything of the user's works after a capture as it did before."""
    cuda.empty_cache()
    cuda.randn()
    assert cuda.current is cuda.streams[0]
    assert cuda.mode == 0
    with cuda.stream(cuda.Stream(0)):
        users = torch.cuda.CUDAGraph()
        users.capture_begin(torch.cuda.graph_pool_handle(), "thread_local")
        cuda.randn()
        users.capture_end()
    cuda.streams.pop()
    users.replay()
    return True


def plain(x):
    return [2 * x]


def test_a_capture_leaves_nothing_behind(cuda):
    x = torch.ones(3, 2)
    replay = graphs.capture_on_device(plain, x)
    assert torch.equal(replay(x)[0], 2 * x)
    assert as_before(cuda)
    # The capture's stream starts after what the run's stream has done, and the other way round.
    assert cuda.waits == [(1, 0), (0, 1)]


@pytest.mark.parametrize("what", ["synchronize", "forbid"])
def test_a_capture_that_fails_leaves_nothing_behind(cuda, what):
    def failing(x):
        getattr(cuda, what)()
        return [2 * x]

    x = torch.ones(3, 2)
    reason = {"synchronize": "it waits for the device", "forbid": "not permitted when stream is"}
    users = graphs.capture_on_device(plain, x)  # of before
    for _ in range(3):
        with pytest.raises(RuntimeError, match=reason[what]):
            graphs.capture_on_device(failing, x)
        assert as_before(cuda)
        users(x)
        assert torch.equal(graphs.capture_on_device(plain, x)(x)[0], 2 * x)
    # What waits is never captured.
    assert len(graphs._failed) == (3 if what == "forbid" else 0)
    assert cuda.waits[-1] == (0, 1)


def test_an_error_of_the_module_within_the_capture_alone_leaves_nothing_behind(cuda):
    def failing(x):
        if cuda.capturing:
            raise ZeroDivisionError
        return 2 * x

    with pytest.raises(ZeroDivisionError):
        graphs.capture_on_device(failing, torch.ones(3, 2))
    assert as_before(cuda)
    gradient = GraphGradient(failing, network())
    gradient(torch.ones(3, 2))
    assert gradient.status.startswith("no graph: capture failed")


def test_runs_one_after_another_share_a_stream_and_a_pool(cuda):
    x = torch.ones(3, 2)
    for _ in range(5):
        replay = graphs.capture_on_device(plain, x)
        replay(x)
        del replay
    assert len(cuda.streams) == 2
    assert len(cuda.users) == 1
    assert cuda.alive == 1  # the one that keeps the pool
    at_once = [graphs.capture_on_device(plain, x) for _ in range(3)]
    assert len(cuda.users) == 3
    del at_once
    gc.collect()
    assert cuda.alive == 3
    # Another stream's graphs may be replayed at the same time, so nothing is shared with them.
    with cuda.stream(cuda.Stream(0)):
        graphs.capture_on_device(plain, x)
    assert len(cuda.streams) == 4
    assert len(cuda.users) == 4


def test_garbage_is_not_collected_during_a_capture(cuda):
    seen = []

    def noted(x):
        if cuda.capturing:
            seen.append(gc.isenabled())
        return [2 * x]

    graphs.capture_on_device(noted, torch.ones(3, 2))
    assert seen == [False]
    assert gc.isenabled()


def test_parameters_may_change_but_not_move():
    module = network()
    gradient = GraphGradient(gradient_of(module), module, Recorded)
    x = torch.zeros(5, 2)
    for _ in range(3):
        gradient(x)
    with torch.no_grad():
        module[0].weight.mul_(2.0)
    gradient.check()
    assert torch.equal(gradient(x), gradient_of(module)(x))
    assert gradient.status == "gradient in a graph"
    module[0].weight = nn.Parameter(torch.ones(16, 2))
    gradient.check()
    assert gradient.status == "no graph: the module's parameters were moved"
    assert torch.equal(gradient(x), gradient_of(module)(x))
