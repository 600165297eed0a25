"""exp, log, sin, cos and tanh, the same bits everywhere: what formulas are made of.

A mathematical library's functions are its own: NumPy's, torch's, CUDA's and a compiler's differ in
their last bits, and some differ from one processor to the next. These are IEEE + - * /, conversions
and integer operations, each rounded where it is written, within 2.2 units in the last place of the
truth for every finite argument. Zeros keep their signs, and what is not finite is as in NumPy.
**A kernel transcribes them operation by operation, without contraction into fma**, with the numbers
of `FLOAT32` and `FLOAT64`. Half precision is computed in float32 and rounded once.

The methods are the textbooks': J.-M. Muller, "Elementary Functions: Algorithms and Implementation",
chapter 11: an argument is reduced by a constant in parts, of which the first have so few bits that
their products are exact, and a polynomial takes what is left. Angles too large for that, rare ones,
are reduced in integers (M. H. Payne and R. N. Hanek, "Radian reduction for trigonometric
functions", SIGNUM Newsletter 18, 1983); see `_far_quarters`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_cupy_array, is_torch_array


class Precision(NamedTuple):
    """The numbers of one precision; coefficients stand lowest power first.

    ``tools/fit_function_polynomials.py`` derives them.
    """

    fraction_bits: int
    bias: int  # of the exponent
    exp_range: tuple[float, float]  # outside exp is 0 or inf
    tanh_range: float  # beyond it tanh is 1
    tanh_turn: float  # below it tanh is a ratio of polynomials
    log2_e: float
    ln2: tuple[float, float]  # in two parts
    root_half: float  # log takes x = m 2**e with m from it to twice it
    two_over_pi: float
    quarter: tuple[float, ...]  # π/2 in parts, whose products with n are exact up to `farthest`
    farthest: float
    exp: tuple[float, ...]  # exp(r) = 1 + r + p(r) r²
    log: tuple[float, ...]  # ln((1 + s) / (1 - s)) = 2 s + p(s²) s³
    sine: tuple[float, ...]  # sin(a) = a + p(a²) a³
    cosine: tuple[float, ...]  # cos(a) = 1 - a²/2 + p(a²) a⁴
    tanh_over: tuple[float, ...]  # tanh(x) = x - x³ p(x²) / q(x²): p
    tanh_under: tuple[float, ...]  # ... and q

    @property
    def size(self) -> int:
        """In bytes."""
        return 4 if self.fraction_bits == 23 else 8

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def rounder(self) -> float:
        """Numbers about it have the spacing 1: adding it rounds to an integer, in the low bits."""
        return 1.5 * 2.0**self.fraction_bits

    @property
    def sign_bit(self) -> int:
        """As a signed integer of the numbers' size."""
        return -(1 << (8 * self.size - 1))

    def bits(self, x: float) -> int:
        """The bits of a number of this precision, as a signed integer."""
        if self.fraction_bits == 23:
            return int(np.float32(x).view(np.int32))
        return int(np.float64(x).view(np.int64))


