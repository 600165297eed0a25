"""Formulas on arrays in CUDA loops, by teams of threads: the bits of the array loop."""

import numpy as np
import pytest

import isotherm
import isotherm.math as im
from isotherm._arithmetic.arrays import to_numpy
from isotherm.backend import ArrayProgram, Outputs
from isotherm_cupy import array_printer, chains, kernels, steps
from isotherm_cupy.limits import LIMITS
from tests import backends
from tests.core import test_array_formulas as formulas
from tests.core import test_scan as recursions
from tests.cupy.host import BUILDS, HostBackend
from tests.cupy.test_steps import SAMPLERS, assert_same, run

# All but those with products of data, which the array loop has from a library.
OTHERS = ("matrices", "vectors", "loops", "far_from_products")
EXACT = [one for one in formulas.FORMULAS if one.__name__ not in OTHERS]


@pytest.fixture
def arrays(limits):
    limits(unrolled_numbers=-1, unrolled_each=0)


@pytest.fixture(params=BUILDS)
def build(request):
    return request.param


def teams_of(size, monkeypatch):
    """Have teams of a size, of as many chains a block as there can be."""
    monkeypatch.setattr(kernels, "_team_of", lambda *given: (size, max(1, min(32, 256 // size))))


def rows(x, *, y):
    """A recursion whose rows are data and made from x, after which there are sums."""
    carry, left = im.scan(
        lambda c, row: (im.tanh(c * row[0] + row[1]), c * x[0, :2]), x[1, 1], (y, y * x[2, 2])
    )
    return carry + np.sum(left**2)


def everything():
    return sum([*map(formulas.made, EXACT), isotherm.formula(dim=(4, 6))(rows)(np.arange(5.0))])


@pytest.mark.parametrize(
    ("size", "dtype", "n_samples"), [(1, "float64", 37), (8, "float32", 37), (256, "float64", 3)]
)
def test_teams_of_any_size_have_the_array_loops_bits(
    build, size, dtype, n_samples, arrays, monkeypatch
):
    teams_of(size, monkeypatch)
    energy = everything()
    assert isinstance(energy.program(), ArrayProgram)
    options = {"step_size": 1e-7, "dtype": dtype, "n_samples": n_samples, "n_steps": 6}
    got, expected = (run(energy, each, options) for each in (build, "numpy"))
    assert got.info.path == "fused program"
    assert np.isfinite(expected.samples).all()
    assert_same(got, expected)


def ring(x, *, y):
    return np.sum(y * (x - np.roll(x, 1)) ** 2) + 0.25 * np.sum(x * x) ** 2


@pytest.mark.parametrize(
    "sampler",
    [
        *("langevin in bounds", "underdamped of a matrix", "mala", "malt in bounds"),
        *("malt of a matrix", "malt of temperatures"),
    ],
)
def test_every_samplers_steps_have_the_array_loops_bits(
    build, sampler, arrays, limits, monkeypatch
):
    teams_of(2, monkeypatch)
    dtype = "float64" if "matrix" in sampler else "float32"
    energy = isotherm.formula(dim=3)(ring)(np.array([1.0, 0.5, 2.0]))
    options = SAMPLERS[sampler] | {"dtype": dtype}
    expected = run(energy, "numpy", options)
    assert_same(run(energy, build, options), expected)
    # Launches that begin within a block of steps, and teams that take several chains each.
    limits(launch=1, launch_thread=1, team_blocks=1)
    assert_same(run(energy, build, options), expected)


NUMBA = [one for one in ("numba",) if one in backends.usable()]


@pytest.mark.parametrize(("size", "dtype"), [(1, "float64"), (32, "float32"), (256, "float64")])
@pytest.mark.parametrize("kernels_of", [*BUILDS, *NUMBA])
def test_kernels_add_products_in_the_order_of_the_columns(
    kernels_of, size, dtype, arrays, monkeypatch
):
    teams_of(size, monkeypatch)
    X = np.random.default_rng(0).normal(size=(1030, 5)).astype(dtype)

    def squares(x, *, X):
        return 0.5 * np.sum((X @ x) ** 2)

    x = np.random.default_rng(1).normal(size=(37, 5, 2)).astype(dtype)
    z, gradient = np.zeros((37, 1030, 2), dtype), np.zeros_like(x)
    for j in range(5):
        z += X[:, j][:, None] * x[:, None, j]
    for i in range(1030):
        gradient += X[i][:, None] * z[:, i, None]
    energy = isotherm.formula(dim=(5, 2))(squares)(X=X)
    found = isotherm.sample_chain(
        energy, x, n_steps=1, step_size=0.25, noise_scale=0.0, backend=kernels_of
    )
    np.testing.assert_array_equal(to_numpy(found), x - np.array(0.25, dtype) * gradient)


def lattice(x, *, n: int):
    total = 0.0
    for i in range(n):
        total = total + (x[i] - x[(i + 1) % n]) ** 2 + 0.25 * x[i] ** 4
    return total


@pytest.mark.parametrize(
    ("energy", "options"),
    [
        (isotherm.formula(dim=40)(lattice)(40), {"dim": 40, "dtype": "float64"}),
        (isotherm.DoubleWellEnergy(), {"dim": kernels._MOST_THREADS + 1, "n_samples": 9}),
    ],
    ids=["coupled", "separable"],
)
def test_programs_of_many_coordinates_run_in_teams(build, energy, options):
    options = SAMPLERS["malt"] | {"n_steps": 5, "step_size": 0.02} | options
    got, expected = (run(energy, each, options) for each in (build, "numpy"))
    assert got.info.path == "fused program"
    assert_same(got, expected)


def kernel_of(energy, **options):
    options = {"n_samples": 1000, "step_size": 0.01, "backend": "numpy"} | options
    plan = isotherm.make_plan(energy, **options)
    return plan, kernels.kernel_of(plan, energy)


def test_other_data_compile_nothing():
    recursion = recursions.made(recursions.several)
    for make in (
        lambda n: formulas.logistic(*formulas.data(n, 5), dim=5),
        lambda n: recursion(recursions.rows(n)),
    ):
        printed = [
            array_printer.print_arrays(energy.program(), energy.parameter_values())
            for energy in map(make, (90, 333))
        ]
        assert printed[0].source == printed[1].source
        assert printed[0].memory < printed[1].memory


def test_a_team_is_as_large_as_its_loops(arrays):
    lattice = isotherm.formula(dim=(64, 64))(lambda x: np.sum((np.roll(x, 1, 0) - x) ** 2))()
    logistic = formulas.logistic(*formulas.data(569, 31))
    recursion = recursions.made(recursions.hidden_markov)(recursions.rows(200))
    cases = (lattice, {}), (logistic, {"dim": 31}), (recursion, {}), (recursion, {"n_samples": 3})
    teams = [kernel_of(energy, **options)[1].team for energy, options in cases]
    assert [(team.size, team.width) for team in teams] == [(256, 1), (32, 8), (2, 32), (2, 4)]


class Noted:
    """A module that takes no steps."""

    def __init__(self):
        self.lengths, self.numbers = [], []

    def launch(self, name, threads, arguments, block=128):
        if name == "advance":
            names = steps.parameters_of(self.program, steps.TEAM)
            given = dict(zip(names, arguments, strict=True))
            self.numbers.append((given["memory"].size, threads))
            self.lengths.append(int(given["n_steps"]))


def launched(energy, available=lambda: None, **options):
    plan, kernel = kernel_of(energy, n_steps=50, **options)
    module = Noted()
    module.program = kernel.request.program
    runner = chains.FusedChains(plan, kernel, np, lambda source: module, available)
    runner.advance({"x": np.zeros((plan.n_samples, plan.n_coordinates), plan.dtype)}, 0, 50,
                   Outputs())  # fmt: skip
    return module, kernel


def test_launches_are_bounded_by_what_a_thread_does(arrays):
    energy = recursions.made(recursions.garch)(recursions.rows(100_000))
    module, kernel = launched(energy, n_samples=1)
    assert sum(module.lengths) == 50
    assert max(module.lengths) * kernel.work < 2 * LIMITS.launch_thread
    assert max(launched(energy, n_samples=4000)[0].lengths) <= max(module.lengths)


def test_a_quarter_of_the_free_memory_is_taken(arrays):
    energy = formulas.logistic(*formulas.data(5000, 3))
    plain, kernel = launched(energy, dim=3)
    block = kernel.team.numbers * kernel.team.width
    assert {size for size, _ in plain.numbers} == {-(-1000 // kernel.team.width) * block}
    little, _ = launched(energy, available=lambda: LIMITS.memory_share * 3 * block * 8, dim=3)
    assert set(little.numbers) == {(3 * block, 3 * kernel.block)}
    none, _ = launched(energy, available=lambda: 0, dim=3)
    assert set(none.numbers) == {(block, kernel.block)}
    # ... when a run begins, though its runner was made for one before.
    plan, free = kernel_of(energy, n_steps=50, dim=3)[0], [2**40]
    runner = chains.FusedChains(plan, kernel, np, lambda source: plain, lambda: free[0])
    free[0] = 0
    runner.renew(plan)
    assert runner._memory(1000)[0] == kernel.block


def test_what_is_not_fused_says_why(arrays, monkeypatch):
    energy = isotherm.formula(dim=6)(lambda x: np.sum(np.cumsum(x) ** 2))()
    info = run(energy, HostBackend.name, {"dtype": "float16", "step_size": 0.01}).info
    assert info.path.startswith("array loop: there are no kernels in float16")
    monkeypatch.setattr(LIMITS, "longest_program", 3)
    plan, kernel = kernel_of(energy)
    assert kernel is None
    reason = kernels.why_not_fused(plan, energy)
    assert "a program of more than 3 operations, which are not compiled; write it with" in reason
