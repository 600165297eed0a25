"""On a CUDA device, where there is one: the promises of every backend, and what is CUDA's own."""

import numpy as np
import pytest
import torch
from torch import nn

import isotherm
from isotherm._backends import registry
from isotherm.backend import Outputs
from isotherm.testing import BackendConformance
from isotherm_torch import graph

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)


class TestTorchOnCuda(BackendConformance):
    backend = "torch"
    device = "cuda"
    dtypes = ("float32", "float64", "float16", "bfloat16")


def run(energy, x=None, **options):
    options = {"n_steps": 20, "step_size": 0.01, "seed": 3, "backend": "torch"} | options
    return isotherm.run(isotherm.make_plan(energy, x, **options), energy, x)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)).cuda()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_chains_have_the_cpus_bits_through_the_kernel(dtype):
    options = {"dim": 7, "n_samples": 3000, "n_steps": 50, "dtype": dtype, "clamp": (-1.5, 1.0)}
    result = run(WELL, device="cuda", **options)
    assert result.info.path == "array loop, fused step"
    assert torch.equal(result.samples.cpu(), run(WELL, device="cpu", **options).samples)


@pytest.mark.parametrize("sampler", ["langevin", "mala"])
def test_one_chain_of_one_coordinate_has_the_cpus_bits(sampler):
    options = {"dim": 1, "n_samples": 1, "sampler": sampler}
    result = run(WELL, device="cuda", **options)
    assert torch.equal(result.samples.cpu(), run(WELL, device="cpu", **options).samples)


def test_modules_run_through_the_kernel():
    result = run(network(), n_samples=100, dim=2, return_diagnostics=True)
    assert result.info.path == "array loop, autograd, fused step"
    on_host = run(network().cpu(), n_samples=100, dim=2, device="cpu")
    torch.testing.assert_close(result.samples.cpu(), on_host.samples, rtol=1e-4, atol=1e-5)


