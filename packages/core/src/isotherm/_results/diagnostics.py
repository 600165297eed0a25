"""What is known of the chains at each kept step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, is_array, to_numpy


class Diagnostics:
    """Mean, variance and energy of the chains at each kept step.

    It also reads as one array of shape (n_kept, 3, n_samples, *event_shape) that holds, along its
    second axis, mean, variance and energy, each repeated over the axes that it lacks. Indexing and
    ``np.asarray`` make only the part that is asked for.

    Attributes
    ----------
    mean, variance : array, shape (n_kept, *event_shape)
        Over the chains; the variance is divided by n_samples (0 for one chain). These three are
        ``xarray.DataArray`` where they are in a store, from which indexing reads a part.
    energy : array, shape (n_kept, n_samples)
        U(x) of each chain's kept state.
    steps : int array, shape (n_kept,)
        How many steps of the run, burn-in included, each kept state has behind it.
    energy_error : array, shape (n_kept, n_samples), or None
        Of adjusted samplers: ΔH/noise_scale² of the proposal of that step.
    """

    def __init__(
        self,
        mean: Array,
        variance: Array,
        energy: Array,
        steps: np.ndarray[Any, np.dtype[np.int64]],
        *,
        energy_error: Array | None = None,
        divergence_threshold: float = np.inf,
        sample_stats: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.mean = mean
        self.variance = variance
        self.energy = energy
        self.steps = steps
        self.energy_error = energy_error
        self._sample_stats = dict(sample_stats or {})
        self._threshold = divergence_threshold

    @property
    def acceptance_rate(self) -> Array | None:
        """The probability with which each proposal was accepted, min(1, exp(-energy_error)).

        Of the shape of `energy_error`, 0 where that is NaN; None for unadjusted samplers.
        """
        if self.energy_error is None:
            return None
        error = _values(self.energy_error)
        xp = compat.array_namespace(error)
        zero, far = xp.zeros_like(error), xp.full_like(error, np.inf)
        known = xp.where(xp.isnan(error), far, error)
        return xp.exp(-xp.where(known > zero, known, zero))

    @property
    def diverging(self) -> Array | None:
        """Whether each step's |energy_error| was beyond the threshold, or no number.

        Boolean, of the shape of `energy_error`; None for unadjusted samplers.
        """
        if self.energy_error is None:
            return None
        error = _values(self.energy_error)
        xp = compat.array_namespace(error)
        return xp.logical_not(xp.abs(error) <= self._threshold)

    @property
    def step_size(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """That of the step before each kept state, shape (n_kept,), where it is known."""
        made: np.ndarray[Any, np.dtype[np.float64]] | None = self._made("step_size")
        return made

    @property
    def n_substeps(self) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """Of ``"hmc"``: the leapfrog substeps of that step's trajectory, shape (n_kept,).

        ArviZ's ``n_steps``, which is what `isotherm.to_arviz` calls them; a run's `n_steps` are
        others.
        """
        made: np.ndarray[Any, np.dtype[np.int64]] | None = self._made("n_substeps")
        return made

    def _made(self, name: str) -> Any:
        return self._sample_stats[name]() if name in self._sample_stats else None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.energy.shape[0], 3, self.energy.shape[1], *self.mean.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        return self.mean.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        keys = key if isinstance(key, tuple) else (key,)
        if not keys or not all(map(_is_basic, keys)):
            return self._stack(slice(None))[key]
        rows, *rest = keys
        if isinstance(rows, (int, np.integer)):
            row = range(len(self))[rows]
            return self[(slice(row, row + 1), *rest)][0]
        if rest and isinstance(rest[0], (int, np.integer)):
            return self._parts(rows)[rest[0]][(slice(None), *rest[1:])]
        return self._stack(rows)[(slice(None), *rest)]

    def _parts(self, rows: slice) -> list[Array]:
        """The three, as views of one shape (n_rows, n_samples, *event_shape)."""
        mean, variance, energy = (
            _values(part[rows, ...]) for part in (self.mean, self.variance, self.energy)
        )
        xp = compat.array_namespace(mean)
        event = mean.shape[1:]
        shape = (*energy.shape, *event)
        energy = xp.reshape(energy, (*energy.shape, *(1 for _ in event)))
        return [
            xp.broadcast_to(part, shape)
            for part in (mean[:, None, ...], variance[:, None, ...], energy)
        ]

    def _stack(self, rows: slice) -> Array:
        parts = self._parts(rows)
        return compat.array_namespace(parts[0]).stack(parts, axis=1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("Diagnostics are put together when read: that is always a copy")
        return np.asarray(to_numpy(self._stack(slice(None))), dtype=dtype)

    def __repr__(self) -> str:
        return f"<Diagnostics: mean, variance, energy; shape {self.shape}, {self.dtype}>"


def _values(part: Any) -> Array:
    """A part as an array: one in a store is read."""
    return part if is_array(part) else np.asarray(part)


def _is_basic(key: object) -> bool:
    """Whether an index picks along its own axis, whatever the other indices are."""
    return isinstance(key, (int, np.integer, slice)) and not isinstance(key, bool)
