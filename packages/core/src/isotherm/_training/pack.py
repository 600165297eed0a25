"""Several arrays as one state: a network's weights as the coordinates of a chain."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import array_api_compat as compat

from isotherm._arithmetic.arrays import (
    FLOATING,
    Array,
    device_name,
    dtype_name,
    is_array,
    library_of,
    on_own_device,
    plain_array,
)
from isotherm.errors import InputError, short_repr


class _Part(NamedTuple):
    """Where an array stands among the coordinates."""

    name: str
    first: int
    last: int
    shape: tuple[int, ...]


def pack(
    arrays: Mapping[str, Array], *, stacked: bool = False
) -> tuple[Array, Callable[[Array], dict[str, Array]]]:
    """One flat state of a dict of arrays, and the function that makes the dict of a state.

    Parameters
    ----------
    arrays : mapping of str to array
        Of one library, dtype and device: ``dict(module.named_parameters())``.
    stacked : bool
        Whether they have a row for each chain, as ``torch.func.stack_module_state`` gives them.

    Returns
    -------
    x : array, shape (dim,), or (n_samples, dim) where they are stacked
        A copy, which autograd does not follow; the arrays one after another, each in C order.
    unpack : callable
        x of shape (..., dim) → arrays of shape (..., *shape) by their names: views, through which
        autograd sees. ``unpack(samples)`` of shape (n_samples, dim) is what ``torch.vmap`` over
        ``torch.func.functional_call`` takes.

    Raises
    ------
    InputError
        They are not such arrays; of `unpack`, that x has another number of coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> import isotherm
    >>> x, unpack = isotherm.pack({"weight": np.ones((3, 2)), "bias": np.zeros(3)})
    >>> x.shape, unpack(np.zeros((100, 9)))["weight"].shape
    ((9,), (100, 3, 2))
    """
    if not isinstance(arrays, Mapping) or not arrays or not all(map(is_array, arrays.values())):
        raise InputError(
            f"pack takes a dict of arrays, for example dict(module.named_parameters()); got "
            f"{short_repr(arrays)}"
        )
    for name, array in arrays.items():
        plain_array(name, array)
    kinds = {(library_of(a), dtype_name(a.dtype), device_name(a)) for a in arrays.values()}
    if len(kinds) > 1 or next(iter(kinds))[1] not in FLOATING:
        raise InputError(
            "the arrays must be of one library, floating dtype and device; these are "
            f"{' and '.join(sorted(' '.join(kind) for kind in kinds))}"
        )
    leading = {tuple(a.shape[:1]) for a in arrays.values()} if stacked else {()}
    if len(leading) > 1 or (stacked and () in leading):
        raise InputError(
            "stacked arrays have a row for each chain, all as many; these have shapes "
            f"{', '.join(str(tuple(a.shape)) for a in arrays.values())}"
        )
    (rows,) = leading
    if rows == (0,):
        raise InputError("stacked arrays have a row for each chain; these have none")
    parts, dim = [], 0
    for name, array in arrays.items():
        shape = tuple(map(int, array.shape[len(rows) :]))
        parts.append(_Part(name, dim, dim + math.prod(shape), shape))
        dim = parts[-1].last
    given = [a.detach() if hasattr(a, "detach") else a for a in arrays.values()]
    xp = compat.array_namespace(*given)
    with on_own_device(given[0]):
        x = xp.concat([xp.reshape(array, (*rows, -1)) for array in given], axis=-1)

    def unpack(x: Array) -> dict[str, Array]:
        if not is_array(x) or x.ndim == 0 or x.shape[-1] != dim:
            shape = tuple(x.shape) if is_array(x) else type(x).__name__
            raise InputError(f"x must have shape (..., {dim}), the packed arrays; got {shape}")
        xp = compat.array_namespace(x)
        return {
            part.name: xp.reshape(
                x[..., part.first : part.last], (*tuple(x.shape[:-1]), *part.shape)
            )
            for part in parts
        }

    return x, unpack
