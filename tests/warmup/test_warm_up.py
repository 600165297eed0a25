"""Warm-ups find scales, on every backend the same, and say where they did not."""

import json
import pickle
import warnings

import numpy as np
import pytest

import isotherm
from tests import backends

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@isotherm.formula(dim=10)
def eight_schools(x):
    """Gelman et al., "Bayesian Data Analysis", section 5.5, non-centred, τ half-Cauchy(5)."""
    tau = 5.0 * np.exp(x[1])
    u = 0.5 * x[0] * x[0] - x[1] + np.log(1.0 + np.exp(2.0 * x[1]))
    for j in range(8):
        miss = (EFFECTS[j] - 5.0 * x[0] - tau * x[2 + j]) / ERRORS[j]
        u = u + 0.5 * miss * miss + 0.5 * x[2 + j] * x[2 + j]
    return u


SAMPLERS = {
    "hmc": isotherm.HamiltonianMonteCarlo,
    "mala": isotherm.MALA,
    "langevin": isotherm.LangevinDynamics,
    "underdamped": isotherm.UnderdampedLangevin,
}

# Of 4000 chains with at most 20 substeps of 0.1, 2300 steps each; their errors are at most 0.0025.
SCHOOLS_MEAN = [
    0.8781, -0.7998, 0.3171, 0.0965, -0.0868, 0.0615, -0.1598, -0.0722, 0.3551, 0.0764,
]  # fmt: skip


def gaussian(dim=10, condition=1e4):
    sd = np.logspace(0.0, -0.5 * np.log10(condition), dim)
    return isotherm.GaussianEnergy(mean=np.arange(dim) / dim, cov=np.diag(sd * sd)), sd


