"""What array loops on host memory are given: the stream's normals, and segments in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numba import types

from isotherm.backend import Segment, Space, TransitionProgram, noise, walk
from isotherm_numba import codegen_cache, threads
from isotherm_numba.kernel_calls import array_type, number_type
from isotherm_numba.limits import LIMITS
from isotherm_numba.printer import print_module, print_segment, segment_arguments

Array: TypeAlias = np.ndarray[Any, Any]


_FILL = """\
from isotherm_numba import arrays, lanes
from isotherm_numba.noise import box_muller{bits} as box_muller


@kept(arrays.fill_signature("{dtype}"))
def fill(out, dim, coordinate_offset, stream, block, k0, k1, chain_offset, first, last):
    lanes.fill(
        box_muller, out, {steps}, dim, coordinate_offset, stream, block, k0, k1, chain_offset,
        first, last,
    )
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
    """See `isotherm.backend.noise.fill_normals`."""
    dtype = "float64" if out.dtype == np.float64 else "float32"
    # Half precision is drawn in float32 and rounded once.
    whole = out if out.dtype == dtype and out.flags.c_contiguous else np.empty(out.shape, dtype)
    rows = whole.reshape(out.shape[0], -1)
    where = out.shape[2], coordinate_offset, int(stream), block, seed & noise.MASK, seed >> 32
    compiled = _fill_of(dtype)

    size, part_size = rows.shape[1], LIMITS.array_part

    def take(part: int) -> None:
        first = part * part_size
        compiled(rows, *where, chain_offset, first, min(first + part_size, size))

    if size <= part_size:
        compiled(rows, *where, chain_offset, 0, size)
    else:
        threads.run_all(take, -(-size // part_size))
    if whole is not out:
        out[...] = whole


@cache
def _fill_of(dtype: str) -> Any:
    bits, steps = 8 * np.dtype(dtype).itemsize, noise.steps_per_block(dtype)
    source = _FILL.format(dtype=dtype, bits=bits, steps=steps)
    return codegen_cache.load(f"normals_{dtype}", print_module("normals", dtype, source)).fill


def fill_signature(dtype: str) -> Any:
    """The types of the arguments of ``fill``."""
    out = array_type(number_type(dtype), 2)
    return types.void(out, *[types.uint64] * 7, types.int64, types.int64)


class Segments:
    """A transition's segments in one pass over memory each; see `isotherm.backend.RunSegment`."""

    def __init__(self, program: TransitionProgram, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        segments = dict.fromkeys(
            one for one in walk(program.statements) if isinstance(one, Segment)
        )
        printed = [_Printed(program, one, f"segment{k}") for k, one in enumerate(segments)]
        source = print_module(
            program.name,
            dtype,
            "from isotherm_numba import arrays",
            *(one.source(dtype) for one in printed),
        )
        module = codegen_cache.load(f"{program.name}_segments_{dtype}", source)
        self._run = {one.segment: (one, getattr(module, one.name)) for one in printed}

    def __call__(self, segment: Segment, values: Mapping[int, Any]) -> Sequence[Array]:
        printed, function = self._run[segment]
        numbers = [values[index] for index in printed.numbers]
        inputs = [values[index] for index in printed.inputs]
        for k, one in enumerate(inputs):
            if not one.flags.c_contiguous:
                inputs[k] = np.ascontiguousarray(one)
        shape = inputs[0].shape
        if not printed.is_one_row:
            shape = np.broadcast_shapes(*(one.shape for one in inputs))
        outputs = [np.empty(shape, self._dtype) for _ in segment.outputs]
        if shape[0] * shape[1] <= LIMITS.array_part:
            function(*inputs, *outputs, *numbers)
            return outputs
        whole, height = [*inputs, *outputs], max(1, LIMITS.array_part // shape[1])

        def take(part: int) -> None:
            rows = slice(part * height, (part + 1) * height)
            function(*(one[rows] if len(one) == shape[0] else one for one in whole), *numbers)

        threads.run_all(take, -(-shape[0] // height))
        return outputs


class _Printed:
    """A segment as a function of arrays whose rows are chains.

    Attributes
    ----------
    inputs, numbers : list of int
        Values that are arrays, and those that are numbers of the step.
    is_one_row : bool
        Whether all arrays have the same shape, so that all their lanes are one row.
    """

    def __init__(self, program: TransitionProgram, segment: Segment, name: str) -> None:
        spaces = program.spaces
        self.segment, self.name = segment, name
        self.inputs = [index for index in segment.inputs if spaces[index] != Space.STEP]
        self.numbers = [index for index in segment.inputs if spaces[index] == Space.STEP]
        self.is_one_row = all(spaces[index] == segment.space for index in self.inputs)
        lanes = {Space.STATE: "lane", Space.CHAIN: "u64(row)", Space.COORDINATE: "u64(i)"}
        places = {index: f"a{index}" for index in (*self.inputs, *segment.outputs)}
        self._of_lanes = print_segment(
            f"{name}_of_lanes", program, segment, places,
            {segment.space: "lane"} if self.is_one_row else lanes,
        )  # fmt: skip
        self._arguments = segment_arguments(segment, places)

    def source(self, dtype: str) -> str:
        """The function with its decorator, before it that of the lanes."""
        counts = len(self.inputs), len(self.segment.outputs), len(self.numbers)
        arrays = [f"{name}.ravel()" for name in self._arguments[: counts[0] + counts[1]]]
        given = ", ".join([*arrays, *self._arguments[len(arrays) :]])
        rows = "1, 0, n * dim" if self.is_one_row else "n, dim, dim"
        return "\n".join(
            [
                "@njit(**inner)",
                self._of_lanes,
                "\n",
                f'@kept(arrays.signature("{dtype}", *{counts}))',
                f"def {self.name}({', '.join(self._arguments)}):",
                f"    n, dim = a{self.segment.outputs[0]}.shape",
                f"    {self.name}_of_lanes({given}, {rows})",
            ]
        )


def signature(dtype: str, n_inputs: int, n_outputs: int, n_numbers: int) -> Any:
    """The types of the arguments of a segment's function."""
    number = number_type(dtype)
    inputs, outputs = array_type(number, 2, readonly=True), array_type(number, 2)
    return types.void(*[inputs] * n_inputs, *[outputs] * n_outputs, *[number] * n_numbers)
