"""A check of samples that needs no truth: the virial theorem."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, real_numbers, to_numpy
from isotherm._energies.protocol import as_energy
from isotherm._planning.arguments import as_number
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.make_plan import make_plan
from isotherm._results.result import Result
from isotherm._runs.gradients import gradients
from isotherm.errors import InputError, SamplingWarning, caller_stacklevel, short_repr

_MOST_NUMBERS = 2**24  # of a trajectory, for which gradients are asked for
_ERRORS = 4.0  # so many Monte Carlo errors are no accident: 1 in 16000 by chance
_OUTSIDE = 100.0  # interquartile ranges

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Virial:
    """⟨(x - c)·∇U⟩/(noise_scale² dim), which is 1 of samples of exp(-U/noise_scale²).

    Attributes
    ----------
    ratio, error : float
        Over all coordinates, and its Monte Carlo error.
    coordinates, errors : array, shape (*event_shape)
        The same of each coordinate alone, which is 1, too.
    n_chains : int
    tolerance : float
        What is off by more than this, and by more than 4 errors, is not 1.
    """

    ratio: float
    error: float
    coordinates: Numbers
    errors: Numbers
    n_chains: int
    n_outliers: int
    tolerance: float

    @property
    def is_right(self) -> bool:
        """Whether the ratio may be 1."""
        is_near = abs(self.ratio - 1.0) <= self.tolerance + _ERRORS * self.error
        return is_near and not self.n_outliers

    def __str__(self) -> str:
        said = "may be 1, as it must be" if self.is_right else "must be 1, and is not"
        return f"virial {self.ratio:.4g} ± {self.error:.2g} over {self.n_chains} chains: {said}"


@knows_keywords
def virial(
    energy: Any,
    x: Any,
    *,
    noise_scale: float | None = None,
    temperature: float | None = None,
    centre: Array | None = None,
    tolerance: float = 0.05,
    is_trajectory: bool = False,
    backend: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Virial:
    """Whether samples can be of exp(-U/noise_scale²), for which the truth need not be known.

    By parts, ⟨(x - c)·∇U⟩ = noise_scale² dim for any constant c where the density falls to 0 at its
    bounds; physicists' virial and equipartition theorems (Tolman, Physical Review 11, 1918). Too
    large a step, and chains that have not yet found the bulk, show. Modes that no chain visited do
    not, and neither do samples that are all of one mode. It warns where the ratio is off by more
    than the tolerance and 4 Monte Carlo errors.

    Parameters
    ----------
    energy : callable
        U; see `isotherm.make_plan`.
    x : Result, or array of shape (n_samples, *event_shape)
        Samples: the kept states of a run, where it has a trajectory, else its final ones. The error
        is one over chains, so that draws of one chain need not be independent; chains must be.
    noise_scale, temperature : float, optional
        Of the target, one of both; 1 by default.
    centre : array, shape (*event_shape), optional
        c; the mean of the samples by default. The closer to the mean, the smaller the error.
    tolerance : float
        What is off by so much is right enough.
    is_trajectory : bool
        Whether `x`, an array, has the shape (n_samples, n_kept, *event_shape).
    backend : str, optional
        See `isotherm.make_plan`.
    model_kwargs : mapping of str to anything, optional
        See `isotherm.run`.

    Returns
    -------
    Virial

    Warns
    -----
    SamplingWarning

    Raises
    ------
    InputError
        An argument is not usable, or there are fewer than 2 chains.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.HarmonicEnergy()
    >>> x = isotherm.sample_chain(energy, dim=3, n_samples=1000, step_size=0.1, seed=0)
    >>> isotherm.virial(energy, x).is_right
    True
    """
    scale = _square(noise_scale, temperature)
    rows = _chains(x, is_trajectory=is_trajectory)
    energy = as_energy(energy)
    n, n_kept = int(rows.shape[0]), int(rows.shape[1])
    event = tuple(map(int, rows.shape[2:]))
    xp = compat.array_namespace(rows)
    flat = xp.reshape(rows, (n * n_kept, *event))
    plan = make_plan(energy, flat, dim=event, n_steps=1, step_size=1.0, seed=0, backend=backend)
    g = gradients(plan, energy, flat, model_kwargs).reshape(n, n_kept, *event)
    states = to_numpy(rows).astype(np.float64)
    middle = states.mean(axis=(0, 1)) if centre is None else real_numbers(centre)
    if middle is None or middle.shape not in ((), event):
        raise InputError(f"centre must be a number or an array of shape {event}")
    with np.errstate(all="ignore"):
        terms = ((states - middle) * g).mean(axis=1) / scale
        whole = terms.reshape(n, -1).mean(axis=1)
        low, median, high = np.quantile(whole, [0.25, 0.5, 0.75])
        is_far = ~(np.abs(whole - median) <= _OUTSIDE * (high - low))  # or no number
        found = Virial(
            ratio=float(whole.mean()),
            error=float(whole.std(ddof=1) / np.sqrt(n)),
            coordinates=np.asarray(terms.mean(axis=0)),
            errors=np.asarray(terms.std(axis=0, ddof=1) / np.sqrt(n)),
            n_chains=n,
            n_outliers=int(is_far.sum()) if high > low else 0,
            tolerance=float(tolerance),
        )
    if not found.is_right:
        far = f", with {found.n_outliers} chains far off" if found.n_outliers else ""
        warnings.warn(
            f"these are no samples of exp(-U/noise_scale²): ⟨(x - c)·∇U⟩/(noise_scale² dim) must "
            f"be 1 and is {found.ratio:.4g} ± {found.error:.2g}{far}; take a smaller step_size, an "
            "adjusted sampler ('mala', 'hmc'), or more steps",
            SamplingWarning,
            stacklevel=caller_stacklevel(),
        )
    return found


def _square(noise_scale: float | None, temperature: float | None) -> float:
    if noise_scale is not None and temperature is not None:
        raise InputError("give noise_scale or temperature (its square), not both")
    name, given = ("temperature", temperature) if noise_scale is None else (
        "noise_scale", noise_scale,
    )  # fmt: skip
    try:
        number = 1.0 if given is None else as_number(given)
    except TypeError:
        raise InputError(f"{name} must be a number, not {short_repr(given)}") from None
    if not 0.0 < number < np.inf:
        raise InputError(f"{name} must be positive and finite, not {short_repr(given)}")
    return number if name == "temperature" else number * number


def _chains(x: Any, *, is_trajectory: bool) -> Array:
    """Kept states of the chains, (n_samples, n_kept, *event_shape), not more than are needed."""
    if isinstance(x, Result):
        is_trajectory = x.trajectory is not None
        x = x.trajectory if is_trajectory else x.samples
    if hasattr(x, "dims"):  # of a store
        x, is_trajectory = np.asarray(x), True
    rows = as_state(x)
    least = 3 if is_trajectory else 2
    if rows is None or rows.ndim < least or rows.shape[0] < 2 or 0 in rows.shape:
        raise InputError(
            "virial needs the states of at least 2 chains, of shape (n_samples, *event_shape), or "
            "with is_trajectory (n_samples, n_kept, *event_shape)"
        )
    if not is_trajectory:
        return rows[:, None, ...]
    size = int(np.prod(rows.shape))
    return rows[:, :: -(-size // _MOST_NUMBERS), ...]
