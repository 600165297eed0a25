"""The check that needs no truth: it passes right samples, and tells of wrong ones."""

import warnings

import numpy as np
import pytest

import isotherm


class LennardJones:
    """Σ 4 (r⁻¹² - r⁻⁶) over pairs of particles, in a weak trap; x is (n_samples, n, 3)."""

    def pairs(self, x):
        i, j = np.triu_indices(x.shape[1], 1)
        apart = x[:, i] - x[:, j]
        return i, j, apart, 1.0 / (apart**2).sum(-1)

    def __call__(self, x):
        s = self.pairs(x)[3] ** 3
        return (4.0 * s * (s - 1.0)).sum(-1) + 0.05 * (x * x).sum((1, 2))

    def gradient(self, x):
        i, j, apart, inverse = self.pairs(x)
        s = inverse**3
        pull = (-24.0 * s * (2.0 * s - 1.0) * inverse)[..., None] * apart
        g = 0.1 * x
        np.add.at(g, (slice(None), i), pull)
        np.subtract.at(g, (slice(None), j), pull)
        return g


def logistic(n=200, dim=3):
    rng = np.random.default_rng(0)
    design = rng.normal(size=(n, dim))
    answers = rng.random(n) < 1.0 / (1.0 + np.exp(-design @ np.ones(dim)))
    signed = np.where(answers, 1.0, -1.0)[:, None] * design

    class Logistic:
        def __call__(self, w):
            return np.logaddexp(0.0, -w @ signed.T).sum(-1) + 0.5 * (w * w).sum(-1)

        def gradient(self, w):
            return -(1.0 / (1.0 + np.exp(w @ signed.T))) @ signed + w

    return Logistic()


def grid():
    """13 particles apart from each other."""
    points = np.stack(np.meshgrid(*3 * [np.arange(3.0)]), -1).reshape(-1, 3)[:13]
    return 1.12 * (points - points.mean(0))