def made(sampler, energy, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", isotherm.WarmUpWarning)
        return isotherm.warm_up(sampler(energy, dtype="float64"), seed=3, **options)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_scales_of_an_ill_conditioned_gaussian_are_found(sampler):
    energy, sd = gaussian()
    tuning = made(sampler, energy)
    np.testing.assert_allclose(tuning.inverse_mass, sd**2, rtol=0.25)
    draws = tuning.sampler.sample_chain(x=tuning.x, n_samples=2000, n_steps=100, seed=4)
    allowed = 0.05 if sampler is isotherm.LangevinDynamics else 0.0  # its stated bias
    np.testing.assert_allclose(draws.std(0) / sd, 1.0 + allowed / 2, atol=4 / np.sqrt(4000) + 0.01)
    # Chains that start at one pilot are not independent until it is forgotten.
    np.testing.assert_allclose((draws.mean(0) - energy.mean) / sd, 0.0, atol=4 / np.sqrt(1000))


def test_a_temperature_scales_what_is_found():
    energy, sd = gaussian(dim=3, condition=100.0)
    cold = isotherm.warm_up(
        isotherm.HamiltonianMonteCarlo(energy, noise_scale=0.1, dtype="float64"), seed=3
    )
    assert cold.settled
    np.testing.assert_allclose(cold.inverse_mass, sd**2, rtol=0.25)
    draws = cold.sampler.sample_chain(x=cold.x, n_samples=2000, n_steps=50, seed=4)
    np.testing.assert_allclose(draws.std(0) / (0.1 * sd), 1.0, atol=0.08)


def test_a_dense_inverse_mass_is_the_covariance():
    cov = np.array([[1.0, 0.95], [0.95, 1.0]])
    energy = isotherm.GaussianEnergy(mean=[0.0, 0.0], cov=cov)
    dense = made(isotherm.HamiltonianMonteCarlo, energy, mass="dense")
    np.testing.assert_allclose(dense.inverse_mass, cov, atol=0.15)
    diagonal = made(isotherm.HamiltonianMonteCarlo, energy)
    assert dense.slowest == pytest.approx(1.0, abs=0.1)
    assert diagonal.slowest == pytest.approx(np.sqrt(1.95), rel=0.1)
    assert dense.n_leapfrog < diagonal.n_leapfrog


@isotherm.formula(dim=2)
def lopsided(x):
    """A mode at 0, one of a weight of e^-50 at 30, and no energy below -20."""
    near, far = 0.5 * np.sum(x * x), 50.0 + 0.5 * np.sum((x - 30.0) ** 2)
    return np.minimum(near, far) + 0.0 * np.sqrt(x[0] + 20.0)


def test_pilots_without_weight_go_where_others_are():
    start = np.zeros((64, 2))
    start[:6], start[6:9] = 30.0, -25.0
    tuning = made(isotherm.HamiltonianMonteCarlo, lopsided(), x=start)  # and warns of nothing
    assert np.abs(np.asarray(tuning.x)).max() < 10.0
    np.testing.assert_allclose(tuning.inverse_mass, 1.0, rtol=0.2)


def unsettled(energy, x):
    sampler = isotherm.HamiltonianMonteCarlo(energy, dtype="float64")
    return isotherm.warm_up(sampler, x=x, n_warmup=200, seed=3)


@pytest.mark.parametrize("n_narrow", [4, 40])
def test_pilots_in_a_mode_of_weight_stay_however_narrow_it_is(n_narrow):
    means = np.array([[0.0, 0.0], [30.0, 0.0]])
    scales = np.repeat([1.0, 1e-3], [64 - n_narrow, n_narrow])
    start = np.repeat(means, [64 - n_narrow, n_narrow], axis=0)
    start = start + scales[:, None] * np.random.default_rng(0).normal(size=start.shape)
    energy = isotherm.GaussianMixtureEnergy(means=means, scales=[1.0, 1e-3], weights=[0.5, 0.5])
    with pytest.warns(isotherm.WarmUpWarning, match="did not settle"):
        tuning = unsettled(energy, start)
    assert (np.asarray(tuning.x)[:, 0] > 15.0).sum() == n_narrow


def test_a_mode_of_correlated_coordinates_takes_no_pilots_of_others():
    lower = np.linalg.cholesky(np.full((8, 8), 1.0 - 1e-6) + 1e-6 * np.eye(8))

    @isotherm.formula(dim=8)
    def two_modes(x):
        y = isotherm.math.solve_triangular(lower, x - 30.0)
        correlated = 0.5 * np.sum(y * y) + np.sum(np.log(np.diag(lower)))
        return -np.logaddexp(-0.5 * np.sum(x * x), -correlated)

    start = np.random.default_rng(0).normal(size=(64, 8))
    start[24:] = 30.0 + start[24:] @ lower.T
    with pytest.warns(isotherm.WarmUpWarning, match="R-hat"):
        tuning = unsettled(two_modes(), start)
    assert (np.asarray(tuning.x)[:, 0] < 15.0).sum() == 24


def test_a_dense_inverse_mass_keeps_correlations_near_1():
    r = 1.0 - 1e-5
    energy = isotherm.GaussianEnergy(mean=[0.0, 0.0], cov=[[1.0, r], [r, 1.0]])
    tuning = made(isotherm.HamiltonianMonteCarlo, energy, mass="dense")
    narrow = np.array([1.0, -1.0]) @ tuning.inverse_mass @ np.array([1.0, -1.0])
    assert narrow == pytest.approx(2e-5, rel=0.2)
    assert tuning.step_size > 0.5


def test_eight_schools_agree_with_a_long_run():
    energy = eight_schools()
    tuning = made(isotherm.HamiltonianMonteCarlo, energy)
    assert tuning.acceptance == pytest.approx(0.8, abs=0.1)
    draws = tuning.sampler.sample_chain(
        x=tuning.x, n_samples=512, n_steps=400, burn_in=50, return_trajectory=True, seed=4
    )
    groups = draws.reshape(8, 64, 400, 10).mean(axis=(0, 2))  # of chains from the same pilot
    error = groups.std(axis=0, ddof=1) / np.sqrt(64)
    assert (np.abs(groups.mean(axis=0) - SCHOOLS_MEAN) < 4.0 * np.hypot(error, 0.0025)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("word", ["hmc", "langevin"])
def test_tunings_have_the_same_bits_everywhere(word, dtype):
    sampler = {"hmc": isotherm.HamiltonianMonteCarlo, "langevin": isotherm.LangevinDynamics}[word]
    energy = isotherm.DoubleWellEnergy(barrier_height=0.5)
    found = {}
    for name in {"numpy", "numba", "torch"} & set(backends.names()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", isotherm.WarmUpWarning)
            tuning = isotherm.warm_up(
                sampler(energy, backend=name, dtype=dtype), dim=5, n_warmup=60, n_pilot=16, seed=3
            )
        found[name] = tuning.to_json().split('"seconds"')[0], np.asarray(tuning.x).tobytes()
    assert len(set(found.values())) == 1, found


def test_a_chain_does_not_depend_on_how_many_there_are():
    energy, _ = gaussian(dim=3)
    sampler = isotherm.MALA(energy, dtype="float64")
    some, more = (
        sampler.sample_chain(n_samples=n, n_steps=5, n_warmup=100, seed=3)
        for n in (3, np.int64(100))
    )
    np.testing.assert_array_equal(some, more[:3])
    tuning = isotherm.warm_up(sampler, n_warmup=100, seed=3)
    rest = tuning.sampler.sample_chain(x=tuning.x, n_samples=90, n_steps=5, chain_offset=10, seed=3)
    np.testing.assert_array_equal(rest, more[10:])
    in_one_call = isotherm.sample_chain(
        energy, sampler="mala", n_samples=3, n_steps=5, n_warmup=100, seed=3, dtype="float64"
    )
    np.testing.assert_array_equal(in_one_call, some)


def test_pilots_share_no_noise_with_other_chains():
    energy, _ = gaussian(dim=3)
    sampler = isotherm.MALA(energy, step_size=0.1, dtype="float64")
    from isotherm._warmup.pilots import Pilots

    plan = sampler.pilot(None, {"n_samples": 4, "n_steps": 4, "seed": 3})
    pilots = Pilots(plan, energy, None, None)
    pilots.run(0)
    start = isotherm.sample_chain(energy, n_samples=4, n_steps=0, seed=3, dtype="float64")
    assert not np.intersect1d(pilots.states(), start).size


def test_json_gives_the_numbers_back():
    energy, _ = gaussian(dim=3)
    tuning = made(isotherm.HamiltonianMonteCarlo, energy)
    again = isotherm.Tuning.from_json(tuning.to_json())
    assert str(again) == str(tuning)
    assert again.to_json() == tuning.to_json()
    sampler = isotherm.HamiltonianMonteCarlo(energy, dtype="float64", **again.arguments)
    for one, other in zip((sampler, tuning.sampler), (tuning.sampler, sampler), strict=True):
        np.testing.assert_array_equal(*(s.sample_chain(n_steps=3, seed=1) for s in (one, other)))
    with pytest.raises(isotherm.InputError, match="holds no energy"):
        _ = again.sampler
    with pytest.raises(isotherm.InputError, match="holds no states"):
        _ = again.x


HONEST = isotherm.Tuning(
    word="hmc", step_size=0.5, inverse_mass=np.ones(3), n_leapfrog=4, friction=None, acceptance=0.6,
    target_accept=0.651, r_hat=1.0, slowest=1.0, n_warmup=20, n_pilot=64, seed=1, seconds=0.1,
    advice=(), event_shape=(3,),
).to_json()  # fmt: skip


def test_what_hostile_hands_wrote_is_short_and_a_line():
    held = json.loads(HONEST)
    with pytest.raises(isotherm.InputError) as error:
        isotherm.Tuning.from_json(json.dumps({**held, "event_shape": [2**31] * 32}))
    assert len(str(error.value)) < 200
    table = str(isotherm.Tuning.from_json(json.dumps({**held, "advice": ["\x1b[2J\nall well"]})))
    assert "\x1b" not in table
    assert len(table.splitlines()) == len(str(isotherm.Tuning.from_json(HONEST)).splitlines())


def test_an_honest_tuning_is_read_and_one_with_two_step_sizes_is_not():
    assert isotherm.Tuning.from_json(HONEST).to_json() == HONEST
    with pytest.raises(isotherm.InputError, match="twice"):
        isotherm.Tuning.from_json(HONEST[:-1] + ', "step_size": 3.0}')


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step_size", 0.0), ("step_size", "1"), ("step_size", True), ("step_size", None),
        ("step_size", 10**400), ("inverse_mass", [1.0]), ("inverse_mass", [1.0, -1.0, 1.0]),
        ("inverse_mass", [[1.0], [2.0, 3.0], 4]), ("inverse_mass", {"a": 1}), ("seed", -1),
        ("seed", 2**64), ("n_leapfrog", 1.5), ("n_leapfrog", 10**30), ("word", "nuts"),
        ("word", ["hmc"]), ("advice", "none"), ("event_shape", []), ("event_shape", [10**30]),
        ("event_shape", [0]), ("acceptance", 2.0), ("friction", -1.0), ("extra", 1),
        ("format", "other"), ("version", 99), ("version", True), ("n_leapfrog", None),
        ("n_leapfrog", 10**9), ("friction", 1.0), ("step_size", 1e300),
        ("inverse_mass", [1.0, 1e300, 1.0]), ("n_warmup", True), ("seconds", True),
        ("inverse_mass", [1.0, 5e-324, 1.0]), ("inverse_mass", [1.0, 1e-200, 1.0]),
        ("inverse_mass", (1e-200 * np.eye(3)).tolist()),
    ],
)  # fmt: skip
def test_a_hostile_tuning_is_refused(field, value):
    held = json.loads(HONEST)
    held[field] = value
    with pytest.raises(isotherm.InputError) as error:
        isotherm.Tuning.from_json(json.dumps(held))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "NaN", "[" * 10**5, None, b"\xff"])
