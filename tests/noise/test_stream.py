"""Every normal is the same number, whatever computes it and whatever is computed beside it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotherm._arithmetic.arrays import empty, namespace, round_to
from isotherm._arithmetic.noise import Stream, exponentials, fill_normals, steps_per_block
from tests.noise import kernel
from tests.noise.libraries import places, to_numpy

with Path(__file__).with_name("golden.csv").open(newline="") as file:
    GOLDEN = list(csv.DictReader(file))

streams = st.sampled_from(Stream)
keys = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**64 - 1),
        "stream": streams,
        "block": st.integers(0, 2**32 - 1),
        # Such that all chains of the shapes below stay under 2**56.
        "chain_offset": st.one_of(
            st.integers(0, 2**56 - 100), st.integers(2**32 - 10, 2**32), st.just(2**56 - 100)
        ),
    }
)
sizes = st.tuples(st.integers(0, 12), st.integers(0, 9))


def draw(dtype, n_chains, n_coordinates, library="numpy", device="cpu", **key):
    """The normals of one block, as an array of the library."""
    out = empty(library, (steps_per_block(dtype), n_chains, n_coordinates), dtype, device)
    fill_normals(out, **key)
    return out


def bits(values):
    """The bits of NumPy floats, so that 0 and -0 differ."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_golden_vectors(dtype):
    rows = [row for row in GOLDEN if row["dtype"] == dtype]
    assert len(rows) == len(kernel.SEEDS) * len(kernel.PLACES)
    for row in rows:
        stream, block, chain, coordinate = (
            int(row[name]) for name in ("stream", "block", "chain", "coordinate")
        )
        expected = [float.fromhex(value) for value in row["normals"].split()]
        seed = int(row["seed"], 16)
        got = kernel.normals(np.dtype(dtype), seed, stream, block, chain, coordinate)
        assert [float(value) for value in got] == expected
        if coordinate <= 1000:  # the whole row up to the coordinate is drawn
            key = {"seed": seed, "stream": stream, "block": block, "chain_offset": chain}
            np.testing.assert_array_equal(draw(dtype, 1, coordinate + 1, **key)[:, 0, -1], expected)


@given(key=keys, dtype=st.sampled_from(["float32", "float64", "float16"]), size=sizes)
def test_arrays_give_what_a_kernel_gives(key, dtype, size):
    values = draw(dtype, *size, **key)
    place = {name: key[name] for name in ("seed", "stream", "block")}
    for chain, coordinate in np.ndindex(*size):
        expected = kernel.normals(
            np.dtype(dtype), chain=key["chain_offset"] + chain, coordinate=coordinate, **place
        )
        np.testing.assert_array_equal(
            bits(values[:, chain, coordinate]), bits(np.asarray(expected, dtype))
        )


@pytest.mark.parametrize(("library", "device"), places())
@given(key=keys, dtype=st.sampled_from(["float32", "float64", "float16", "bfloat16"]), size=sizes)
def test_libraries_agree_to_the_bit(library, device, key, dtype, size):
    if not hasattr(namespace(library), dtype):
        dtype = "float32"
    values = draw(dtype, *size, library, device, **key)
    drawn_in = "float64" if dtype == "float64" else "float32"
    expected = round_to(draw(drawn_in, *size, **key).astype(np.float64), dtype)
    wide = to_numpy(values, library, drawn_in)
    np.testing.assert_array_equal(bits(wide), bits(expected.astype(drawn_in)))


@pytest.mark.parametrize(("library", "device"), places())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_libraries_agree_on_many_normals(library, device, dtype):
    # A library's vector instructions start where an array is long, and this crosses pieces.
    key = {"seed": 11, "stream": Stream.LANGEVIN, "block": 5, "chain_offset": 2**32 - 20_000}
    values = to_numpy(draw(dtype, 40_000, 7, library, device, **key), library, dtype)
    np.testing.assert_array_equal(bits(values), bits(draw(dtype, 40_000, 7, **key)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_blocks_that_are_drawn_together_are_those_drawn_one_by_one(limits, dtype):
    key, length = {"seed": 2**63 + 5, "chain_offset": 2**32 - 3}, steps_per_block(dtype)
    limits(normals_in_cache=20)
    together = np.empty((5 * length, 7, 3), dtype)
    fill_normals(together, stream=Stream.LANGEVIN, block=2**32 - 5, **key)
    for k in range(5):
        alone = draw(dtype, 7, 3, stream=Stream.LANGEVIN, block=2**32 - 5 + k, **key)
        np.testing.assert_array_equal(bits(together[k * length : (k + 1) * length]), bits(alone))
    if dtype != "float16":
        accepting = exponentials(together[0], block=2**32 - 5, n_blocks=5, **key)
        one_by_one = [exponentials(alone[0], block=2**32 - 5 + k, **key) for k in range(5)]
        np.testing.assert_array_equal(accepting, np.concatenate(one_by_one))


@given(key=keys, dtype=st.sampled_from(["float32", "float64"]), size=sizes, data=st.data())
def test_a_normal_depends_on_nothing_beside_it(key, dtype, size, data):
    # Any split over chains, and fewer coordinates, give a part of the whole.
    n_chains, n_coordinates = size
    whole = draw(dtype, n_chains, n_coordinates, **key)
    first = data.draw(st.integers(0, n_chains), "first chain")
    last = data.draw(st.integers(first, n_chains), "last chain")
    width = data.draw(st.integers(0, n_coordinates), "coordinates")
    key["chain_offset"] += first
    np.testing.assert_array_equal(
        draw(dtype, last - first, width, **key), whole[:, first:last, :width]
    )


@pytest.mark.parametrize("shape", [(1, 50_000), (50_000, 1), (300, 200)])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_size_of_the_pieces_does_not_matter(limits, shape, piece):
    shape = shape if piece > 7 else tuple(-(-n // 500) for n in shape)
    key = {"seed": 3, "stream": Stream.LANGEVIN, "block": 1, "chain_offset": 2**32 - 9}
    whole = draw("float32", *shape, **key)
    limits(normals_in_cache=piece)
    np.testing.assert_array_equal(draw("float32", *shape, **key), whole)


def test_a_view_is_filled_in_place():
    # A caller may hand in any writable array, contiguous or not.
    buffer = np.zeros((6, 4, 8), np.float32)
    fill_normals(buffer[::-1][1:5, :, ::2], seed=1, stream=Stream.LANGEVIN, block=0)
    expected = draw("float32", 4, 4, seed=1, stream=Stream.LANGEVIN, block=0)
    np.testing.assert_array_equal(buffer[1:5, :, ::2][::-1], expected)
    assert np.count_nonzero(buffer) == expected.size


@pytest.mark.parametrize(
    ("dtype", "steps"),
    [
        ("float16", 4),
        ("bfloat16", 4),
        ("float32", 4),
        ("float64", 2),
        pytest.param(np.float32, 4, id="type"),
        pytest.param(np.dtype(np.float64), 2, id="dtype"),
        ("torch.float64", 2),
        ("torch.bfloat16", 4),
    ],
)
def test_steps_per_block(dtype, steps):
    assert steps_per_block(dtype) == steps


@pytest.mark.parametrize(("library", "device"), places())
def test_steps_per_block_of_a_library(library, device):
    xp = namespace(library)
    for dtype, steps in (("float32", 4), ("float64", 2)):
        assert steps_per_block(getattr(xp, dtype)) == steps
        assert steps_per_block(empty(library, (), dtype, device).dtype) == steps


@pytest.mark.parametrize("dtype", ["int64", np.complex128, "float8"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="has no normals; use one of float16"):
        steps_per_block(dtype)
