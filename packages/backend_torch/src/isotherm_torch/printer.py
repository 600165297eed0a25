"""A transition's segments printed as Triton kernels: Python that Triton reads.

Each operation is rounded by itself, in the order of the program. The text uses the names ``tl`` and
``triton`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from isotherm.backend import Segment, Space, TransitionProgram

_INFIX = {"add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_INFIX |= {"eq": "==", "ne": "!="}
# Triton's own division and root of float32 are approximate; its minus takes zero for its own
# negative, and its floor of float32 the numbers just below zero for zero.
_OTHERS: dict[str, str | dict[str, str]] = {
    "div": {"float32": "tl.div_rn({0}, {1})", "float64": "{0} / {1}"},
    "sqrt": {"float32": "tl.sqrt_rn({0})", "float64": "tl.sqrt({0})"},
    "neg": "{0} * -1.0",
    "abs": "tl.abs({0})",
    "floor": {
        "float32": "tl.where(tl.floor({0}) > {0}, tl.floor({0}) - 1.0, tl.floor({0}))",
        "float64": "tl.floor({0})",
    },
    "stop": "{0}",
    "where": "tl.where({0}, {1}, {2})",
    "min": "tl.where({0} < {1}, {0}, {1})",
    "max": "tl.where({0} > {1}, {0}, {1})",
    "perturb": "tl.where({1} != 0.0, {0} + {1} * {2}, {0})",
}
_LANES = {Space.STATE: "element", Space.CHAIN: "chain", Space.COORDINATE: "coordinate"}

_KERNEL = """\
@triton.jit(do_not_specialize={numbers})
def {name}({parameters}, size, width: tl.int64, index_type: tl.constexpr, block: tl.constexpr):
    element = tl.program_id(0).to(index_type) * block + tl.arange(0, block)
    is_inside = element < size
    {body}
"""


def can_print(program: TransitionProgram, segment: Segment) -> bool:
    """Whether all of a segment's operations can be had of Triton."""
    ops = {program.values[index].op for index in segment.body}
    return ops <= _INFIX.keys() | _OTHERS.keys()


def print_segment(
    name: str,
    program: TransitionProgram,
    segment: Segment,
    dtype: str,
    in_memory: Collection[int] = (),
) -> str:
    """The kernel of a segment.

    Its arguments are pointers to inputs and outputs in their order, where a number of the step
    stands as its bits in an integer, as Triton would round it, unless it is one of those
    `in_memory`; then how many numbers there are, and how many a chain has. Values of a space lie
    one after the other.
    """
    bits = 8 * np.dtype(dtype).itemsize
    lines, parameters, numbers = [], [], ["width"]
    spaces = {program.spaces[index] for index in segment.inputs}
    if spaces & {Space.CHAIN, Space.COORDINATE} and segment.space == Space.STATE:
        lines += [
            "chain = element // width.to(index_type)",
            "coordinate = element % width.to(index_type)",
        ]
    for index in segment.inputs:
        space = program.spaces[index]
        if index in in_memory:
            parameters.append(f"a{index}")
            numbers.append(f"a{index}")
            lines.append(f"v{index} = tl.load(a{index})")
        elif space == Space.STEP:
            parameters.append(f"a{index}: tl.int64")
            numbers.append(f"a{index}")
            lines.append(f"v{index} = a{index}.to(tl.int{bits}).to(tl.{dtype}, bitcast=True)")
        else:
            parameters.append(f"a{index}")
            lane = "element" if space == segment.space else _LANES[space]
            lines.append(f"v{index} = tl.load(a{index} + {lane}, is_inside)")
    for index in segment.body:
        one = program.values[index]
        args = [_argument(program, arg, dtype) for arg in one.args]
        lines.append(f"v{index} = {_expression(one.op, args, dtype)}")
    for index in segment.outputs:
        parameters.append(f"a{index}")
        lines.append(f"tl.store(a{index} + element, v{index}, is_inside)")
    return _KERNEL.format(
        name=name,
        numbers=numbers,
        parameters=", ".join(parameters),
        body="\n    ".join(lines),
    )


def _argument(program: TransitionProgram, index: int, dtype: str) -> str:
    one = program.values[index]
    if one.op != "const":
        return f"v{index}"
    value = float(one.value)
    text = repr(value) if math.isfinite(value) else f'float("{value}")'
    return f"tl.full((), {text}, tl.{dtype})"


def _expression(op: str, args: Sequence[str], dtype: str) -> str:
    if op in _INFIX:
        return f" {_INFIX[op]} ".join(args)
    text = _OTHERS[op]
    return (text if isinstance(text, str) else text[dtype]).format(*args)
