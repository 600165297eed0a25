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


@pytest.mark.parametrize(
    ("sampler", "limits"),
    [
        ("langevin", {"clamp": (-0.5, 1.0)}),
        *((sampler, {"bounds": (-0.5, 1.0)}) for sampler in SAMPLERS),
    ],
)
def test_neither_clamp_nor_bounds_move_what_is_frozen(backend, sampler, limits):
    start = START.copy()
    start[:, ~FROZEN] = np.clip(start[:, ~FROZEN], -0.5, 1.0)
    found, expected = (
        np.asarray(
            isotherm.sample_chain(
                WELL, start, sampler=sampler, n_steps=20, seed=4, backend=one, frozen=FROZEN,
                **SAMPLERS[sampler], **limits,
            )
        )
        for one in (backend, "numpy")
    )  # fmt: skip
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[:, FROZEN], start[:, FROZEN])
    assert (np.abs(start[:, FROZEN]) > 1.0).any()
    assert ((found[:, ~FROZEN] >= -0.5) & (found[:, ~FROZEN] <= 1.0)).all()
    assert (found[:, ~FROZEN] != start[:, ~FROZEN]).any()


def test_what_is_drawn_is_drawn_within_the_bounds_frozen_or_not():
    options = {"dim": 4, "n_samples": 50, "n_steps": 0, "seed": 1, "bounds": (-0.5, 0.5)}
    found = isotherm.sample_chain(WELL, backend="numpy", frozen=FROZEN, **options)
    np.testing.assert_array_equal(found, isotherm.sample_chain(WELL, backend="numpy", **options))
    assert (np.abs(found) <= 0.5).all()
