"""The portable noise stream, version 1: normals that are equal to the bit everywhere.

Every number is a pure function of (seed, stream, chain, step, coordinate). Philox4x32-10 turns a
counter into four words of 32 bits, and Box-Muller turns words into normals,

    sqrt(-2 ln u) * cos(2 pi v),  sqrt(-2 ln u) * sin(2 pi v).

Logarithm, sine and cosine are polynomials in a fixed order of IEEE additions, multiplications and
divisions, so the bits depend on no library's mathematical functions. **A kernel transcribes
`minus_two_log`, `sine_cosine` and `box_muller` operation by operation, without contraction into
fma**, with the coefficients of `FLOAT32` and `FLOAT64`. Any change of a bit is a new
`STREAM_VERSION`.

The words of one counter serve consecutive steps of one coordinate of one chain: four steps in
float32, two in float64. Such a group of steps is a *block*.

========  ======================================================
key       low, high 32 bits of the seed
counter   block number,
          coordinate,
          low 32 bits of the chain,
          stream << 24 | high 24 bits of the chain
float32   u = (w0 + 1/2) / 2**32, v = w1 / 2**32 for steps 0 and 1 of the block,
          w2 and w3 likewise for steps 2 and 3
float64   u = ((w0 << 21 | w1 >> 11) + 1/2) / 2**53,
          v = (w2 << 21 | w3 >> 11) / 2**53
========  ======================================================

The cosine goes to the even step, the sine to the odd one. Words are carried in int64, because not
every array library computes with unsigned integers; its products wrap, and ``& MASK`` keeps what
a 32-bit word would.
"""

import enum
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from isotherm._arithmetic.exact import exact_sqrt
from isotherm._limits import LIMITS

STREAM_VERSION = 1

# Philox4x32-10: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers:
# as easy as 1, 2, 3", SC'11. Two rounds' multipliers, the two words' key increments, the rounds.
PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
PHILOX_ROUNDS = 10
MASK = 0xFFFFFFFF


class Stream(enum.IntEnum):
    """What a number is drawn for; streams never share numbers."""

    INITIAL = 0
    LANGEVIN = 1
    ACCEPT = 2
    MOMENTUM = 3
    SUBSTEP = 4
    BUFFER = 5


class Precision(NamedTuple):
    """How normals of one precision are made; every float is a number of that precision.

    Coefficients stand lowest power first. ``tools/fit_noise_polynomials.py`` derives them.
    """

    uniform_bits: int  # of u and of v
    significand_bits: int
    smallest_mantissa: float  # sqrt(1/2): x = m * 2**e with m in [it, twice it)
    to_unit: float  # x >= smallest_mantissa * 2**e exactly where x * to_unit >= 2**e
    minus_two_log: tuple[float, ...]
    minus_two_log_of_2: float
    radians: float  # 2 pi / 2**uniform_bits
    sine: tuple[float, ...]  # sin(a) = p(z) * z * a + a, z = a * a
    cosine: tuple[float, ...]  # cos(a) = p(z) * z + 1


FLOAT32 = Precision(
    uniform_bits=32,
    significand_bits=24,
    smallest_mantissa=float.fromhex("0x1.6a09e6p-1"),  # bits 0x3F3504F3
    to_unit=float.fromhex("0x1.6a09e8p+0"),
    # -2 ln(1 + t) = p(t) * t
    minus_two_log=(
        -2.0,
        1.0000064373016357,
        -0.6666942238807678,
        0.4994257092475891,
        -0.3981400728225708,
        0.34485527873039246,
        -0.32359060645103455,
        0.20165005326271057,
    ),
    minus_two_log_of_2=float.fromhex("-0x1.62e430p+0"),
    radians=float.fromhex("0x1.921fb6p-30"),
    sine=(-0.16666650772094727, 0.008331983350217342, -0.00019496136519592255),
    cosine=(-0.49999895691871643, 0.041656333953142166, -0.0013598223449662328),
)

