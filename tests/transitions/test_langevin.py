"""Overdamped Langevin dynamics keeps the bits that it had before transitions were programs."""

import json
from pathlib import Path

import numpy as np
import pytest

import isotherm

GOLDEN = json.loads(Path(__file__).with_name("golden_langevin.json").read_text("utf-8"))
ENERGIES = {
    "double_well": isotherm.DoubleWellEnergy(barrier_height=0.5),
    "rosenbrock": isotherm.RosenbrockEnergy(b=2.0),
}


@pytest.mark.parametrize("index", range(len(GOLDEN)))
def test_the_chains_have_their_golden_bits(backend, index):
    golden = GOLDEN[index]
    samples = isotherm.sample_chain(
        ENERGIES[golden["energy"]],
        dim=3,
        n_samples=2,
        n_steps=40,
        burn_in=3,
        step_size=0.02,
        decay=golden["decay"],
        noise_scale=golden["noise_scale"],
        clamp=golden["clamp"],
        dtype=golden["dtype"],
        seed=12345678901,
        chain_offset=7,
        step_offset=5,
        backend=backend,
    )
    expected = np.array([float.fromhex(value) for value in golden["samples"]]).reshape(2, 3)
    np.testing.assert_array_equal(np.asarray(samples), expected)
