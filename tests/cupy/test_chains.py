"""Chains of the CUDA source, built for the host and, where there is a GPU, for that.

The host's build passes the whole conformance suite; the rest is about sizes that the suite has not.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import isotherm
import isotherm.math as im
from isotherm._arithmetic.arrays import to_numpy
from isotherm._arithmetic.sums import moments
from isotherm.backend import Outputs
from isotherm.testing import BackendConformance, UsersEnergy
from isotherm_cupy import chains, kernels, steps
from isotherm_cupy.limits import LIMITS
from tests.cupy.host import BUILDS, CardBackend, HostBackend, HostModule

LANGEVIN = isotherm.make_plan(
    isotherm.DoubleWellEnergy(), dim=1, n_steps=1, backend="numpy"
).transition(isotherm.DoubleWellEnergy().kind)
N_STEPS = list(steps.parameters_of(LANGEVIN)).index("n_steps")


class TestHostBuild(BackendConformance):
    backend = CardBackend.name


@pytest.fixture(params=BUILDS)
def build(request):
    return request.param


def run(energy, backend, **options):
    defaults = {
        "n_samples": 300, "n_steps": 20, "burn_in": 3, "thinning": 3, "step_size": 0.01, "seed": 3,
        "return_trajectory": True, "return_diagnostics": True,
    }  # fmt: skip
    plan = isotherm.make_plan(energy, backend=backend, **defaults | options)
    result = isotherm.run(plan, energy)
    found = result.diagnostics
    arrays = {
        "samples": result.samples, "trajectory": result.trajectory, "mean": found.mean,
        "variance": found.variance, "energy": found.energy,
    }  # fmt: skip
    arrays = {name: x if x is None else to_numpy(x) for name, x in arrays.items()}
    return SimpleNamespace(path=result.info.path, **arrays)


def gaussian(dim, dtype="float32"):
    covariance = np.eye(dim) + 0.3 * np.exp(
        -np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
    )
    return isotherm.GaussianEnergy(np.linspace(-1, 1, dim).astype(dtype), covariance.astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("dim", "path"),
    [
        (1, "fused quadratic form"),
        (kernels._ROW_IN_REGISTERS + 1, "fused quadratic form"),
        (kernels._QUADRATIC, "fused quadratic form"),
        (kernels._QUADRATIC + 1, "array loop"),
    ],
)
def test_a_gaussian_of_any_size_agrees_with_the_reference(build, dim, path, dtype):
    energy = gaussian(dim, dtype)
    got, expected = run(energy, build, n_samples=37), run(energy, "numpy", n_samples=37)
    assert got.path.startswith(path)
    close = 2000 * np.finfo(dtype).eps
    np.testing.assert_allclose(got.trajectory, expected.trajectory, rtol=close, atol=close)
    np.testing.assert_allclose(got.energy, expected.energy, rtol=close, atol=close)


@isotherm.formula
def walled(x):
    return im.where(abs(x) > 3.0, np.inf, 0.5 * x * x) + 0.0 * im.maximum(x, -np.inf)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constants_need_not_be_finite(build, dtype):
    got, expected = (run(walled(), backend, dim=2, dtype=dtype) for backend in (build, "numpy"))
    assert got.trajectory.tobytes() == expected.trajectory.tobytes()
    np.testing.assert_allclose(got.energy, expected.energy, rtol=1e-6)


@pytest.mark.parametrize("keeps_trajectory", [True, False])
@pytest.mark.parametrize(
    "energy", [isotherm.DoubleWellEnergy(), isotherm.RosenbrockEnergy(b=2.0), gaussian(3)]
)
def test_launches_of_any_length_give_the_same_bits(build, energy, keeps_trajectory, limits):
    options = {"dim": 3, "return_trajectory": keeps_trajectory}
    in_one = run(energy, build, **options)
    limits(launch=1, held_bytes=1)
    in_many = run(energy, build, **options)
    assert in_many.samples.tobytes() == in_one.samples.tobytes()
    for name in ("mean", "variance", "energy"):
        one, many = getattr(in_one, name), getattr(in_many, name)
        assert one.tobytes() == many.tobytes(), name


def test_launches_are_bounded_and_ctrl_c_is_answered_between_two(monkeypatch, limits):
    plan = isotherm.make_plan(
        isotherm.DoubleWellEnergy(), dim=2, n_samples=5, n_steps=100, seed=1,
        backend=HostBackend.name, on_divergence="ignore",
    )  # fmt: skip
    limits(launch_steps=17)
    launch, lengths = HostModule.launch, []

    def noted(module, name, threads, arguments, block=128):
        if len(lengths) == 4:
            raise KeyboardInterrupt
        if name == "advance":
            lengths.append(int(arguments[N_STEPS]))
        launch(module, name, threads, arguments, block)

    monkeypatch.setattr(HostModule, "launch", noted)
    with pytest.raises(isotherm.RunInterrupted):
        isotherm.run(plan, isotherm.DoubleWellEnergy())
    assert lengths == [16, 17, 17, 17]  # the first piece is a launch of whole blocks of steps


def test_a_small_run_is_one_launch(monkeypatch):
    lengths, launch = [], HostModule.launch

    def noted(module, name, threads, arguments, block=128):
        if name == "advance":
            lengths.append(int(arguments[N_STEPS]))
        launch(module, name, threads, arguments, block)

    monkeypatch.setattr(HostModule, "launch", noted)
    run(isotherm.DoubleWellEnergy(), HostBackend.name, dim=2)
    assert lengths == [3 + 20]


def test_a_first_piece_of_trajectories_is_shorter(limits):
    limits(launch_steps=1000)
    lengths = []
    for n_leapfrog in (1, 9, 99):
        plan = isotherm.make_plan(
            isotherm.DoubleWellEnergy(), dim=2, n_samples=300, n_steps=2000, sampler="hmc",
            step_size=0.1, n_leapfrog=n_leapfrog, jitter=0.0, backend=HostBackend.name,
        )  # fmt: skip
        kernel = kernels.kernel_of(plan, isotherm.DoubleWellEnergy())
        runner = chains.FusedChains(plan, kernel, np, lambda source: Noted())
        lengths.append(runner.steps_at_first(5))
        assert runner.steps_at_first(1999) == 1
        assert runner.steps_at_first(2000) == 0
    assert lengths == [1000, 111, 10]


def test_a_loop_of_calls_makes_one_runner(monkeypatch):
    made = []

    class Counted(chains.FusedChains):
        def __init__(self, *given):
            made.append(self)
            super().__init__(*given)

    monkeypatch.setattr(chains, "FusedChains", Counted)
    options = {"step_size": 0.01, "backend": HostBackend.name}
    one = isotherm.MALA(gaussian(2), **options)
    found = [one.sample_chain(dim=2, n_samples=9, n_steps=5, seed=seed) for seed in (1, 2, 1)]
    assert len(made) == 1
    for seed, samples in zip((1, 2, 1), found, strict=True):
        fresh = isotherm.MALA(gaussian(2), **options)
        expected = fresh.sample_chain(dim=2, n_samples=9, n_steps=5, seed=seed)
        assert samples.tobytes() == expected.tobytes()


class Noted:
    """A module that takes no steps."""

    def __init__(self):
        self.lengths, self.n_bytes = [], []

    def launch(self, name, threads, arguments, block=128):
        if name == "advance":
            self.lengths.append(int(arguments[N_STEPS]))
            self.n_bytes.append(sum(a.nbytes for a in arguments if isinstance(a, np.ndarray)))


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_run_of_few_chains_is_many_launches_and_little_memory(dtype, keeps):
    energy, n_steps = isotherm.DoubleWellEnergy(), 2 * LIMITS.launch_steps + 9
    options = {"thinning": n_steps // 2, "return_diagnostics": True} if keeps else {}
    plan = isotherm.make_plan(
        energy, dim=3, n_steps=n_steps, dtype=dtype, backend=HostBackend.name, **options
    )
    module = Noted()
    runner = chains.FusedChains(plan, kernels.kernel_of(plan, energy), np, lambda source: module)
    outputs = Outputs(*(None, *np.empty((3, 2, 3), dtype))) if keeps else Outputs()
    with np.errstate(all="ignore"):  # moments that nobody has written are what memory held
        runner.advance({"x": np.zeros((1, 3), dtype)}, 0, n_steps, outputs)
    assert sum(module.lengths) == n_steps
    assert max(module.lengths) <= LIMITS.launch_steps
    assert max(module.n_bytes) < 1000


def test_a_launch_is_bounded_by_what_one_thread_does():
    """Though there are few chains: nobody can stop a launch, and a screen's driver does."""
    means = np.random.default_rng(0).normal(size=(60, 8))
    energy = isotherm.GaussianMixtureEnergy(means, np.ones(60))
    plan = isotherm.make_plan(energy, n_steps=10**6, dtype="float32", backend=HostBackend.name)
    kernel = kernels.kernel_of(plan, energy)
    runner = chains.FusedChains(plan, kernel, np, lambda source: Noted())
    operations = len(energy.program().instructions)
    assert runner.steps_at_first(0) * operations <= LIMITS.launch_thread


