"""The noise stream on arrays: a block of it by one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm.backend import Array, Exponentials, FillNormals, noise
from isotherm_cupy.modules import Compile
from isotherm_cupy.source import assemble


def filler(xp: Any, compile_: Compile) -> FillNormals:
    """What `isotherm.backend.noise.fill_normals` is, with its bits.

    Parameters
    ----------
    xp : module
        The array library of the device's memory.
    compile_ : callable
        source → `isotherm_cupy.modules.Module`.
    """

    def fill(
        out: Array,
        *,
        seed: int,
        stream: int,
        block: int,
        chain_offset: int = 0,
        coordinate_offset: int = 0,
    ) -> None:
        dtype = str(out.dtype)
        drawn_in = dtype if dtype == "float64" else "float32"
        is_direct = dtype == drawn_in and out.flags.c_contiguous
        normals = out if is_direct else xp.empty(out.shape, dtype=drawn_in)
        n_steps, n, dim = out.shape
        length = noise.steps_per_block(drawn_in)
        module = compile_(assemble(drawn_in, "fill.cu"))
        for k in range(n_steps // length):
            arguments = [normals[k * length : (k + 1) * length], np.int64(n), np.int32(dim)]
            arguments += [np.uint32(block + k), np.uint32(seed & noise.MASK)]
            arguments += [np.uint32(seed >> 32), np.uint32(stream)]
            arguments += [np.uint64(chain_offset), np.uint32(coordinate_offset)]
            module.launch("fill", n * dim, arguments)
        if normals is not out:
            out[...] = normals

    return fill


def exponentials_by(xp: Any, compile_: Compile) -> Exponentials:
    """What `isotherm.backend.noise.exponentials` is, with its bits; see `filler`."""

    def draw(
        like: Array, *, seed: int, block: int, chain_offset: int = 0, n_blocks: int = 1
    ) -> list[Array]:
        n, dtype = like.shape[0], str(like.dtype)
        out = xp.empty((n_blocks, noise.EXPONENTIALS_PER_BLOCK, n), dtype=dtype)
        module = compile_(assemble(dtype, "fill.cu"))
        for k in range(n_blocks):
            arguments = [out[k], np.int64(n), np.uint32(block + k), np.uint32(seed & noise.MASK)]
            arguments += [np.uint32(seed >> 32), np.uint64(chain_offset)]
            module.launch("exponentials", n, arguments)
        return list(out.reshape(-1, n))

    return draw
