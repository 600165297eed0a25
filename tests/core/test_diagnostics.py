"""Mean, variance and energy as the chain runs, and the array that they read as."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import isotherm

sample = partial(isotherm.sample_chain, backend="numpy", seed=5, step_size=0.05)
WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [1, 3, (2, 2)])
@pytest.mark.parametrize("n_samples", [1, 7])
def test_values_are_those_of_the_trajectory(n_samples, shape, dtype):
    states, diagnostics = sample(
        WELL,
        dim=shape,
        n_samples=n_samples,
        n_steps=11,
        burn_in=2,
        thinning=3,
        dtype=dtype,
        return_trajectory=True,
        return_diagnostics=True,
    )
    wide = states.astype(np.float64)
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(diagnostics.mean, wide.mean(axis=0), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(diagnostics.variance, wide.var(axis=0), rtol=tolerance)
    for k, energy in enumerate(diagnostics.energy):
        np.testing.assert_array_equal(energy, WELL(states[:, k]))
    assert diagnostics.steps.tolist() == [5, 8, 11]
    event = states.shape[2:]
    assert diagnostics.mean.shape == diagnostics.variance.shape == (3, *event)
    assert diagnostics.energy.shape == (3, n_samples)
    if n_samples == 1:
        assert not diagnostics.variance.any()


def made(shape=(2, 2), n_kept=4, n_samples=3):
    rng = np.random.default_rng(0)
    return isotherm.Diagnostics(
        rng.normal(size=(n_kept, *shape)),
        rng.normal(size=(n_kept, *shape)),
        rng.normal(size=(n_kept, n_samples)),
        steps=np.arange(n_kept),
    )


def whole(diagnostics):
    """The one array that diagnostics read as."""
    n_kept, _, n_samples, *event = diagnostics.shape
    array = np.empty(diagnostics.shape)
    array[:, 0] = np.reshape(diagnostics.mean, (n_kept, 1, *event))
    array[:, 1] = np.reshape(diagnostics.variance, (n_kept, 1, *event))
    array[:, 2] = np.reshape(diagnostics.energy, (n_kept, n_samples, *(1 for _ in event)))
    return array


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2)])
def test_they_read_as_one_array(shape):
    diagnostics = made(shape)
    array = whole(diagnostics)
    np.testing.assert_array_equal(np.asarray(diagnostics), array)
    assert diagnostics.shape == array.shape
    assert diagnostics.ndim == array.ndim
    assert diagnostics.dtype == array.dtype
    assert len(diagnostics) == len(array)
    assert np.asarray(diagnostics, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(list(diagnostics), array)
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(diagnostics, copy=False)


KEYS = st.one_of(
    hnp.basic_indices((4, 3, 3, 2, 2), allow_newaxis=True),
    hnp.integer_array_indices((4, 3, 3, 2, 2)),
    hnp.arrays(bool, (4,)),
    st.tuples(st.integers(-4, 3), st.slices(3), st.just([0, 2])),
    st.tuples(st.slices(4), st.integers(-3, 2), st.slices(3), st.just([0, 1])),
    st.booleans(),
)


@given(key=KEYS)
def test_indexing_is_that_of_the_array(key):
    diagnostics = made()
    expected = whole(diagnostics)[key]
    got = diagnostics[key]
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("key", [4, -5, (0, 3), (0, 0, 3), (0,) * 6])
def test_indices_out_of_bounds(key):
    with pytest.raises(IndexError):
        made()[key]


@pytest.fixture
def peak_of():
    """The most memory that a run of 100 chains of 1000 coordinates held at once, in states."""
    energy = isotherm.HarmonicEnergy()

    def peak(n_steps, **options):
        tracemalloc.start()
        try:
            sample(energy, dim=1000, n_samples=100, n_steps=n_steps, **options)
            return tracemalloc.get_traced_memory()[1] / (100 * 1000 * 4)
        finally:
            tracemalloc.stop()

    # What is imported, compiled and pooled once does not count.
    for n_steps in (4, 400):
        peak(n_steps, return_diagnostics=True)
    return peak


def test_memory_does_not_grow_with_the_steps(peak_of):
    few, many = peak_of(100), peak_of(1000)
    # Pieces end as time tells, and hold a few blocks of noise more or less. If something of each
    # step stayed, it would be 900 states.
    assert many < few + 900 / 20


def test_diagnostics_keep_no_trajectory(peak_of):
    few, many = (peak_of(n, return_diagnostics=True) for n in (100, 400))
    # Of 300 kept states more, mean and variance are two rows of 100 each, and energies fewer.
    assert many < few + 300 * 3 / 100 + 300 / 20
    assert peak_of(100, return_diagnostics=True, return_trajectory=True) > few + 90