def test_what_is_no_tuning_is_refused(text):
    with pytest.raises(isotherm.InputError, match="tuning"):
        isotherm.Tuning.from_json(text)


OF_SAMPLERS = ("n_leapfrog", "step_size", "friction", "inverse_mass", "dtype")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_warmup": 5}, "n_warmup"),
        ({"n_warmup": 2.5}, "n_warmup"),
        ({"n_pilot": 1}, "n_pilot"),
        ({"target_accept": 1.0}, "target_accept"),
        ({"target_accept": "high"}, "target_accept"),
        ({"mass": "full"}, "mass"),
        ({"relative_bias": 0.0}, "relative_bias"),
        ({"dim": 4}, "dimension"),
        ({"x": [[np.nan, 0.0, 0.0]]}, "finite"),
        ({"n_leapfrog": [1, 2, 3]}, "one n_leapfrog, not for a schedule"),
        ({"n_leapfrog": 2000}, "up to 1024 substeps"),
        ({"step_size": lambda step: 0.1}, "one step_size, not for a schedule"),
        ({"friction": lambda step: 0.1}, "one friction, not for a schedule"),
        ({"inverse_mass": 2.0, "mass": "dense"}, "leave out one"),
        ({"inverse_mass": 1e-200, "dtype": "float64"}, "inverse_mass from"),
    ],
)
def test_bad_input_is_refused(options, message):
    energy, _ = gaussian(dim=3)
    own = {k: options.pop(k) for k in [*options] if k in OF_SAMPLERS}
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.warm_up(isotherm.HamiltonianMonteCarlo(energy, **own), **options)