CASES = {
    "logistic": (logistic(), {"dim": 3}, 1.0, 0.045),
    "rastrigin": (isotherm.RastriginEnergy(), {"dim": 2}, 1.0, 0.05),
    "particles": (
        LennardJones(), {"x": np.tile(grid(), (100, 1, 1))}, 0.3, 5e-3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_too_large_a_step_is_told(case):
    energy, start, noise_scale, coarse = CASES[case]
    if "dim" in start:
        start = {"x": 0.1 * np.random.default_rng(1).normal(size=(400, start["dim"]))}
    options = {"noise_scale": noise_scale, "backend": "numpy", "on_divergence": "ignore"}
    wrong = isotherm.sample_chain(energy, **start, n_steps=300, step_size=coarse, seed=0, **options)
    assert np.isfinite(wrong).all()
    with pytest.warns(isotherm.SamplingWarning, match="take a smaller step_size") as caught:
        found = isotherm.virial(energy, wrong, noise_scale=noise_scale, backend="numpy")
    assert len(caught) == 1
    assert "is not" in str(found)


def test_right_samples_pass():
    energy = isotherm.DoubleWellEnergy()
    x = isotherm.sample_chain(
        energy, x=np.ones(2), n_samples=2000, n_steps=200, sampler="hmc", step_size=0.1, seed=0,
        temperature=2.0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = isotherm.virial(energy, x, temperature=2.0)
    assert found.ratio == pytest.approx(1.0, abs=5 * found.error)
    np.testing.assert_allclose(found.coordinates, 1.0, atol=5 * found.errors.max())
    with pytest.warns(isotherm.SamplingWarning):
        assert not isotherm.virial(energy, x).is_right


HARMONIC = isotherm.HarmonicEnergy()


def ran(x=None, **options):
    """A run of right samples of a harmonic energy."""
    given = {"sampler": "hmc", "step_size": 0.3, "n_steps": 20, "seed": 0, "backend": "numpy"}
    plan = isotherm.make_plan(HARMONIC, x, **given | options)
    return isotherm.run(plan, HARMONIC, x)


def test_nothing_is_told_of_frozen_coordinates():
    still = np.array([True, False, False])
    result = ran(np.ones((400, 3)), frozen=still)
    np.testing.assert_array_equal(result.info.frozen, still)
    assert ran(dim=3).info.frozen is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = isotherm.virial(HARMONIC, result)
        given = isotherm.virial(HARMONIC, result.samples, frozen=still)
    assert found.is_right
    assert found.ratio == given.ratio
    np.testing.assert_array_equal(np.isnan(found.coordinates), still)
    np.testing.assert_array_equal(np.isnan(found.shift), still)
    with pytest.warns(isotherm.SamplingWarning):  # who gives another knows better
        isotherm.virial(HARMONIC, result, frozen=np.zeros(3, bool))
    with pytest.raises(isotherm.InputError, match="that moves is between two bounds"):
        isotherm.virial(HARMONIC, result, bounds=([-9.0] * 3, [np.inf, 9.0, 9.0]))
    with pytest.raises(isotherm.InputError, match="frozen must be a boolean array"):
        isotherm.virial(HARMONIC, result, frozen=[True])


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"temperature": 4.0}, 2.0),
        ({"noise_scale": np.linspace(1.0, 3.0, 400)[:, None]}, np.linspace(1.0, 3.0, 400)[:, None]),
        # Kept are the states after the steps 10 and 20, each of one temperature.
        ({"noise_scale": np.repeat([1.0, 3.0], 10)}, 3.0),
        (
            {"noise_scale": np.repeat([1.0, 3.0], 10), "return_trajectory": True, "thinning": 10},
            [[1.0, 3.0]],
        ),
        ({"noise_scale": np.repeat([1.0, 3.0], 10), "n_steps": 0, "burn_in": 20}, 3.0),
    ],
)
def test_a_result_knows_its_noise_scale(options, known):
    result = ran(dim=2, n_samples=400, **options)
    np.testing.assert_array_equal(result.info.noise_scale, known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isotherm.virial(HARMONIC, result).is_right
    with pytest.warns(isotherm.SamplingWarning):  # who gives another knows better
        isotherm.virial(HARMONIC, result, noise_scale=1.0)


def test_without_noise_there_is_no_law():
    result = ran(dim=2, n_samples=4, sampler="langevin", noise_scale=0.0)
    with pytest.raises(isotherm.InputError, match="noise_scale was 0"):
        isotherm.virial(HARMONIC, result)
    nothing = ran(dim=2, n_samples=4, sampler="langevin", noise_scale=[], n_steps=0)
    assert nothing.info.noise_scale is None


def test_the_bias_of_langevin_steps_of_a_gaussian_is_seen():
    # Its variance is 1/(1 - η/2), and so is the virial.
    plan = isotherm.make_plan(
        isotherm.HarmonicEnergy(), dim=4, n_samples=500, n_steps=400, burn_in=50, step_size=0.5,
        return_trajectory=True, seed=0, backend="numpy",
    )  # fmt: skip
    result = isotherm.run(plan, isotherm.HarmonicEnergy())
    with pytest.warns(isotherm.SamplingWarning):
        found = isotherm.virial(isotherm.HarmonicEnergy(), result)
    assert found.ratio == pytest.approx(1.0 / 0.75, abs=5 * found.error)
    assert found.error < 0.01


def normal(shape=(1000, 64), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (normal() * np.where(np.arange(64) == 3, 1.3, 1.0), "the virial is .* at coordinate 3,"),
        (normal((1000, 2)) * np.sqrt([1.8, 0.2]), "the virial is .* at coordinate [01]"),
        (normal((1000, 1)) + 1.0, "the shift is .* at coordinate 0, which must be 0"),
        (normal((1000, 64)) + 0.5 * (np.arange(64) == 5), "the shift is .* at coordinate 5"),
        (1.2 * normal((1000, 64)), "the mean is 1.4"),
    ],
)
def test_no_coordinate_hides_among_others(x, said):
    with pytest.warns(isotherm.SamplingWarning, match=said):
        found = isotherm.virial(isotherm.HarmonicEnergy(), x, backend="numpy")
    assert "is not right; at worst, the " in str(found)


@pytest.mark.parametrize("n", [2, 20, 200])
def test_right_samples_of_many_coordinates_pass(n):
    for seed in range(20):
        found = isotherm.virial(isotherm.HarmonicEnergy(), normal((n, 64), seed), backend="numpy")
        assert found.is_right, found


@pytest.mark.parametrize("size", [1e3, 1e20, 1e120])
@pytest.mark.parametrize("n", [2, 10, 30])
def test_chains_that_all_ran_away_are_told(n, size):
    # Their error is as large as what it is the error of, and overflows at last.
    x = size * (2.0 + np.random.default_rng(n).random((n, 1))) * (-1.0) ** np.arange(n)[:, None]
    with pytest.warns(isotherm.SamplingWarning, match="chains far off"):
        found = isotherm.virial(isotherm.HarmonicEnergy(), x, backend="numpy")
    assert f"is not right, as {n} are far off" in str(found)


