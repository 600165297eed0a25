"""Several arrays as one state."""

import numpy as np
import pytest

import isotherm

PARTS = {"w": np.arange(6.0).reshape(3, 2), "b": np.array(7.0), "c": np.arange(8.0, 10.0)}


def test_there_and_back():
    x, unpack = isotherm.pack(PARTS)
    np.testing.assert_array_equal(x, [*np.arange(6.0).tolist(), 7.0, 8.0, 9.0])
    for name, part in unpack(x).items():
        np.testing.assert_array_equal(part, PARTS[name])
    rows = unpack(np.zeros((4, 5, 9)))
    assert {name: part.shape for name, part in rows.items()} == {
        "w": (4, 5, 3, 2), "b": (4, 5), "c": (4, 5, 2),
    }  # fmt: skip
    unpack(x)["w"][1, 1] = -1.0  # a view
    assert x[3] == -1.0
    assert PARTS["w"][1, 1] == 3.0


def test_stacked_arrays_are_chains():
    stacked = {name: np.stack([part, part + 1.0]) for name, part in PARTS.items()}
    x, unpack = isotherm.pack(stacked, stacked=True)
    assert x.shape == (2, 9)
    for name, part in unpack(x).items():
        np.testing.assert_array_equal(part, stacked[name])
    np.testing.assert_array_equal(x[0], isotherm.pack(PARTS)[0])


def test_what_cannot_be_packed_is_refused():
    for wrong, options, sentence in [
        ({}, {}, "pack takes a dict of arrays"),
        ([np.ones(2)], {}, "pack takes a dict of arrays"),
        ({"w": [1.0]}, {}, "pack takes a dict of arrays"),
        ({"w": np.ones(2), "n": np.ones(2, int)}, {}, "of one library, floating dtype and device"),
        ({"n": np.ones(2, int)}, {}, "these are numpy int64 cpu"),
        ({"w": np.ones(2), "v": np.ones(3)}, {"stacked": True}, r"shapes \(2,\), \(3,\)"),
        ({"w": np.ones((0, 3))}, {"stacked": True}, "a row for each chain; these have none"),
        ({"w": np.ma.masked_array([1.0])}, {}, "w is a masked array"),
        ({"w": np.array(1.0)}, {"stacked": True}, "stacked arrays have a row for each chain"),
    ]:
        with pytest.raises(isotherm.InputError, match=sentence):
            isotherm.pack(wrong, **options)
    with pytest.raises(isotherm.InputError, match=r"x must have shape \(\.\.\., 9\).*got \(2, 8\)"):
        isotherm.pack(PARTS)[1](np.ones((2, 8)))
