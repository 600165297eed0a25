"""Steps of every sampler as the CUDA source takes them: the bits of the array loop."""

from dataclasses import replace

import numpy as np
import pytest

import isotherm
import isotherm.math as im
from isotherm._arithmetic.arrays import to_numpy
from isotherm._backends import registry
from isotherm._transitions import catalogue
from isotherm._transitions.trace import Transition, gradient, perturb, repeat, total, where
from isotherm.backend import Outputs, noise
from isotherm_cupy import chains, kernels, steps
from tests.cupy.host import BUILDS
from tests.transitions import test_langevin as golden

MIXTURE = isotherm.GaussianMixtureEnergy(
    [[0.0, 1.0, 0.5], [1.0, -1.0, 0.0]], [1.0, 0.7], [0.4, 0.6]
)
COVARIANCE = np.array([[1.0, 0.3, 0.0], [0.3, 2.0, -0.2], [0.0, -0.2, 0.5]])
ENERGIES = {
    "double well": isotherm.DoubleWellEnergy(barrier_height=0.5),
    "rosenbrock": isotherm.RosenbrockEnergy(b=2.0),
    "mixture": MIXTURE,
    "gaussian": isotherm.GaussianEnergy([0.5, 0.0, -1.0], COVARIANCE),
}
LADDER = np.linspace(0.25, 4.0, 50)[:, None]
MATRIX = np.array([[1.0, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 2.0]])
LIMITS = {
    "bounds": ([-0.5, -np.inf, -0.1], 0.75), "gradient_clip": 1.5, "gradient_clip_norm": 2.0
}  # fmt: skip
SAMPLERS = {
    "langevin": {"sampler": "langevin", "step_size": 0.02},
    "langevin of a mass": {"sampler": "langevin", "step_size": 0.02, "inverse_mass": [1, 2, 0.5]},
    "langevin of a matrix": {"sampler": "langevin", "step_size": 0.02, "inverse_mass": MATRIX},
    "underdamped": {"sampler": "underdamped", "step_size": 0.1},
    "underdamped that cools": {
        "sampler": "underdamped", "step_size": 0.1, "noise_scale": np.linspace(1.0, 0.0, 19),
        "inverse_mass": [1.0, 2.0, 0.5],
    },
    "underdamped of a matrix": {
        "sampler": "underdamped", "step_size": 0.1, "inverse_mass": MATRIX
    },
    "mala": {"sampler": "mala", "step_size": 0.3},
    "mala of a matrix": {"sampler": "mala", "step_size": 0.2, "inverse_mass": MATRIX},
    "hmc": {"sampler": "hmc", "step_size": 0.4, "n_leapfrog": 5},
    "hmc of a fixed length": {"sampler": "hmc", "step_size": 0.6, "n_leapfrog": 1, "jitter": 0.0},
    "hmc that diverges": {"sampler": "hmc", "step_size": 60.0, "n_leapfrog": 7},
    "hmc of a mass": {
        "sampler": "hmc", "step_size": 0.4, "n_leapfrog": 3, "inverse_mass": [1.0, 2.0, 0.5]
    },
    "langevin in bounds": {"sampler": "langevin", "step_size": 0.02, **LIMITS},
    "malt in bounds": {
        "sampler": "hmc", "step_size": 0.2, "n_leapfrog": 4, "friction": 0.7, **LIMITS,
        "inverse_mass": [1.0, 2.0, 0.5],
    },
    "malt": {"sampler": "hmc", "step_size": 0.4, "n_leapfrog": 9, "friction": 0.7},
    "langevin of temperatures": {
        "sampler": "langevin", "step_size": 0.02, "decay": 0.01, "temperature": LADDER
    },
    "mala of temperatures": {"sampler": "mala", "step_size": 0.3, "temperature": LADDER},
    "malt of temperatures": {
        "sampler": "hmc", "step_size": 0.4, "n_leapfrog": 5, "friction": 0.7, "decay": 0.01,
        "temperature": LADDER,
    },
    "malt of a matrix": {
        "sampler": "hmc", "step_size": 0.2, "n_leapfrog": 6, "friction": 0.7,
        "inverse_mass": MATRIX,
    },
}  # fmt: skip


def run(energy, backend, options):
    defaults = {
        "n_samples": 50, "n_steps": 16, "burn_in": 3, "thinning": 2, "seed": 2**40 + 3,
        "chain_offset": 2**33 + 5, "step_offset": 6, "return_trajectory": True,
        "return_diagnostics": True, "on_divergence": "ignore",
    }  # fmt: skip
    plan = isotherm.make_plan(energy, backend=backend, **defaults | options)
    return isotherm.run(plan, energy)


