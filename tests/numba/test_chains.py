"""Fused chains: what they give does not depend on threads, tiles, processes or the cache."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import isotherm
from isotherm_numba import array_printer, printer

GAUSSIAN = isotherm.GaussianEnergy(
    np.float32([0.5, -0.5, 0.0]), np.float32([[1.0, 0.3, 0.0], [0.3, 2.0, 0.1], [0.0, 0.1, 1.0]])
)
ENERGIES = [isotherm.DoubleWellEnergy(), isotherm.RosenbrockEnergy(b=2.0), GAUSSIAN]
OPTIONS = {
    "dim": 3, "n_samples": 1000, "n_steps": 23, "burn_in": 5, "thinning": 2, "step_size": 0.01,
    "seed": 3, "step_offset": 2, "return_trajectory": True, "return_diagnostics": True,
}  # fmt: skip


def run(energy, backend="numba", **options):
    plan = isotherm.make_plan(energy, backend=backend, **OPTIONS | options)
    return isotherm.run(plan, energy)


def bits(result):
    found = [result.samples, result.trajectory]
    if result.diagnostics is not None:
        diagnostics = result.diagnostics
        found += [diagnostics.mean, diagnostics.variance, diagnostics.energy]
    return [None if array is None else array.tobytes() for array in found]


@pytest.fixture
def two_threads(limits):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.fail("these tests are about two threads: set NUMBA_NUM_THREADS=2")
    limits(worth_a_thread=1)
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("energy", ENERGIES, ids=lambda energy: energy.name)
def test_tiles_and_parts_change_chains_by_no_bit(energy, limits):
    usual = run(energy)
    limits(tile=64, quadratic_lanes=16, parts=3, moments_bytes=2**10)
    other = run(energy)
    assert bits(other)[:2] == bits(usual)[:2]
    assert other.diagnostics.energy.tobytes() == usual.diagnostics.energy.tobytes()
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(other.diagnostics.mean, usual.diagnostics.mean, **close)
    np.testing.assert_allclose(other.diagnostics.variance, usual.diagnostics.variance, **close)


def test_coefficients_of_chains_and_steps_are_held_a_few_steps_at_a_time(limits):
    options = {"temperature": np.linspace(0.5, 2.0, 1000)[:, None], "decay": 0.01}
    usual = run(ENERGIES[0], **options)
    limits(coefficients_bytes=7 * 4 * 1000, moments_bytes=2**10)
    assert bits(run(ENERGIES[0], **options)) == bits(usual)


def test_threads_of_others_are_left_alone():
    """Numba's own layer, were it started, would set the number of OpenMP's threads for torch."""
    code = (
        "import isotherm, numba.np.ufunc.parallel as layer;"
        "isotherm.sample_chain(isotherm.HarmonicEnergy(), dim=2, n_samples=5, backend='numba');"
        "assert not layer._is_initialized"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_threads_may_run_chains_at_once(two_threads):
    alone = [bits(run(energy)) for energy in ENERGIES]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, ENERGIES * 4))
    assert [bits(result) for result in results] == alone * 4


# Python says that a fork may hang where threads live; these live in a pool that the child forgets.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_process_gives_the_same_bits(method, two_threads):
    here = run(ENERGIES[0])  # the parent's threads are at work before the fork
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.apply_async(_bits_of_a_double_well).get(timeout=120)
    assert there == bits(here)


def _bits_of_a_double_well():
    return bits(run(ENERGIES[0]))


@pytest.mark.parametrize(
    ("energy", "path"),
    [(ENERGIES[0], "program"), (ENERGIES[1], "program"), (GAUSSIAN, "quadratic form")],
    ids=lambda value: getattr(value, "name", None),
)
def test_numpy_arrays_run_here_where_an_energy_has_a_kernel(energy, path):
    result = isotherm.run(isotherm.make_plan(energy, **OPTIONS), energy)
    assert result.info.backend == "numba"
    assert result.info.path == f"fused {path}"


def test_a_program_too_long_to_unroll_runs_on_arrays(limits):
    energy = ENERGIES[1]
    usual = run(energy)
    limits(longest_program=10)
    on_arrays = run(energy)
    path = on_arrays.info.path
    assert path.startswith("array loop, fused segments: ")
    assert "more than 10 are not compiled; write it with sums" in path
    assert on_arrays.trajectory.tobytes() == usual.trajectory.tobytes()
    assert isotherm.make_plan(energy, **OPTIONS).backend == "numpy"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
@pytest.mark.parametrize("clamp", [None, (-0.25, None), (-0.5, 0.5)])
def test_the_fused_update_has_the_references_bits(dtype, noise_scale, clamp, order):
    class Shifted:
        def __call__(self, x):
            return ((x - 1) * (x - 1)).sum(axis=(1, 2))

        def gradient(self, x):
            return np.asfortranarray(2 * (x - 1))

    options = {"dim": (5, 7), "dtype": dtype, "noise_scale": noise_scale, "clamp": clamp}
    start = np.linspace(-1, 1, 1000 * 35, dtype=dtype).reshape(1000, 5, 7)
    start = np.asarray(start, order=order)
    results = []
    for backend in ("numba", "numpy"):
        plan = isotherm.make_plan(Shifted(), start, backend=backend, **OPTIONS | options)
        results.append(isotherm.run(plan, Shifted(), start))
    # Sums, of terms and over chains, follow the order of memory.
    assert bits(results[0])[:2] == bits(results[1])[:2]


def test_other_data_compile_nothing():
    def hidden_markov(x, *, y):
        def step(weights, row):
            return isotherm.math.logsumexp(weights[:, None] + x[:2], axis=0) + row, weights

        weights, left = isotherm.math.scan(step, np.zeros(2), -0.5 * (y[:, None] - x[2:]) ** 2)
        return np.sum(np.roll(y, 1) * np.sin(y * x[0])) - np.sum(weights) + np.sum(left**2)

    formula = isotherm.formula(dim=4)(hidden_markov)
    sources = set()
    for n in (50, 333):
        program = formula(np.linspace(-1.0, 1.0, n)).program()
        values = np.linspace(-1.0, 1.0, n).astype(np.float32)
        source, numbers = array_printer.print_arrays(program, 16, values)
        sources.add(source)
        assert np.isfinite(numbers).all()
    assert len(sources) == 1


def test_arrays_are_printed_for_one_chain_too():
    @isotherm.formula(dim=500)
    def formula(x):
        return np.sum(np.exp(0.1 * x) * np.roll(x, 1)) + 0.5 * np.sum(x[1:] ** 2)

    energy = formula()
    source, numbers = array_printer.print_arrays(energy.program(), 1, energy.parameter_values())
    signature = 'signature = kernel_calls.kernel_signature("float64")'
    compiled = 'compiled = njit(signature, nogil=True, error_model="numpy")'
    module = {"__name__": "printed"}
    exec(printer.print_module("energy", "float64", signature, compiled, source), module)
    x = np.linspace(-1.0, 2.0, 500)
    made, slope, scratch = np.full((3, 500), np.nan)
    module["terms"](x, made, scratch, numbers, 500, 1, 1)
    module["gradient"](x, slope, scratch, numbers, 500, 1, 1)
    value = np.exp(0.1 * x) @ np.roll(x, 1) + 0.5 * np.sum(x[1:] ** 2)
    by_hand = 0.1 * np.exp(0.1 * x) * np.roll(x, 1) + np.roll(np.exp(0.1 * x), -1)
    by_hand[1:] += x[1:]
    np.testing.assert_allclose(made[0], value, rtol=1e-12)
    np.testing.assert_allclose(slope, by_hand, rtol=1e-12)
