"""What CUDA does in one pass over memory each, by Triton: a block of noise, and segments.

The noise is `isotherm.backend.noise` transcribed operation by operation; transitions' segments are
printed (see `isotherm_torch.printer`). Equal bits need every operation rounded by itself, so all
are launched with ``enable_fp_fusion=False``, which never makes one of a product and a sum. Triton
3.4 to 3.7 compile them so; for an older one there is a reason why not, and the array loop.
"""

from __future__ import annotations

import hashlib
import linecache
import math
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import driver

from isotherm.backend import Call, Segment, Space, TransitionProgram, Values, noise, walk
from isotherm.backend import Segments as OneByOne
from isotherm_torch.printer import can_print, print_segment

#: Not bfloat16: Triton's interpreter, which runs the kernels in the tests, rounds it wrongly.
DTYPES = ("float32", "float64")

_BLOCK = 1024  # elements of a program: eight for each thread of four warps, so loads are 128 bits

# Triton takes globals only where they are declared constant.
_MULTIPLIER_0, _MULTIPLIER_1 = map(tl.constexpr, noise.PHILOX_MULTIPLIERS)
_INCREMENT_0, _INCREMENT_1 = map(tl.constexpr, noise.PHILOX_KEY_INCREMENTS)
_ROUNDS = tl.constexpr(noise.PHILOX_ROUNDS)
_ACCEPT = tl.constexpr(int(noise.Stream.ACCEPT) << 24)
_SUBSTEP = tl.constexpr(int(noise.Stream.SUBSTEP))
_EXPONENTIALS_PER_BLOCK = tl.constexpr(noise.EXPONENTIALS_PER_BLOCK)
_MINUS_TWO_LOG, _SINE, _COSINE = (
    tl.constexpr(noise.Precision._fields.index(name))
    for name in ("minus_two_log", "sine", "cosine")
)
_SMALLEST_MANTISSA_32 = tl.constexpr(0x3F3504F3)  # the bits of `Precision.smallest_mantissa`
_SMALLEST_MANTISSA_64 = tl.constexpr(0x3FE6A09E667F3BCD)


@triton.jit
def _philox(c0, c1, c2, c3, k0, k1):
    for _ in tl.static_range(_ROUNDS):
        high0, low0 = tl.umulhi(c0, _MULTIPLIER_0), c0 * _MULTIPLIER_0
        high1, low1 = tl.umulhi(c2, _MULTIPLIER_1), c2 * _MULTIPLIER_1
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += _INCREMENT_0
        k1 += _INCREMENT_1
    return c0, c1, c2, c3


@triton.jit
def _horner(p: tl.constexpr, name: tl.constexpr, x):
    # Before Triton 3.7 a tuple cannot be handed on, so that the polynomial is looked up here.
    n: tl.constexpr = len(p[name])
    result = x * p[name][n - 1]
    for i in tl.static_range(n - 2, 0, -1):
        result = (result + p[name][i]) * x
    return result + p[name][0]


@triton.jit
def _minus_two_log_32(x, p: tl.constexpr):
    bits = x.to(tl.int32, bitcast=True) - _SMALLEST_MANTISSA_32
    exponent = ((bits >> 23) - 32).to(tl.float32)
    mantissa = ((bits & 0x7FFFFF) + _SMALLEST_MANTISSA_32).to(tl.float32, bitcast=True)
    t = mantissa - 1.0
    return _horner(p, _MINUS_TWO_LOG, t) * t + exponent * p.minus_two_log_of_2


@triton.jit
def _minus_two_log_64(x, p: tl.constexpr):
    bits = x.to(tl.int64, bitcast=True) - _SMALLEST_MANTISSA_64
    exponent = ((bits >> 52) - 53).to(tl.float64)
    mantissa = ((bits & 0xFFFFFFFFFFFFF) + _SMALLEST_MANTISSA_64).to(tl.float64, bitcast=True)
    t = mantissa - 1.0
    s = t / (t + 2.0)
    return _horner(p, _MINUS_TWO_LOG, s * s) * s + exponent * p.minus_two_log_of_2


@triton.jit
def _cosine_or_sine(a, quarters, wants_sine, p: tl.constexpr):
    """The one that is wanted (0: cosine, 1: sine), of the angle a and so many quarter turns."""
    z = a * a
    sine = _horner(p, _SINE, z) * z * a + a
    cosine = _horner(p, _COSINE, z) * z + 1.0
    sign = 1 - ((quarters + 1 - wants_sine) & 2)
    return tl.where((quarters & 1) != wants_sine, sine, cosine) * sign.to(a.dtype)