@pytest.mark.parametrize(
    ("word", "given"),
    [
        ("hmc", {"n_leapfrog": 3, "inverse_mass": [2.0, 3.0]}),
        ("hmc", {"n_leapfrog": 10, "friction": 0.5}),  # also where it is the default
        ("underdamped", {"friction": 1.0}),
        ("langevin", {"inverse_mass": [2.0, 3.0], "step_size": 0.1}),
    ],
)
def test_what_was_given_stands(word, given):
    energy, _ = gaussian(dim=2, condition=4.0)
    common = {"backend": "numpy", "dtype": "float64"}
    sampler = SAMPLERS[word](energy, **given, **common)
    tuning = isotherm.warm_up(sampler, n_warmup=60, n_pilot=16, seed=1)
    found = given | tuning.arguments
    for name in given.keys() - {"step_size"}:
        np.testing.assert_array_equal(found[name], given[name])
        np.testing.assert_array_equal(getattr(tuning.sampler, name), given[name])
    x = tuning.sampler.sample_chain(x=tuning.x, n_samples=4, n_steps=5, seed=2)
    run = {"n_samples": 4, "n_steps": 5, "seed": 2}
    np.testing.assert_array_equal(
        x, isotherm.sample_chain(energy, tuning.x, sampler=word, **run, **found, **common)
    )
    # In one call, of a seed for both.
    one = isotherm.sample_chain(energy, sampler=word, n_warmup=60, **run, **given, **common)
    again = sampler.sample_chain(n_warmup=60, **run)
    np.testing.assert_array_equal(one, again)


