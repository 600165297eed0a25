"""A temperature a chain: each chain is that of a run at its own temperature, and has its law."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import isotherm
from isotherm import transitions as tr
from isotherm._arithmetic.arrays import to_numpy
from isotherm.errors import InputError

WELL = isotherm.DoubleWellEnergy()
LADDER = np.array([[0.5], [1.0], [3.0], [0.5], [1.0], [3.0], [0.25]])
RUN = {
    "dim": 2, "n_samples": len(LADDER), "n_steps": 20, "burn_in": 3, "step_size": 0.05, "seed": 3,
    "chain_offset": 5, "return_trajectory": True, "return_diagnostics": True,
}  # fmt: skip

same = np.testing.assert_array_equal


def run(energy=WELL, x=None, momentum=None, executor=None, n_shares=None, store=None, **options):
    options = {"backend": "numpy"} | RUN | options
    if x is not None:
        del options["dim"]
    plan = isotherm.make_plan(energy, x, **options)
    return isotherm.run(
        plan, energy, x, momentum=momentum, executor=executor, n_shares=n_shares, store=store
    )


def check_rows(got, whole, rows):
    """Some chains of a run are the chains of another."""
    same(to_numpy(got.trajectory), to_numpy(whole.trajectory)[rows])
    for name, value in got.state.items():
        same(to_numpy(value), to_numpy(whole.state[name])[rows], err_msg=name)
    same(to_numpy(got.diagnostics.energy), to_numpy(whole.diagnostics.energy)[:, rows])


@pytest.mark.parametrize("sampler", ["underdamped", "mala"])
def test_a_run_from_the_streams_normals_is_that_of_each_temperature(backend, sampler):
    whole = run(backend=backend, sampler=sampler, temperature=LADDER)
    for temperature in np.unique(LADDER):
        alone = run(backend=backend, sampler=sampler, temperature=float(temperature))
        rows = np.flatnonzero(temperature == LADDER)
        same(to_numpy(alone.trajectory)[rows], to_numpy(whole.trajectory)[rows])
        for name, value in alone.state.items():
            same(to_numpy(value)[rows], to_numpy(whole.state[name])[rows], err_msg=name)


@pytest.mark.parametrize(
    ("sampler", "options", "widened"),
    [
        ("langevin", {"step_size": 0.2}, 1.0 / (1.0 - 0.5 * 0.2)),  # x' = (1 - η)x + √(2ηT)ξ
        ("underdamped", {"step_size": 0.5}, 1.0),
        ("mala", {"step_size": 0.5}, 1.0),
        ("hmc", {"step_size": 0.5, "n_leapfrog": 5}, 1.0),
        ("hmc", {"step_size": 0.5, "n_leapfrog": 5, "friction": 0.5}, 1.0),
    ],
)
def test_each_chain_has_the_law_of_its_temperature(sampler, options, widened):
    """The variance of ½x² at T is T; off by 5 errors once in 10⁶ seeds, for this one never."""
    ladder = np.repeat([0.25, 1.0, 9.0], 2000)[:, None]
    x = run(
        isotherm.HarmonicEnergy(), sampler=sampler, dim=1, n_samples=len(ladder), n_steps=60,
        temperature=ladder, return_trajectory=False, return_diagnostics=False, **options,
    ).samples  # fmt: skip
    variances = (x.reshape(3, -1).astype(np.float64) ** 2).mean(axis=1)
    expected = widened * np.array([0.25, 1.0, 9.0])
    assert (np.abs(variances / expected - 1.0) < 5.0 * np.sqrt(2.0 / 2000)).all()


@pytest.mark.parametrize("sampler", ["langevin", "hmc"])
def test_rows_and_shards_are_those_of_the_whole(sampler):
    options = {"sampler": sampler, "temperature": LADDER, "decay": 0.01}
    whole = run(**options)
    part = {"n_samples": 4, "chain_offset": RUN["chain_offset"] + 3, "temperature": LADDER[3:]}
    check_rows(run(**options | part), whole, slice(3, None))
    with ThreadPoolExecutor(2) as executor:
        shared = run(**options, executor=executor, n_shares=3)
    check_rows(shared, whole, slice(None))
    same(shared.diagnostics.mean, whole.diagnostics.mean)
    same(shared.diagnostics.variance, whole.diagnostics.variance)


def test_a_store_keeps_them_and_a_run_goes_on_with_them(tmp_path):
    options = {"sampler": "underdamped", "temperature": LADDER}
    path = tmp_path / "run"
    run(**options, store=path)
    assert isotherm.open_run(path).trajectory.shape == (7, 20, 2)
    with pytest.raises(InputError, match=r"a chain is the same for all steps.*step_offset=23"):
        isotherm.resume(path, WELL, n_steps=9, temperature=2.0)
    isotherm.resume(path, WELL, n_steps=5)
    gone_on = isotherm.resume(path, WELL, n_steps=4, temperature=LADDER, backend="numpy")
    check_rows(gone_on, run(**options, n_steps=29), slice(None))
    other = tmp_path / "other"
    run(sampler="underdamped", store=other)
    with pytest.raises(InputError, match="a chain is the same for all steps"):
        isotherm.resume(other, WELL, n_steps=9, noise_scale=LADDER)


def test_axes_of_events_and_arrays_of_others_are_taken():
    x = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    whole = run(x=x, temperature=LADDER)
    check_rows(run(x=x, temperature=LADDER[..., None]), whole, slice(None))
    check_rows(run(x=x, temperature=LADDER.tolist()), whole, slice(None))
    check_rows(run(x=x, noise_scale=np.sqrt(LADDER)), whole, slice(None))
    sampler = isotherm.LangevinDynamics(WELL, step_size=0.05, temperature=LADDER, backend="numpy")
    same(sampler.noise_scale, np.sqrt(LADDER))
    same(sampler.sample_chain(x, n_steps=23, seed=3, chain_offset=5), whole.samples)


def test_a_step_of_ones_own_can_compute_with_them(backend):
    def step(state, c, draw):
        scale = 1.0 + c.noise * c.noise  # a number a chain, made in the step
        x = state.x - c.step_size * tr.gradient(state.x) / scale
        return {"x": tr.perturb(x, c.noise, draw.normal(tr.Stream.LANGEVIN))}, {}

    def coefficients(given):
        return {"step_size": given.step_size, "noise": given.noise_scale * np.sqrt(given.step_size)}

    tr.register(tr.Transition("scaled", step, coefficients))
    options = {"sampler": "scaled", "backend": backend, "step_size": 0.01, "decay": 0.05}
    whole = run(**options, noise_scale=LADDER)
    for scale in np.unique(LADDER):
        rows = np.flatnonzero(scale == LADDER)
        alone = run(**options, noise_scale=float(scale))
        same(to_numpy(alone.trajectory)[rows], to_numpy(whole.trajectory)[rows])


def test_the_virial_is_that_of_each_temperature():
    ladder = np.resize(LADDER, (700, 1))
    options = {"sampler": "mala", "n_samples": 700, "temperature": ladder, "step_size": 0.1}
    result = run(isotherm.HarmonicEnergy(), **options, n_steps=80)
    assert isotherm.virial(isotherm.HarmonicEnergy(), result, temperature=ladder).is_right
    assert isotherm.virial(isotherm.HarmonicEnergy(), result).is_right  # it knows them
    with pytest.warns(isotherm.SamplingWarning):
        isotherm.virial(isotherm.HarmonicEnergy(), result, temperature=1.0)
    with pytest.raises(InputError, match=r"of shape \(700, 1\)"):
        isotherm.virial(isotherm.HarmonicEnergy(), result, temperature=LADDER)


REFUSED = {
    r"has shape \(6, 1\).*which is \(7, 1\)": {"temperature": LADDER[:6]},
    r"has shape \(7,\).*one a chain has the shape \(n_samples, 1\)": {"temperature": LADDER[:, 0]},
    r"has shape \(7, 2\).*the shape \(n_samples, 1\)": {"noise_scale": np.ones((7, 2))},
    "0 or positive and finite of every chain, not -1.0": {"noise_scale": -np.ones((7, 1))},
    "finite of every chain, not nan": {"temperature": np.full((7, 1), np.nan)},
    "must be positive.*for sampler 'mala'": {"temperature": 0.0 * LADDER, "sampler": "mala"},
    "of chain 0, which rounds to inf in float32": {"noise_scale": 1e39 * LADDER},
    r"step_size has shape \(7, 1\)": {"step_size": LADDER},
    r"friction has shape \(7, 1\)": {"friction": LADDER, "sampler": "underdamped"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_none_a_chain_is_refused_in_one_sentence(message):
    with pytest.raises(InputError, match=message):
        isotherm.make_plan(WELL, backend="numpy", **RUN | REFUSED[message])


def test_those_without_chains_of_their_own_refuse_it():
    sampler = isotherm.LangevinDynamics(WELL, step_size=0.05, temperature=LADDER)
    with pytest.raises(InputError, match="a warm-up is for one noise_scale, not for one a chain"):
        sampler.sample_chain(dim=2, n_samples=7, n_warmup=100)
    buffer = isotherm.ChainBuffer(sampler, capacity=20, shape=2, seed=0)
    with pytest.raises(InputError, match="a buffer draws other chains at each call"):
        buffer.draw(7, n_steps=3, batch_size=4)
    with pytest.raises(InputError, match=r"has shape \(7, 2\)"):
        isotherm.LangevinDynamics(WELL, noise_scale=np.ones((7, 2)))


def test_a_plan_says_so():
    plan = isotherm.make_plan(WELL, **RUN | {"noise_scale": LADDER})
    assert "0.25 … 3 (7 chains)" in str(plan)
    assert plan.of_chains(2, 4).noise_scale.values.tolist() == [[3.0], [0.5]]
