"""The functions of the CUDA source are core's to the bit."""

import numpy as np
import pytest

from isotherm._arithmetic import functions as core
from isotherm._arithmetic.arrays import namespace, to_numpy
from isotherm_cupy.source import assemble
from tests.arithmetic.arguments import NAMES, PRECISIONS, arguments, equal_bits, specials
from tests.cupy.host import BUILDS
from tests.cupy.test_noise import PLACES

KERNELS = "".join(
    f"""
extern "C" __global__ void all_{name}(const REAL* x, REAL* out, long long n) {{
    const long long i = thread_number();
    if (i < n) out[i] = functions::{name}(x[i]);
}}
"""
    for name in NAMES
)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_cores(build, dtype, name):
    library, compile_ = PLACES[build]
    xp = namespace(library)
    x = np.concatenate([arguments(dtype, name, 3000), specials(dtype)])
    out = xp.empty(len(x), dtype=getattr(xp, dtype))
    module = compile_(assemble(dtype, KERNELS))
    module.launch(f"all_{name}", len(x), [xp.asarray(x), out, np.int64(len(x))])
    assert equal_bits(to_numpy(out), getattr(core, name)(x))