def test_what_a_warm_up_found_is_sought_anew():
    wide, _ = gaussian(dim=2, condition=1.0)
    sampler = isotherm.HamiltonianMonteCarlo(wide, backend="numpy", n_leapfrog=3)
    tuned = isotherm.warm_up(sampler, n_warmup=60, n_pilot=16, seed=1).sampler
    tuned.energy_function = 100.0 * wide
    again = isotherm.warm_up(tuned, n_warmup=200, n_pilot=16, seed=1)
    np.testing.assert_allclose(again.inverse_mass, 0.01, rtol=0.5)


@isotherm.formula(dim=41)
def scale(x, *, temperature=1.0):
    """40 normals of the scale e^(x[0]), which is near 1."""
    v = x[0]
    square = 12.5 * v * v + 0.5 * np.sum(x[1:] * x[1:]) * np.exp(-2.0 * v) + 40.0 * v
    return temperature * square


def test_langevin_steps_do_not_shift_what_many_others_tell_of():
    sampler = isotherm.LangevinDynamics(
        scale(temperature=4.0), temperature=4.0, backend="numpy", dtype="float64"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, n_warmup=300, seed=1)
    start = np.random.default_rng(0).normal(size=(1000, 41))  # of the law itself
    start[:, 0] *= 0.2
    start[:, 1:] *= np.exp(start[:, :1])
    x = tuning.sampler.sample_chain(start, n_steps=300, seed=2)
    # 5 % of the standard deviation and 3 errors; by the variances' step alone it is 0.4.
    assert abs(x[:, 0].mean()) / 0.2 < 0.05 + 3.0 / np.sqrt(1000)
    # Not less than need be: with s = 0.2 the shift is 20 s e^(4 s²) η standard deviations.
    assert tuning.step_size == pytest.approx(0.05 / (4.0 * np.exp(0.16)), rel=0.3)


def test_schedules_and_other_objects_are_refused():
    energy, _ = gaussian(dim=3)
    with pytest.raises(isotherm.InputError, match="noise_scale"):
        isotherm.warm_up(isotherm.MALA(energy, noise_scale=lambda step: 1.0 + step))
    with pytest.raises(isotherm.InputError, match="needs a sampler"):
        isotherm.warm_up(energy)
    wide = isotherm.HamiltonianMonteCarlo(isotherm.HarmonicEnergy())
    with pytest.raises(isotherm.InputError, match="64 coordinates"):
        isotherm.warm_up(wide, dim=65, mass="dense")


