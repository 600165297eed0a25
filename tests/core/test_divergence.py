"""Chains that leave the finite numbers are found, told, and change nothing else."""

import math

import numpy as np
import pytest

import isotherm
from isotherm import DivergenceError, DivergenceWarning, InputError
from isotherm._results.recorder import allocator
from isotherm._runs.checks import initial_state

# Without noise x is multiplied by 1 - 1025 = -2**10 in each step: from 1, float32's largest
# number, just under 2**128, is passed in step 13.
EXPLODING = isotherm.HarmonicEnergy(k=1025.0)
FIRST_BAD = 13
START = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0**-30]], dtype=np.float32)
RUN = {"n_steps": 20, "step_size": 1.0, "noise_scale": 0.0, "backend": "numpy", "seed": 0}


def run(x=START, energy=EXPLODING, **options):
    plan = isotherm.make_plan(energy, x, **RUN | options)
    return isotherm.run(plan, energy, x)


@pytest.fixture(params=[0.0, 0.25])
def piece_seconds(request, limits):
    """How finely a run is cut."""
    limits(piece_seconds=request.param)


@pytest.mark.usefixtures("piece_seconds")
@pytest.mark.parametrize("burn_in", [0, 15])
def test_a_warning_tells_the_first_step_and_the_number_of_chains(burn_in):
    with pytest.warns(DivergenceWarning) as caught:
        result = run(burn_in=burn_in)
    assert result.info.divergence == isotherm.Divergence(first_step=FIRST_BAD, n_chains=2)
    (warning,) = caught
    message = str(warning.message)
    assert message.startswith(
        f"2 of 4 chains left the finite numbers, the first at step {FIRST_BAD}"
    )
    assert "smaller step_size" in message
    assert "\n" not in message
    assert warning.filename == __file__
    assert np.isfinite(result.samples).all(axis=1).tolist() == [True, False, True, False]


@pytest.mark.usefixtures("piece_seconds")
def test_chains_count_that_diverge_after_the_first():
    with pytest.warns(DivergenceWarning, match="1 of 4 chains"):
        assert run(n_steps=14).info.divergence.n_chains == 1


def test_nothing_is_said_of_chains_that_stay_finite():
    assert run(n_steps=FIRST_BAD - 1).info.divergence is None


@pytest.mark.usefixtures("piece_seconds")
def test_raise():
    with pytest.raises(DivergenceError, match=f"the first at step {FIRST_BAD} of 20") as caught:
        run(on_divergence="raise")
    assert "\n" not in str(caught.value)


def test_ignore():
    result = run(on_divergence="ignore")
    assert not np.isfinite(result.samples).all()


@isotherm.formula
def exponential(x):
    """Of x > 0, by a term that has no value elsewhere."""
    return x - 1e-6 * isotherm.math.log(x)


ADVICE = {
    "langevin": {"step_size", "bounds", "sampler='mala' or 'hmc'", "logarithm"},
    "underdamped": {"step_size", "bounds", "sampler='mala' or 'hmc'", "logarithm"},
    "mala": {"start them inside", "logarithm"},
    "hmc": {"start them inside", "logarithm"},
}


@pytest.mark.parametrize("return_diagnostics", [False, True])
@pytest.mark.parametrize("sampler", ADVICE)
def test_advice_is_of_what_a_sampler_takes(sampler, return_diagnostics):
    """Of two chains the second starts where the energy has no value; or at the wall's foot."""
    options = {
        "sampler": sampler, "step_size": 0.1, "noise_scale": 1.0, "n_steps": 50, "thinning": 10,
        "return_diagnostics": return_diagnostics,
    }  # fmt: skip
    words = set().union(*ADVICE.values())
    for x, starts_outside in (([[30.0], [-3.0]], True), ([[30.0], [0.1]], False)):
        if ADVICE[sampler] == ADVICE["hmc"] and not starts_outside:
            continue  # an adjusted sampler does not go there
        with pytest.warns(DivergenceWarning, match="1 of 2 chains") as caught:
            found = run(np.array(x), exponential(), **options).info.divergence
        message = str(caught[0].message)
        assert len(caught) == 1
        assert found.of_energy
        if starts_outside:
            assert found.first_step == 0
            assert "start where the energy is NaN" in message
            assert {one for one in words if one in message} == ADVICE["hmc"]
        else:
            assert 0 < found.first_step <= (20 if return_diagnostics else 50)
            assert "seen first at step" in message
            assert {one for one in words if one in message} == ADVICE[sampler]


