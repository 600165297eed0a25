"""A transition's segments on arrays: one kernel each, in one pass over memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isotherm.backend import Array, Segment, Space, TransitionProgram, walk
from isotherm_cupy.modules import Compile
from isotherm_cupy.printer import segment_lines
from isotherm_cupy.source import assemble

_KERNEL = """
extern "C" __global__ void {name}({parameters}) {{
    const long long element = thread_number();
    if (element >= size) return;
    const long long chain = element / width;
    const int j = (int)(element % width);
    {body}
}}
"""
_PLACES = {
    Space.STATE: "[element]",
    Space.CHAIN: "[chain]",
    Space.COORDINATE: "[j]",
    Space.STEP: "",
}


class Segments:
    """See `isotherm.backend.RunSegment`.

    Parameters
    ----------
    program : TransitionProgram
    dtype : str
        Of the state: ``"float32"`` or ``"float64"``.
    xp : module
        The array library of the device's memory.
    compile_ : callable
        source → `isotherm_cupy.modules.Module`.
    """

    def __init__(self, program: TransitionProgram, dtype: str, xp: Any, compile_: Compile) -> None:
        self._dtype = np.dtype(dtype)
        self._spaces = program.spaces
        self._xp = xp
        if program.digest not in _printed:
            _printed[program.digest] = _print(program)
        self._names, kernels = _printed[program.digest]
        self._module = compile_(assemble(dtype, kernels))

    def __call__(self, segment: Segment, values: Mapping[int, Any]) -> Sequence[Array]:
        xp = self._xp
        arrays = {
            index: xp.ascontiguousarray(values[index], dtype=self._dtype)
            for index in segment.inputs
            if self._spaces[index] != Space.STEP
        }
        shape = np.broadcast_shapes(*(one.shape for one in arrays.values()))
        given = [
            arrays[index] if index in arrays else self._dtype.type(values[index])
            for index in segment.inputs
        ]
        results = [xp.empty(shape, dtype=self._dtype) for _ in segment.outputs]
        size = shape[0] * shape[1]
        arguments = [np.int64(size), np.int32(shape[1]), *given, *results]
        self._module.launch(self._names[segment], size, arguments)
        return results


_printed: dict[str, tuple[dict[Segment, str], str]] = {}  # the segments' names, their kernels


def _print(program: TransitionProgram) -> tuple[dict[Segment, str], str]:
    statements = walk((*program.prologue, *program.statements))
    segments = dict.fromkeys(one for one in statements if isinstance(one, Segment))
    names = {one: f"segment{k}" for k, one in enumerate(segments)}
    return names, "".join(_kernel(program, one, name) for one, name in names.items())


def _kernel(program: TransitionProgram, segment: Segment, name: str) -> str:
    """A segment's kernel: a thread is a number of its space, an array's row a chain."""

    def place(index: int) -> str:
        return f"a{index}{_PLACES[program.spaces[index]]}"

    parameters = ["long long size", "int width"]
    for index in segment.inputs:
        is_number = program.spaces[index] == Space.STEP
        parameters.append(f"REAL a{index}" if is_number else f"const REAL* a{index}")
    parameters += [f"REAL* a{index}" for index in segment.outputs]
    body = "\n    ".join(segment_lines(program, segment, place))
    return _KERNEL.format(name=name, parameters=", ".join(parameters), body=body)
