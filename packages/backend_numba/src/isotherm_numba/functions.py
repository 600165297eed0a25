"""The functions that a printed program calls, written so that a loop over lanes becomes vectors.

`isotherm.backend.functions` transcribed: the same operations in the same order, each rounded once,
without branches but for large angles, which are rare.
"""

from __future__ import annotations

from functools import cache
from math import inf, nan
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from isotherm.backend import functions as core
from isotherm_numba.codegen_cache import shared
from isotherm_numba.kernel_calls import compiled_apart


class Functions(NamedTuple):
    """Of one precision; `near_sin` and `near_cos` only for arguments that are not `is_far`."""

    abs: Any
    sqrt: Any
    exp: Any
    log: Any
    tanh: Any
    sin: Any
    cos: Any
    near_sin: Any
    near_cos: Any
    is_far: Any


@cache
def functions(dtype: str) -> Functions:
    """The functions of the dtype "float32" or "float64"."""
    precision = core.FLOAT32 if dtype == "float32" else core.FLOAT64
    number: Any = np.float32 if dtype == "float32" else np.float64
    unsigned: Any = np.uint32 if dtype == "float32" else np.uint64
    inlined = njit(nogil=True, error_model="numpy", forceinline=True)

    def polynomial(coefficients: tuple[float, ...]) -> Any:
        *rest, last = map(number, coefficients)
        reversed_rest, zero = tuple(rest[::-1]), number(0)

        @inlined
        def evaluate(x: Any) -> Any:
            total = zero + last
            for c in reversed_rest:
                total = total * x + c
            return total

        return evaluate

    exp_tail, log_tail = polynomial(precision.exp), polynomial(precision.log)
    sine_tail, cosine_tail = polynomial(precision.sine), polynomial(precision.cosine)
    tanh_over, tanh_under = polynomial(precision.tanh_over), polynomial(precision.tanh_under)

    bits = unsigned(precision.fraction_bits)
    half, one, two = number(0.5), number(1), number(2)
    lowest, highest = map(number, precision.exp_range)
    saturated, turn = number(precision.tanh_range), number(precision.tanh_turn)
    ln2_high, ln2_low = map(number, precision.ln2)
    log2_e = number(precision.log2_e)
    rounder, to_power = number(precision.rounder), number(precision.rounder + precision.bias)

    @inlined
    def power(n: Any) -> Any:
        """2**n for an integer in the exponents' range; other bits are shifted out."""
        return unsigned(number(n + to_power).view(unsigned) << bits).view(number)

    @inlined
    def reduced(x: Any) -> Any:
        """(n, r) with x = n ln 2 + r, r no more than half of ln 2."""
        n = (x * log2_e + rounder) - rounder
        return n, (x - n * ln2_high) - n * ln2_low

    @inlined
    def exp(x: Any) -> Any:
        x = lowest if x < lowest else x  # both let NaN pass
        x = highest if x > highest else x
        n, r = reduced(x)
        # In two factors, since n goes beyond the exponents of normal numbers.
        first = (n * half + rounder) - rounder
        return ((one + (r + exp_tail(r) * (r * r))) * power(first)) * power(n - first)

    sign_bit = unsigned(1 << (8 * number().itemsize - 1))

    @inlined
    def tanh(x: Any) -> Any:
        y = np.abs(x)
        y = saturated if y > saturated else y
        n, r = reduced(y + y)
        e = (one + (r + exp_tail(r) * (r * r))) * power(n)
        z = y * y
        is_small = y < turn
        # One division for both.
        over = (y * z) * tanh_over(z) if is_small else two
        under = tanh_under(z) if is_small else e + one
        t = (y if is_small else one) - over / under
        return unsigned(number(t).view(unsigned) ^ (number(x).view(unsigned) & sign_bit)).view(
            number
        )

    tiny, zero = number(precision.smallest_normal), number(0)
    infinity, none, negative_infinity = number(inf), number(nan), number(-inf)
    subnormal_power = number(precision.fraction_bits + 1)
    subnormal_scale = number(2.0 ** (precision.fraction_bits + 1))
    smallest = number(precision.root_half).view(unsigned)  # x = m 2**e with m from it to twice it
    # One exponent more than needed keeps the difference positive.
    lift = unsigned((precision.bias << precision.fraction_bits) - int(smallest))
    fraction = unsigned((1 << precision.fraction_bits) - 1)
    # An integer put into the low bits of 2**fraction_bits is added to it.
    carrier = number(2.0**precision.fraction_bits).view(unsigned)
    offset = number(2.0**precision.fraction_bits + precision.bias)

    @inlined
    def log(x: Any) -> Any:
        is_subnormal = x < tiny
        b = number(x * subnormal_scale if is_subnormal else x).view(unsigned) + lift
        e = unsigned((b >> bits) | carrier).view(number) - offset
        e = e - subnormal_power if is_subnormal else e
        f = unsigned((b & fraction) + smallest).view(number) - one
        s = f / (two + f)
        z = s * s
        h = half * (f * f)
        # ln(1 + f) = f - (h - s (h + p z)); so the small parts are summed first.
        y = e * ln2_high - ((h - (s * (h + z * log_tail(z)) + e * ln2_low)) - f)
        y = y if x < infinity else x  # infinity and NaN
        special = negative_infinity if x == zero else none
        return special if x <= zero else y

    *others, last, smallest_part = map(number, precision.quarter)
    parts, farthest = tuple(others), number(precision.farthest)
    two_over_pi = number(precision.two_over_pi)
    to_sign = unsigned(8 * number().itemsize - 2)

    @inlined
    def quarters(x: Any) -> Any:
        """(q, a, low) with x = q π/2 + a + low, for x >= 0."""
        turns = x * two_over_pi + rounder
        n = turns - rounder
        for part in parts:
            x = x - n * part
        product = n * last
        a = x - product
        return number(turns).view(unsigned), a, ((x - a) - product) - n * smallest_part

    @inlined
    def wave(q: Any, a: Any, low: Any, sign: Any) -> Any:
        """sin(q π/2 + a + low), with its sign flipped where the bit of it is set in `sign`."""
        z = a * a
        sine = a + (a * (z * sine_tail(z)) + low)
        cosine = (one - half * z) + (z * z) * cosine_tail(z)
        value = cosine if (q & unsigned(1)) != unsigned(0) else sine
        flipped = number(value).view(unsigned) ^ ((q & unsigned(2)) << to_sign) ^ sign
        return unsigned(flipped).view(number)

    @inlined
    def near_sin(x: Any) -> Any:
        q, a, low = quarters(np.abs(x))
        return wave(q, a, low, number(x).view(unsigned) & sign_bit)

    @inlined
    def near_cos(x: Any) -> Any:
        q, a, low = quarters(np.abs(x))
        return wave(unsigned(q + unsigned(1)), a, low, unsigned(0))

    @inlined
    def is_far(x: Any) -> Any:
        return unsigned(1) if np.abs(x) > farthest else unsigned(0)

    # Not inlined: large angles are rare, and a program may have a sine for every coordinate.
    def sin(x: Any) -> Any:
        compiled_apart()
        if np.abs(x) <= farthest:
            return near_sin(x)
        q, a = far_quarters(np.float64(np.abs(x)))
        return wave(unsigned(q), number(a), zero, number(x).view(unsigned) & sign_bit)

    def cos(x: Any) -> Any:
        compiled_apart()
        if np.abs(x) <= farthest:
            return near_cos(x)
        q, a = far_quarters(np.float64(np.abs(x)))
        return wave(unsigned(q + 1), number(a), zero, unsigned(0))

    waves = shared(sin, dtype), shared(cos, dtype)
    return Functions(np.abs, np.sqrt, exp, log, tanh, *waves, near_sin, near_cos, is_far)


