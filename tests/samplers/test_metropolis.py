"""Adjusted samplers keep the exact law, reject what they must, and are what their proofs need.

Laws are compared at one false alarm in a million a test (see `tests.samplers.laws`).
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isotherm
from isotherm._transitions.catalogue import register
from isotherm._transitions.hamiltonian import HAMILTONIAN, leapfrog
from isotherm._transitions.limits import ARGUMENTS
from isotherm._transitions.trace import Transition
from tests.samplers import laws

# Step sizes are too large or too small here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::isotherm.SamplingWarning")

SAMPLERS = {
    "mala": {"sampler": "mala"},
    "hmc": {"sampler": "hmc", "n_leapfrog": 6},
    "malt": {"sampler": "hmc", "n_leapfrog": 6, "friction": 1.0},
}
# Step sizes that accept some 99, 65 and 20 %.
STEP_SIZES = {
    ("mala", "gaussian"): (0.1, 1.1, 2.8),
    ("mala", "double well"): (0.005, 0.06, 0.2),
    ("mala", "mixture"): (0.05, 0.5, 1.6),
    ("hmc", "gaussian"): (0.3, 1.6, 1.92),
    ("hmc", "double well"): (0.1, 0.32, 0.45),
    ("hmc", "mixture"): (0.2, 1.0, 1.6),
    ("malt", "gaussian"): (0.3, 1.4, 1.9),
    ("malt", "double well"): (0.08, 0.3, 0.45),
    ("malt", "mixture"): (0.2, 0.9, 1.5),
}
RATES = ((0.97, 1.0), (0.5, 0.8), (0.12, 0.35))
CASES = [(*names, i) for names in STEP_SIZES for i in range(3)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sampler", "law", "i"), CASES)
def test_chains_from_exact_draws_keep_the_law(sampler, law, i, dtype):
    options = SAMPLERS[sampler] | {"step_size": STEP_SIZES[sampler, law][i]}
    samples, found, info = laws.kept(laws.LAWS[law], dtype=dtype, **options)
    assert RATES[i][0] < info.acceptance_rate <= RATES[i][1]
    laws.LAWS[law].check(samples)
    # Where the start has the law, exp(-ΔH) has mean 1 (Creutz, Physical Review D 38, 1988).
    weights = np.exp(-found.energy_error.astype(np.float64))[0]
    if i < 2:
        assert abs(weights.mean() - 1.0) < 5 * weights.std() / np.sqrt(weights.size)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mass", [[0.4, 1.7], [[0.8, 0.5], [0.5, 1.6]]], ids=["vector", "matrix"])
def test_every_mass_keeps_the_law(sampler, mass):
    law = laws.LAWS["gaussian"]
    step_size = 0.9 if sampler == "mala" else 1.0
    samples, _, info = laws.kept(
        law, step_size=step_size, inverse_mass=mass, dtype="float32", **SAMPLERS[sampler]
    )
    assert 0.3 < info.acceptance_rate < 0.95
    law.check(samples)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_schedules_keep_the_law(sampler):
    options = SAMPLERS[sampler] | {"step_size": lambda t: 0.3 / (1 + t % 3)}
    if sampler != "mala":
        options |= {"n_leapfrog": [3, 1, 6, 2, 9, 4, 1, 5], "jitter": 0.3}
    law = laws.LAWS["double well"]
    law.check(laws.kept(law, **options)[0])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_energy_without_a_value_outside_is_sampled_inside(sampler):
    law = laws.on_an_interval()
    x = np.random.default_rng(5).uniform(-0.3, 0.3, size=(10_000, 1)).astype(np.float32)
    samples, info = isotherm.sample_chain(
        law.energy, x, n_steps=60, step_size=0.2 if sampler == "mala" else 0.3, backend="numpy",
        seed=4, return_info=True, on_divergence="raise", **SAMPLERS[sampler],
    )  # fmt: skip
    assert 0 < info.n_divergences < 0.9 * 60 * len(x)
    assert (np.abs(samples) < 1.0).all()
    assert len(np.unique(samples)) > 0.99 * len(x)  # no mass at one point
    law.check(samples)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_state_that_is_not_left_is_the_same_to_the_bit(sampler):
    law = laws.LAWS["double well"]
    step_size = STEP_SIZES[sampler, "double well"][1]
    x = law.draw(np.random.default_rng(3), 2000)
    trajectory, info = isotherm.sample_chain(
        law.energy, x, n_steps=5, step_size=step_size, backend="numpy", seed=4,
        return_trajectory=True, return_info=True, **SAMPLERS[sampler],
    )  # fmt: skip
    states = np.concatenate([x[:, None], trajectory], axis=1)
    moved = states[:, 1:] != states[:, :-1]
    np.testing.assert_array_equal(moved.all(axis=2), moved.any(axis=2))
    assert moved.all(axis=2).mean() == pytest.approx(info.acceptance_rate, abs=1e-12)


@isotherm.formula
def cliff(x, *, k=1e30):
    """0 up to 1, and minus infinity (in float32) beyond."""
    return isotherm.math.where(x > 1.0, -(k * k), 0.0 * x)


NOT_FINITE = {
    "overflow": (isotherm.DoubleWellEnergy(), 1e8, 0.5, 1.0),
    "outside": (laws.semicircle(), 0.1, 2.0, 1.0),
    "minus infinity": (cliff(), 0.3, 0.5, 0.0),
}


@pytest.mark.parametrize("case", NOT_FINITE)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_not_finite_is_rejected_and_counted(sampler, case, recwarn):
    energy, step_size, start, least = NOT_FINITE[case]
    x = np.full((500, 1), start, np.float32)
    samples, info = isotherm.sample_chain(
        energy, x, n_steps=20, step_size=step_size, backend="numpy", seed=2,
        return_info=True, on_divergence="ignore", **SAMPLERS[sampler],
    )  # fmt: skip
    assert not recwarn.list
    assert info.n_divergences > least * 0.999 * 20 * 500
    assert info.n_divergences > 0
    if least:  # all of them
        np.testing.assert_array_equal(samples, x)
        assert info.acceptance_rate == 0.0
    else:
        assert (samples <= 1.0).all()
        assert info.acceptance_rate > 0.5


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_jitter_keeps_trajectories_from_returning(jitter):
    n = 10  # substeps of half a turn: x is -x after them
    samples = isotherm.sample_chain(
        isotherm.HarmonicEnergy(), np.full((2000, 1), 3.0), sampler="hmc", n_leapfrog=n,
        step_size=2 * np.sin(np.pi / (2 * n)), jitter=jitter, n_steps=100, backend="numpy", seed=6,
    )  # fmt: skip
    if jitter:
        assert abs(samples.mean()) < 5 / np.sqrt(2000)
        assert abs(samples.var() - 1.0) < 5 * np.sqrt(2 / 2000)
    else:
        np.testing.assert_allclose(np.abs(samples), 3.0, rtol=1e-9)


@pytest.mark.parametrize("sampler", ["hmc", "malt"])
def test_the_energy_error_is_of_order_two(sampler):
    law = laws.LAWS["double well"]

    def error(step_size, n):
        given = SAMPLERS[sampler] | {"n_leapfrog": n, "jitter": 0.0, "step_size": step_size}
        found = laws.kept(law, n_steps=1, **given)[1]
        return np.median(np.abs(found.energy_error))

    assert error(0.04, 20) / error(0.02, 40) == pytest.approx(4.0, rel=0.1)


# The proposal: a transition that takes the trajectory alone, without noise and decision.


def _proposal(state, c, draw):
    end, p = leapfrog(state.point, state.momentum, c)
    return {"x": end.x, "momentum": p, "gradient": end.gradient}, {}


PROPOSAL = Transition(
    "proposal",
    _proposal,
    HAMILTONIAN.coefficients,
    carried=("x", "momentum"),
    cached=("gradient",),
    arguments={"n_leapfrog": 10, "jitter": 0.0, **ARGUMENTS},
)
ENERGIES = (
    isotherm.DoubleWellEnergy(barrier_height=0.5),
    isotherm.GaussianMixtureEnergy([[0.0, 1.0], [2.0, -1.0]], [1.0, 0.6], [0.4, 0.6]),
    isotherm.GaussianEnergy([0.5, -0.5], [[1.0, 0.5], [0.5, 2.0]]),
)
proposals = given(
    energy=st.sampled_from(ENERGIES),
    x=st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=2).map(np.array),
    p=st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=2).map(np.array),
    options=st.fixed_dictionaries(
        {"step_size": st.floats(0.01, 0.2), "n_leapfrog": st.integers(1, 9)}
    ),
    more=st.sampled_from(
        [
            {},
            {"inverse_mass": [0.5, 1.5]},
            {"inverse_mass": [[0.8, 0.3], [0.3, 1.2]]},
            {"bounds": (-1.5137, [1.5071, np.inf]), "inverse_mass": [0.5, 1.5]},
            {"bounds": (-1.5137, 1.5071), "gradient_clip": 0.6143, "gradient_clip_norm": 0.7071},
        ]
    ),
)


def proposed(energy, x, p, options):
    """The ends of trajectories; of rows."""
    register(PROPOSAL)
    plan = isotherm.make_plan(
        energy, x, sampler="proposal", n_steps=1, backend="numpy", seed=0, jitter=0.0, **options
    )
    state = isotherm.run(plan, energy, x, momentum=p).state
    return state["x"], state["momentum"]


@settings(max_examples=25)
@proposals
def test_a_trajectory_is_reversible(energy, x, p, options, more):
    options |= more
    there, q = proposed(energy, x[None], p[None], options)
    back, r = proposed(energy, there, -q, options)
    np.testing.assert_allclose(back[0], x, atol=1e-10)
    np.testing.assert_allclose(-r[0], p, atol=1e-10)


@settings(max_examples=25)
@proposals
def test_a_trajectory_preserves_volume(energy, x, p, options, more):
    options |= more
    at, width = np.concatenate([x, p]), 1e-5
    rows = np.concatenate([at + width * np.eye(4), at - width * np.eye(4)])
    ends = np.concatenate(proposed(energy, rows[:, :2], rows[:, 2:], options), axis=1)
    jacobian = (ends[:4] - ends[4:]) / (2 * width)
    assert np.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-6)