FLOAT32 = Precision(
    fraction_bits=23,
    bias=127,
    exp_range=(-105.0, 89.0),
    tanh_range=10.0,
    tanh_turn=0.5625,
    log2_e=float.fromhex("0x1.715476p+0"),
    ln2=(float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20")),
    root_half=float.fromhex("0x1.6a09e6p-1"),
    two_over_pi=float.fromhex("0x1.45f306p-1"),
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
    tanh_over=(0.3333333134651184, 0.0015578491147607565),
    tanh_under=(1.0, 0.4046693444252014),
)

FLOAT64 = Precision(
    fraction_bits=52,
    bias=1023,
    exp_range=(-746.0, 710.0),
    tanh_range=20.0,
    tanh_turn=0.5625,
    log2_e=float.fromhex("0x1.71547652b82fep+0"),
    ln2=(float.fromhex("0x1.62e42fefa38p-1"), float.fromhex("0x1.ef35793c7673p-45")),
    root_half=float.fromhex("0x1.6a09e667f3bcdp-1"),
    two_over_pi=float.fromhex("0x1.45f306dc9c883p-1"),
    quarter=(
        float.fromhex("0x1.921fb544p+0"),
        float.fromhex("0x1.0b4611a6p-34"),
        float.fromhex("0x1.3198a2ep-69"),
        float.fromhex("0x1.b839a252049c1p-104"),
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
    tanh_over=(0.3333333333333333, 0.020501465565699636, 0.00019929618499594005),
    tanh_under=(1.0, 0.4615043966970977, 0.0232948853291102, 0.0002066602742421401),
)

# Large angles: floor(2/π 2**1160), enough for the largest float64.
TWO_OVER_PI_BITS = 1160
TWO_OVER_PI = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561"
    "b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484"
    "e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b"
    "3d0739f78a5292ea6bfb5fb11f8d5d0856",
    16,
)
DIGIT_BITS = 28
DIGIT_MASK = 2**DIGIT_BITS - 1
DIGITS = 7  # of 2/π that meet one angle
DIGIT_STEP = 7  # a digit begins at every seventh bit, so that no angle is shifted by more than six
#: Digit j is floor(2/π 2**(7 j - 16)) mod 2**28.
QUARTER_DIGITS: tuple[int, ...] = tuple(
    (TWO_OVER_PI << 16 >> (TWO_OVER_PI_BITS + 32 - DIGIT_STEP * j)) & DIGIT_MASK for j in range(169)
)
#: π/2 in three parts: products of the first two with numbers of 27 bits, and their sum, are exact.
HALF_PI = (
    float.fromhex("0x1.921fb5p+0"),
    float.fromhex("0x1.110b46p-26"),
    float.fromhex("0x1.1a62633145c07p-54"),
)
SPLITTER = 2.0**27 + 1.0  # parts a float64 into 26 and 27 bits (Veltkamp; Dekker, 1971)

_PIECE = 2**14  # elements of work in host memory: fewer spend the time in the interpreter

Function = Callable[[Any, Any, Precision], Any]


def exp(x: Any) -> Any:
    """Return e**x, element by element.

    Parameters
    ----------
    x : array, any shape, float16, bfloat16, float32 or float64
        Of any array library.

    Returns
    -------
    array
        Of the shape, dtype and library of `x`. While torch's autograd is watching `x`, which must
        see torch's own functions, these compute.
    """
    return _apply("exp", _exp, x)


def log(x: Any) -> Any:
    """Return the natural logarithm, element by element; see `exp`."""
    return _apply("log", _log, x)


def sin(x: Any) -> Any:
    """Return the sine, element by element; see `exp`."""
    return _apply("sin", _sin, x)


def cos(x: Any) -> Any:
    """Return the cosine, element by element; see `exp`."""
    return _apply("cos", _cos, x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent, element by element; see `exp`."""
    return _apply("tanh", _tanh, x)


@np.errstate(all="ignore")
def _apply(name: str, function: Function, x: Any) -> Any:
    """A function of one axis of float32 or float64, with integer views, of any array."""
    if isinstance(x, np.ndarray | np.generic):
        x = np.asarray(x, dtype=x.dtype.newbyteorder("="))
    xp = array_namespace(x)
    if is_torch_array(x) and x.requires_grad:
        return getattr(xp, name)(x)
    if x.dtype not in (xp.float32, xp.float64):
        return xp.astype(_apply(name, function, xp.astype(x, xp.float32)), x.dtype)
    precision = FLOAT32 if x.dtype == xp.float32 else FLOAT64
    if is_cupy_array(x) or (is_torch_array(x) and x.device.type != "cpu"):
        return xp.reshape(function(xp, xp.reshape(x, (-1,)), precision), x.shape)
    if isinstance(x, np.ndarray):
        return _on_host(function, x, precision)
    # The same memory; of torch, whose operations take longer to call, and of libraries without
    # integer views.
    return xp.asarray(_on_host(function, np.asarray(x), precision), device=device(x))


def _on_host(function: Function, x: Any, precision: Precision) -> Any:
    """In pieces that stay in a core's caches."""
    flat = np.ascontiguousarray(x).reshape(-1)
    if flat.size <= _PIECE:
        return function(np, flat, precision).reshape(x.shape)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _PIECE):
        piece = slice(start, start + _PIECE)
        out[piece] = function(np, flat[piece], precision)
    return out.reshape(x.shape)


def _bits(xp: Any, x: Any, precision: Precision) -> Any:
    """The bits of `x` as signed integers, on the same memory."""
    return x.view(xp.int32 if precision is FLOAT32 else xp.int64)


def _number(xp: Any, bits: Any, precision: Precision) -> Any:
    """The numbers that have these bits, on the same memory."""
    return bits.view(xp.float32 if precision is FLOAT32 else xp.float64)


def _clipped(xp: Any, x: Any, low: float, high: float) -> Any:
    """`x` put between two numbers, in new memory; NaN stays, as not in every library's own."""
    if xp is np:
        return x.clip(low, high)
    x = xp.where(x < low, xp.full_like(x, low), x)
    return xp.where(x > high, xp.full_like(x, high), x)


def _horner(coefficients: Sequence[float], x: Any) -> Any:
    """(...(c[n] x + c[n-1]) x + ...) x + c[0]."""
    *rest, last = coefficients
    result = x * last
    for coefficient in rest[:0:-1]:
        result += coefficient
        result *= x
    result += rest[0]
    return result


def _power(xp: Any, n: Any, precision: Precision) -> Any:
    """2**n for integers in the exponents' range; other bits are shifted out. `n` is spent."""
    n += precision.rounder + precision.bias
    bits = _bits(xp, n, precision)
    bits <<= precision.fraction_bits
    return n


def _reduced(x: Any, precision: Precision) -> tuple[Any, Any]:
    """(n, r) with x = n ln 2 + r, r no more than half of ln 2. `x` is spent.

    n = (x log2_e + rounder) - rounder, r = (x - n ln2[0]) - n ln2[1].
    """
    n = x * precision.log2_e
    n += precision.rounder
    n -= precision.rounder
    for part in precision.ln2:
        x -= n * part
    return n, x


def _exp_tail(r: Any, precision: Precision) -> Any:
    """exp(r) - 1 = r + p(r) (r r)."""
    tail = _horner(precision.exp, r)
    tail *= r * r
    tail += r
    return tail


def _exp(xp: Any, x: Any, precision: Precision) -> Any:
    """((1 + (r + p(r) (r r))) 2**h) 2**(n - h), h = n/2 rounded, with x put into `exp_range`.

    In two factors, since n goes beyond the exponents of normal numbers. NaN is not put anywhere.
    """
    n, r = _reduced(_clipped(xp, x, *precision.exp_range), precision)
    result = _exp_tail(r, precision)
    result += 1.0
    first = n * 0.5
    first += precision.rounder
    first -= precision.rounder
    n -= first
    result *= _power(xp, first, precision)
    result *= _power(xp, n, precision)
    return result


def _tanh(xp: Any, x: Any, precision: Precision) -> Any:
    """With the sign of x, one of two: y is |x|, put below `tanh_range`, and z = y y.

        y - ((y z) p(z)) / q(z)   where y is below `tanh_turn`,
        1 - 2 / (exp(y + y) + 1)  elsewhere, with (1 + (r + p(r) (r r))) 2**n for exp.

    So does S. L. Moshier's Cephes library, with other numbers.
    """
    y = _clipped(xp, abs(x), 0.0, precision.tanh_range)
    n, r = _reduced(y + y, precision)
    e = _exp_tail(r, precision)
    e += 1.0
    e *= _power(xp, n, precision)
    e += 1.0
    result = -2.0 / e
    result += 1.0
    z = y * y
    ratio = _horner(precision.tanh_over, z)
    ratio *= y * z
    ratio /= _horner(precision.tanh_under, z)
    is_small = y - precision.tanh_turn  # as a sign, whose shifted bits are a mask
    y -= ratio
    mask = _bits(xp, is_small, precision)
    mask >>= 8 * precision.size - 1
    _replace(_bits(xp, result, precision), _bits(xp, y, precision), mask)
    _flip_sign(xp, result, x, precision)
    return result


def _replace(bits: Any, others: Any, mask: Any) -> None:
    """Put in others' bits where the mask is: several times faster than `where`; spends `others`."""
    others ^= bits
    others &= mask
    bits ^= others


def _flip_sign(xp: Any, result: Any, x: Any, precision: Precision) -> None:
    """Negate `result` where `x` has a minus sign, zeros too."""
    bits = _bits(xp, result, precision)
    bits ^= _bits(xp, x, precision) & precision.sign_bit


def _log(xp: Any, x: Any, precision: Precision) -> Any:
    """e ln2[0] - ((h - (s (h + z p(z)) + e ln2[1])) - f), x = (1 + f) 2**e.

    Here 1 + f is from `root_half` to twice it, s = f / (2 + f), z = s s and h = (f f) / 2. As
    ln(1 + f) is f - (h - s (h + z p(z))), the small parts are summed first.
    """
    is_normal = (x >= precision.smallest_normal) & (x < np.inf)
    if is_normal.all():
        return _log_of_normal(xp, x, 0.0, precision)
    digits = precision.fraction_bits + 1.0
    lost = xp.where(x < precision.smallest_normal, xp.full_like(x, digits), xp.zeros_like(x))
    result = _log_of_normal(xp, xp.where(lost > 0.0, x * 2.0**digits, x), lost, precision)
    result = xp.where(x < np.inf, result, x)  # infinity and NaN
    result[x < 0.0] = np.nan
    result[x == 0.0] = -np.inf
    return result


def _log_of_normal(xp: Any, x: Any, lost: Any, precision: Precision) -> Any:
    """ln(x 2**-lost) of positive normal numbers x."""
    smallest = precision.bits(precision.root_half)
    # One exponent more than needed keeps the difference positive.
    f = _bits(xp, x, precision) + ((precision.bias << precision.fraction_bits) - smallest)
    e = f >> precision.fraction_bits
    # An integer put into the low bits of 2**fraction_bits is added to it.
    e |= precision.bits(2.0**precision.fraction_bits)
    e = _number(xp, e, precision)
    e -= 2.0**precision.fraction_bits + precision.bias
    e -= lost
    f &= (1 << precision.fraction_bits) - 1
    f += smallest
    f = _number(xp, f, precision)
    f -= 1.0
    s = f / (f + 2.0)
    z = s * s
    h = f * f
    h *= 0.5
    tail = _horner(precision.log, z)
    tail *= z
    tail += h
    tail *= s
    tail += e * precision.ln2[1]
    h -= tail
    h -= f
    e *= precision.ln2[0]
    e -= h
    return e


def _sin(xp: Any, x: Any, precision: Precision) -> Any:
    """The sine of |x| = q π/2 + a, negated where x has a minus sign, zero too; see `_wave`."""
    result = _wave(xp, *_quarters(xp, abs(x), precision), precision)
    _flip_sign(xp, result, x, precision)
    return result


def _cos(xp: Any, x: Any, precision: Precision) -> Any:
    """The sine of (q + 1) π/2 + a, |x| = q π/2 + a; see `_wave`."""
    q, a, low = _quarters(xp, abs(x), precision)
    q += 1
    return _wave(xp, q, a, low, precision)


def _wave(xp: Any, q: Any, a: Any, low: Any, precision: Precision) -> Any:
    """sin(q π/2 + a + low): with z = a a, and the other sign where q has the bit 2.

        a + (a (z p(z)) + low)  where q is even,
        (1 - z/2) + (z z) p(z)  where it is odd, as low is too small to matter.

    `q` is spent.
    """
    z = a * a
    sine = _horner(precision.sine, z)
    sine *= z
    sine *= a
    sine += low
    sine += a
    tail = _horner(precision.cosine, z)
    cosine = z * -0.5
    cosine += 1.0
    z *= z
    tail *= z
    cosine += tail
    result = _bits(xp, sine, precision)
    _replace(result, _bits(xp, cosine, precision), -(q & 1))
    q &= 2
    q <<= 8 * precision.size - 2
    result ^= q
    return sine


def _quarters(xp: Any, x: Any, precision: Precision) -> tuple[Any, Any, Any]:
    """(q, a, low) with x = q π/2 + a + low, |a| no more than π/4, q right in its low bits; x ≥ 0.

    With t = x two_over_pi + rounder and n = t - rounder, q is the bits of t. With the parts of
    `quarter`, here two and the last two, v and w,

        b = (x - n quarter[0]) - n quarter[1],
        a = b - n v,  low = ((b - a) - n v) - n w.

    So one rounding error of a size that matters is left in a. Angles beyond `farthest` are those
    of `_far_quarters`, and low is 0.
    """
    turns = x * precision.two_over_pi
    turns += precision.rounder
    q = _bits(xp, turns, precision)
    n = turns - precision.rounder
    is_near = x <= precision.farthest
    first, *others, v, w = precision.quarter
    low = x - n * first
    for part in others:
        low -= n * part
    product = n * v
    a = low - product
    low -= a
    low -= product
    n *= w
    low -= n
    if not is_near.all():
        far = ~is_near
        far_q, far_a = _far_quarters(xp, xp.astype(x[far], xp.float64))
        q[far] = xp.astype(far_q, q.dtype)
        a[far] = xp.astype(far_a, a.dtype)
        low[far] = 0.0
    return q, a, low


def _far_quarters(xp: Any, x: Any) -> tuple[Any, Any]:
    """(q, a) of `_quarters` for any float64 x from 2**13 on; a is NaN where x is infinite or NaN.

    x = m 2**e with an integer m of 53 bits. Let e + 42 = 7 k + s with s below 7. Then

        x 2/π = (m 2**s) (2**(7k - 42) 2/π),

    of which the second factor less multiples of 4, which add whole turns, is

        2**-26 (w[0] + w[1] 2**-28 + ... + w[6] 2**-168),  w[i] = QUARTER_DIGITS[k + 4 i],

    up to 2**-194. So the product modulo 4 has seven such digits p too, wrong by less than 2**-135;
    and no x is as near as 2**-62 to a multiple of π/2 (Muller, section 11.2: 2**-60.9). A float32
    is reduced as a float64, and what remains rounded once.
    """
    bits = x.view(xp.int64)
    e = (bits >> 52) - (1075 - 42)
    k = e // DIGIT_STEP
    m = ((bits & (2**52 - 1)) | 2**52) << (e - k * DIGIT_STEP)
    low, high = m & DIGIT_MASK, m >> DIGIT_BITS
    table = xp.asarray(QUARTER_DIGITS, dtype=xp.int64, device=device(x))
    w = [xp.take(table, k + 4 * i, axis=0) for i in range(DIGITS)]
    p = [low * w[DIGITS - 1]]  # from the last digit to the first, for the carries
    for i in range(DIGITS - 2, -1, -1):
        carry = p[0] >> DIGIT_BITS
        p[0] &= DIGIT_MASK
        p.insert(0, low * w[i] + high * w[i + 1] + carry)
    p[0] &= DIGIT_MASK
    q = (p[0] + 2 ** (DIGIT_BITS - 3)) >> (DIGIT_BITS - 2)
    # What is left, between -1/2 and 1/2: the sum of three numbers, of which the first is exact, so
    # that cancellation leaves nothing but rounding errors of the last.
    first = _float64(xp, ((p[0] - (q << (DIGIT_BITS - 2))) << DIGIT_BITS) + p[1]) * 2.0**-54
    second = _float64(xp, p[2]) * 2.0**-82
    third = _float64(xp, (p[3] << DIGIT_BITS) + p[4]) * 2.0**-138
    whole = first + second
    rest = (second - (whole - first)) + third  # Fast2Sum: Dekker, Numer. Math. 18, 1971
    scaled = whole * SPLITTER
    top = scaled - (scaled - whole)
    low = whole - top
    one, two, three = HALF_PI
    last = low * two + (whole * three + rest * (one + two))
    a = top * one + ((top * two + low * one) + last)
    return q, a + (x - x)


def _float64(xp: Any, x: Any) -> Any:
    return xp.astype(x, xp.float64)