def test_what_takes_long_in_float64_is_launched_in_shorter_parts():
    energy = gaussian(100)
    lengths = {}
    for dtype in ("float32", "float64"):
        plan = isotherm.make_plan(
            energy, n_samples=5000, n_steps=10_000, dtype=dtype, backend=HostBackend.name
        )
        module = Noted()
        kernel = kernels.kernel_of(plan, energy)
        runner = chains.FusedChains(plan, kernel, np, lambda source, module=module: module)
        runner.advance({"x": np.zeros((5000, 100), dtype)}, 0, 10_000, Outputs())
        lengths[dtype] = max(module.lengths)
    assert lengths["float64"] * 25 < lengths["float32"]


@pytest.mark.parametrize("thinning", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("burn_in", [0, 1, 6])
def test_kept_states_are_those_of_the_reference(build, thinning, burn_in, limits):
    limits(launch_steps=7)
    options = {"dim": 2, "thinning": thinning, "burn_in": burn_in}
    for energy in (isotherm.DoubleWellEnergy(), isotherm.RosenbrockEnergy(b=2.0)):
        got, expected = (run(energy, each, **options) for each in (build, "numpy"))
        assert got.trajectory.tobytes() == expected.trajectory.tobytes()


@pytest.mark.parametrize("energy", [UsersEnergy(1.0), isotherm.DoubleWellEnergy(), gaussian(3)])
def test_a_start_in_any_layout_is_read_right(build, energy):
    start = np.random.default_rng(5).normal(size=(8, 3)).astype(np.float32)
    layouts = {
        "columns": np.asfortranarray(start),
        "every other row": np.repeat(start, 2, axis=0)[::2],
        "backwards": start[::-1, ::-1].copy()[::-1, ::-1],
    }
    expected = isotherm.sample_chain(energy, start, n_steps=9, seed=1, backend=build)
    for name, x in layouts.items():
        got = isotherm.sample_chain(energy, x, n_steps=9, seed=1, backend=build)
        assert got.tobytes() == expected.tobytes(), name
        np.testing.assert_array_equal(x, start)


def test_moments_over_several_launches_are_cores(build, limits):
    limits(moments_height=2)
    for chain_offset in (0, 5, 2**32 - 3):
        options = {"dim": 2, "n_samples": 23, "chain_offset": chain_offset}
        result = run(isotherm.DoubleWellEnergy(), build, **options)
        expected = moments(result.trajectory, chain_offset)
        for name in ("mean", "variance"):
            rounded = getattr(expected, name).astype(np.float32)
            np.testing.assert_array_equal(getattr(result, name), rounded)


CARDS = [CardBackend.name, *BUILDS[1:]]


@pytest.mark.parametrize("noise_scale", [0.0, 1e-38])
@pytest.mark.parametrize("build", CARDS)
def test_subnormal_numbers_are_numbers(build, noise_scale):
    start = np.ldexp(np.random.default_rng(5).normal(size=(64, 3)), -130).astype(np.float32)
    options = {
        "n_steps": 6, "step_size": 0.25, "noise_scale": noise_scale, "clamp": (-1e-38, 1e-38),
        "seed": 1, "return_trajectory": True, "return_diagnostics": True,
    }  # fmt: skip
    energy = isotherm.HarmonicEnergy()
    (got, described), (expected, diagnostics) = (
        isotherm.sample_chain(energy, start, backend=backend, **options)
        for backend in (build, "numpy")
    )
    assert got.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(to_numpy(described.mean), diagnostics.mean)
    assert (np.abs(diagnostics.mean) < np.finfo(np.float32).tiny).all()
    assert ((expected != 0) & (np.abs(expected) < np.finfo(np.float32).tiny)).mean() > 0.5