@isotherm.formula
def power(x, *, b: int = 1):
    return abs(x) ** b


def of_power(b, shape, rng):
    """Independent samples of exp(-|x|^b)."""
    return rng.gamma(1.0 / b, size=shape) ** (1.0 / b) * rng.choice([-1.0, 1.0], shape)


@pytest.mark.parametrize(
    ("b", "n", "n_kept", "dim"), [(1, 2, 1, 1), (1, 5, 1, 1), (1, 2, 10, 1), (4, 4, 1, 20)]
)
def test_right_samples_of_few_chains_pass(b, n, n_kept, dim):
    # Of |x| the gradients are ±1, on which few chains agree by chance; of x⁴ the virials of most
    # states are near 0, and near each other.
    sets, energy = of_power(b, (100, n, n_kept, dim), np.random.default_rng(n)), power(b=b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.SamplingWarning)
        found = [isotherm.virial(energy, x, is_trajectory=True, backend="numpy") for x in sets]
    assert sum(not one.is_right for one in found) <= 1


def test_many_chains_do_not_agree_by_chance():
    x = np.abs(of_power(1, (20, 2), np.random.default_rng(0)))
    with pytest.warns(isotherm.SamplingWarning, match="the shift is"):
        isotherm.virial(power(b=1), x, backend="numpy")
    stuck = np.ones((4, 2))
    with pytest.warns(isotherm.SamplingWarning):
        isotherm.virial(power(b=4), stuck, bounds=(0.0, None), backend="numpy")


@pytest.mark.parametrize(
    ("n", "n_kept"), [(20, 1), (20, 50), (4, 10), (4, 1000), (3, 1000), (2, 1000)]
)
def test_a_chain_that_ran_away_alone_is_told(n, n_kept):
    x = normal((n, n_kept, 3))
    x[1] += 30.0
    with pytest.warns(isotherm.SamplingWarning, match="with 1 chains far off"):
        isotherm.virial(HARMONIC, x, is_trajectory=True, backend="numpy")


@pytest.mark.parametrize("n", [2, 4])
def test_few_chains_with_too_large_a_step_are_told(n):
    # At a step of 1 the variance is 2, and so is the virial; draws are independent.
    x = normal((n, 2000, 10)) * np.sqrt(2.0)
    with pytest.warns(isotherm.SamplingWarning):
        found = isotherm.virial(HARMONIC, x, is_trajectory=True, backend="numpy")
    assert found.n_batches == 8


@pytest.mark.parametrize(("shift", "temperature"), [(0.5, 1.0), (0.0, 1.2)])
def test_draws_of_few_chains_have_power(shift, temperature):
    x = shift + np.sqrt(temperature) * normal((8, 100, 20))
    with pytest.warns(isotherm.SamplingWarning):
        isotherm.virial(HARMONIC, x, is_trajectory=True, backend="numpy")


def correlated(shape, decay, seed):
    """Chains of a normal law, (n, n_kept, dim), whose draws remember `decay` of the one before."""
    x = normal(shape, seed)
    for t in range(1, shape[1]):
        x[:, t] = decay * x[:, t - 1] + np.sqrt(1.0 - decay * decay) * x[:, t]
    return x


