"""The square root is the correctly rounded one in every library."""

from fractions import Fraction

import numpy as np
import pytest

from isotherm._arithmetic.arrays import library_of, namespace, round_to
from isotherm._arithmetic.exact import exact_sqrt
from tests.noise.libraries import from_numpy, places, to_numpy

HALVES = [
    (library, device, dtype)
    for library, device in [("numpy", "cpu"), *places()]
    for dtype in ("float16", "bfloat16")
    if hasattr(namespace(library), dtype)
]


@pytest.mark.parametrize(("library", "device"), places())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_root_is_numpys_to_the_bit(library, device, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.random(1_000_000) * 4.0,
            2.0 ** rng.uniform(-120.0, 120.0, 100_000),
            [0.0, 1.0, np.finfo(dtype).tiny, np.finfo(dtype).max, np.inf],
        ]
    ).astype(dtype)
    argument = from_numpy(x, library, dtype, device)
    root = exact_sqrt(argument)
    assert library_of(root) == library
    assert root.dtype == argument.dtype
    np.testing.assert_array_equal(to_numpy(root, library, dtype), np.sqrt(x))
    scalar = exact_sqrt(argument[3, ...])
    assert scalar.shape == ()
    assert scalar.dtype == argument.dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpys_root_is_correctly_rounded(dtype):
    # r is the number nearest to sqrt(x) if x lies between the squares of the midpoints beside r.
    x = (np.random.default_rng(1).random(5_000) * 4.0).astype(dtype)
    r = exact_sqrt(x)
    neighbours = np.nextafter(r, x.dtype.type(0)), np.nextafter(r, x.dtype.type(np.inf))
    for square, root, below, above in zip(x, r, *neighbours, strict=True):
        low, high = ((Fraction(float(root)) + Fraction(float(b))) / 2 for b in (below, above))
        assert low**2 <= Fraction(float(square)) <= high**2


@pytest.mark.parametrize(("library", "device", "dtype"), HALVES)
def test_every_root_of_half_precision(library, device, dtype):
    bits = np.arange(0x7F80 if dtype == "bfloat16" else 0x7C00, dtype=np.uint32)  # finite, >= 0
    if dtype == "bfloat16":
        x = (bits << 16).view(np.float32)
    else:
        x = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    root = exact_sqrt(from_numpy(x, library, dtype, device))
    assert root.dtype == getattr(namespace(library), dtype)
    np.testing.assert_array_equal(
        to_numpy(root, library, "float32"),
        round_to(np.sqrt(x.astype(np.float64)), dtype),
    )
