"""Sums by their definition, number by number: the oracle of `isotherm._arithmetic.sums`.

It made the golden vectors:

    python -m tests.arithmetic.sums > tests/arithmetic/golden_sums.csv
"""

from __future__ import annotations

import numpy as np


def folded(values):
    """The total of numbers."""
    v, s = list(values), 1
    while s < len(v):
        s *= 2
    while s := s // 2:
        for i in range(min(s, len(v) - s)):
            v[i] += v[i + s]
    return v[0]


def by_the_tree(values, first, start=0, height=60):
    """(n, mean, variance) of chains in a node of the tree; None where it has none."""
    stop = start + 2**height
    if stop <= first or start >= first + len(values):
        return None
    if height == 0:
        return 1.0, float(values[start - first]), 0.0
    middle = start + 2 ** (height - 1)
    halves = [by_the_tree(values, first, half, height - 1) for half in (start, middle)]
    if None in halves:
        return next((half for half in halves if half is not None), None)
    (na, ma, va), (nb, mb, vb) = halves
    n = na + nb
    left, right, shift = na / n, nb / n, mb - ma
    return n, ma + right * shift, (left * va + right * vb) + (left * right) * (shift * shift)


def main() -> None:
    rng = np.random.default_rng(2024)

    def written(numbers):
        return " ".join(float(number).hex() for number in numbers)

    print("sum,dtype,first,values,result")
    for dtype in ("float32", "float64"):
        for n in (1, 2, 3, 5, 8, 13):
            values = rng.normal(size=n).astype(dtype)
            print(f"total,{dtype},0,{written(values)},{written([folded(values)])}")
        for first, n in ((0, 1), (0, 8), (3, 1), (3, 9), (2**32 - 2, 5), (2**55 + 7, 13)):
            values = rng.normal(3.0, size=n).astype(dtype)
            _, *found = by_the_tree(values, first)
            print(f"moments,{dtype},{first},{written(values)},{written(found)}")


if __name__ == "__main__":
    main()
