"""The written order of every sum, so that no library's own order shows in a result."""

from __future__ import annotations

from array_api_compat import array_namespace

from isotherm._arithmetic.arrays import Array


def total(values: Array, axis: int = -1) -> Array:
    """The sum along an axis, folded by a power of two.

    With P the least power of two that is not below n: for s = P/2, P/4, ..., 1, v[i] += v[i + s]
    for each i with i + s < n; the sum is v[0]. So halves of arrays, shuffles of a GPU's warp and a
    CPU's vectors all add the same pairs. A pairwise sum, whose error grows with log n (Higham, "The
    accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993).

    Parameters
    ----------
    values : array
        Of any library, with at least one element along the axis.
    axis : int

    Returns
    -------
    array
        Of the dtype of `values`, without that axis.
    """
    xp = array_namespace(values)
    v = xp.moveaxis(values, axis, -1)
    while (n := v.shape[-1]) > 1:
        s = 1 << (n - 1).bit_length() - 1
        folded = v[..., : n - s] + v[..., s:]
        # What has no partner waits; only the first fold leaves such.
        v = folded if n == 2 * s else xp.concat([folded, v[..., n - s : s]], axis=-1)
    return v[..., 0]
