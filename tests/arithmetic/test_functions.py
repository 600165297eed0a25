"""exp, log, sin, cos and tanh: how far from the truth, and the same bits in every array library."""

import csv
import importlib.util
import math
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest

import isotherm.math
from isotherm._arithmetic import functions
from isotherm._arithmetic.arrays import library_of, namespace, round_to
from tests.arithmetic.arguments import NAMES, PRECISIONS, arguments, equal_bits, specials
from tests.noise.libraries import from_numpy, places, to_numpy

ULPS = 2.2
COUNT = 1000
WORST = {
    # Of all numbers of float32 up to `farthest`, those with the largest errors.
    "exp": -48.86635208129883,
    "log": 0.7051712870597839,
    "sin": 7254.73193359375,
    "cos": 7851.62109375,
    "tanh": 0.5632083415985107,
}

with Path(__file__).with_name("golden_functions.csv").open(newline="") as file:
    GOLDEN = list(csv.DictReader(file))

DTYPES = pytest.mark.parametrize("dtype", PRECISIONS)
FUNCTIONS = pytest.mark.parametrize("name", NAMES)


def applied(name, x):
    return getattr(functions, name)(x)


@DTYPES
@FUNCTIONS
def test_functions_are_within_their_bounds(dtype, name):
    info = np.finfo(dtype)
    x = np.append(arguments(dtype, name, COUNT), np.array(WORST[name], dtype))
    x = x[x > 0] if name == "log" else x
    with mpmath.workprec(160):
        for value, got in zip(x.tolist(), applied(name, x).tolist(), strict=True):
            truth = getattr(mpmath, name)(value)
            if abs(truth) > float(info.max):
                assert math.isinf(got)
                continue
            _, exponent = mpmath.frexp(truth)
            ulp = mpmath.ldexp(1, max(exponent - info.nmant - 1, info.minexp - info.nmant))
            assert abs(got - truth) <= ULPS * ulp, (value, got)


@DTYPES
@FUNCTIONS
def test_zeros_and_what_is_not_finite_are_numpys(dtype, name):
    x = specials(dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    got = applied(name, x)
    special = (x == 0) | ~np.isfinite(x) | ~np.isfinite(expected)
    assert equal_bits(got[special], expected[special])
    size = 3 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        got, expected, rtol=size, atol=3 * np.finfo(dtype).smallest_subnormal
    )


@DTYPES
@FUNCTIONS
def test_golden_vectors(dtype, name):
    rows = [row for row in GOLDEN if (row["dtype"], row["function"]) == (dtype, name)]
    x, expected = (
        np.array([float.fromhex(row[column]) for row in rows], dtype)
        for column in ("argument", "result")
    )
    assert len(rows) == 14
    assert equal_bits(applied(name, x), expected)


@pytest.mark.parametrize(("library", "device"), places())
@DTYPES
@FUNCTIONS
def test_the_bits_are_the_same_in_every_library(library, device, dtype, name):
    x = np.concatenate([arguments(dtype, name, COUNT), specials(dtype)])
    expected = applied(name, x)
    argument = from_numpy(x, library, dtype, device)
    got = applied(name, argument)
    assert library_of(got) == library
    assert got.dtype == argument.dtype
    assert equal_bits(to_numpy(got, library, dtype), expected)
    assert equal_bits(to_numpy(argument, library, dtype), x)
    scalar = applied(name, argument[3, ...])
    assert scalar.shape == ()
    assert scalar.dtype == argument.dtype
    if library in ("torch", "cupy"):  # on whose devices its own operations are taken
        xp = namespace(library)
        got = getattr(functions, f"_{name}")(xp, argument, PRECISIONS[dtype])
        assert equal_bits(to_numpy(got, library, dtype), expected)


HALVES = [
    (library, device, dtype)
    for library, device in [("numpy", "cpu"), *places()]
    for dtype in ("float16", "bfloat16")
    if hasattr(namespace(library), dtype)
]


@pytest.mark.parametrize(("library", "device", "dtype"), HALVES)
@FUNCTIONS
def test_half_precision_is_rounded_once(library, device, dtype, name):
    bits = np.arange(2**16, dtype=np.uint32)
    x = (bits << 16).view(np.float32)
    if dtype == "float16":
        x = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    got = applied(name, from_numpy(x, library, dtype, device))
    assert got.dtype == getattr(namespace(library), dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = round_to(applied(name, x).astype(np.float64), dtype)
    number = ~np.isnan(expected)
    got = to_numpy(got, library, "float32")
    np.testing.assert_array_equal(got[number], expected[number])
    assert np.isnan(got[~number]).all()


@FUNCTIONS
def test_any_shape_and_any_memory(name):
    x = np.random.default_rng(0).uniform(0.1, 700, (3, 40_000))
    expected = applied(name, x)
    x.flags.writeable = False
    assert expected.shape == x.shape
    assert equal_bits(applied(name, x.T), np.ascontiguousarray(expected.T))
    assert equal_bits(applied(name, x[:, ::-7]), np.ascontiguousarray(expected[:, ::-7]))
    assert equal_bits(applied(name, x[1, 5:6]), expected[1, 5:6])
    assert equal_bits(applied(name, x.astype(">f8")), expected)
    assert applied(name, x[1, 5]) == expected[1, 5]
    assert applied(name, np.empty((0, 3), np.float32)).shape == (0, 3)
    assert getattr(isotherm.math, name)(float(x[1, 5])) == expected[1, 5]
    assert getattr(isotherm.math, name)(2) == applied(name, np.float64(2))


@DTYPES
def test_quarter_turns_are_long_enough(dtype):
    precision = PRECISIONS[dtype]
    with mpmath.workprec(400):
        error = abs(mpmath.pi / 2 - sum(map(mpmath.mpf, precision.quarter)))
        # Times the number of quarters, beside the least that is left of a number of this precision.
        least = 2.0**-30 if dtype == "float32" else 2.0**-62
        assert error * precision.farthest < np.finfo(dtype).eps * least / 16
        assert abs(mpmath.pi / 2 - sum(map(mpmath.mpf, functions.HALF_PI))) < 2.0**-100
    largest = int(precision.farthest)
    for part in precision.quarter[:-1]:
        digits = Fraction(part).numerator.bit_length()
        assert digits + largest.bit_length() - 1 <= precision.fraction_bits + 1


def test_numbers_are_those_that_the_tool_derives():
    path = Path(__file__).parents[2] / "tools" / "fit_function_polynomials.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for dtype, precision in PRECISIONS.items():
        tables = tool.derive(np.dtype(dtype).type)
        assert tables == {name: getattr(precision, name) for name in tables}
        assert precision.tanh_turn == tool.TANH_TURN
    assert tool.two_over_pi() == functions.TWO_OVER_PI
    assert tool.TWO_OVER_PI_BITS == functions.TWO_OVER_PI_BITS
    last = (2046 - 1023 - 52 + 42) // functions.DIGIT_STEP + 4 * (functions.DIGITS - 1)
    assert len(functions.QUARTER_DIGITS) == last + 1
    with mpmath.workprec(2400):
        for j, digit in enumerate(functions.QUARTER_DIGITS):
            assert digit == int(mpmath.floor(mpmath.ldexp(2 / mpmath.pi, 7 * j - 16))) % 2**28