WITH_LOGARITHMS = [
    (False, lambda x: np.sum(np.logaddexp(0.0, x) - np.log1p(x * x))),
    (False, lambda x: np.linalg.norm(x) + isotherm.math.logsumexp(np.maximum(x, 1.0))),
    (False, lambda x, *, s=2.0: np.log(s) * np.sum(np.where(x > 0.0, np.log(np.abs(x)), x))),
    (True, lambda x: np.sum(x - np.log(x))),
    (True, lambda x: np.sum(np.sqrt(1.0 - x * x))),
    (True, lambda x: np.log(np.sum(np.where(x > 0.0, x, np.exp(x))))),
    (True, lambda x, *, s=2.0: np.log(s + np.exp(x[0]))),
    (True, lambda x: np.sum(np.linalg.cholesky(np.exp(x[0]) - np.eye(20)))),
]


@pytest.mark.parametrize("dim", [3, 300])
@pytest.mark.parametrize("which", range(len(WITH_LOGARITHMS)))
def test_logarithms_and_roots_limit_an_energy_where_they_have_no_value(which, dim):
    is_limited, function = WITH_LOGARITHMS[which]
    assert isotherm.formula(dim=dim)(function)().has_limited_support((dim,)) == is_limited


def test_bounds_are_advice_for_those_who_take_them():
    said = r"smaller step_size \(it is 8\), set bounds=\(low, high\), or check"
    with pytest.warns(DivergenceWarning, match=said):
        run(sampler="underdamped", friction=0.0, step_size=8.0)


def test_a_gradient_that_is_not_a_number_is_found():
    root = isotherm.formula(lambda x: 2.0 * isotherm.math.sqrt(x))()
    with pytest.warns(DivergenceWarning, match="3 of 3 chains .* step 1 of"):
        run(x=-np.ones((3, 1)), energy=root)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("on_divergence", ["warn", "raise", "ignore"])
def test_a_start_that_is_not_finite_is_refused(bad, on_divergence):
    x = START.copy()
    x[1, 1] = bad
    with pytest.raises(InputError, match="chains must start from finite states"):
        run(x=x, on_divergence=on_divergence)


@pytest.mark.parametrize(("x", "dtype"), [(1e300, "float32"), (1e5, "float16"), (10**6, "float16")])
def test_a_start_that_the_dtype_cannot_hold_is_refused(x, dtype):
    with pytest.raises(InputError, match=f"{dtype} cannot hold"):
        run(x=np.array([[x]]), dtype=dtype)


@pytest.mark.usefixtures("piece_seconds")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_do_not_change_the_bits(dtype):
    well = isotherm.DoubleWellEnergy(barrier_height=0.5)
    plan = isotherm.make_plan(
        well,
        dim=3,
        n_samples=5,
        n_steps=37,
        burn_in=6,
        thinning=4,
        step_offset=3,
        step_size=lambda t: 0.05 / (1 + 0.01 * t),
        dtype=dtype,
        seed=1,
        backend="numpy",
        return_trajectory=True,
        return_diagnostics=True,
    )
    result = isotherm.run(plan, well)
    # On "ignore", and on the CPU without progress, a run may be one piece: advance it by hand.
    runner = isotherm._backends.registry.load("numpy").prepare(plan, well)
    x = initial_state(plan, isotherm._backends.registry.load("numpy"), None)
    outputs = allocator(plan, isotherm._backends.registry.load("numpy"))(plan.n_kept)
    x = runner.advance(x, 0, plan.n_total, outputs)["x"]
    np.testing.assert_array_equal(result.samples, x)
    np.testing.assert_array_equal(result.trajectory, outputs.trajectory)
    np.testing.assert_array_equal(result.diagnostics.mean, outputs.mean)
    np.testing.assert_array_equal(result.diagnostics.variance, outputs.variance)
    np.testing.assert_array_equal(result.diagnostics.energy, outputs.energy)


def test_the_first_piece_is_one_block():
    well = isotherm.DoubleWellEnergy()
    plan = isotherm.make_plan(well, dim=2, n_steps=100, backend="numpy", seed=0)
    done = []
    isotherm.run(plan, well, progress=lambda now, total: done.append(now))
    assert done[0] == plan.steps_per_block
    assert len(done) > 2
