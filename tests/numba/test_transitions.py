"""Transitions printed for Numba: the same bits as the array loop carries out."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

import isotherm
from isotherm._transitions.catalogue import find, register
from isotherm._transitions.trace import Transition, gradient, repeat, where
from isotherm.backend import ArrayLoop, Kind, Outputs, Variant, kind_of, noise, registry
from isotherm_numba import CompiledEnergy, fill_normals, segments
from isotherm_numba.storage import Storage
from tests.transitions import SAMPLERS


@isotherm.formula(dim=3)
def bowl(x, *, k=1.5):
    """Couples its coordinates by exact operations alone."""
    return 0.5 * k * (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]) + 0.25 * x[0] * x[1] * x[2] * x[2]


def of_chain(x):
    total = 0.0
    for i in range(x.size):
        total += 0.5 * x[i] * x[i]
    return total


def gradient_of_chain(x, out):
    for i in range(x.size):
        out[i] = x[i]


GAUSSIAN = isotherm.GaussianEnergy(
    [0.5, -0.5, 0.0], [[1.0, 0.3, 0.0], [0.3, 2.0, 0.1], [0.0, 0.1, 1.0]]
)
ENERGIES = [
    isotherm.DoubleWellEnergy(),
    bowl(),
    GAUSSIAN,
    CompiledEnergy(of_chain, gradient_of_chain),
]
MASSES = {
    "unit": None,
    "vector": [0.5, 1.0, 2.0],
    "matrix": [[1.0, 0.2, 0.0], [0.2, 0.7, -0.1], [0.0, -0.1, 2.0]],
}
OPTIONS = {
    "dim": 3, "n_samples": 150, "n_steps": 17, "burn_in": 4, "thinning": 2, "seed": 3,
    "step_offset": 5, "chain_offset": 2**32 - 50, "return_trajectory": True,
    "return_diagnostics": True, "backend": "numba",
}  # fmt: skip


def plan_of(energy, sampler, **options):
    own = {"sampler": "hmc" if sampler == "malt" else sampler} | SAMPLERS[sampler]
    return isotherm.make_plan(energy, **OPTIONS | own | options)


def start_of(plan):
    rng = np.random.default_rng(1)
    program = plan.transition(Kind.VALUE)
    return {name: rng.normal(size=plan.shape).astype(plan.dtype) for name in program.carried}


def advanced(runner, plan, cuts=()):
    """The bits of everything that a runner gives, in calls that end at the cuts."""
    k, n, dtype = plan.n_kept, plan.n_samples, plan.dtype
    outputs = Outputs(
        trajectory=np.zeros((n, k, *plan.event_shape), dtype),
        mean=np.zeros((k, *plan.event_shape), dtype),
        variance=np.zeros((k, *plan.event_shape), dtype),
        energy=np.zeros((k, n), dtype),
        energy_error=np.zeros((k, n), dtype) if plan.is_adjusted else None,
        accepted=np.zeros(n, np.int64) if plan.is_adjusted else None,
        diverging=np.zeros(n, np.int64) if plan.is_adjusted else None,
    )
    state = start_of(plan)
    bounds = [0, *cuts, plan.n_total]
    for start, stop in itertools.pairwise(bounds):
        kept = plan.kept_before(start), plan.kept_before(stop)
        state = runner.advance(state, start, stop, outputs.between(*kept))
    return {**{f"state {name}": one for name, one in state.items()}, **vars(outputs)}


def assert_equal(mine, theirs):
    for name, array in theirs.items():
        if array is not None:
            np.testing.assert_array_equal(mine[name], array, err_msg=name)


def fused(plan, energy):
    return registry.load("numba").prepare(plan, energy)


@functools.cache
def expected_of(plan, energy):
    with np.errstate(all="ignore"):  # some chains leave the finite numbers
        return advanced(ArrayLoop(plan, energy, energy.gradient), plan)


# Every energy with every sampler; every mass and dtype with the energy that is the cheapest.
CASES = [(energy, "unit", "float32") for energy in ENERGIES]
CASES += [
    (ENERGIES[0], mass, dtype)
    for mass, dtype in (("unit", "float64"), ("vector", "float32"), ("matrix", "float64"))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].name}-{case[1]}-{case[2]}")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_bits_are_those_of_the_array_loop(sampler, case):
    energy, mass, dtype = case
    plan = plan_of(energy, sampler, inverse_mass=MASSES[mass], dtype=dtype)
    expected = expected_of(plan, energy)
    runner = fused(plan, energy)
    assert runner.path.startswith("fused")
    assert_equal(advanced(runner, plan), expected)
    assert_equal(advanced(runner, plan, cuts=[1, 6, 6, 15]), expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_segments_of_array_loops_have_the_same_bits(sampler):
    energy = ENERGIES[0]
    plan = plan_of(energy, sampler, inverse_mass=MASSES["vector"])
    run_segment = segments(plan.transition(kind_of(energy)), plan.state_dtype)
    with np.errstate(all="ignore"):
        found = advanced(ArrayLoop(plan, energy, energy.gradient, fill_normals, run_segment), plan)
    assert_equal(found, expected_of(plan, energy))


def test_a_step_without_noise_takes_none_from_segments():
    energy = ENERGIES[0]
    plan = plan_of(energy, "langevin", noise_scale=0.0)
    run_segment = segments(plan.transition(kind_of(energy)), plan.state_dtype)
    found = advanced(ArrayLoop(plan, energy, energy.gradient, run_segment=run_segment), plan)
    assert_equal(found, expected_of(plan, energy))


def test_pieces_of_arrays_change_no_bit(limits):
    limits(array_part=20)
    test_segments_of_array_loops_have_the_same_bits("malt")


@pytest.mark.parametrize("sampler", ["underdamped", "malt"])
def test_tiles_parts_and_threads_change_no_bit(sampler, limits):
    energy = ENERGIES[1]
    plan = plan_of(energy, sampler)
    limits(tile=64, parts=3, worth_a_thread=1)
    assert_equal(advanced(fused(plan, energy), plan), expected_of(plan, energy))


def test_noise_of_the_substeps_has_a_coordinate_of_its_own():
    expected, found = np.empty((4, 300, 7), np.float32), np.empty((4, 300, 7), np.float32)
    where = {"seed": 5, "stream": 4, "block": 9, "chain_offset": 3, "coordinate_offset": 5 << 24}
    noise.fill_normals(expected, **where)
    fill_normals(found, **where)
    assert found.tobytes() == expected.tobytes()


def wanderer(state, c, draw):
    """Loop variables that change places, stay as they are, and are given from outside.

    The number of the pass is one of a step's.
    """

    def body(number, a, b, fixed, outer):
        return b, a + c.step_size * number * b, fixed, state.x

    a, b, fixed, outer = repeat(c.passes, body, state.x, state.x + state.x, state.x, state.momentum)
    z = draw.normal(noise.Stream.MOMENTUM)
    x = a + c.step_size * z + fixed * outer - b
    return {"x": where(x > 2.0, state.momentum, x), "momentum": state.x}, {}


def test_values_that_change_places_are_copied_as_if_all_at_once():
    def coefficients(given):
        return {"step_size": given.step_size, "passes": 0.0 * given.step_size + given.steps % 4}

    of_wanderer("wanderer", wanderer, coefficients)


def of_wanderer(name, function, coefficients):
    register(Transition(name, function, coefficients, carried=("x", "momentum")))
    energy = ENERGIES[0]
    plan = replace(plan_of(energy, "underdamped"), sampler=name, friction=None)
    assert_equal(advanced(fused(plan, energy), plan), expected_of(plan, energy))


def test_a_step_may_draw_nothing_and_hand_its_noise_on():
    def still(state, c, draw):
        return {
            "x": state.momentum,
            "momentum": state.x - 0.1 * (c.step_size * gradient(state.x)),
        }, {}

    def handed_on(state, c, draw):
        return {"x": draw.normal(noise.Stream.MOMENTUM), "momentum": state.x}, {}

    for function in (still, handed_on):
        of_wanderer(function.__name__, function, lambda given: {"step_size": given.step_size})


def test_a_step_keeps_few_rows():
    """What is carried stays in place; more rows than these would leave the first cache."""
    rows = {
        name: [Storage(find(name).program(Variant(kind=kind))).n_rows for kind in Kind]
        for name in ("langevin", "underdamped", "mala", "hmc")
    }
    assert rows == {
        "langevin": [2, 2, 2], "underdamped": [3, 3, 3], "mala": [8, 6, 6], "hmc": [8, 6, 6],
    }  # fmt: skip
