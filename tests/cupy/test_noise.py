"""The square root of the noise, which is the CUDA source's own, at all numbers that differ."""

import numpy as np
import pytest

from isotherm._arithmetic.arrays import namespace, to_numpy
from isotherm_cupy.modules import compile_for_device
from isotherm_cupy.source import assemble
from tests.cupy.host import BUILDS, compile_for_host

KERNEL = """
extern "C" __global__ void roots(const REAL* a, REAL* out, long long n) {
    const long long i = thread_number();
    if (i < n) out[i] = branchless_root(a[i]);
}
"""
PLACES = {"cupy_on_host": ("numpy", compile_for_host), "cupy": ("cupy", compile_for_device)}


@pytest.mark.parametrize("build", BUILDS)
def test_the_branchless_root_is_rounded_to_nearest(build):
    library, compile_ = PLACES[build]
    xp = namespace(library)
    # From 4 on, and below 1, the same digits come again with another exponent.
    digits = np.arange(2**24, dtype=np.int32) + np.float32(1).view(np.int32)
    edges = np.array([-0.0, 0.0, 2.0**-24, 2.0**-23, 44.4, 2.0**7], np.float32)
    numbers = np.concatenate([edges, digits.view(np.float32)])
    out = xp.empty(len(numbers), dtype=xp.float32)
    module = compile_(assemble("float32", KERNEL))
    module.launch("roots", len(numbers), [xp.asarray(numbers), out, np.int64(len(numbers))])
    assert to_numpy(out).tobytes() == np.sqrt(numbers).tobytes()
