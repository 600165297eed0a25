"""The plan: frozen, printable, and right about what a run needs."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isotherm

WELL = isotherm.DoubleWellEnergy()
OPTIONS = {
    "dim": (2, 3),
    "n_samples": 50,
    "n_steps": 100,
    "burn_in": 20,
    "thinning": 7,
    "step_size": 0.01,
    "seed": 4,
    "clamp": (None, 2.0),
    "backend": "numpy",
    "return_trajectory": True,
    "return_diagnostics": True,
}


def test_a_plan_prints_as_a_summary_of_the_run():
    assert str(isotherm.make_plan(WELL, **OPTIONS, decay=0.5)) == (
        "sampler        langevin\n"
        "energy         DoubleWellEnergy\n"
        "chains         50 of shape (2, 3), float32\n"
        "start          N(0, I)\n"
        "steps          20 burn-in + 100 (14 kept, every 7th)\n"
        "step size      0.01 … 1.50463e-38 (120 values)\n"
        "noise scale    1\n"
        "clamp          (None, 2.0)\n"
        "seed           4 (first chain 0, first step 0)\n"
        "result         final state (50, 2, 3) and trajectory (50, 14, 2, 3) and diagnostics "
        "(14, 3, 50, 2, 3)\n"
        "memory         20.97 KiB\n"
        "backend        numpy on cpu, arrays of numpy\n"
        "on divergence  warn"
    )


def test_a_plan_is_frozen_plain_data():
    plan = isotherm.make_plan(WELL, **OPTIONS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.n_steps = 5
    with pytest.raises(ValueError, match="read-only"):
        plan.step_size.values[...] = 1.0
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_equal_plans_have_equal_hashes():
    plan = isotherm.make_plan(WELL, **OPTIONS)
    assert plan == isotherm.make_plan(WELL, **OPTIONS)
    assert hash(plan) == hash(isotherm.make_plan(WELL, **OPTIONS))
    others = [{"seed": 5}, {"step_size": 0.02}, {"thinning": 8}, {"clamp": None}, {"decay": 0.1}]
    plans = {plan, *(isotherm.make_plan(WELL, **OPTIONS | other) for other in others)}
    assert len(plans) == 1 + len(others)


def test_making_a_plan_does_not_keep_the_users_schedule():
    steps = np.full(120, 0.01)
    plan = isotherm.make_plan(WELL, **OPTIONS | {"step_size": steps})
    steps[:] = 9.0
    assert plan.step_size.values.max() == 0.01


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(
    n_samples=st.integers(1, 9),
    dim=st.integers(1, 5),
    n_steps=st.integers(1, 9),
    return_trajectory=st.booleans(),
    return_diagnostics=st.booleans(),
)
def test_the_memory_told_is_that_of_the_result(dtype, **options):
    energy = isotherm.HarmonicEnergy()
    plan = isotherm.make_plan(energy, **options, dtype=dtype, seed=0, backend="numpy")
    result = isotherm.run(plan, energy)
    arrays = [result.samples]
    if options["return_trajectory"]:
        arrays.append(result.trajectory)
    if options["return_diagnostics"]:
        found = result.diagnostics
        arrays += [found.mean, found.variance, found.energy]
    assert plan.result_bytes == sum(array.nbytes for array in arrays)


@given(burn_in=st.integers(0, 30), n_steps=st.integers(1, 30), thinning=st.integers(1, 30))
def test_the_number_of_kept_steps(burn_in, n_steps, thinning):
    thinning = min(thinning, n_steps)
    options = OPTIONS | {"burn_in": burn_in, "n_steps": n_steps, "thinning": thinning}
    plan = isotherm.make_plan(WELL, **options)
    kept = [step for step in range(plan.n_total) if plan.is_kept(step)]
    expected = range(burn_in + thinning - 1, burn_in + n_steps, thinning)
    assert kept == list(expected)
    assert plan.n_kept == len(kept) == n_steps // thinning
    assert [plan.kept_before(step) for step in kept] == list(range(len(kept)))


@given(step_size=st.floats(1e-6, 10), scale=st.floats(0, 10))
def test_coefficients_are_rounded_once(step_size, scale):
    options = OPTIONS | {"step_size": step_size, "noise_scale": scale}
    plan = isotherm.make_plan(WELL, **options)
    made = plan.coefficients(3, 7)
    steps, noise = made["step_size"], made["noise"]
    assert steps.tolist() == [float(np.float32(step_size))] * 4
    assert noise.tolist() == [float(np.float32(scale * np.sqrt(2 * np.float64(step_size))))] * 4