def assert_same(got, expected):
    names = [("trajectory", got.trajectory, expected.trajectory)]
    names += [
        (name, getattr(got.diagnostics, name), getattr(expected.diagnostics, name))
        for name in ("energy_error", "diverging", "mean", "variance")
    ]
    names += [(name, got.state[name], expected.state[name]) for name in expected.state]
    for name, one, other in names:
        assert (one is None) == (other is None), name
        if other is not None:
            np.testing.assert_array_equal(to_numpy(one), to_numpy(other), err_msg=name)
    for name in ("acceptance_rate", "n_divergences"):
        assert getattr(got.info, name) == getattr(expected.info, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("energy", ENERGIES)
@pytest.mark.parametrize("build", BUILDS)
def test_steps_have_the_array_loops_bits(build, energy, sampler, dtype):
    options = SAMPLERS[sampler] | {"dim": 3, "dtype": dtype}
    got, expected = (run(ENERGIES[energy], each, options) for each in (build, "numpy"))
    assert got.info.path.startswith("fused")
    assert_same(got, expected)


@pytest.mark.parametrize("index", range(len(golden.GOLDEN)))
@pytest.mark.parametrize("build", BUILDS)
def test_langevin_has_its_golden_bits(build, index):
    golden.test_the_chains_have_their_golden_bits(build, index)


COUPLED = [name for name in SAMPLERS if name.partition(" ")[0] in ("mala", "hmc", "malt")]


@pytest.mark.parametrize("sampler", [*COUPLED, "langevin of a matrix"])
@pytest.mark.parametrize("build", BUILDS)
def test_threads_that_share_a_chain_have_the_same_bits(build, sampler, limits, monkeypatch):
    """Lanes of a warp, one of which has a number too few; or of a block where a matrix is read."""
    limits(busy=1)
    monkeypatch.setattr(kernels, "_HELD", dict.fromkeys(kernels._HELD, 2))
    options, energy = SAMPLERS[sampler] | {"dim": 3}, ENERGIES["double well"]
    assert_same(*(run(energy, each, options) for each in (build, "numpy")))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("build", BUILDS)
def test_lanes_of_long_steps_have_the_same_bits(build, dtype, limits, monkeypatch):
    """Their normals, and in float64 the old state, are in shared memory."""
    limits(busy=1)
    monkeypatch.setattr(kernels, "_SHORT", 20)
    options, energy = SAMPLERS["mala"] | {"dim": 5, "dtype": dtype}, ENERGIES["double well"]
    assert_same(*(run(energy, each, options) for each in (build, "numpy")))


@pytest.mark.parametrize(
    ("dim", "lanes", "sampler", "dtype"),
    [
        (1, 1, "mala", "float32"),
        (5, 1, "hmc", "float64"),
        (5, 2, "malt", "float32"),
        (5, 8, "mala", "float64"),
        (17, 2, "hmc", "float32"),
        (17, 32, "malt", "float64"),
        (32, 8, "mala", "float32"),
        (33, 4, "hmc", "float64"),
        (33, 32, "malt", "float32"),
        (100, 8, "mala", "float32"),
        (100, 32, "hmc", "float32"),
        (600, None, "mala", "float32"),  # threads of a block
    ],
)
@pytest.mark.parametrize("build", BUILDS)
def test_totals_of_any_number_of_coordinates_are_folded_alike(
    build, dim, lanes, sampler, dtype, limits
):
    limits(busy=7 * (lanes or 1))
    options = {"step_size": 0.15, "dim": dim, "n_samples": 7, "dtype": dtype}
    energy, options = ENERGIES["double well"], SAMPLERS[sampler] | options
    plan = isotherm.make_plan(energy, backend=build, n_steps=1, **options)
    assert f"#define LANES {lanes}\n" in kernels.kernel_of(plan, energy).source or not lanes
    got, expected = (run(energy, each, options) for each in (build, "numpy"))
    assert got.info.path == "fused program"
    assert_same(got, expected)


def spd(dim):
    return np.eye(dim) + 0.1 * np.exp(-np.abs(np.subtract.outer(np.arange(dim), np.arange(dim))))


@pytest.mark.parametrize(
    "options",
    [SAMPLERS["langevin"], SAMPLERS["mala"], SAMPLERS["malt"], {"inverse_mass": spd(33)}],
    ids=["langevin", "mala", "malt", "langevin of a matrix"],
)
@pytest.mark.parametrize("build", BUILDS)
def test_chains_of_a_tile_have_the_bits_of_chains_by_themselves(build, options, limits):
    limits(launch_steps=7)
    energy = isotherm.GaussianEnergy(np.linspace(-1, 1, 33), spd(33))
    options = {"step_size": 0.02, "dim": 33, "n_samples": 18, **options}  # no whole tiles
    expected = run(energy, "numpy", options)
    for tiled in (19, 1):
        limits(tiled=tiled)
        assert_same(run(energy, build, options), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sampler", ["langevin", "underdamped", "mala", "malt"])
@pytest.mark.parametrize("build", BUILDS)
def test_chains_of_many_coordinates_have_the_array_loops_bits(build, sampler, dtype, limits):
    limits(launch=1)  # launches of a block of steps, which begin within one
    options = SAMPLERS[sampler] | {"dim": kernels._UNROLLED + 1, "dtype": dtype}
    options |= {"step_size": 0.01, "step_offset": 5, "n_samples": 37}
    got, expected = (run(ENERGIES["rosenbrock"], each, options) for each in (build, "numpy"))
    assert got.info.path == "fused program"
    assert_same(got, expected)


@pytest.mark.parametrize(
    "sampler",
    ["langevin", "langevin of temperatures", "underdamped that cools", "mala", "malt"],
)
@pytest.mark.parametrize("energy", ["double well", "gaussian"])
@pytest.mark.parametrize("build", BUILDS)
def test_launches_of_any_length_give_the_same_bits(build, energy, sampler, limits):
    options = SAMPLERS[sampler] | {"dim": 3}
    expected = run(ENERGIES[energy], build, options)
    for launch in (1, 7):
        limits(launch_steps=launch, launch_bytes=50 * 4 * launch)
        assert_same(run(ENERGIES[energy], build, options), expected)


def users_step(state, c, draw):
    """What no built-in sampler does: divisions, roots, functions; its parts change places."""
    z = draw.normal(noise.Stream.LANGEVIN)
    y = im.sqrt(abs(state.x)) / (0.1 + abs(z)) - im.maximum(state.x, z)
    y = 0.1 * total(y) / (1.0 + im.exp(-y)) + im.log(abs(z)) * im.cos(state.momentum)
    g = where(y >= z, -im.tanh(y), 1.0 / y) - c.step_size * gradient(im.minimum(y, 1.0))

    def turn(number, a, b):
        return b, a - c.step_size * draw.substep_normal(number)

    a, b = repeat(c.passes, turn, g, state.x)
    return {"x": state.momentum, "momentum": perturb(a, c.step_size, b)}, {}


def coefficients(given):
    return {"step_size": given.step_size, "passes": 2.0 + given.steps % 3}


@pytest.mark.parametrize("energy", ENERGIES)
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("build", BUILDS)
def test_a_users_own_steps_have_the_array_loops_bits(build, energy, lanes, monkeypatch, limits):
    limits(busy=40 * lanes)
    transition = Transition("users", users_step, coefficients, carried=("x", "momentum"))
    monkeypatch.setattr(catalogue, "_transitions", {**catalogue._transitions, "users": transition})
    for dtype in ("float32", "float64"):
        options = {"sampler": "underdamped", "dim": 3, "n_samples": 40, "n_steps": 9, "seed": 1}
        results = []
        for backend in (build, "numpy"):
            plan = isotherm.make_plan(
                ENERGIES[energy], backend=backend, dtype=dtype, step_size=0.1, **options
            )
            plan = replace(plan, sampler="users")
            runner = registry.load(backend).prepare(plan, ENERGIES[energy])
            rng = np.random.default_rng(0)
            state = {name: rng.normal(size=(40, 3)).astype(dtype) for name in ("x", "momentum")}
            results.append(runner.advance(state, 0, 9, Outputs()))
        for name in ("x", "momentum"):
            np.testing.assert_array_equal(*(to_numpy(one[name]) for one in results), strict=True)


class UsersEnergy:
    """A double well that no backend has a kernel for."""

    def __call__(self, x):
        return 0.5 * ((x * x - 1.0) * (x * x - 1.0)).sum(axis=1)

    def gradient(self, x):
        return 2.0 * x * (x * x - 1.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_segments_on_arrays_have_the_bits_of_operations_on_them(sampler):
    for dtype in ("float32", "float64", "float16"):
        options = SAMPLERS[sampler] | {"dim": 3, "dtype": dtype}
        got, expected = (run(UsersEnergy(), each, options) for each in (BUILDS[0], "numpy"))
        assert got.info.path.startswith("array loop: ")
        assert_same(got, expected)


def test_long_trajectories_make_launches_short(limits):
    lengths = []

    class Noted:
        def launch(self, name, threads, arguments, block=128):
            lengths.append(int(arguments[list(steps.parameters_of(program)).index("n_steps")]))

    energy = isotherm.DoubleWellEnergy()
    plan = isotherm.make_plan(
        energy, dim=3, n_samples=2, n_steps=100, sampler="hmc", n_leapfrog=9, step_size=0.1,
        jitter=0.0, dtype="float32", backend="numpy",
    )  # fmt: skip
    program = plan.transition(energy.kind)
    limits(launch_steps=36)
    kernel = kernels.kernel_of(plan, energy)
    runner = chains.FusedChains(plan, kernel, np, lambda source: Noted())
    runner.advance({"x": np.zeros((2, 3), "float32")}, 0, 100, Outputs())
    assert sum(lengths) == 100
    assert max(lengths) == 4  # a pass is the trajectory's last
