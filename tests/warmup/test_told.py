"""What runs of adjusted samplers tell: sample_stats, summary, and a warning at the end."""

import warnings

import numpy as np
import pytest

import isotherm

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)


def run(step_size=0.2, **options):
    given = {
        "dim": 2, "n_samples": 64, "n_steps": 40, "thinning": 2, "seed": 1, "sampler": "hmc",
        "backend": "numpy", "return_trajectory": True, "return_diagnostics": True, "n_leapfrog": 7,
    }  # fmt: skip
    plan = isotherm.make_plan(WELL, step_size=step_size, **given | options)
    return isotherm.run(plan, WELL)


def test_arviz_gets_what_is_known_of_each_draw():
    pytest.importorskip("arviz")
    step_sizes = np.linspace(0.1, 0.3, 40)
    result = run(step_sizes)
    stats = isotherm.to_arviz(result)["sample_stats"]
    found = result.diagnostics
    for name in ("energy", "energy_error", "acceptance_rate", "diverging"):
        assert stats[name].dims == ("chain", "draw") or stats[name].shape == (64, 20)
        np.testing.assert_array_equal(stats[name], np.asarray(getattr(found, name)).T)
    np.testing.assert_array_equal(stats["step_size"][3], step_sizes[1::2])
    assert stats["n_steps"].shape == (64, 20)
    # Steps 1, 3, 5, ... have the radical inverses 1/4, 1/8, 3/8, ... of 2, 4, 6, ...
    np.testing.assert_array_equal(stats["n_steps"][0, :3], np.ceil(7 * np.array([1, 0.5, 1.5]) / 4))


def test_a_summary_tells_acceptance_and_nested_r_hat():
    pytest.importorskip("arviz")
    result = run()
    found = isotherm.summary(result, n_superchains=8)
    assert (found["acceptance"] == result.info.acceptance_rate).all()
    assert (found["divergences"] == 0).all()
    assert found["r_hat_nested"].between(1.0, 1.1).all()
    apart = result.trajectory + np.repeat([0.0, 5.0], 4)[np.arange(64) % 8, None, None]
    assert (isotherm.summary(apart, n_superchains=8)["r_hat_nested"] > 1.5).all()
    for wrong in (1, 64, 7, 2.5):
        with pytest.raises(isotherm.InputError, match="n_superchains"):
            isotherm.summary(result, n_superchains=wrong)


def test_a_summary_tells_the_virial():
    pytest.importorskip("arviz")
    result = run(noise_scale=0.5)
    found = isotherm.summary(result, energy=WELL, noise_scale=0.5)
    expected = isotherm.virial(WELL, result, noise_scale=0.5)
    np.testing.assert_array_equal(found["virial"], expected.coordinates)
    np.testing.assert_array_equal(found["mcse_virial"], expected.errors)
    assert "virial" not in isotherm.summary(result)
    with pytest.warns(isotherm.SamplingWarning, match="must be 1"):
        isotherm.summary(result, energy=WELL, temperature=1.0)
    with pytest.raises(isotherm.InputError, match="give the energy, too"):
        isotherm.summary(result, temperature=1.0)


def test_a_summary_tells_nothing_of_what_is_not_finite():
    pytest.importorskip("arviz")
    x = np.random.default_rng(0).normal(size=(8, 20, 2))
    x[3, 5:, 1] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = isotherm.summary(x, energy=isotherm.HarmonicEnergy(), n_superchains=2)
    assert found.loc["x[1]"].isna().all()
    assert found.loc["x[0]"].notna().all()


@pytest.mark.parametrize("options", [{"coords": {"x_dim_0": [1]}}, {"fmt": "xarray"}])
def test_columns_are_of_a_whole_table(options):
    pytest.importorskip("arviz")
    x = np.random.default_rng(0).normal(size=(8, 20, 2))
    with pytest.raises(isotherm.InputError, match="a row for every coordinate"):
        isotherm.summary(x, energy=isotherm.HarmonicEnergy(), **options)


@pytest.mark.parametrize(
    ("step_size", "message"), [(3.0, "hardly move"), (1e-4, "slower than they could")]
)
def test_an_acceptance_near_0_or_1_is_told_once(step_size, message):
    with pytest.warns(isotherm.SamplingWarning, match=message) as caught:
        run(step_size)
    assert len(caught) == 1
    run(step_size, on_divergence="ignore")


