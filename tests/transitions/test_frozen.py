"""Frozen coordinates stay where they are, and the others do what they would have done."""

import numpy as np
import pytest

import isotherm
from isotherm import InputError

WELL = isotherm.DoubleWellEnergy()
START = np.linspace(-1.5, 1.5, 20 * 4, dtype=np.float32).reshape(20, 4)
FROZEN = np.array([True, False, False, True])
SAMPLERS = {
    "langevin": {"step_size": 0.01},
    "underdamped": {"step_size": 0.1},
    "mala": {"step_size": 0.02},
    "hmc": {"step_size": 0.1, "n_leapfrog": 4, "friction": 0.5},
}


def run(backend, sampler, **options):
    return isotherm.sample_chain(
        WELL, START, sampler=sampler, n_steps=30, seed=4, backend=backend,
        return_trajectory=True, **SAMPLERS[sampler] | options,
    )  # fmt: skip


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_frozen_coordinates_do_not_move(backend, sampler):
    states = np.asarray(run(backend, sampler, frozen=FROZEN))
    for j in np.flatnonzero(FROZEN):
        np.testing.assert_array_equal(states[:, :, j], np.repeat(START[:, j : j + 1], 30, axis=1))
    assert (np.diff(states[:, :, ~FROZEN], axis=1) != 0).any(axis=(0, 1)).all()


@pytest.mark.parametrize("sampler", ["langevin", "underdamped"])
def test_the_others_draw_what_they_would_have_drawn(backend, sampler):
    ones = np.ones(4)
    frozen = np.asarray(run(backend, sampler, frozen=FROZEN))
    free = np.asarray(run(backend, sampler, inverse_mass=ones * 1.0))
    np.testing.assert_array_equal(frozen[:, :, ~FROZEN], free[:, :, ~FROZEN])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frozen": [True, False]}, "boolean array of the shape of a chain's state"),
        ({"frozen": [1, 0, 0, 0]}, "boolean array"),
        ({"frozen": [True] * 4}, "nothing would move"),
        ({"frozen": FROZEN, "inverse_mass": np.eye(4)}, "no matrix"),
    ],
)
def test_refused(options, said):
    with pytest.raises(InputError, match=said):
        run("numpy", "langevin", **options)


@pytest.mark.parametrize("x", [None, [[-1.0, 0.5], [-2.0, 0.5]]])
def test_a_clamp_would_move_what_is_frozen_outside_of_it(x, backend):
    options = {"frozen": [True, False], "n_steps": 3, "step_size": 0.1, "backend": backend}
    if x is None:
        options |= {"n_samples": 9, "dim": 2}
    with pytest.raises(isotherm.InputError, match=r"outside of clamp=\(0.0, None\), into which"):
        isotherm.sample_chain(isotherm.HarmonicEnergy(), x, clamp=(0.0, None), **options)
    found = isotherm.sample_chain(
        isotherm.HarmonicEnergy(),
        [[1.0, -3.0]],
        clamp=(0.0, None),
        frozen=[True, False],
        n_steps=3,
        backend=backend,
    )
    assert np.asarray(found)[0, 0] == 1.0