FLOAT64 = Precision(
    uniform_bits=53,
    significand_bits=53,
    smallest_mantissa=float.fromhex("0x1.6a09e667f3bcdp-1"),  # bits 0x3FE6A09E667F3BCD
    to_unit=float.fromhex("0x1.6a09e667f3bccp+0"),
    # -2 ln(1 + t) = p(s * s) * s, s = t / (t + 2)
    minus_two_log=(
        -4.0,
        -1.3333333333333468,
        -0.7999999999883328,
        -0.5714285748405664,
        -0.4444439721001281,
        -0.36367125711224746,
        -0.30628169385516263,
        -0.29591270212155757,
    ),
    minus_two_log_of_2=float.fromhex("-0x1.62e42fefa39efp+0"),
    radians=float.fromhex("0x1.921fb54442d18p-51"),
    sine=(
        -0.166666666666666,
        0.008333333333316218,
        -0.0001984126982574267,
        2.7557312482333034e-06,
        -2.5050590857929793e-08,
        1.5888057354321854e-10,
    ),
    cosine=(
        -0.5,
        0.0416666666666666,
        -0.0013888888888874474,
        2.480158728967154e-05,
        -2.755731440103252e-07,
        2.087572928161197e-09,
        -1.135993426862336e-11,
    ),
)

#: Steps whose numbers for accepting come from one counter, in every dtype.
EXPONENTIALS_PER_BLOCK = 4

#: Of the counter's word for the coordinate. The normals of a step's substeps have the step as their
#: block, and the substep, divided by `steps_per_block`, in the bits above these.
COORDINATE_BITS = 24

#: The number of the first pilot chain of a warm-up. Chains are numbered by 56 bits; what is above
#: them joins the stream in the counter's last word, so that pilots draw from the streams 16 to 20
#: what other chains draw from 0 to 4, and share no noise with any of them.
FIRST_PILOT = 16 << 56

_DRAWN_IN = {"float16": FLOAT32, "bfloat16": FLOAT32, "float32": FLOAT32, "float64": FLOAT64}

_DEVICE_PIECE = 2**20  # counters in one piece of work; a CPU's is `Limits.normals_in_cache`


def _precision(dtype: object) -> Precision:
    return _precision_of(str(dtype))


@cache
def _precision_of(dtype: str) -> Precision:
    name = re.search(r"bfloat16|float16|float32|float64", dtype)
    if name is None:
        raise ValueError(f"dtype {dtype} has no normals; use one of {', '.join(_DRAWN_IN)}")
    return _DRAWN_IN[name.group()]


def steps_per_block(dtype: object) -> int:
    """Return how many consecutive steps share one counter: 4, or 2 for float64.

    Parameters
    ----------
    dtype : dtype of any array library, or its name
        float16, bfloat16, float32 or float64.

    Raises
    ------
    ValueError
        For any other dtype.
    """
    return 2 if _precision(dtype) is FLOAT64 else 4


