"""`isotherm.noise` transcribed for Numba, operation by operation, without fastmath.

A tile of lanes goes through two loops, Philox and then Box-Muller, with the words between them in
L1: in one loop they would spill registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from isotherm import noise
from isotherm.noise import FLOAT32, FLOAT64, MASK

TILE = 256  # lanes; their words and normals take less than 16 KiB

_u32, _i32, _u64, _i64 = np.uint32, np.int32, np.uint64, np.int64
_f32, _f64 = np.float32, np.float64
_M0, _M1 = map(_u64, noise.PHILOX_MULTIPLIERS)
_W0, _W1 = map(_u64, noise.PHILOX_KEY_INCREMENTS)
_ROUNDS = noise.PHILOX_ROUNDS
_MASK, _32 = _u64(MASK), _u64(32)

_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = map(_f32, FLOAT32.minus_two_log)
_S0, _S1, _S2 = map(_f32, FLOAT32.sine)
_C0, _C1, _C2 = map(_f32, FLOAT32.cosine)
_LN2, _RADIANS = _f32(FLOAT32.minus_two_log_of_2), _f32(FLOAT32.radians)
_SMALLEST = int(_f32(FLOAT32.smallest_mantissa).view(_i32))

_DL0, _DL1, _DL2, _DL3, _DL4, _DL5, _DL6, _DL7 = FLOAT64.minus_two_log
_DS0, _DS1, _DS2, _DS3, _DS4, _DS5 = FLOAT64.sine
_DC0, _DC1, _DC2, _DC3, _DC4, _DC5, _DC6 = FLOAT64.cosine
_DLN2, _DRADIANS = FLOAT64.minus_two_log_of_2, FLOAT64.radians
_DSMALLEST = int(_f64(FLOAT64.smallest_mantissa).view(_i64))


@njit(cache=True, nogil=True)
def _philox(words: Any, n: int, k0: Any, k1: Any) -> None:
    for lane in range(n):
        c0 = words[0, lane]
        c1 = words[1, lane]
        c2 = words[2, lane]
        c3 = words[3, lane]
        a, b = k0, k1
        for _ in range(_ROUNDS):
            p0 = c0 * _M0
            p1 = c2 * _M1
            c0 = (p1 >> _32) ^ c1 ^ a
            c2 = (p0 >> _32) ^ c3 ^ b
            c1 = p1 & _MASK
            c3 = p0 & _MASK
            a = (a + _W0) & _MASK
            b = (b + _W1) & _MASK
        words[0, lane] = c0
        words[1, lane] = c1
        words[2, lane] = c2
        words[3, lane] = c3


@njit(cache=True, nogil=True)
def _box_muller32(words: Any, normals: Any, n: int) -> None:
    one = _f32(1.0)
    for pair in range(2):
        for lane in range(n):
            x = _f32(_u32(words[2 * pair, lane])) + _f32(0.5)
            bits = _i32(np.float32(x).view(np.int32) - _i32(_SMALLEST))
            e = _f32(_i32(_i32(bits >> _i32(23)) - _i32(32)))
            t = np.int32((bits & _i32(0x7FFFFF)) + _i32(_SMALLEST)).view(np.float32) - one
            p = (((((t * _L7 + _L6) * t + _L5) * t + _L4) * t + _L3) * t + _L2) * t + _L1
            r = np.sqrt((p * t + _L0) * t + e * _LN2)
            v = _u32(words[2 * pair + 1, lane])
            # Wraps at 2**32, where q = 4 becomes 0: the same quarter turn.
            q = _u32(_u32(v + _u32(1 << 29)) >> _u32(30))
            a = _f32(_i32(_u32(v - _u32(q << _u32(30))))) * _RADIANS
            z = a * a
            s = ((z * _S2 + _S1) * z + _S0) * z * a + a
            c = ((z * _C2 + _C1) * z + _C0) * z + one
            odd = (q & _u32(1)) != 0
            sine = c if odd else s
            cosine = s if odd else c
            sine = -sine if (q & _u32(2)) != 0 else sine
            cosine = -cosine if ((q + _u32(1)) & _u32(2)) != 0 else cosine
            normals[2 * pair, lane] = cosine * r
            normals[2 * pair + 1, lane] = sine * r


@njit(cache=True, nogil=True)
def _box_muller64(words: Any, normals: Any, n: int) -> None:
    for lane in range(n):
        x = _f64(_i64(words[0, lane] << _u64(21) | words[1, lane] >> _u64(11))) + 0.5
        bits = np.float64(x).view(np.int64) - _i64(_DSMALLEST)
        e = _f64((bits >> _i64(52)) - _i64(53))
        t = np.int64((bits & _i64(0xFFFFFFFFFFFFF)) + _i64(_DSMALLEST)).view(np.float64) - 1.0
        y = t / (t + 2.0)
        w = y * y
        p = (((((w * _DL7 + _DL6) * w + _DL5) * w + _DL4) * w + _DL3) * w + _DL2) * w + _DL1
        r = np.sqrt((p * w + _DL0) * y + e * _DLN2)
        v = _i64(words[2, lane] << _u64(21) | words[3, lane] >> _u64(11))
        q = (v + _i64(1 << 50)) >> _i64(51)
        a = _f64(v - (q << _i64(51))) * _DRADIANS
        z = a * a
        s = (((((z * _DS5 + _DS4) * z + _DS3) * z + _DS2) * z + _DS1) * z + _DS0) * z * a + a
        c = ((((z * _DC6 + _DC5) * z + _DC4) * z + _DC3) * z + _DC2) * z + _DC1
        c = (c * z + _DC0) * z + 1.0
        odd = (q & 1) != 0
        sine = c if odd else s
        cosine = s if odd else c
        sine = -sine if (q & 2) != 0 else sine
        cosine = -cosine if ((q + 1) & 2) != 0 else cosine
        normals[0, lane] = cosine * r
        normals[1, lane] = sine * r


@njit(cache=True, nogil=True)
def _fill(out: Any, k0: Any, k1: Any, stream: Any, block: Any, chain_offset: Any) -> None:
    steps, n_chains, n_coordinates = out.shape
    words = np.empty((4, TILE), np.uint64)
    normals = np.empty((steps, TILE), out.dtype)
    total = n_chains * n_coordinates
    for first in range(0, total, TILE):
        n = min(TILE, total - first)
        i, j = first // n_coordinates, first % n_coordinates
        for lane in range(n):
            chain = chain_offset + _u64(i)
            words[0, lane] = block
            words[1, lane] = _u64(j)
            words[2, lane] = chain & _MASK
            words[3, lane] = chain >> _32 | stream << _u64(24)
            j += 1
            if j == n_coordinates:
                i, j = i + 1, 0
        _philox(words, n, k0, k1)
        if steps == 4:
            _box_muller32(words, normals, n)
        else:
            _box_muller64(words, normals, n)
        for step in range(steps):
            i, j = first // n_coordinates, first % n_coordinates
            for lane in range(n):
                out[step, i, j] = normals[step, lane]
                j += 1
                if j == n_coordinates:
                    i, j = i + 1, 0


def fill(out: Any, *, seed: int, stream: int, block: int, chain_offset: int = 0) -> None:
    """See `isotherm.noise.fill_normals`."""
    if out.dtype == np.float16:  # drawn in float32 and rounded once
        wide = np.empty(out.shape, np.float32)
        fill(wide, seed=seed, stream=stream, block=block, chain_offset=chain_offset)
        out[...] = wide
        return
    key = _u64(seed & MASK), _u64(seed >> 32)
    _fill(out, *key, _u64(int(stream)), _u64(block), _u64(chain_offset))
