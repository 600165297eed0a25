"""The stream that Numba draws is core's to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isotherm
from isotherm._arithmetic import noise
from isotherm_numba import fill_normals


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    n_blocks=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 2**64 - 1),
    stream=st.sampled_from(noise.Stream),
    block=st.integers(0, 2**32 - 3),
    chain_offset=st.integers(0, 2**55),
    stride=st.integers(1, 2),
)
def test_bits_are_cores(dtype, n_blocks, shape, seed, stream, block, chain_offset, stride):
    shape = (n_blocks * noise.steps_per_block(dtype), *shape)
    where = {"seed": seed, "stream": stream, "block": block, "chain_offset": chain_offset}
    expected = np.empty(shape, dtype)
    noise.fill_normals(expected, **where)
    got = np.empty((*shape[:2], shape[2] * stride), dtype)[..., ::stride]
    fill_normals(got, **where)
    assert np.array_equal(got.copy().view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_normals_have_cores_bits(dtype):
    shape = (noise.steps_per_block(dtype), 20_000, 10)
    expected, got = np.empty(shape, dtype), np.empty(shape, dtype)
    noise.fill_normals(expected, seed=7, stream=noise.Stream.LANGEVIN, block=3)
    fill_normals(got, seed=7, stream=noise.Stream.LANGEVIN, block=3)
    assert np.array_equal(got.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chains_have_the_references_bits(dtype):
    energy = isotherm.DoubleWellEnergy()
    runs = []
    for backend in ("numpy", "numba"):
        plan = isotherm.make_plan(
            energy,
            n_samples=30,
            dim=3,
            n_steps=21,
            step_size=0.01,
            seed=5,
            dtype=dtype,
            backend=backend,
            burn_in=3,
            thinning=2,
            return_trajectory=True,
        )
        runs.append(isotherm.run(plan, energy))
    assert runs[1].info.backend == "numba"
    assert np.array_equal(runs[0].samples, runs[1].samples)
    assert np.array_equal(runs[0].trajectory, runs[1].trajectory)
