"""Transitions printed for Numba: the same bits as the array loop carries out."""

from itertools import pairwise

import numpy as np
import pytest

import isotherm
from isotherm.backend import ArrayLoop, Outputs, registry
from isotherm_numba import CompiledEnergy


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
SAMPLERS = {
    "langevin": {"step_size": 0.01},
    "underdamped": {"step_size": 0.1, "friction": 1.5},
    "mala": {"step_size": 0.05},
    "hmc": {"step_size": 0.2, "n_leapfrog": 6},
    "malt": {"step_size": 0.2, "n_leapfrog": 9, "friction": 0.7},
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
    program = plan.transition(isotherm._transitions.program.Kind.VALUE)
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
    for start, stop in pairwise(bounds):
        kept = plan.kept_before(start), plan.kept_before(stop)
        state = runner.advance(state, start, stop, outputs.between(*kept))
    return {**{f"state {name}": one for name, one in state.items()}, **vars(outputs)}


def assert_equal(mine, theirs):
    for name, array in theirs.items():
        if array is not None:
            np.testing.assert_array_equal(mine[name], array, err_msg=name)


def fused(plan, energy):
    return registry.load("numba").prepare(plan, energy)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("energy", ENERGIES, ids=lambda energy: energy.name)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_bits_are_those_of_the_array_loop(sampler, energy, mass, dtype):
    plan = plan_of(energy, sampler, inverse_mass=MASSES[mass], dtype=dtype)
    with np.errstate(all="ignore"):  # some chains leave the finite numbers
        expected = advanced(ArrayLoop(plan, energy, energy.gradient), plan)
    runner = fused(plan, energy)
    assert runner.path.startswith("fused")
    assert_equal(advanced(runner, plan), expected)
    assert_equal(advanced(runner, plan, cuts=[1, 6, 6, 15]), expected)