@triton.jit
def _normal_32(w0, w1, w2, w3, step, p: tl.constexpr):
    is_first_pair = (step & 2) == 0
    u, v = tl.where(is_first_pair, w0, w2), tl.where(is_first_pair, w1, w3)
    quarters = ((v >> 29) + 1) >> 1
    # Words wrap, so that this is the signed remainder after a whole turn too.
    rest = (v - (quarters << 30)).to(tl.int32, bitcast=True)
    a = rest.to(tl.float32) * p.radians
    wave = _cosine_or_sine(a, quarters.to(tl.int32), (step & 1).to(tl.int32), p)
    # Triton before 3.6 would flush a subnormal root's argument to zero; there is none.
    return wave * tl.sqrt_rn(_minus_two_log_32(u.to(tl.float32) + 0.5, p))


@triton.jit
def _normal_64(w0, w1, w2, w3, step, p: tl.constexpr):
    u = (w0.to(tl.int64) << 21) | (w1 >> 11).to(tl.int64)
    v = (w2.to(tl.int64) << 21) | (w3 >> 11).to(tl.int64)
    quarters = (v + (1 << 50)) >> 51
    a = (v - (quarters << 51)).to(tl.float64) * p.radians
    wave = _cosine_or_sine(a, quarters.to(tl.int32), (step & 1).to(tl.int32), p)
    # Of float64 a root is always correctly rounded.
    return wave * tl.sqrt(_minus_two_log_64(u.to(tl.float64) + 0.5, p))