def test_divergences_in_few_chains_are_told():
    x = np.full((64, 2), 0.5)
    x[:2] = 40.0
    with pytest.warns(isotherm.SamplingWarning, match="2 of 64 chains"):
        isotherm.sample_chain(
            WELL, x=x, dim=2, n_steps=40, sampler="hmc", step_size=0.2, seed=1, backend="numpy"
        )


def test_a_store_tells_the_tuning(tmp_path):
    sampler = isotherm.HamiltonianMonteCarlo(WELL, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, dim=2, n_warmup=60, n_pilot=8, seed=1, mass="dense")
    options = {"x": tuning.x, "n_samples": 8, "seed": 2}
    whole = tuning.sampler.sample_chain(n_steps=20, return_trajectory=True, **options)
    tuning.sampler.sample_chain(n_steps=12, store=tmp_path / "run", **options)
    stored = isotherm.open_run(tmp_path / "run")
    assert stored.info.tuning == tuning.to_json()
    found = isotherm.Tuning.from_json(stored.info.tuning)
    assert found.step_size == tuning.step_size
    assert np.array_equal(found.inverse_mass, tuning.inverse_mass)
    assert isotherm.to_arviz(stored)["posterior"].attrs["tuning"] == tuning.to_json()
    gone_on = isotherm.resume(tmp_path / "run", WELL, n_steps=8)
    assert gone_on.info.tuning == tuning.to_json()
    assert np.array_equal(gone_on.trajectory, whole)


def test_one_call_tells_the_tuning_and_others_none():
    options = {"dim": 2, "n_samples": 4, "n_steps": 4, "seed": 1, "return_info": True}
    options |= {"sampler": "mala", "backend": "numpy", "step_size": 0.1}
    _, info = isotherm.sample_chain(WELL, **options)
    assert info.tuning is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        _, info = isotherm.sample_chain(WELL, n_warmup=20, **options)
    assert isotherm.Tuning.from_json(info.tuning).n_warmup == 20


def told(energy, x, **options):
    """The warning at the end of a short run, or None."""
    given = {"sampler": "hmc", "step_size": 0.2, "seed": 1, "backend": "numpy"} | options
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        isotherm.sample_chain(energy, x, **given)
    assert len(caught) <= 1
    return str(caught[0].message) if caught else None


def test_short_runs_that_reject_everything_are_told():
    x = np.full((4, 2), 0.5)
    harmonic, large = isotherm.HarmonicEnergy(), {"n_leapfrog": 1, "step_size": 5.0}
    assert "0.0% of the proposals were accepted" in told(harmonic, x, n_steps=5, **large)
    assert told(harmonic, x, n_steps=4, **large) is None  # 16 proposals
    assert told(WELL, x, n_steps=4) is None


@isotherm.formula
def wall(x):
    """Infinite beyond 1."""
    return isotherm.math.where(x > 1.0, 1.0 / (0.0 * x), 0.5 * x * x)


@pytest.mark.parametrize("sampler", ["hmc", "mala"])
def test_chains_that_start_where_the_energy_is_infinite_are_told(sampler):
    beyond, within = np.full((3, 1), 2.0), np.full((30, 1), 0.5)
    assert "all 3 proposals diverged" in told(wall(), beyond, n_steps=1, sampler=sampler)
    both = np.concatenate([beyond, within])
    message = told(wall(), both, n_steps=20, sampler=sampler)
    assert message.startswith("3 of 33 chains rejected each of their 20 proposals")
    assert told(wall(), within, n_steps=20, sampler=sampler) is None


def test_a_few_of_many_chains_may_be_at_an_edge():
    @isotherm.formula
    def far_wall(x):
        return isotherm.math.where(x > 9.0, 1.0 / (0.0 * x), 0.5 * x * x)

    x = np.full((3000, 1), 0.5)
    x[:2] = 10.0
    assert told(far_wall(), x, n_steps=20, sampler="mala") is None
    x[:4] = 10.0
    assert told(far_wall(), x, n_steps=20, sampler="mala").startswith("4 of 3000 chains")


def test_what_is_told_of_a_run_that_goes_on_is_of_its_own_steps(tmp_path):
    pytest.importorskip("zarr")
    store = tmp_path / "run.zarr"
    plan = isotherm.make_plan(WELL, sampler="hmc", dim=2, n_steps=2000, seed=1, step_size=0.2)
    isotherm.run(plan, WELL, store=store)
    assert isotherm.resume(store, WELL, n_steps=2, step_size=0.01).info.acceptance_rate == 1.0
