"""The noise stream as a kernel computes it: one number at a time, from words and bits.

A second implementation, transcribed from what ``isotherm.backend.noise`` documents, with only its
tables in common. It is the oracle of the array implementation and made the golden vectors:

    python tests/noise/kernel.py > tests/noise/golden.csv
"""

import csv
import itertools
import sys

import numpy as np

from isotherm._arithmetic.noise import FLOAT32, FLOAT64, Precision, Stream

MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10 on Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def working_type(precision: Precision):
    """The floating type, the integer type of its bits, and the width of its fraction."""
    return (np.float32, np.int32, 23) if precision is FLOAT32 else (np.float64, np.int64, 52)


def split(x, precision: Precision):
    """Return (m, e) with x = m * 2**e and m in [sqrt(1/2), sqrt(2)), by the bits of x."""
    real, integer, fraction = working_type(precision)
    base = int(real(precision.smallest_mantissa).view(integer))
    bits = int(x.view(integer)) - base
    m = integer((bits & ((1 << fraction) - 1)) + base).view(real)
    return m, bits >> fraction


def polynomial(coefficients, x):
    """Horner's scheme, every operation rounded in the type of x."""
    real = type(x)
    result = real(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + real(coefficient)
    return result


def radius(x, precision: Precision):
    """sqrt(-2 ln(x / 2**uniform_bits))."""
    real, _, _ = working_type(precision)
    m, e = split(x, precision)
    t = m - real(1)
    if precision is FLOAT32:
        square = polynomial(precision.minus_two_log, t) * t
    else:
        s = t / (t + real(2))
        square = polynomial(precision.minus_two_log, s * s) * s
    exponent = real(e - precision.uniform_bits)
    return np.sqrt(square + exponent * real(precision.minus_two_log_of_2))


def cosine_sine(v: int, precision: Precision):
    """cos and sin of 2 pi v / 2**uniform_bits."""
    real, _, _ = working_type(precision)
    quarter = precision.uniform_bits - 2
    q = (v + (1 << (quarter - 1))) >> quarter
    a = real(v - (q << quarter)) * real(precision.radians)
    z = a * a
    sine = polynomial(precision.sine, z) * z * a + a
    cosine = polynomial(precision.cosine, z) * z + real(1)
    if q & 1:
        sine, cosine = cosine, sine
    return -cosine if (q + 1) & 2 else cosine, -sine if q & 2 else sine


def normals(dtype, seed, stream, block, chain, coordinate):
    """The normals of one block of one coordinate of one chain, as numbers of the NumPy dtype."""
    counter = (block, coordinate, chain & MASK, stream << 24 | chain >> 32)
    w = philox(counter, (seed & MASK, seed >> 32))
    if dtype == np.float64:
        precision = FLOAT64
        pairs = [(w[0] << 21 | w[1] >> 11, w[2] << 21 | w[3] >> 11)]
    else:
        precision = FLOAT32
        pairs = [w[:2], w[2:]]
    real, _, _ = working_type(precision)
    return [
        np.dtype(dtype).type(radius(real(u) + real(0.5), precision) * part)
        for u, v in pairs
        for part in cosine_sine(v, precision)
    ]


SEEDS = (0, 1, 2**32, 0x243F6A8885A308D3, 2**64 - 1)
PLACES = (  # stream, block, chain, coordinate
    (Stream.INITIAL, 0, 0, 0),
    (Stream.LANGEVIN, 0, 0, 0),
    (Stream.LANGEVIN, 1, 0, 0),
    (Stream.LANGEVIN, 0, 1, 0),
    (Stream.LANGEVIN, 0, 0, 1),
    (Stream.LANGEVIN, 2**32 - 1, 2**32 - 1, 784),
    (Stream.LANGEVIN, 250, 2**32, 3),
    (Stream.ACCEPT, 123_456_789, 0x00ABCDEF_01234567, 2**32 - 1),
    (Stream.MOMENTUM, 7, 2**56 - 1, 1_000_000),
)


def main() -> None:
    """Write the golden vectors."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("dtype", "seed", "stream", "block", "chain", "coordinate", "normals"))
    for name, seed, place in itertools.product(("float32", "float64", "float16"), SEEDS, PLACES):
        values = normals(np.dtype(name), seed, *place)
        row = (name, hex(seed), *map(int, place), " ".join(float(v).hex() for v in values))
        writer.writerow(row)


if __name__ == "__main__":
    main()