def test_few_steps_are_no_disagreement():
    energy = isotherm.GaussianEnergy(mean=np.zeros(10), cov=np.diag(np.arange(1.0, 11.0)))
    sampler = isotherm.HamiltonianMonteCarlo(energy, backend="numpy")
    for seed in range(5):
        assert isotherm.warm_up(sampler, n_warmup=40, seed=seed).settled
    with pytest.warns(isotherm.WarmUpWarning, match="too few steps to tell"):
        isotherm.warm_up(sampler, n_warmup=20, seed=3)


def test_starts_far_out_are_told():
    one = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), backend="numpy", dtype="float64")
    options = {"n_warmup": 100, "n_pilot": 8, "seed": 0}
    with pytest.raises(isotherm.InputError, match=r"too far out: .* is 1e\+60 where they start"):
        isotherm.warm_up(one, x=np.full((1, 2), 1e30), **options)
    with pytest.warns(isotherm.WarmUpWarning, match="came from far out"):
        isotherm.warm_up(one, x=np.full((1, 2), 1e12), **options)
    with pytest.warns(isotherm.WarmUpWarning, match="settle: the pilots are too far out"):
        isotherm.warm_up(one, x=np.full((1, 2), 1e150), **options)


@pytest.mark.parametrize("n_warmup", [40, 500])
def test_separate_modes_are_told(n_warmup):
    energy = isotherm.GaussianMixtureEnergy(
        means=[[-1.5, 0.0], [1.5, 0.0]], scales=[0.1, 0.1], weights=[0.5, 0.5]
    )
    with pytest.warns(isotherm.WarmUpWarning, match="the pilots disagree") as caught:
        tuning = isotherm.warm_up(isotherm.HamiltonianMonteCarlo(energy), n_warmup=n_warmup, seed=1)
    assert len(caught) == 1
    assert not tuning.settled
    assert "disagree" in str(tuning)


def test_pilots_that_cannot_move_are_an_error():
    @isotherm.formula
    def outside(x):
        return np.log(-1.0 - x * x)

    with pytest.raises(isotherm.InputError, match="no step of the pilots was accepted"):
        isotherm.warm_up(isotherm.HamiltonianMonteCarlo(outside, backend="numpy"), dim=2, seed=1)


@pytest.mark.parametrize(
    ("slope", "options"), [(0.0, {"bounds": (0.0, 1.0)}), (0.0, {}), (-0.1, {})]
)
@pytest.mark.parametrize("sampler", [isotherm.HamiltonianMonteCarlo, isotherm.MALA])
def test_an_energy_without_curvature_is_an_error_that_says_so(sampler, slope, options):
    energy = isotherm.formula(lambda x: slope * np.sum(x))()
    with pytest.raises(isotherm.InputError, match="flat or linear"):
        isotherm.warm_up(
            sampler(energy, backend="numpy", **options), x=np.full((64, 1), 0.5), seed=0
        )


@pytest.mark.parametrize("sampler", [isotherm.LangevinDynamics, isotherm.UnderdampedLangevin])
def test_a_gradient_without_its_energys_jumps_is_told(sampler):
    stairs = isotherm.formula(lambda x: np.sum(np.floor(np.abs(x))))()
    with pytest.warns(isotherm.WarmUpWarning, match="U has jumps"):
        isotherm.warm_up(sampler(stairs, backend="numpy"), dim=2, n_warmup=100, seed=1)


def test_bounds_curb_the_steps_of_unadjusted_samplers():
    energy = isotherm.GaussianEnergy(mean=[0.0], cov=[[1.0]])
    sampler = isotherm.LangevinDynamics(energy, backend="numpy", bounds=(-1.0, 2.0))
    tuning = isotherm.warm_up(sampler, x=np.full((1, 1), 0.5), seed=1)
    draws = tuning.sampler.sample_chain(x=tuning.x, n_samples=4096, n_steps=100, seed=2)
    # By quadrature. Without the curb it is 16 % too large.
    assert draws.var() == pytest.approx(0.5198, rel=0.09)