def philox4x32(counter: Sequence[Any], key: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Return Philox4x32-10 of every counter (Salmon et al., SC'11).

    Parameters
    ----------
    counter : four int64 arrays with at least one axis, which broadcast together
        The words, each in [0, 2**32). Words that are common to a row or a column are best given
        so: the first rounds then cost a row or a column. (A NumPy scalar would warn of overflow.)
    key : two ints in [0, 2**32)

    Returns
    -------
    four int64 arrays of the common shape
        The words, each in [0, 2**32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(PHILOX_ROUNDS):
        # Only the factors are masked; above 32 bits c1 and c3 carry what the next mask takes away.
        product0 = c0 * PHILOX_MULTIPLIERS[0]
        product1 = c2 * PHILOX_MULTIPLIERS[1]
        c0 = (product1 >> 32) ^ c1
        c0 ^= k0
        c0 &= MASK
        c2 = (product0 >> 32) ^ c3
        c2 ^= k1
        c2 &= MASK
        c1, c3 = product1, product0
        k0 = (k0 + PHILOX_KEY_INCREMENTS[0]) & MASK
        k1 = (k1 + PHILOX_KEY_INCREMENTS[1]) & MASK
    return c0, c1 & MASK, c2, c3 & MASK


def _horner(coefficients: Sequence[float], x: Any) -> Any:
    """Return (...(c[n] * x + c[n-1]) * x + ...) * x + c[0], computed in place, which is faster."""
    *rest, last = coefficients
    result = x * last
    for coefficient in rest[:0:-1]:
        result += coefficient
        result *= x
    result += rest[0]
    return result


def minus_two_log(x: Any, precision: Precision) -> Any:
    """Return -2 ln(x / 2**uniform_bits), never negative, for x in [1/2, 2**uniform_bits].

    With x = m * 2**e, m in [sqrt(1/2), sqrt(2)) and t = m - 1, and everything rounded where it is
    written,

        float32:  p(t) * t + (e - 32) * (-2 ln 2)
        float64:  p(s * s) * s + (e - 53) * (-2 ln 2),  s = t / (t + 2)

    where p is evaluated by Horner's scheme, without fma. A kernel gets m and e from the bits of x:
    with B = bits(smallest_mantissa), b = bits(x) - B and F = 23 (float64: 52), e is b >> F and the
    bits of m are (b & (2**F - 1)) + B. At x = 2**uniform_bits the result is -0.
    """
    xp = array_namespace(x)
    # The largest power of two in y: S. M. Rump, "Fast and parallel interval arithmetic", or
    # Rump, Ogita and Oishi, "Accurate floating-point summation I", SIAM J. Sci. Comput. 31 (2008).
    y = x * precision.to_unit
    y *= 2.0 ** (precision.significand_bits - 1) + 1.0
    power = y - y * (1.0 - 2.0**-precision.significand_bits)
    # Rounded, any library's logarithm of a power of two is its exponent.
    exponent = xp.round(xp.log2(power)) - float(precision.uniform_bits)
    t = x / power - 1.0
    if precision is FLOAT32:
        result = _horner(precision.minus_two_log, t)
        result *= t
    else:
        s = t / (t + 2.0)
        result = _horner(precision.minus_two_log, s * s)
        result *= s
    result += exponent * precision.minus_two_log_of_2
    return result


def sine_cosine(v: Any, precision: Precision) -> tuple[Any, Any]:
    """Return the sine and cosine of 2 pi v / 2**uniform_bits for integers v below 2**uniform_bits.

    The nearest quarter turn is taken off exactly, in integers: with B = uniform_bits,

        q = (v + 2**(B-3)) >> (B-2),  0 <= q <= 4
        a = float(v - (q << (B-2))) * radians,  |a| <= pi/4
        z = a * a
        sine(a) = p(z) * z * a + a, cosine(a) = p(z) * z + 1,  from left to right

    They change places where q is odd. The sine is then negated where q & 2 is set, the cosine
    where (q + 1) & 2 is.
    """
    xp = array_namespace(v)
    quarter = precision.uniform_bits - 2
    q = (v + (1 << (quarter - 1))) >> quarter
    dtype = xp.float32 if precision is FLOAT32 else xp.float64
    a = xp.astype(v - (q << quarter), dtype)
    a *= precision.radians
    z = a * a
    sine = _horner(precision.sine, z)
    sine *= z
    sine *= a
    sine += a
    cosine = _horner(precision.cosine, z)
    cosine *= z
    cosine += 1.0
    odd = (q & 1) != 0
    sine, cosine = xp.where(odd, cosine, sine), xp.where(odd, sine, cosine)
    sine *= xp.astype(1 - (q & 2), dtype)
    cosine *= xp.astype(1 - ((q + 1) & 2), dtype)
    return sine, cosine


def box_muller(u: Any, v: Any, precision: Precision) -> tuple[Any, Any]:
    """Return two normals from two arrays of integers below 2**uniform_bits.

    r = sqrt(minus_two_log(float(u) + 1/2)); the normals are r * cosine and r * sine.
    """
    xp = array_namespace(u)
    x = xp.astype(u, xp.float32 if precision is FLOAT32 else xp.float64)
    x += 0.5
    radius = exact_sqrt(minus_two_log(x, precision))
    sine, cosine = sine_cosine(v, precision)
    cosine *= radius
    sine *= radius
    return cosine, sine


def normals(counter: Sequence[Any], key: tuple[int, int], precision: Precision) -> tuple[Any, ...]:
    """Return a block's normals, one array a step, for every counter (see `philox4x32`)."""
    w0, w1, w2, w3 = philox4x32(counter, key)
    if precision is FLOAT32:
        return box_muller(w0, w1, precision) + box_muller(w2, w3, precision)
    return box_muller(w0 << 21 | w1 >> 11, w2 << 21 | w3 >> 11, precision)


def _pieces(n_chains: int, n_coordinates: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Cut a grid of chains and coordinates into pieces of ``size``, whole rows where they fit."""
    width = max(1, min(n_coordinates, size))
    height = size // width
    for row in range(0, n_chains, height):
        for column in range(0, n_coordinates, width):
            yield (
                slice(row, min(row + height, n_chains)),
                slice(column, min(column + width, n_coordinates)),
            )


def fill_normals(
    out: Any,
    *,
    seed: int,
    stream: int,
    block: int,
    chain_offset: int = 0,
    coordinate_offset: int = 0,
) -> None:
    """Write the standard normals of consecutive blocks' steps into ``out``.

    Parameters
    ----------
    out : array (n_blocks * steps_per_block, n_chains, n_coordinates)
        Of any array library that can be written to; float32, float64, float16 or bfloat16. Half
        precision is drawn in float32 and rounded once.
    seed : int in [0, 2**64)
        Key of the stream.
    stream : Stream
        What the numbers are for.
    block : int in [0, 2**32)
        The first block: its first step, divided by ``steps_per_block(out.dtype)``.
    chain_offset : int
        The stream's number of the first chain; all chains are below 2**56.
    coordinate_offset : int
        The stream's number of the first coordinate.

    Notes
    -----
    The arguments are not checked: the plan does that, once.
    """
    xp = array_namespace(out)
    precision = _precision(out.dtype)
    length = steps_per_block(out.dtype)
    n_steps, n_chains, n_coordinates = out.shape
    n_blocks = n_steps // length
    key = (seed & MASK, seed >> 32)
    where = device(out)

    def integers(start: int, stop: int) -> Any:
        return xp.arange(start, stop, dtype=xp.int64, device=where)

    piece = LIMITS.normals_in_cache if "cpu" in str(where).lower() else _DEVICE_PIECE
    for rows, columns in _pieces(n_chains, n_coordinates, max(1, piece // n_blocks)):
        chain = integers(chain_offset + rows.start, chain_offset + rows.stop)[:, None]
        counter = (
            integers(block, block + n_blocks)[:, None, None],
            integers(coordinate_offset + columns.start, coordinate_offset + columns.stop)[None, :],
            chain & MASK,
            chain >> 32 | stream << 24,
        )
        for step, values in enumerate(normals(counter, key, precision)):
            out[step::length, rows, columns] = xp.astype(values, out.dtype, copy=False)


def exponentials(
    like: Any, *, seed: int, block: int, chain_offset: int = 0, n_blocks: int = 1
) -> list[Any]:
    """Return -ln u of the accept stream for consecutive blocks' steps: standard exponentials.

    u = (w + 1/2) / 2**32 with the word w of the step, at coordinate 0, in every dtype; -ln u is
    half of `minus_two_log`, the polynomial of the normals.

    Parameters
    ----------
    like : array (n_chains, ...)
        float32 or float64: whose library, dtype and device the numbers have.
    seed, block, chain_offset : int
        See `fill_normals`; a block is `EXPONENTIALS_PER_BLOCK` steps.
    n_blocks : int

    Returns
    -------
    list of arrays (n_chains,)
        One a step.
    """
    xp = array_namespace(like)
    where = device(like)
    precision = _precision(like.dtype)
    n = like.shape[0]
    chain = xp.arange(chain_offset, chain_offset + n, dtype=xp.int64, device=where)[None, :]
    counter = (
        xp.arange(block, block + n_blocks, dtype=xp.int64, device=where)[:, None],
        xp.zeros((1, 1), dtype=xp.int64, device=where),
        chain & MASK,
        chain >> 32 | Stream.ACCEPT << 24,
    )
    drawn = []
    for word in philox4x32(counter, (seed & MASK, seed >> 32)):
        x = xp.astype(word, like.dtype)
        x += 0.5
        x *= 2.0 ** (precision.uniform_bits - 32)
        drawn.append(0.5 * minus_two_log(x, precision))
    return [of_word[k, :] for k in range(n_blocks) for of_word in drawn]
