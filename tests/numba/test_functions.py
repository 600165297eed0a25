"""The functions of printed programs: how far from the truth, and where their numbers come from."""

import importlib.util
import math
from pathlib import Path

import mpmath
import numba
import numpy as np
import pytest

import isotherm
from isotherm import math as symbols
from isotherm_numba.functions import FLOAT32, FLOAT64, functions

PRECISIONS = {"float32": FLOAT32, "float64": FLOAT64}
NAMES = ("exp", "log", "tanh", "sin", "cos")
ULPS = {"exp": 1.0, "log": 0.8, "tanh": 2.2, "sin": 2.2, "cos": 2.2}
COUNT = 3000

DTYPES = pytest.mark.parametrize("dtype", PRECISIONS)


def applied(dtype, name, x):
    function = getattr(functions(dtype), name)

    @numba.njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


def arguments(dtype, name):
    """Numbers of ordinary size, of every size, and where the function is most delicate."""
    rng = np.random.default_rng(5)
    number = np.dtype(dtype)
    every = rng.integers(2 ** (8 * number.itemsize), size=COUNT, dtype=np.uint64, endpoint=False)
    every = every.astype(f"u{number.itemsize}").view(dtype)
    found = [rng.uniform(-3, 3, COUNT), rng.uniform(-1e-3, 1e-3, COUNT), every[np.isfinite(every)]]
    low, high = PRECISIONS[dtype].exp_range
    if name == "exp":
        found += [rng.uniform(low, 0.8 * low, COUNT), rng.uniform(0.8 * high, high, COUNT)]
    if name == "log":
        smallest = np.finfo(dtype).smallest_subnormal
        found += [rng.uniform(0.7, 1.5, COUNT), smallest * rng.integers(1, 2**20, COUNT)]
    if name in ("sin", "cos"):
        farthest = PRECISIONS[dtype].farthest
        found += [rng.uniform(-farthest, farthest, COUNT)]
        # Next to the zeros, where an argument that is reduced too roughly shows.
        found += [np.arange(1, 2 * farthest / np.pi, farthest / COUNT) // 1 * (np.pi / 2)]
    x = np.concatenate([values.astype(dtype) for values in found])
    return np.abs(x) if name == "log" else x


@DTYPES
@pytest.mark.parametrize("name", NAMES)
def test_functions_are_within_their_bounds(dtype, name):
    x = arguments(dtype, name)
    info = np.finfo(dtype)
    with mpmath.workprec(160):
        for value, got in zip(x.tolist(), applied(dtype, name, x).tolist(), strict=True):
            truth = getattr(mpmath, name)(value)
            if abs(truth) > float(info.max):
                assert math.isinf(got)
                continue
            _, exponent = mpmath.frexp(truth)
            ulp = mpmath.ldexp(1, max(exponent - info.nmant - 1, info.minexp - info.nmant))
            assert abs(got - truth) <= ULPS[name] * ulp, (value, got)


@DTYPES
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_numpys(dtype, name):
    largest = np.finfo(dtype).max
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -1.0, -largest, largest], dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    np.testing.assert_allclose(applied(dtype, name, x), expected, rtol=3 * np.finfo(dtype).eps)


@isotherm.formula
def waves(x):
    return symbols.cos(3.0 * x) + symbols.sin(x)


@DTYPES
def test_a_far_chain_has_no_influence_on_its_neighbours(dtype):
    # It sends the tile to another loop, which gives the others the bits that they had.
    x = np.linspace(-5, 5, 40, dtype=dtype)[:, None]
    far = x.copy()
    far[7] = 3e8
    options = {"n_steps": 5, "step_size": 0.01, "seed": 1, "return_diagnostics": True}
    runs = []
    for start in (x, far):
        plan = isotherm.make_plan(waves(), start, backend="numba", **options)
        result = isotherm.run(plan, waves(), start)
        runs.append(np.delete(np.vstack([result.samples.T, result.diagnostics.energy]), 7, axis=1))
    assert runs[0].tobytes() == runs[1].tobytes()


@DTYPES
def test_a_far_angle_is_taken_for_what_it_is(dtype):
    x = np.array([[3e8], [-1e20], [0.5]], dtype)
    options = {"n_steps": 1, "step_size": 1.0, "noise_scale": 0.0}
    got, expected = (
        isotherm.sample_chain(waves(), x, backend=backend, **options)
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(got, expected, rtol=4 * np.finfo(dtype).eps)


def test_coefficients_are_those_that_the_tool_derives():
    path = Path(__file__).parents[2] / "tools" / "fit_function_polynomials.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for dtype, precision in ((np.float32, FLOAT32), (np.float64, FLOAT64)):
        tables = tool.derive(dtype)
        assert tables == {name: getattr(precision, name) for name in tables}
