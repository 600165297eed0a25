"""The functions that a printed program calls, written so that a loop over lanes becomes vectors.

A mathematical library's are called number by number, some ten nanoseconds each. These are IEEE
+ - * / and integer operations on the bits, without branches and without contraction: the same bits
on every machine, within 2.2 units in the last place of the truth over the whole range. The methods
are the textbooks': J.-M. Muller, "Elementary Functions: Algorithms and Implementation", chapter 11
for the reduction of arguments by constants in parts, of which the first have so few bits that
their products are exact.
"""

from __future__ import annotations

from functools import cache
from math import inf, nan
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from isotherm_numba.kernel_calls import compiled_apart


class Precision(NamedTuple):
    """The numbers of one precision; coefficients stand lowest power first.

    ``tools/fit_function_polynomials.py`` derives the coefficients.
    """

    fraction_bits: int
    bias: int  # of the exponent
    exp_range: tuple[float, float]  # outside exp is 0 or inf
    tanh_range: float  # beyond it tanh is 1
    ln2: tuple[float, float]  # in two parts
    quarter: tuple[float, ...]  # π/2 in parts, whose products with n are exact up to `farthest`
    farthest: float
    exp: tuple[float, ...]  # exp(r) = 1 + r + p(r) r²
    log: tuple[float, ...]  # ln((1 + s) / (1 - s)) = 2 s + p(s²) s³
    sine: tuple[float, ...]  # sin(a) = a + p(a²) a³
    cosine: tuple[float, ...]  # cos(a) = 1 - a²/2 + p(a²) a⁴


FLOAT32 = Precision(
    fraction_bits=23,
    bias=127,
    exp_range=(-105.0, 89.0),
    tanh_range=10.0,
    ln2=(float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20")),
    quarter=(
        float.fromhex("0x1.92p+0"),
        float.fromhex("0x1.fb4p-12"),
        float.fromhex("0x1.444p-24"),
        float.fromhex("0x1.68cp-39"),
        float.fromhex("0x1.1a6264p-54"),
    ),
    farthest=2.0**13,
    exp=(
        0.5,
        0.16666577756404877,
        0.041666556149721146,
        0.008363173343241215,
        0.0013926175888627768,
    ),
    log=(0.6666668653488159, 0.3998878002166748, 0.29579949378967285),
    sine=(-0.166666641831398, 0.008332747966051102, -0.00019587890710681677),
    cosine=(0.0416666641831398, -0.001388830249197781, 2.454794230288826e-05),
)

FLOAT64 = Precision(
    fraction_bits=52,
    bias=1023,
    exp_range=(-746.0, 710.0),
    tanh_range=20.0,
    ln2=(float.fromhex("0x1.62e42fefa38p-1"), float.fromhex("0x1.ef35793c7673p-45")),
    quarter=(
        float.fromhex("0x1.921fb544p+0"),
        float.fromhex("0x1.0b4611a6p-34"),
        float.fromhex("0x1.3198a2e037073p-69"),
    ),
    farthest=2.0**20,
    exp=(
        0.5000000000000001,
        0.16666666666666669,
        0.041666666666624164,
        0.008333333333330065,
        0.0013888888917196719,
        0.00019841269863040545,
        2.4801521322368692e-05,
        2.7557268480310024e-06,
        2.7620075879983367e-07,
        2.5100375832561234e-08,
    ),
    log=(
        0.666666666666667,
        0.39999999999899505,
        0.28571428625975487,
        0.2222221113479508,
        0.18182889125261723,
        0.15331721600556042,
        0.14616449685043406,
    ),
    sine=(
        -0.16666666666666666,
        0.008333333333330948,
        -0.00019841269836758574,
        2.755731610255244e-06,
        -2.5051131845003624e-08,
        1.5918129294866608e-10,
    ),
    cosine=(
        0.041666666666666664,
        -0.0013888888888887398,
        2.480158729876569e-05,
        -2.7557317271729793e-07,
        2.08761462684032e-09,
        -1.1382632425521717e-11,
    ),
)


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
    precision = FLOAT32 if dtype == "float32" else FLOAT64
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

    bits = unsigned(precision.fraction_bits)
    half, one, two = number(0.5), number(1), number(2)
    lowest, highest = map(number, precision.exp_range)
    saturated = number(precision.tanh_range)
    ln2_high, ln2_low = map(number, precision.ln2)
    log2_e = number(1 / np.log(2))
    # Numbers about this have the spacing 1: adding it rounds to an integer, in the low bits.
    rounder = number(1.5 * 2.0**precision.fraction_bits)
    to_power = number(1.5 * 2.0**precision.fraction_bits + precision.bias)

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
        size = np.abs(x)
        size = saturated if size > saturated else size
        n, r = reduced(size + size)
        scale = power(n)
        e = (r + exp_tail(r) * (r * r)) * scale + (scale - one)  # exp(2 |x|) - 1
        t = number(e / (e + two)).view(unsigned) | (number(x).view(unsigned) & sign_bit)
        return unsigned(t).view(number)

    tiny, zero = np.finfo(number).smallest_normal, number(0)
    infinity, none, negative_infinity = number(inf), number(nan), number(-inf)
    subnormal_power = number(precision.fraction_bits + 1)
    subnormal_scale = number(2.0 ** (precision.fraction_bits + 1))
    smallest = number(np.sqrt(0.5)).view(unsigned)  # x = m 2**e with m from it to twice it
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

    quarter_parts, farthest = tuple(map(number, precision.quarter)), number(precision.farthest)
    two_over_pi = number(2 / np.pi)
    to_sign = unsigned(8 * number().itemsize - 2)

    @inlined
    def quarters(x: Any) -> Any:
        """(q, a) with x = q π/2 + a, |a| no more than π/4, and q right in its low bits."""
        turns = x * two_over_pi + rounder
        n = turns - rounder
        for part in quarter_parts:
            x = x - n * part
        return number(turns).view(unsigned), x

    @inlined
    def wave(q: Any, a: Any) -> Any:
        """sin(q π/2 + a)."""
        z = a * a
        sine = a + a * (z * sine_tail(z))
        cosine = (one - half * z) + (z * z) * cosine_tail(z)
        value = cosine if (q & unsigned(1)) != unsigned(0) else sine
        flipped = number(value).view(unsigned) ^ ((q & unsigned(2)) << to_sign)
        return unsigned(flipped).view(number)

    @inlined
    def near_sin(x: Any) -> Any:
        q, a = quarters(x)
        return wave(q, a)

    @inlined
    def near_cos(x: Any) -> Any:
        q, a = quarters(x)
        return wave(unsigned(q + unsigned(1)), a)

    @inlined
    def is_far(x: Any) -> Any:
        return unsigned(1) if np.abs(x) > farthest else unsigned(0)

    # Not inlined: large angles are rare, and a program may have a sine for every coordinate.
    @njit(nogil=True, error_model="numpy")
    def sin(x: Any) -> Any:
        compiled_apart()
        return np.sin(x) if np.abs(x) > farthest else near_sin(x)

    @njit(nogil=True, error_model="numpy")
    def cos(x: Any) -> Any:
        compiled_apart()
        return np.cos(x) if np.abs(x) > farthest else near_cos(x)

    return Functions(np.abs, np.sqrt, exp, log, tanh, sin, cos, near_sin, near_cos, is_far)
