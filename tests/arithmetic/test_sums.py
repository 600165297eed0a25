"""Sums in their written order: the same bits from every library, however they are split."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotherm._arithmetic.sums import total
from tests.noise.libraries import from_numpy, places, to_numpy

same = np.testing.assert_array_equal
LIBRARIES = [("numpy", "cpu"), *places()]


def folded(values):
    """The definition, number by number."""
    v, s = list(values), 1
    while s < len(v):
        s *= 2
    while s := s // 2:
        for i in range(min(s, len(v) - s)):
            v[i] += v[i + s]
    return v[0]


@pytest.mark.parametrize(("library", "device"), LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_total_is_folded_by_a_power_of_two(library, device, dtype):
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 4, 5, 7, 8, 10, 31, 64, 65, 100):
        values = rng.normal(size=(3, n, 2)).astype(dtype)
        x = from_numpy(values, library, dtype, device)
        got = to_numpy(total(x, axis=1), library, dtype)
        expected = np.array([[folded(row) for row in chain.T] for chain in values])
        assert got.dtype == dtype
        same(got, expected)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=70))
def test_a_total_is_near_the_exact_one(values):
    exact = float(sum(map(Fraction, values)))
    size = sum(map(abs, values))
    assert abs(float(total(np.array(values))) - exact) <= 8 * np.finfo(float).eps * size


def test_a_total_keeps_the_sign_of_zero():
    assert np.signbit(total(np.array([-0.0, -0.0, -0.0])))