_DIGITS = np.array(core.QUARTER_DIGITS, np.int64)
_BITS, _MASK, _STEP = core.DIGIT_BITS, core.DIGIT_MASK, core.DIGIT_STEP
_SPLITTER, (_ONE, _TWO, _THREE) = core.SPLITTER, core.HALF_PI


@shared
def far_quarters(x: Any) -> Any:
    """(q, a) of any float64 from 2**13 on; see `_far_quarters` of core for what this is."""
    compiled_apart()
    bits = np.float64(x).view(np.int64)
    e = (bits >> 52) - (1075 - 42)
    k = e // _STEP
    m = ((bits & (2**52 - 1)) | 2**52) << (e - k * _STEP)
    low, high = m & _MASK, m >> _BITS
    p6 = low * _DIGITS[k + 24]
    p5 = low * _DIGITS[k + 20] + high * _DIGITS[k + 24] + (p6 >> _BITS)
    p4 = low * _DIGITS[k + 16] + high * _DIGITS[k + 20] + (p5 >> _BITS)
    p3 = low * _DIGITS[k + 12] + high * _DIGITS[k + 16] + (p4 >> _BITS)
    p2 = low * _DIGITS[k + 8] + high * _DIGITS[k + 12] + (p3 >> _BITS)
    p1 = low * _DIGITS[k + 4] + high * _DIGITS[k + 8] + (p2 >> _BITS)
    p0 = (low * _DIGITS[k] + high * _DIGITS[k + 4] + (p1 >> _BITS)) & _MASK
    q = (p0 + (1 << (_BITS - 3))) >> (_BITS - 2)
    first = np.float64(((p0 - (q << (_BITS - 2))) << _BITS) + (p1 & _MASK)) * 2.0**-54
    second = np.float64(p2 & _MASK) * 2.0**-82
    third = np.float64(((p3 & _MASK) << _BITS) + (p4 & _MASK)) * 2.0**-138
    whole = first + second
    rest = (second - (whole - first)) + third
    scaled = whole * _SPLITTER
    top = scaled - (scaled - whole)
    tail = whole - top
    last = tail * _TWO + (whole * _THREE + rest * (_ONE + _TWO))
    a = top * _ONE + ((top * _TWO + tail * _ONE) + last)
    return q, a + (x - x)
