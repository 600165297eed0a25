"""The functions of printed programs are core's to the bit, and far angles what they are."""

import numba
import numpy as np
import pytest

import isotherm
from isotherm import math as symbols
from isotherm._arithmetic import functions as core
from isotherm_numba.functions import functions
from tests.arithmetic.arguments import NAMES, PRECISIONS, arguments, equal_bits, specials

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


@DTYPES
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_cores(dtype, name):
    x = np.concatenate([arguments(dtype, name, 3000), specials(dtype)])
    assert equal_bits(applied(dtype, name, x), getattr(core, name)(x))


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
    assert equal_bits(got, expected)