# A kernel that is special for one seed would be compiled anew for another.
@triton.jit(
    do_not_specialize=[
        "n_coordinates",
        "key_low",
        "key_high",
        "block_number",
        "stream",
        "chain_offset",
        "coordinate_offset",
    ]
)
def _fill(
    out_pointer,
    n_elements,
    n_coordinates: tl.int64,
    key_low: tl.int64,
    key_high: tl.int64,
    block_number: tl.int64,
    stream: tl.int64,
    chain_offset: tl.int64,
    coordinate_offset: tl.int64,
    first_pointer,
    p: tl.constexpr,
    index_type: tl.constexpr,
    block: tl.constexpr,
):
    """A block of the noise stream's normals, a step after the other."""
    # A 1 is taken for a constant, which is no tensor: it is cast, by a function.
    dtype: tl.constexpr = out_pointer.dtype.element_ty
    n_steps: tl.constexpr = 2 if dtype == tl.float64 else 4
    if first_pointer is not None:
        # Each step has blocks of its own for the substeps of its trajectory.
        block_number += tl.load(first_pointer) // tl.where(stream == _SUBSTEP, 1, n_steps)
    element = tl.program_id(0).to(index_type) * block + tl.arange(0, block)
    width = n_coordinates.to(index_type)
    chain = (element // width).to(tl.int64) + chain_offset
    w0, w1, w2, w3 = _philox(
        block_number.to(tl.uint32),
        ((element % width).to(tl.int64) + coordinate_offset).to(tl.uint32),
        chain.to(tl.uint32),
        (chain >> 32).to(tl.uint32) | (stream << 24).to(tl.uint32),
        key_low.to(tl.uint32),
        key_high.to(tl.uint32),
    )
    for position in tl.static_range(n_steps):
        step = tl.full((), position, tl.int64)
        if dtype == tl.float64:
            normal = _normal_64(w0, w1, w2, w3, step, p)
        else:
            normal = _normal_32(w0, w1, w2, w3, step, p).to(dtype)
        place = element.to(tl.int64) + position * tl.cast(n_elements, tl.int64)
        tl.store(out_pointer + place, normal, element < n_elements)


@triton.jit(do_not_specialize=["key_low", "key_high", "block_number", "chain_offset"])
def _exponentials(
    out_pointer,
    n_chains,
    key_low: tl.int64,
    key_high: tl.int64,
    block_number: tl.int64,
    chain_offset: tl.int64,
    first_pointer,
    p: tl.constexpr,
    index_type: tl.constexpr,
    block: tl.constexpr,
):
    """A block of the numbers for accepting, a step after the other."""
    dtype: tl.constexpr = out_pointer.dtype.element_ty
    if first_pointer is not None:
        block_number += tl.load(first_pointer) // _EXPONENTIALS_PER_BLOCK
    element = tl.program_id(0).to(index_type) * block + tl.arange(0, block)
    chain = element.to(tl.int64) + chain_offset
    w0, w1, w2, w3 = _philox(
        block_number.to(tl.uint32),
        tl.full((block,), 0, tl.uint32),
        chain.to(tl.uint32),
        (chain >> 32).to(tl.uint32) | _ACCEPT,
        key_low.to(tl.uint32),
        key_high.to(tl.uint32),
    )
    for position in tl.static_range(_EXPONENTIALS_PER_BLOCK):
        low, high = (w0, w2) if position % 2 == 0 else (w1, w3)
        x = (low if position < 2 else high).to(dtype) + 0.5
        if dtype == tl.float64:
            result = _minus_two_log_64(x * 2097152.0, p)  # 2^21: of the 53 bits of u
        else:
            result = _minus_two_log_32(x, p)
        place = element.to(tl.int64) + position * tl.cast(n_chains, tl.int64)
        tl.store(out_pointer + place, result * 0.5, element < n_chains)


@triton.jit(do_not_specialize=["width"])
def _matvec(
    columns_pointer,
    x_pointer,
    out_pointer,
    size,
    width: tl.int64,
    index_type: tl.constexpr,
    block: tl.constexpr,
):
    """A matrix times each row: product, then sum, in the order of its columns."""
    element = tl.program_id(0).to(index_type) * block + tl.arange(0, block)
    is_inside = element < size
    n = width.to(index_type)
    x = x_pointer + element // n * n
    column = columns_pointer + element % n
    result = tl.load(x, is_inside) * tl.load(column, is_inside)
    n -= 1
    while n > 0:  # not range(), whose end Triton's interpreter does not take with NumPy 2.5
        x += 1
        column += width  # there may be more than 2^31 numbers in a matrix
        result += tl.load(x, is_inside) * tl.load(column, is_inside)
        n -= 1
    tl.store(out_pointer + element, result, is_inside)


def why_not(dtype: str) -> str | None:
    """Why normals cannot be drawn on the current device, or None: it is compiled to see.

    Parameters
    ----------
    dtype : str
        Of the chains.
    """
    if dtype not in DTYPES:
        return f"it has no {dtype}"
    try:
        return _compiler_says(dtype, driver.active.get_current_device())
    except Exception as error:  # there is no GPU, or no C compiler to reach it
        return _in_one_line(error)


@cache
def _compiler_says(dtype: str, device: int) -> str | None:
    pointer, constants = getattr(torch, dtype), _constants(dtype, 16)
    return _refusal(_fill, pointer, *(16, 16, 0, 0, 0, 0, 0, 0), None, **constants) or _refusal(
        _exponentials, pointer, *(16, 0, 0, 0, 0), None, **constants
    )


def _refusal(kernel: Any, *given: Any, **options: Any) -> str | None:
    """What the compiler says against a kernel."""
    try:
        kernel.warmup(*given, grid=(1,), **options)
    except Exception as error:  # compilers raise what they like, which differs by their version
        return f"Triton {triton.__version__} cannot compile it: {_in_one_line(error)}"
    return None


def _in_one_line(error: BaseException) -> str:
    """The first cause, whose last line is the reason where the compiler shows the source."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return " ".join(lines[-1].split()) if lines else type(error).__name__


def _constants(dtype: str, n_elements: int) -> dict[str, Any]:
    """What normals are compiled for, and how."""
    return {"p": noise.FLOAT64 if dtype == "float64" else noise.FLOAT32, **_how(n_elements)}


def _how(n_elements: int) -> dict[str, Any]:
    """How any kernel is compiled."""
    return {
        # Division of 64-bit indices takes several times as long.
        "index_type": tl.int32 if n_elements + _BLOCK < 2**31 else tl.int64,
        "block": _BLOCK,
        "enable_fp_fusion": False,
    }


def fill_normals(
    out: Any,
    *,
    seed: int,
    stream: int,
    block: int,
    chain_offset: int = 0,
    coordinate_offset: int = 0,
    first_step: torch.Tensor | None = None,
) -> None:
    """`isotherm.backend.noise.fill_normals` as one kernel, for a tensor of one of the `DTYPES`.

    Where there is a `first_step`, an int64 in the device's memory, the block is counted from the
    one in which that step's noise begins.
    """
    normals = out if out.is_contiguous() else torch.empty_like(out)
    _, n_samples, dim = out.shape
    dtype = str(out.dtype).removeprefix("torch.")
    for k, of_block in enumerate(normals.split(noise.steps_per_block(dtype))):
        _fill[(triton.cdiv(n_samples * dim, _BLOCK),)](
            of_block,
            n_samples * dim,
            dim,
            seed & noise.MASK,
            seed >> 32,
            block + k,
            int(stream),
            chain_offset,
            coordinate_offset,
            first_step,
            **_constants(dtype, n_samples * dim),
        )
    if normals is not out:
        out.copy_(normals)


def exponentials(
    like: torch.Tensor,
    *,
    seed: int,
    block: int,
    chain_offset: int = 0,
    n_blocks: int = 1,
    first_step: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    """`isotherm.backend.noise.exponentials` as one kernel, for a tensor of one of the `DTYPES`.

    Where there is a `first_step`, the block is counted from it, as in `fill_normals`.
    """
    n = len(like)
    shape = n_blocks, noise.EXPONENTIALS_PER_BLOCK, n
    out = torch.empty(shape, dtype=like.dtype, device=like.device)
    for k in range(n_blocks):
        _exponentials[(triton.cdiv(n, _BLOCK),)](
            out[k],
            n,
            seed & noise.MASK,
            seed >> 32,
            block + k,
            chain_offset,
            first_step,
            **_constants(str(like.dtype).removeprefix("torch."), n),
        )
    return out.flatten(0, 1).unbind()


def matvec(columns: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The matrix of these columns times each row of a state, as one kernel."""
    x = x.contiguous()
    out, size = torch.empty_like(x), x.numel()
    _matvec[(triton.cdiv(size, _BLOCK),)](columns, x, out, size, x.shape[1], **_how(size))
    return out


class Segments:
    """A transition's segments, one kernel each; see `isotherm.backend.RunSegment`.

    They come with `matvec`, where a step multiplies by a matrix.

    Parameters
    ----------
    program : TransitionProgram
    dtype : str
        Of the state, one of the `DTYPES`.
    in_memory : collection of int
        The coefficients that are no numbers, but tensors of one.
    """

    def __init__(
        self, program: TransitionProgram, dtype: str, in_memory: Collection[int] = ()
    ) -> None:
        self._spaces = program.spaces
        self._in_memory = in_memory
        self._dtype = dtype
        self._others = OneByOne(program, dtype)  # what Triton has no exact function for
        statements = walk((*program.prologue, *program.statements))
        segments = dict.fromkeys(one for one in statements if isinstance(one, Segment))
        names = {one: f"segment{k}" for k, one in enumerate(segments) if can_print(program, one)}
        source = "\n\n".join(
            print_segment(name, program, one, dtype, in_memory) for one, name in names.items()
        )
        module = _module_of(source)
        self._kernels = {one: module[name] for one, name in names.items()}
        calls = (one for one in walk(program.statements) if isinstance(one, Call))
        self._has_matrix = any(one.op == "matvec" for one in calls)

    def why_not(self) -> str | None:
        """Why the kernels cannot be launched on the current device, or None: they are compiled."""
        pointer = getattr(torch, self._dtype)
        if self._has_matrix:
            reason = _refusal(_matvec, pointer, pointer, pointer, 16, 16, **_how(16))
            if reason is not None:
                return reason
        for segment, kernel in self._kernels.items():
            given = [0 if self._is_number(index) else pointer for index in segment.inputs]
            given += [pointer] * len(segment.outputs)
            reason = _refusal(kernel, *given, 16, 16, **_how(16))
            if reason is not None:
                return reason
        return None

    def __call__(self, segment: Segment, values: Values) -> Sequence[torch.Tensor]:
        if segment not in self._kernels:
            return self._others(segment, values)
        tensors = {
            index: values[index].contiguous()
            for index in segment.inputs
            if not self._is_number(index)
        }
        some = next(one for index, one in tensors.items() if index not in self._in_memory)
        shape = torch.broadcast_shapes(*(one.shape for one in tensors.values()))
        results = [
            torch.empty(shape, dtype=some.dtype, device=some.device) for _ in segment.outputs
        ]
        given = [
            self._bits(values[index]) if self._is_number(index) else tensors[index]
            for index in segment.inputs
        ]
        size = math.prod(shape)
        grid = (triton.cdiv(size, _BLOCK),)
        self._kernels[segment][grid](*given, *results, size, shape[1], **_how(size))
        return results

    def _is_number(self, index: int) -> bool:
        return self._spaces[index] == Space.STEP and index not in self._in_memory

    def _bits(self, number: float) -> int:
        return int(np.array(number, self._dtype).view(f"i{np.dtype(self._dtype).itemsize}"))


def segments_of(
    program: TransitionProgram, dtype: str, in_memory: Collection[int] = ()
) -> Segments | str:
    """The kernels of a program's segments on the current device, or why there are none."""
    key = program.digest, dtype, frozenset(in_memory), driver.active.get_current_device()
    if key not in _made:
        segments = Segments(program, dtype, in_memory)
        _made[key] = segments.why_not() or segments
    return _made[key]


# To ask the compiler takes as long as steps.
_made: dict[tuple[str, str, frozenset[int], int], Segments | str] = {}


@cache
def _module_of(source: str) -> dict[str, Any]:
    """What a source defines, as Triton can read it again."""
    name = f"<isotherm_torch {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    module: dict[str, Any] = {"__name__": __name__, "tl": tl, "triton": triton}
    exec(compile(source, name, "exec"), module)
    return module
