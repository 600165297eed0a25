"""Bounds that reflect, and gradients that are clipped: what they do to states, laws and runs.

That all backends have the same bits with them is a test of `isotherm.testing`; that trajectories
with them can be run backwards and keep volumes is one of `tests.samplers.test_metropolis`.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

import isotherm
from isotherm import InputError
from isotherm._transitions import limits
from isotherm._transitions.catalogue import register
from isotherm._transitions.hamiltonian import HAMILTONIAN
from isotherm._transitions.limits import ARGUMENTS, drift
from isotherm._transitions.trace import Transition
from isotherm.errors import FormulaError
from tests.samplers import laws

SAMPLERS = {
    "langevin": {"step_size": 0.1},
    "underdamped": {"step_size": 0.4, "friction": 1.5},
    "mala": {"step_size": 0.3},
    "hmc": {"step_size": 0.5, "n_leapfrog": 6},
    "malt": {"sampler": "hmc", "step_size": 0.5, "n_leapfrog": 6, "friction": 0.7},
}
MASS = [0.7, 1.6]
LIMITS = {"bounds": (-0.75, [0.5, np.inf]), "gradient_clip": 0.8, "gradient_clip_norm": 0.9}


def options_of(sampler):
    return {"sampler": sampler, **SAMPLERS[sampler]}


def truncated(low, high, scale=1.0):
    """The law of independent normal coordinates of this scale, between bounds."""
    one = stats.truncnorm(low / scale, high / scale, scale=scale)
    return laws.Law(
        isotherm.HarmonicEnergy(),
        lambda rng, n: one.rvs(size=(n, 2), random_state=rng),
        {f"x[{i}]": (laws.coordinate(i), one.cdf) for i in range(2)},
    )


# States. A step of this sampler is a drift alone, of time `step_size`.


def _walls(state, c, _):
    x, p = drift(c, c.step_size, state.x, state.momentum)
    return {"x": x, "momentum": p}, {}


WALLS = Transition(
    "walls",
    _walls,
    lambda given: {"step_size": given.step_size},
    carried=("x", "momentum"),
    arguments={"bounds": None},
)


def drifted(x, p, bounds, dtype="float64", n_steps=1):
    register(WALLS)
    energy, x = isotherm.HarmonicEnergy(), np.array(x, dtype)
    plan = isotherm.make_plan(
        energy, x, sampler="walls", step_size=1.0, n_steps=n_steps, backend="numpy", seed=0,
        bounds=bounds, on_divergence="ignore",
    )  # fmt: skip
    state = isotherm.run(plan, energy, x, momentum=np.array(p, dtype)).state
    return state["x"], state["momentum"]


def between_mirrors(x, low, high):
    """Where a point comes to be, and how often it is reflected: one reflection at a time."""
    count = 0
    while not low <= x <= high:
        x, count = (2 * low if x < low else 2 * high) - x, count + 1
    return x, count


numbers = st.floats(-20.0, 20.0)


@given(p=numbers, bounds=st.sampled_from([(-1.0, 2.0), (-0.25, 0.5), (0.0, None), (None, 0.3)]))
def test_reflections_are_those_of_mirrors(p, bounds):
    low, high = -math.inf if bounds[0] is None else bounds[0], bounds[1] or math.inf
    x, q = drifted([[0.125]], [[p]], bounds)
    expected, count = between_mirrors(0.125 + p, low, high)
    assert x[0, 0] == pytest.approx(expected, abs=1e-13)
    if abs(abs(expected) - max(map(abs, (low, high)))) > 1e-9 and count < 100:
        assert q[0, 0] == (p if count % 2 == 0 else -p)


@given(p=numbers, bounds=st.sampled_from([(-1.0, 2.0), (-0.25, 0.5), (0.0, None), (None, 0.3)]))
def test_a_drift_can_be_run_backwards(p, bounds):
    x, q = drifted([[0.125]], [[p]], bounds)
    back, r = drifted(x, -q, bounds)
    assert back[0, 0] == pytest.approx(0.125, abs=1e-13)
    assert abs(r[0, 0]) == abs(p)


wide = {dtype: st.floats(width=8 * np.dtype(dtype).itemsize) for dtype in ("float32", "float64")}


@pytest.mark.parametrize("dtype", wide)
def test_every_number_is_inside_afterwards_or_not_finite(dtype):
    @given(p=wide[dtype].filter(math.isfinite), ends=st.tuples(wide[dtype], wide[dtype]))
    def check(p, ends):
        low, high = np.sort(np.array(ends, dtype))
        assume(low < high and low < math.inf and high > -math.inf)
        start = low if np.isfinite(low) else high if np.isfinite(high) else 0.0
        x, q = drifted([[start]], [[p]], (low, high), dtype)
        with np.errstate(all="ignore"):
            moved = x.dtype.type(start) + x.dtype.type(p)
        if low <= moved <= high:
            assert (x[0, 0], q[0, 0]) == (moved, p)
        elif np.isfinite(x[0, 0]):
            assert low <= x[0, 0] <= high
        else:  # what is beyond overflows, or its double does
            largest = np.finfo(dtype).max
            assert max(abs(float(moved) - float(low)), abs(float(high) - float(low))) > largest / 4

    check()


def test_chains_start_reflected_into_the_bounds():
    options = {"dim": 3, "n_samples": 50, "n_steps": 0, "seed": 4, "dtype": "float32"}
    free, inside = (
        np.asarray(
            isotherm.sample_chain(
                isotherm.HarmonicEnergy(), backend="numpy", bounds=bounds, **options
            )
        )
        for bounds in (None, (-0.5, [0.25, 1.0, np.inf]))
    )
    for j, high in enumerate((0.25, 1.0, math.inf)):
        expected = [between_mirrors(float(x), -0.5, high)[0] for x in free[:, j]]
        np.testing.assert_allclose(inside[:, j], expected, atol=1e-6)


# Laws


@pytest.mark.parametrize("sampler", ["mala", "hmc", "malt"])
@pytest.mark.parametrize("bounds", [(0.0, None), (-0.3, 0.5)], ids=["half normal", "truncated"])
def test_adjusted_samplers_keep_the_law_between_bounds(sampler, bounds):
    law = truncated(bounds[0], bounds[1] or math.inf)
    given = {"inverse_mass": MASS, **options_of(sampler), "step_size": 1.1}
    samples, _, info = laws.kept(law, bounds=bounds, **given)
    assert 0.3 < info.acceptance_rate <= 1.0
    law.check(samples)


@pytest.mark.parametrize("sampler", ["mala", "hmc", "malt"])
@pytest.mark.parametrize("clip", ["gradient_clip", "gradient_clip_norm"])
@pytest.mark.parametrize("name", ["gaussian", "double well"])
def test_adjusted_samplers_keep_the_law_with_clipped_gradients(sampler, clip, name):
    law = laws.LAWS[name]
    given = options_of(sampler) | {"step_size": 0.15, clip: 0.5}
    samples, _, info = laws.kept(law, **given)
    assert 0.3 < info.acceptance_rate < 1.0
    law.check(samples)


def test_a_wall_that_turns_no_momentum_would_be_seen(monkeypatch):
    monkeypatch.setattr(limits, "turned", lambda c, x, momentum: momentum)
    register(replace(HAMILTONIAN, name="not turned", _programs={}))
    law = truncated(0.0, math.inf)
    given = {"sampler": "not turned", "step_size": 0.5, "n_leapfrog": 6, "bounds": (0.0, None)}
    with pytest.raises(AssertionError):
        law.check(laws.kept(law, **given)[0])


@pytest.mark.parametrize("sampler", ["langevin", "underdamped"])
def test_unadjusted_samplers_have_the_law_to_their_order(sampler):
    """At a mirror of a symmetric energy |x| of free chains: the half normal of the free law."""
    options, h = options_of(sampler), SAMPLERS[sampler]["step_size"]
    scale = 1.0 / math.sqrt(1.0 - h / 2) if sampler == "langevin" else 1.0
    law = truncated(0.0, math.inf, scale)
    law.check(laws.kept(law, bounds=(0.0, None), n_steps=12, **options)[0])
    # Between two walls, too, and with no mass on them.
    law = truncated(-0.4, 0.9)
    fine = {"step_size": h / 25} if sampler == "langevin" else {}
    samples = laws.kept(law, bounds=(-0.4, 0.9), n_steps=30, **options | fine)[0]
    law.check(samples)
    assert not np.isin(samples, (-0.4, 0.9)).any()


def test_a_clamp_has_mass_on_its_bound_as_its_docstring_says():
    law = truncated(0.0, math.inf)
    x = laws.kept(law, sampler="langevin", clamp=(0.0, None), step_size=0.05, n_steps=100)[0]
    assert (x == 0.0).mean() == pytest.approx(0.16, abs=0.01)


# Clipped gradients


class Slope:
    """U = g·x: the gradient is g everywhere."""

    def __init__(self, gradient):
        self._gradient = np.array(gradient, np.float32)

    def __call__(self, x):
        return (x * self._gradient).sum(axis=1)

    def gradient(self, x):
        return np.broadcast_to(self._gradient, x.shape).copy()


def step(gradient, **options):
    """-g as a step of length 1 shows it."""
    x = np.zeros((1, len(gradient)), np.float32)
    return isotherm.sample_chain(
        Slope(gradient), x, n_steps=1, step_size=1.0, noise_scale=0.0, backend="numpy", **options
    )[0]


def test_clipping_by_value_and_by_norm():
    np.testing.assert_array_equal(step([3.0, -0.5, -7.0], gradient_clip=2.0), [-2.0, 0.5, 2.0])
    np.testing.assert_allclose(step([3.0, -4.0], gradient_clip_norm=1.0), [-0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(step([3.0, -4.0], gradient_clip_norm=5.5), [-3.0, 4.0])
    both = step([30.0, -4.0], gradient_clip=3.0, gradient_clip_norm=1.0)
    np.testing.assert_allclose(both, [-math.sqrt(0.5), math.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_array_equal(step([0.0, 0.0], gradient_clip_norm=1.0), [0.0, 0.0])


@pytest.mark.parametrize("size", [1e-20, 1e-3, 1.0, 1e20, 1e29])
@pytest.mark.parametrize("clip", [0.1, 1.0, 1e10])
def test_norms_that_squares_cannot_hold(size, clip):
    length = min(5.0 * size, clip)
    expected = np.array([-3.0, 4.0]) * (length / 5.0)
    found = step([3.0 * size, -4.0 * size], gradient_clip_norm=clip)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("gradient", [[math.nan, 1.0], [math.inf, 1.0], [3e38, 1.0]])
@pytest.mark.parametrize("clip", [{"gradient_clip_norm": 1e-3}, {"gradient_clip": 2.0}])
def test_what_is_no_number_is_not_hidden(gradient, clip):
    x = step(gradient, on_divergence="ignore", **clip)
    if "gradient_clip" in clip and not math.isnan(gradient[0]):
        np.testing.assert_array_equal(x, [-2.0, -1.0])  # a direction that is known
    else:
        assert np.isnan(x[0])


@pytest.mark.parametrize("gradient", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, 1.0]])
@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (None, 0.5), (-0.5, None)])
def test_no_bound_makes_a_state_finite(gradient, bounds):
    x = step(gradient, bounds=bounds, on_divergence="ignore")
    assert not np.isfinite(x[0])
    assert np.isfinite(x[1])


# Runs


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_that_is_cut_stored_and_shared_out_is_the_same(tmp_path, sampler):
    energy, x = isotherm.DoubleWellEnergy(), np.full((6, 2), 0.25)
    options = {"seed": 3, "backend": "numpy", "return_trajectory": True}
    given = options_of(sampler) | LIMITS | options
    plan = isotherm.make_plan(energy, x, n_steps=20, **given)
    whole = isotherm.run(plan, energy, x)
    assert "bounds" in str(plan)
    assert "-0.75 to (0.5 … inf)" in str(plan)
    path = tmp_path / "run.zarr"
    isotherm.run(isotherm.make_plan(energy, x, n_steps=7, **given), energy, x, store=path)
    resumed = isotherm.resume(path, energy, n_steps=13)
    np.testing.assert_array_equal(np.asarray(resumed.trajectory), whole.trajectory)
    with ThreadPoolExecutor(2) as executor:
        shared = isotherm.run(plan, energy, x, executor=executor, n_shares=3)
    np.testing.assert_array_equal(shared.trajectory, whole.trajectory)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_inside(dtype):
    torch = pytest.importorskip("torch")
    x = isotherm.sample_chain(
        lambda x: (x * x).sum(dim=1), dim=4, n_samples=100, n_steps=20, step_size=0.05, seed=1,
        bounds=(0.1, 0.3), dtype=dtype, backend="torch", return_trajectory=True,
    )  # fmt: skip
    low, high = (torch.tensor(end, dtype=getattr(torch, dtype)) for end in (0.1, 0.3))
    assert ((low <= x) & (x <= high)).all()


def test_a_warm_up_is_of_the_bounded_law():
    sampler = isotherm.HamiltonianMonteCarlo(
        isotherm.HarmonicEnergy(), bounds=(0.0, [0.5, None or np.inf]), backend="numpy"
    )
    tuning = isotherm.warm_up(sampler, dim=2, n_warmup=150, seed=1)
    assert tuning.sampler.bounds == sampler.bounds
    expected = [stats.truncnorm(0.0, high).var() for high in (0.5, np.inf)]
    np.testing.assert_allclose(tuning.inverse_mass, expected, rtol=0.25)
    assert (np.asarray(tuning.x[np.arange(10)]) >= 0.0).all()
    with pytest.raises(InputError, match="mass='diagonal'"):
        isotherm.warm_up(sampler, dim=2, mass="dense", seed=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bounds": 1.0}, "must be a pair"),
        ({"bounds": (0.0, "one")}, "must be a pair"),
        ({"bounds": (0.0, 1.0, 2.0)}, "must be a pair"),
        ({"bounds": (1.0, 1.0)}, "low < high"),
        ({"bounds": (math.nan, 1.0)}, "low < high"),
        ({"bounds": (math.inf, None)}, "low < high"),
        ({"bounds": ([0.0, 0.0, 0.0], None)}, r"shape \(3,\)"),
        ({"bounds": (0.0, 1e-60)}, "rounded to float32"),
        ({"bounds": (0.5, None)}, "values outside of the bounds"),
        ({"bounds": (0.0, 1.0), "clamp": (0.0, 1.0)}, "not both"),
        ({"bounds": (0.0, 1.0), "inverse_mass": np.eye(2) + 0.1}, "no matrix"),
        ({"gradient_clip": 0.0}, "must be positive"),
        ({"gradient_clip_norm": math.inf}, "must be finite"),
        ({"gradient_clip": 1e-60}, "rounds to 0"),
    ],
)
def test_refused(options, said):
    x = np.full((3, 2), 0.25, np.float32)
    with pytest.raises(InputError, match=said):
        isotherm.sample_chain(isotherm.HarmonicEnergy(), x, n_steps=1, **options)


def test_a_start_outside_is_refused_when_it_is_run():
    energy = isotherm.HarmonicEnergy()
    plan = isotherm.make_plan(energy, np.zeros((3, 2)), bounds=(-1.0, 1.0))
    with pytest.raises(InputError, match="outside of the bounds"):
        isotherm.run(plan, energy, np.full((3, 2), 2.0))


@pytest.mark.parametrize("argument", ["clamp", *ARGUMENTS])
def test_a_sampler_that_takes_what_it_does_not_use_is_refused(argument):
    idle = Transition(
        "idle", lambda s, c, d: ({"x": s.x}, {}), lambda g: {}, arguments={argument: None}
    )
    with pytest.raises(FormulaError, match=f"takes {argument}, of which its step makes no use"):
        register(idle)
