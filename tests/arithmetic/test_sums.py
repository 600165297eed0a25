"""Sums in their written order: the same bits from every library, however they are split."""

import csv
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotherm._arithmetic.sums import JoinedNodes, fold, moments, nodes, total
from tests.arithmetic.sums import by_the_tree, folded
from tests.noise.libraries import from_numpy, places, to_numpy

same = np.testing.assert_array_equal
LIBRARIES = [("numpy", "cpu"), *places()]


with Path(__file__).with_name("golden_sums.csv").open(newline="") as file:
    GOLDEN = list(csv.DictReader(file))


@pytest.mark.parametrize(("library", "device"), LIBRARIES)
def test_golden_vectors(library, device):
    for row in GOLDEN:
        values, result = (
            np.array([float.fromhex(number) for number in row[name].split()])
            for name in ("values", "result")
        )
        x = from_numpy(values.astype(row["dtype"]), library, row["dtype"], device)
        if row["sum"] == "total":
            same(to_numpy(total(x), library, row["dtype"]), result[0])
        else:
            found = moments(x, int(row["first"]))
            same(to_numpy(found.mean, library, "float64"), result[0])
            same(to_numpy(found.variance, library, "float64"), result[1])


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


@pytest.mark.parametrize("n", range(1, 20))
def test_programs_add_in_the_order_of_a_total(n):
    values = np.random.default_rng(n).normal(size=n)
    text = fold([f"values[{i}]" for i in range(n)], "({} + {})".format)
    assert eval(text) == total(values)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=70))
def test_a_total_is_near_the_exact_one(values):
    exact = float(sum(map(Fraction, values)))
    size = sum(map(abs, values))
    assert abs(float(total(np.array(values))) - exact) <= 8 * np.finfo(float).eps * size


def test_a_total_keeps_the_sign_of_zero():
    assert np.signbit(total(np.array([-0.0, -0.0, -0.0])))


def joined_at(bounds, x, first):
    """The moments over parts that meet at these bounds, each put together by itself."""
    parts = JoinedNodes()
    for start, stop in pairwise(bounds):
        parts.add(start, moments(x[start - first : stop - first], start))
    return parts.moments()


FIRST = st.integers(0, 40) | st.integers(0, 2**56 - 100)


@given(n=st.integers(1, 50), first=FIRST, seed=st.integers(0, 9))
def test_moments_are_those_of_the_tree(n, first, seed):
    x = np.random.default_rng(seed).normal(3.0, size=(n, 2)).astype(np.float32)
    got = moments(x, first)
    _, *expected = zip(*(by_the_tree(column, first) for column in x.T), strict=True)
    same((got.mean, got.variance), expected)
    np.testing.assert_allclose(got.mean, x.mean(axis=0, dtype=float), rtol=1e-14)
    np.testing.assert_allclose(got.variance, x.var(axis=0, dtype=float), rtol=1e-12)


@pytest.mark.parametrize(("library", "device"), LIBRARIES)
def test_moments_are_the_same_in_every_library(library, device):
    x = np.random.default_rng(0).normal(3.0, size=(77, 2, 3)).astype(np.float32)
    got = moments(from_numpy(x, library, "float32", device), 13)
    for name in ("mean", "variance"):
        part = to_numpy(getattr(got, name), library, "float64")
        same(part, getattr(moments(x, 13), name))


@given(n=st.integers(1, 50), first=FIRST, n_parts=st.integers(1, 50), height=st.integers(0, 5))
def test_neighbouring_nodes_are_joined_as_the_whole_is(n, first, n_parts, height):
    x = np.random.default_rng(0).normal(3.0, size=(n, 2))
    run, size = range(first, first + n), 2**height
    bounds = [first, *range((first // size + 1) * size, first + n, size), first + n]
    got, expected = joined_at(bounds, x, first), moments(x, first)
    same(got.mean, expected.mean)
    same(got.variance, expected.variance)

    cuts = sorted({i * n // n_parts + first for i in range(n_parts + 1)})
    found = [node for cut in pairwise(cuts) for node in nodes(range(*cut), run)]
    assert [node.start for node in found] + [first + n] == [first] + [node.stop for node in found]
    got = joined_at([first, *(node.stop for node in found)], x, first)
    same(got.mean, expected.mean)
    same(got.variance, expected.variance)


def test_a_part_is_cut_into_few_nodes():
    assert nodes(range(5, 21), range(5, 21)) == [range(5, 21)]
    assert nodes(range(5, 16), range(5, 21)) == [range(5, 16)]
    assert nodes(range(6, 21), range(5, 21)) == [range(6, 8), range(8, 16), range(16, 21)]
    assert len(nodes(range(10**6, 10**6 + 10**5), range(2 * 10**6))) < 2 * 17