def test_the_current_stream_is_kept():
    """Work that the stream waits for is done before the chains start from it."""
    expected = run(WELL, torch.full((1000, 4), 0.5, device="cuda")).samples
    x, stream = torch.zeros(1000, 4, device="cuda"), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # some hundredths of a second
        x.fill_(0.5)
        samples = run(WELL, x, on_divergence="ignore").samples
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(samples, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device")
def test_another_device_than_the_current_one():
    x = torch.ones(100, 3, device="cuda:1")
    samples = run(WELL, x).samples
    assert samples.device == x.device
    assert torch.cuda.current_device() == 0
    assert torch.equal(samples.cpu(), run(WELL, x.cpu()).samples)


def test_a_generator_on_the_device_is_a_seed():
    generators = [torch.Generator("cuda").manual_seed(5) for _ in range(2)]
    samples = [run(WELL, dim=3, device="cuda", seed=g).samples for g in generators]
    assert torch.equal(*samples)


# Of which torch says, the first time in a process, that it is a prototype.
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_the_loop_does_not_wait_for_the_device():
    module, x = network(), torch.zeros(100, 2, device="cuda")
    run(module, x)  # compiled
    plan = isotherm.make_plan(module, x, backend="torch", seed=1, on_divergence="ignore")
    runner = registry.load("torch").prepare(plan, module)
    runner.begin({"x": x})
    state = runner.advance({"x": x}, 0, 4, Outputs())
    torch.cuda.set_sync_debug_mode("error")
    try:
        state = runner.advance(state, 4, plan.n_total, Outputs())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(state["x"].cpu().numpy()).all()


def test_a_thousand_calls_grow_no_device_memory():
    module, x = nn.Linear(256, 1).cuda(), torch.zeros(64, 256, device="cuda")
    for _ in range(20):
        run(module, x, n_steps=4, return_trajectory=True)
    before = torch.cuda.memory_allocated()
    for _ in range(1000):
        run(module, x, n_steps=4, return_trajectory=True)
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("device", range(max(1, torch.cuda.device_count())))
@pytest.mark.parametrize("sampler", ["langevin", "mala"])
def test_a_long_run_of_a_module_replays_a_graph(device, sampler):
    module = network().to(f"cuda:{device}")
    x = torch.zeros(100, 2, device=f"cuda:{device}")
    long = {"n_steps": graph.LEAST_STEPS, "step_size": [0.01] * 250 + [0.02] * 250}
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        whole = run(module, x, sampler=sampler, **long)
    stream.synchronize()
    assert whole.info.path == "array loop, autograd, fused step, steps in a graph"
    # Short runs are not captured; a run that is cut into such has the bits of the whole.
    half = run(module, x, sampler=sampler, n_steps=250, step_size=0.01)
    rest = run(module, half.samples, sampler=sampler, n_steps=250, step_size=0.02, step_offset=250)
    assert "graph" not in rest.info.path
    assert torch.equal(whole.samples, rest.samples)


def test_trajectories_take_their_gradients_from_a_graph():
    module, x = network(), torch.zeros(100, 2, device="cuda")
    hmc = {"sampler": "hmc", "n_leapfrog": 3, "n_steps": graph.LEAST_STEPS}
    path = run(module, x, **hmc).info.path
    assert path.endswith("gradient in a graph, as steps differ in their number of substeps")


class Forbidden(nn.Module):
    """Waits for the device, in a way that torch warns of or not."""

    def __init__(self, is_warned_of):
        super().__init__()
        self.is_warned_of = is_warned_of

    def forward(self, x):
        if not self.is_warned_of:
            torch.cuda.synchronize()
            return x.pow(2).sum(dim=1)
        return x.pow(2).sum(dim=1) * float(x.sum() > 0)


@pytest.mark.parametrize("is_warned_of", [True, False])
def test_a_module_that_waits_for_the_device_is_not_captured(is_warned_of):
    module = Forbidden(is_warned_of)
    x, long = torch.ones(10, 2, device="cuda"), {"n_steps": graph.LEAST_STEPS}
    result = run(module, x, **long)
    assert "no graph: capture failed" in result.info.path
    assert ("it waits for the device" in result.info.path) == is_warned_of
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.cuda.get_sync_debug_mode() == 0
    assert torch.equal(result.samples, run(module.forward, x, **long).samples)
    # Everything else goes on as if nothing had been tried.
    torch.cuda.empty_cache()
    assert torch.isfinite(torch.randn(100, device="cuda")).all()
    users, y = torch.cuda.CUDAGraph(), torch.zeros(3, device="cuda")
    with torch.cuda.graph(users):
        y += torch.rand(3, device="cuda")
    users.replay()
    assert (y > 0).all()
    assert run(network(), x, **long).info.path.endswith("steps in a graph")


def test_a_number_that_a_callback_changes_is_noticed():
    class Scaled(nn.Module):
        scale = 1.0

        def forward(self, x):
            return self.scale * x.pow(2).sum(dim=1)

    module, x, seen = Scaled(), torch.ones(10, 2, device="cuda"), []
    options = {"n_steps": 4 * graph.LEAST_STEPS, "noise_scale": 0.0, "step_size": 1e-4}
    plan = isotherm.make_plan(module, x, backend="torch", seed=3, **options)

    def change(progress):
        module.scale = 0.0
        seen.append(progress.n_steps)

    result = isotherm.run(plan, module, x, callback=change)
    assert "depends on more than x" in result.info.path
    at_once = run(Scaled(), x, **options | {"n_steps": seen[0]})
    assert torch.equal(result.samples, at_once.samples)


def test_long_runs_one_after_another_grow_no_device_memory():
    module, x = network(), torch.zeros(100, 2, device="cuda")
    for _ in range(3):
        run(module, x, n_steps=graph.LEAST_STEPS)
    before = torch.cuda.memory_reserved()
    for _ in range(30):
        run(module, x, n_steps=graph.LEAST_STEPS)
    assert torch.cuda.memory_reserved() == before


def test_dropout_in_training_is_not_replayed():
    module = nn.Sequential(network(), nn.Dropout(0.5))
    result = run(module, torch.zeros(10, 2, device="cuda"), n_steps=graph.LEAST_STEPS)
    assert result.info.path.endswith("its gradient differs from one call to the next")
