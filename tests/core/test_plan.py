"""The plan: frozen, printable, and right about what a run needs."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isotherm
from isotherm import InputError
from isotherm._planning.extend_plan import extend_plan
from isotherm.backend import Schedule

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
        "on divergence  warn\n"
        "cost           print(isotherm.explain(energy, plan=plan)) measures a step"
    )


def test_a_plan_is_frozen_plain_data():
    plan = isotherm.make_plan(WELL, **OPTIONS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.n_steps = 5
    with pytest.raises(ValueError, match="read-only"):
        plan.step_size.values[...] = 1.0
    assert pickle.loads(pickle.dumps(plan)) == plan


@pytest.mark.parametrize("name", ["stream_version", "arithmetic_version"])
def test_a_run_in_other_bits_is_not_gone_on_with(name):
    plan = dataclasses.replace(isotherm.make_plan(WELL, **OPTIONS), **{name: 7})
    keep = dict.fromkeys(("n_steps", "step_size", "noise_scale", "backend", "device"))
    with pytest.raises(InputError, match=f"the run has {name} 7 and this release of isotherm has"):
        extend_plan(plan, 5, WELL, decay=0.0, **keep)


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


@given(step_size=st.floats(1e-6, 10), scale=st.just(0.0) | st.floats(1e-30, 10))
def test_coefficients_are_rounded_once(step_size, scale):
    options = OPTIONS | {"step_size": step_size, "noise_scale": scale}
    plan = isotherm.make_plan(WELL, **options)
    made = plan.coefficients(3, 7)
    steps, noise = made["step_size"], made["noise"]
    assert steps.tolist() == [float(np.float32(step_size))] * 4
    assert noise.tolist() == [float(np.float32(scale * np.sqrt(2 * np.float64(step_size))))] * 4


def test_a_schedule_that_decays_is_a_formula():
    energy, n_steps = isotherm.HarmonicEnergy(), 2**33 - 8
    options = {"dim": 1, "n_steps": n_steps, "step_size": 0.1, "decay": 1e-9, "step_offset": 7}
    plan = isotherm.make_plan(energy, **options, seed=0)
    assert "0.1 … 1.85968e-05" in str(plan)
    assert len(pickle.dumps(plan)) < 2000
    steps = np.array([0, 1, 10**6, n_steps - 1])
    got = np.concatenate([plan.step_size.between(s, s + 1) for s in steps.tolist()])
    np.testing.assert_allclose(got, 0.1 * (1.0 - 1e-9) ** (7.0 + steps), rtol=1e-14)
    assert plan.coefficients(n_steps - 3, n_steps)["step_size"].shape == (3,)


@given(
    decay=st.floats(1e-9, 0.2),
    first=st.integers(0, 40),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_a_schedule_has_the_same_bits_however_it_is_cut(decay, first, cuts):
    schedule = Schedule(0.3, decay, first, 30)
    bounds = [0, *sorted(cuts), 30]
    parts = [schedule.between(*pair) for pair in itertools.pairwise(bounds)]
    assert np.concatenate(parts).tobytes() == schedule.values.tobytes()


@pytest.mark.parametrize("name", ["step_size", "noise_scale"])
def test_a_function_of_very_many_steps_is_not_evaluated(name):
    with pytest.raises(isotherm.InputError, match=f"{name} would hold a number for each of"):
        isotherm.make_plan(WELL, dim=1, n_steps=2**33, **{name: lambda step: 0.1})


@pytest.mark.parametrize("decay", [0.0, 1e-9])
def test_a_run_of_very_many_steps_begins_at_once(decay, backend):
    energy = isotherm.HarmonicEnergy()
    plan = isotherm.make_plan(
        energy, dim=1, n_steps=2**33, step_size=0.1, decay=decay, seed=0, backend=backend
    )
    result = isotherm.run(plan, energy, callback=lambda progress: True)
    assert result.info.n_steps == plan.steps_per_block


@pytest.mark.parametrize("options", [{"decay": 0.1}, {"step_size": []}, {}])
def test_a_run_of_no_steps_has_a_plan_too(options):
    energy = isotherm.HarmonicEnergy()
    plan = isotherm.make_plan(energy, dim=2, n_steps=0, seed=0, backend="numpy", **options)
    assert "0 burn-in + 0" in str(plan)
    assert isotherm.run(plan, energy).samples.shape == (1, 2)


def test_a_sampler_stands_in_the_energys_place():
    energy = isotherm.HarmonicEnergy()
    sampler = isotherm.MALA(energy, step_size=0.1, seed=4)
    plan = isotherm.make_plan(sampler, dim=2, n_steps=3)
    assert plan == isotherm.make_plan(
        energy, dim=2, n_steps=3, sampler="mala", step_size=0.1, seed=4
    )
    samples = isotherm.run(plan, sampler).samples
    np.testing.assert_array_equal(samples, sampler.sample_chain(dim=2, n_steps=3))
    with pytest.raises(InputError, match="the plan is of sampler 'mala', not of 'langevin'"):
        isotherm.run(plan, isotherm.LangevinDynamics(energy))
    with pytest.raises(InputError, match="step_size is the sampler's own"):
        isotherm.make_plan(sampler, dim=2, step_size=0.2)
    for refused in (isotherm.sample_chain, isotherm.MALA):  # whose own arguments it would lose
        with pytest.raises(InputError, match="the energy is a MALA; call its own sample_chain"):
            refused(sampler)
