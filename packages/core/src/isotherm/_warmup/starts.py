"""Where chains start after a warm-up: in the states of its pilots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import (
    Array,
    as_state,
    device_name,
    dtype_name,
    library_of,
    move,
    to_numpy,
)
from isotherm._planning.sampler_arguments import as_frozen


@dataclass(frozen=True, eq=False)
class Starts:
    """Where chains start: chain i at the state of pilot i modulo their number.

    It reads as the array of the pilots' states, and goes where `x` does for any number of chains.

    Parameters
    ----------
    states : array, shape (n_pilot, *event_shape)
    """

    states: Array

    def rows(self, first: int, n_samples: int | None) -> Array:
        """The states in which the chains first, first + 1, ... start; shape (n_samples, ...)."""
        n = len(self)
        index = (first + np.arange(n if n_samples is None else n_samples)) % n
        return self.states[index.tolist()]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.states.shape)

    def __len__(self) -> int:
        return int(self.states.shape[0])

    def __getitem__(self, key: Any) -> Array:
        return self.states[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(move(self.states, "numpy", "float64", "cpu"), dtype=dtype, copy=copy)


def placed(x: Any, n_samples: Any, chain_offset: Any) -> Any:
    """`x` itself; of a warm-up's starts those of the chains of a run."""
    if not isinstance(x, Starts):
        return x
    for given in (n_samples, chain_offset):
        if given is not None and (not isinstance(given, (int, np.integer)) or given < 0):
            return x.states  # for which there is an error that says what is wrong
    return x.rows(int(chain_offset), n_samples)


def rows_of(x: Any, dim: Any) -> int:
    """How many chains a start is for, where nothing else says it."""
    shape = tuple(getattr(x, "shape", np.shape(x) if x is not None else ()))
    return 1 if len(shape) < 2 or shape == dim else shape[0]


def starts(pilots: Starts, x: Any, frozen: Any, n_samples: Any, chain_offset: Any) -> Any:
    """Where the chains of a run start after a warm-up from `x`.

    At the pilots; but what is frozen is where `x` has it, and a chain starts at a pilot with the
    same there, where there is one.
    """
    made = placed(pilots, n_samples, chain_offset)
    event_shape = pilots.shape[1:]
    still = as_frozen(frozen, event_shape)
    if still is None or x is None:
        return made
    own = cast(Array, as_state(x))
    if own.ndim == made.ndim and own.shape[0] not in (1, made.shape[0]):
        return own  # for which there is an error that says what is wrong
    xp, device = compat.array_namespace(made), compat.device(made)
    own = move(own, library_of(made), dtype_name(made.dtype), device_name(made))
    if isinstance(chain_offset, (int, np.integer)):
        index = np.arange(int(made.shape[0])) + int(chain_offset)
        made = pilots[_of_same_law(pilots.states, own, still, index).tolist()]
    return xp.where(xp.asarray(still.reshape(event_shape), device=device), own, made)


def _of_same_law(
    states: Array, own: Array, still: Any, chain: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The pilot at which each chain starts: one whose frozen coordinates are the chain's."""
    here, n_pilot, flat = still.reshape(-1), len(states), (-1, still.size)
    rows = np.concatenate([to_numpy(one).reshape(flat)[:, here] for one in (states, own)])
    _, law = np.unique(rows, axis=0, return_inverse=True)
    law = law.reshape(-1)
    of_pilot, of_chain = law[:n_pilot], np.broadcast_to(law[n_pilot:], chain.shape)
    counts = np.bincount(of_pilot, minlength=int(law.max()) + 1)
    order, first = np.argsort(of_pilot, kind="stable"), np.cumsum(counts) - counts
    index = chain % n_pilot
    is_lost = (of_pilot[index] != of_chain) & (counts[of_chain] > 0)
    lost = of_chain[is_lost]
    index[is_lost] = order[first[lost] + chain[is_lost] % counts[lost]]
    return index
