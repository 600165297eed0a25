"""`isotherm.backend.noise` transcribed for Numba, operation by operation, without fastmath.

Lanes go through two loops, Philox and then Box-Muller, with the words between them in L1: one loop
for both would spill registers. Words are carried in uint64, whose low halves are all that a
multiplication reads; floats change their sign by a bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import float32 as f32
from numba import float64 as f64
from numba import int32 as i32
from numba import njit
from numba import uint32 as u32
from numba import uint64 as u64

from isotherm.backend import noise
from isotherm_numba.codegen_cache import shared
from isotherm_numba.kernel_calls import compiled_apart

LANES = 256  # of one pass through both loops; their words and normals take 8 KiB

_M0, _M1 = map(np.uint64, noise.PHILOX_MULTIPLIERS)
_W0, _W1 = map(np.uint64, noise.PHILOX_KEY_INCREMENTS)
_ROUNDS = noise.PHILOX_ROUNDS
_MASK, _32 = np.uint64(noise.MASK), np.uint64(32)

_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = map(np.float32, noise.FLOAT32.minus_two_log)
_S0, _S1, _S2 = map(np.float32, noise.FLOAT32.sine)
_C0, _C1, _C2 = map(np.float32, noise.FLOAT32.cosine)
_LN2, _RADIANS = np.float32(noise.FLOAT32.minus_two_log_of_2), np.float32(noise.FLOAT32.radians)
_SMALLEST = np.float32(noise.FLOAT32.smallest_mantissa).view(np.int32)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)

_DL0, _DL1, _DL2, _DL3, _DL4, _DL5, _DL6, _DL7 = noise.FLOAT64.minus_two_log
_DS0, _DS1, _DS2, _DS3, _DS4, _DS5 = noise.FLOAT64.sine
_DC0, _DC1, _DC2, _DC3, _DC4, _DC5, _DC6 = noise.FLOAT64.cosine
_DLN2, _DRADIANS = noise.FLOAT64.minus_two_log_of_2, noise.FLOAT64.radians
_DSMALLEST = int(np.float64(noise.FLOAT64.smallest_mantissa).view(np.int64))
_EXPONENT_1 = 1 << 52  # the lowest bit of the exponent


@shared
def philox(
    words: Any, block: Any, coordinate: Any, low: Any, high: Any, k0: Any, k1: Any, n: Any
) -> None:
    """Write the words of `n` counters (block, coordinate, low, high); `words` is (4, n) uint32."""
    compiled_apart()
    for lane in range(n):
        c0, c1, c2, c3 = u64(block), u64(coordinate[lane]), u64(low[lane]), u64(high[lane])
        a, b = k0, k1
        for _ in range(_ROUNDS):
            p0 = (c0 & _MASK) * _M0
            p1 = (c2 & _MASK) * _M1
            c0 = (p1 >> _32) ^ c1 ^ a
            c2 = (p0 >> _32) ^ c3 ^ b
            c1, c3 = p1, p0
            a += _W0
            b += _W1
        words[0, lane] = u32(c0)
        words[1, lane] = u32(c1)
        words[2, lane] = u32(c2)
        words[3, lane] = u32(c3)


@njit(nogil=True, error_model="numpy", inline="always")
def _minus_two_log32(x: Any) -> Any:
    """-2 ln(x / 2**32)."""
    bits = i32(np.float32(x).view(np.int32) - _SMALLEST)
    e = f32(i32((bits >> i32(23)) - i32(32)))
    t = np.int32(i32(bits & i32(0x7FFFFF)) + _SMALLEST).view(np.float32) - _ONE
    p = (((((t * _L7 + _L6) * t + _L5) * t + _L4) * t + _L3) * t + _L2) * t + _L1
    return (p * t + _L0) * t + e * _LN2


@shared
def exponential32(words: Any, exponentials: Any, start: Any, n: Any) -> None:
    """Turn `n` lanes of words into float32 numbers -ln u, ``exponentials[:4, start:]``."""
    compiled_apart()
    for i in range(4):
        for lane in range(n):
            exponentials[i, start + lane] = _HALF * _minus_two_log32(f32(words[i, lane]) + _HALF)


@shared
def box_muller32(words: Any, normals: Any, start: Any, n: Any) -> None:
    """Turn `n` lanes of words into float32 normals of four steps, ``normals[:4, start:]``."""
    compiled_apart()
    for pair in range(2):
        first, second = words[2 * pair], words[2 * pair + 1]
        even, odd = normals[2 * pair, start:], normals[2 * pair + 1, start:]
        for lane in range(n):
            r = np.sqrt(_minus_two_log32(f32(first[lane]) + _HALF))
            # Half a quarter turn ahead, q is the top two bits (q = 4 wraps to 0, the same turn).
            v = u32(second[lane] + u32(1 << 29))
            q = u32(v >> u32(30))
            a = f32(i32(i32(v & u32((1 << 30) - 1)) - i32(1 << 29))) * _RADIANS
            z = a * a
            s = ((z * _S2 + _S1) * z + _S0) * z * a + a
            c = ((z * _C2 + _C1) * z + _C0) * z + _ONE
            is_odd = (q & u32(1)) != u32(0)
            sine, cosine = (c, s) if is_odd else (s, c)
            sine_bits = np.float32(sine).view(np.uint32) ^ u32((q & u32(2)) << u32(30))
            cosine_bits = np.float32(cosine).view(np.uint32) ^ u32(
                (u32(q + u32(1)) & u32(2)) << u32(30)
            )
            even[lane] = np.uint32(cosine_bits).view(np.float32) * r
            odd[lane] = np.uint32(sine_bits).view(np.float32) * r


@njit(nogil=True, inline="always")
def _float64(integer: Any) -> Any:
    """An unsigned integer below 2**53, exactly; by halves, which convert in vectors."""
    return f64(u32(integer >> _32)) * 4294967296.0 + f64(u32(integer))


@njit(nogil=True, error_model="numpy", inline="always")
def _minus_two_log64(x: Any) -> Any:
    """-2 ln(x / 2**53)."""
    # A power of two more keeps the difference positive: few machines shift signed vectors.
    bits = np.float64(x).view(np.uint64) + u64(_EXPONENT_1 - _DSMALLEST)
    e = f64(i32(i32(bits >> u64(52)) - i32(1 + 53)))
    t = np.uint64((bits & u64(_EXPONENT_1 - 1)) + u64(_DSMALLEST)).view(np.float64) - 1.0
    y = t / (t + 2.0)
    w = y * y
    p = (((((w * _DL7 + _DL6) * w + _DL5) * w + _DL4) * w + _DL3) * w + _DL2) * w + _DL1
    return (p * w + _DL0) * y + e * _DLN2


@shared
def exponential64(words: Any, exponentials: Any, start: Any, n: Any) -> None:
    """Turn `n` lanes of words into float64 numbers -ln u, ``exponentials[:4, start:]``."""
    compiled_apart()
    for i in range(4):
        for lane in range(n):
            x = (f64(words[i, lane]) + 0.5) * 2097152.0  # 2**(53 - 32)
            exponentials[i, start + lane] = 0.5 * _minus_two_log64(x)


@shared
def box_muller64(words: Any, normals: Any, start: Any, n: Any) -> None:
    """Turn `n` lanes of words into float64 normals of two steps, ``normals[:2, start:]``."""
    compiled_apart()
    even, odd = normals[0, start:], normals[1, start:]
    for lane in range(n):
        x = _float64(u64(words[0, lane]) << u64(21) | u64(words[1, lane]) >> u64(11)) + 0.5
        r = np.sqrt(_minus_two_log64(x))
        # Half a quarter turn ahead, q is the top two bits (q = 4 wraps to 0, the same turn).
        v = (u64(words[2, lane]) << u64(21) | u64(words[3, lane]) >> u64(11)) + u64(1 << 50)
        q = u32(v >> u64(51))
        a = (_float64(v & u64((1 << 51) - 1)) - 1125899906842624.0) * _DRADIANS
        z = a * a
        s = (((((z * _DS5 + _DS4) * z + _DS3) * z + _DS2) * z + _DS1) * z + _DS0) * z * a + a
        c = ((((z * _DC6 + _DC5) * z + _DC4) * z + _DC3) * z + _DC2) * z + _DC1
        c = (c * z + _DC0) * z + 1.0
        is_odd = (q & u32(1)) != u32(0)
        sine, cosine = (c, s) if is_odd else (s, c)
        sine_bits = np.float64(sine).view(np.uint64) ^ (u64(q & u32(2)) << u64(62))
        turned = u32(q + u32(1)) & u32(2)
        cosine_bits = np.float64(cosine).view(np.uint64) ^ (u64(turned) << u64(62))
        even[lane] = np.uint64(cosine_bits).view(np.float64) * r
        odd[lane] = np.uint64(sine_bits).view(np.float64) * r


@cache
def draws(dtype: str) -> tuple[Any, Any]:
    """The functions that write a block's normals and exponentials, in a dtype, for rows of lanes.

    ``draw(words, out, block, coordinate, low, high, k0, k1, rows, stride, n)``, where `words` is
    memory for the words of `LANES` lanes, `out` has a row for each step of the block, and lanes are
    the first `n` of each of `rows` that are `stride` apart.
    """
    of = (box_muller32, exponential32) if dtype == "float32" else (box_muller64, exponential64)
    normals, exponentials = map(_draw_by, of)
    return normals, exponentials


def _draw_by(turn: Any) -> Any:
    def draw(
        words: Any, out: Any, block: Any, coordinate: Any, low: Any, high: Any, k0: Any, k1: Any,
        rows: Any, stride: Any, n: Any,
    ) -> None:  # fmt: skip
        for row in range(rows):
            for lane in range(row * stride, row * stride + n, LANES):
                end = min(lane + LANES, row * stride + n)
                philox(
                    words, block, coordinate[lane:end], low[lane:end], high[lane:end], k0, k1,
                    end - lane,
                )  # fmt: skip
                turn(words, out, lane, end - lane)

    return shared(draw, turn.__name__)