LAST = np.array([False, False, True])


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_what_is_found_is_of_what_moves(sampler):
    # Of coordinates without each other, the first two then draw and do what they do alone.
    found = sampler(isotherm.DoubleWellEnergy(barrier_height=0.5), backend="numpy")
    options = {"n_warmup": 60, "n_pilot": 16, "seed": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        alone = isotherm.warm_up(found, x=[0.5, 0.5], **options)
        frozen = isotherm.warm_up(found, x=[0.5, 0.5, 9.0], frozen=LAST, **options)
    np.testing.assert_array_equal(frozen.inverse_mass, [*alone.inverse_mass, 1.0])
    np.testing.assert_array_equal(np.asarray(frozen.x)[:, :2], alone.x)
    for name in ("step_size", "n_leapfrog", "friction", "acceptance", "r_hat", "slowest", "advice"):
        assert getattr(frozen, name) == getattr(alone, name), name
    draws = frozen.sampler.sample_chain(x=frozen.x, frozen=LAST, n_samples=20, n_steps=5, seed=1)
    assert (draws[:, 2] == 9.0).all()


def test_chains_keep_frozen_coordinates_of_their_own(backend):
    # Of x_0 the first coordinate has the mean 0.45 x_0, and the variance 0.19.
    energy = isotherm.GaussianEnergy(mean=np.zeros(2), cov=[[4.0, 1.8], [1.8, 1.0]])
    x, still = np.ones((200, 2)), np.array([True, False])
    x[:, 0] = np.linspace(-50.0, 50.0, 200)
    sampler = isotherm.HamiltonianMonteCarlo(energy, backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, x, n_warmup=200, seed=2, frozen=still)
        draws = sampler.sample_chain(x, frozen=still, n_warmup=200, n_steps=60, seed=2)
    np.testing.assert_allclose(tuning.inverse_mass, [1.0, 0.19], rtol=0.1)
    np.testing.assert_array_equal(np.asarray(tuning.x)[:, 0], x[np.arange(64) * 200 // 64, 0])
    np.testing.assert_array_equal(draws[:, 0], x[:, 0])
    centred = draws[:, 1] - 0.45 * x[:, 0]
    assert centred.mean() == pytest.approx(0.0, abs=4.0 * np.sqrt(0.19 / 200))
    assert centred.std() == pytest.approx(np.sqrt(0.19), rel=4.0 / np.sqrt(400))
    in_one_call = isotherm.sample_chain(
        energy, x, sampler="hmc", frozen=still, n_warmup=200, n_steps=60, seed=2, backend="numpy"
    )
    np.testing.assert_array_equal(draws, in_one_call)


@pytest.mark.parametrize("in_order", [np.repeat, np.tile])
def test_rows_in_order_of_what_is_frozen_have_pilots_and_starts_of_their_own(in_order):
    """The first 64 rows are of one law, ten times as wide as another, and far from it."""

    @isotherm.formula(dim=2)
    def levels(x):
        return 0.5 * ((x[1] - 100.0 * x[0]) * (10.0 - 4.5 * x[0])) ** 2

    x = np.zeros((210, 2))
    x[:, 0] = in_order([2.0, 1.0, 0.0], 70)
    x[:, 1] = 100.0 * x[:, 0]
    still = np.array([True, False])
    sampler = isotherm.HamiltonianMonteCarlo(levels, backend="numpy", dtype="float64", seed=1)
    tuning = isotherm.warm_up(sampler, x, n_warmup=150, frozen=still)
    assert set(np.asarray(tuning.x)[:, 0]) == {0.0, 1.0, 2.0}
    draws = sampler.sample_chain(x, frozen=still, n_warmup=150, n_steps=0)  # at their pilots
    np.testing.assert_array_equal(draws[:, 0], x[:, 0])
    assert (np.abs(draws[:, 1] - x[:, 1]) < 6.0 / (10.0 - 4.5 * x[:, 0])).all()


def test_a_pickled_sampler_knows_what_a_warm_up_found():
    sampler = isotherm.UnderdampedLangevin(isotherm.HarmonicEnergy(), backend="numpy", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        tuned = isotherm.warm_up(sampler, dim=2, n_warmup=40).sampler
    for one in (tuned, pickle.loads(pickle.dumps(tuned))):
        assert [one.given(name) for name in ("friction", "inverse_mass")] == [None, None]
        for own in (one.friction, 3.0, [1.0, 2.0], abs):  # also the number that was found
            one.friction = own
            assert pickle.loads(pickle.dumps(one)).given("friction") == own
        assert one.given("inverse_mass") is None


def test_what_a_warm_up_found_goes_by_the_setter_of_a_subclass():
    class Logged(isotherm.LangevinDynamics):
        @property
        def step_size(self):
            return self._logged

        @step_size.setter
        def step_size(self, value):
            self._logged = value

    sampler = Logged(isotherm.HarmonicEnergy(), backend="numpy", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, dim=2, n_warmup=40)
    assert tuning.sampler.step_size == tuning.step_size != sampler.step_size


def test_pilots_of_other_frozen_values_do_not_take_their_places():
    """By energies alone half of them would be far above the others."""

    @isotherm.formula(dim=2)
    def ridge(x):  # around x_1 = 100 where x_0 is 1, and at heights that are a million apart
        return 1e6 * x[0] + 0.5 * (x[1] - 100.0 * x[0]) * (x[1] - 100.0 * x[0])

    x = np.stack([np.arange(64) % 4 // 3, np.arange(64) % 4 // 3 * 100], axis=1)
    sampler = isotherm.MALA(ridge, backend="numpy", dtype="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, x, n_warmup=150, seed=1, frozen=np.array([True, False]))
    found = np.asarray(tuning.x)
    np.testing.assert_array_equal(found[:, 0], x[:, 0])
    assert (np.abs(found[:, 1] - x[:, 1]) < 6.0).all()
    assert tuning.inverse_mass[1] == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frozen": [True, False]}, "boolean array of the shape of a chain's state"),
        ({"frozen": [True] * 3}, "nothing would move"),
        ({"frozen": LAST, "n_samples": 3}, "n_samples"),
    ],
)
def test_frozen_coordinates_that_do_not_fit_are_refused(options, said):
    energy = isotherm.HarmonicEnergy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        with pytest.raises(isotherm.InputError, match=said):
            isotherm.sample_chain(energy, np.ones((2, 3)), n_warmup=20, backend="numpy", **options)
    with pytest.raises(isotherm.InputError, match="mass='diagonal'"):
        isotherm.warm_up(isotherm.MALA(energy), dim=3, frozen=LAST, mass="dense")


@pytest.mark.parametrize("limits", [{"clamp": (0.0, None)}, {"bounds": (0.0, None)}])
def test_pilots_obey_the_samplers_limits(limits):
    sampler = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(), backend="numpy", **limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, x=np.ones((1, 2)), n_warmup=200, seed=1)
    assert (np.asarray(tuning.x) >= 0.0).all()
    # The variance of a half normal, not of a normal.
    np.testing.assert_allclose(tuning.inverse_mass, 1.0 - 2.0 / np.pi, rtol=0.15)


def test_a_given_mass_stands_beside_frozen_coordinates():
    sampler = isotherm.HamiltonianMonteCarlo(
        isotherm.HarmonicEnergy(), inverse_mass=[1.0, 4.0, 2.0], backend="numpy", seed=0
    )
    start = np.array([[0.0, 7.0, 0.0]])
    tuning = isotherm.warm_up(sampler, start, n_warmup=40, frozen=[False, True, False])
    assert tuning.inverse_mass.tolist() == [1.0, 1.0, 2.0]
    x = tuning.sampler.sample_chain(x=tuning.x, n_samples=8, n_steps=3, frozen=[False, True, False])
    assert (x[:, 1] == 7.0).all()
    assert np.ptp(x[:, 0]) > 0.0