@pytest.mark.parametrize(("decay", "n_batches"), [(0.0, 8), (0.9, 8), (0.99, 1), (1.0, 1)])
def test_batches_of_slow_chains_are_not_counted(decay, n_batches):
    # Right samples all the same, which too small an error would take for wrong.
    for n in (2, 8):
        sets = correlated((10 * n, 1000, 2), decay, n).reshape(10, n, 1000, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", isotherm.SamplingWarning)
            found = [
                isotherm.virial(HARMONIC, x, is_trajectory=True, backend="numpy") for x in sets
            ]
        assert all(one.is_right for one in found)
        assert np.median([one.n_batches for one in found]) == n_batches


def test_states_that_are_not_finite_are_told():
    x = normal((50, 2))
    x[3, 1] = np.nan
    with pytest.warns(isotherm.SamplingWarning, match="must be 1 and is nan"):
        found = isotherm.virial(isotherm.HarmonicEnergy(), x, backend="numpy")
    assert np.array_equal(np.isnan(found.coordinates), [False, True])


@isotherm.formula
def scaled(x, k):
    return 0.5 * k * x * x


@pytest.mark.parametrize("temperature", [4e-21, 1e27])
def test_energies_in_small_and_large_units_pass(temperature):
    x = normal((500, 3)).astype(np.float32)
    energy = scaled(k=temperature)
    found = isotherm.virial(energy, x, temperature=temperature, backend="numpy")
    expected = isotherm.virial(isotherm.HarmonicEnergy(), x, backend="numpy")
    assert found.is_right
    assert found.ratio == pytest.approx(expected.ratio, rel=1e-5)


class Line:
    """x of one coordinate, 0 of the next, ½x² of the last."""

    def __call__(self, x):
        return x[:, 0] + 0.5 * x[:, 2] ** 2

    def gradient(self, x):
        return np.stack([np.ones(len(x)), np.zeros(len(x)), x[:, 2]], 1)


def test_walls_are_no_alarm():
    bounds = ([0.0, -1.0, -np.inf], [np.inf, 1.0, np.inf])
    rng = np.random.default_rng(1)
    x = np.stack([rng.exponential(size=2000), rng.uniform(-1, 1, 2000), rng.normal(size=2000)], 1)
    found = isotherm.virial(Line(), x, bounds=bounds, backend="numpy")
    assert found.is_right, found
    assert np.array_equal(np.isnan(found.coordinates), [False, True, False])
    assert np.array_equal(np.isnan(found.shift), [True, True, False])
    with pytest.warns(isotherm.SamplingWarning, match="at coordinate 0"):
        isotherm.virial(Line(), x * [1.5, 1.0, 1.0], bounds=bounds, backend="numpy")
    plan = isotherm.make_plan(
        Line(), sampler="mala", x=x, n_steps=20, step_size=0.1, bounds=bounds, seed=0,
        backend="numpy", return_trajectory=True,
    )  # fmt: skip
    result = isotherm.run(plan, Line(), x)
    assert isotherm.virial(Line(), result, backend="numpy").is_right
    with pytest.raises(isotherm.InputError, match="between two bounds"):
        isotherm.virial(isotherm.HarmonicEnergy(), x[:, 1:2], bounds=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": np.zeros((1, 2))}, "at least 2 chains"),
        ({"x": np.zeros(3)}, "at least 2 chains"),
        ({"x": np.zeros((3, 2)), "is_trajectory": True}, "at least 2 chains"),
        ({"x": np.zeros((3, 2)), "noise_scale": 0.0}, "noise_scale must be positive"),
        ({"x": np.zeros((3, 2)), "noise_scale": "1"}, "noise_scale must be a number"),
        ({"x": np.zeros((3, 2)), "noise_scale": 1.0, "temperature": 1.0}, "not both"),
        ({"x": np.zeros((3, 2)), "centre": np.zeros(3)}, "centre"),
        ({"x": np.zeros((3, 2)), "centre": np.nan}, "centre must be finite"),
        ({"x": np.zeros((3, 2)), "tolerance": "x"}, "tolerance must be"),
        ({"x": np.zeros((3, 2)), "tolerance": -1.0}, "tolerance must be"),
        ({"x": np.zeros((3, 2)), "tolerance": np.inf}, "tolerance must be"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.virial(isotherm.HarmonicEnergy(), **options)


def test_a_trajectory_that_is_not_said_to_be_one_is_told_how():
    energy = isotherm.GaussianEnergy(np.zeros(2), np.eye(2))
    x = isotherm.sample_chain(
        energy, n_samples=100, n_steps=3, step_size=0.5, seed=0, return_trajectory=True
    )
    with pytest.raises(isotherm.InputError, match=r"\(100, 3, 2\) .* pass is_trajectory=True"):
        isotherm.virial(energy, x)
    assert isotherm.virial(energy, x, is_trajectory=True).n_chains == 100


def test_a_store_is_read(tmp_path):
    energy, store = isotherm.HarmonicEnergy(), tmp_path / "run"
    isotherm.sample_chain(
        energy, dim=2, n_samples=64, n_steps=20, sampler="mala", step_size=0.3, seed=1, store=store
    )
    found, expected = (isotherm.virial(energy, x) for x in (store, isotherm.open_run(store)))
    assert str(found) == str(expected)
