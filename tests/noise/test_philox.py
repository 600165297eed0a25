"""Philox4x32-10 against its authors' vectors and against Python's integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotherm._arithmetic.noise import philox4x32
from tests.noise import kernel
from tests.noise.libraries import from_numpy, places, to_numpy

words = st.integers(0, 2**32 - 1)

# The lines "philox4x32 10" of kat_vectors, from Random123, the library of Philox's authors.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    result = philox4x32([np.asarray([word]) for word in counter], key)
    assert tuple(int(word[0]) for word in result) == expected
    assert kernel.philox(counter, key) == expected


@given(
    counters=st.lists(st.tuples(words, words, words, words), min_size=1, max_size=20),
    key=st.tuples(words, words),
)
def test_arrays_give_what_integers_give(counters, key):
    columns = np.asarray(counters, dtype=np.int64).T
    expected = np.asarray([kernel.philox(counter, key) for counter in counters]).T
    np.testing.assert_array_equal(philox4x32(columns, key), expected)


@pytest.mark.parametrize(("library", "device"), [("numpy", "cpu"), *places()])
def test_words_broadcast(library, device):
    # A word that is common to a row or a column may be given once.
    counter = [np.asarray([[7]]), np.arange(3)[None, :], np.arange(4)[:, None], np.asarray([[2]])]
    key = (0x243F6A88, 0xFFFFFFFF)
    result = philox4x32([from_numpy(w, library, "int64", device) for w in counter], key)
    result = [to_numpy(word, library, "int64") for word in result]
    for chain in range(4):
        for coordinate in range(3):
            got = tuple(int(word[chain, coordinate]) for word in result)
            assert got == kernel.philox((7, coordinate, chain, 2), key)
