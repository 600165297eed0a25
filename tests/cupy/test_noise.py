"""The noise of the CUDA source: its square root, at all numbers that differ, and what is drawn."""

import numpy as np
import pytest

import isotherm
from isotherm._arithmetic.arrays import namespace, to_numpy
from isotherm.backend import noise
from isotherm_cupy.modules import compile_for_device
from isotherm_cupy.normals import exponentials_by, filler
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


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("stream", list(noise.Stream))
def test_each_block_of_normals_is_drawn_by_one_kernel(build, dtype, stream):
    library, compile_ = PLACES[build]
    xp = namespace(library)
    launches = []

    class Counted:
        def __init__(self, source):
            self.module = compile_(source)

        def launch(self, *given):
            launches.append(given)
            self.module.launch(*given)

    shape = (2 * noise.steps_per_block(dtype), 70, 9)
    key = {"seed": 2**64 - 5, "stream": stream, "block": 2**32 - 2, "chain_offset": 2**32 - 30}
    out, expected = xp.empty(shape, dtype=getattr(xp, dtype)), np.empty(shape, dtype)
    filler(xp, Counted)(out, **key)
    noise.fill_normals(expected, **key)
    assert to_numpy(out).tobytes() == expected.tobytes()
    assert len(launches) == 2
    # In substeps of a trajectory the coordinate's word has a higher part.
    part = xp.empty((shape[0], 70, 4), dtype=getattr(xp, dtype))
    filler(xp, Counted)(part, **key, coordinate_offset=5)
    assert to_numpy(part).tobytes() == np.ascontiguousarray(expected[:, :, 5:]).tobytes()


@pytest.mark.parametrize("build", BUILDS)
def test_a_start_is_drawn_by_one_kernel(build, monkeypatch):
    def refused(*arguments, **options):
        raise AssertionError("drawn by array operations")

    options = {"dim": 5, "n_samples": 30, "n_steps": 1, "step_size": 1e-3, "seed": 3}
    expected = isotherm.sample_chain(isotherm.HarmonicEnergy(), backend="numpy", **options)
    monkeypatch.setattr(noise, "fill_normals", refused)
    got = isotherm.sample_chain(isotherm.HarmonicEnergy(), backend=build, **options)
    assert to_numpy(got).tobytes() == expected.tobytes()


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_for_accepting_have_the_streams_bits(build, dtype):
    library, compile_ = PLACES[build]
    xp = namespace(library)
    key = {"seed": 2**64 - 5, "block": 2**32 - 2, "chain_offset": 2**32 - 30, "n_blocks": 2}
    got = exponentials_by(xp, compile_)(xp.empty((70, 9), dtype=getattr(xp, dtype)), **key)
    expected = noise.exponentials(np.empty((70, 9), dtype), **key)
    assert [to_numpy(one).tobytes() for one in got] == [one.tobytes() for one in expected]
