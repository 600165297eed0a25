"""A check of samples that needs no truth: the virial theorem."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, real_numbers, to_numpy
from isotherm._energies.origin import own_shape
from isotherm._energies.protocol import as_energy
from isotherm._planning.arguments import BoundsLike, as_bounds
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.make_plan import make_plan
from isotherm._planning.sampler_arguments import Flags, as_frozen
from isotherm._plans.bounds import Bounds
from isotherm._results.result import Result
from isotherm._runs.gradients import gradients
from isotherm._runs.resume import open_run
from isotherm._runs.significance import most_errors
from isotherm.errors import InputError, SamplingWarning, caller_stacklevel, short_repr

_MOST_NUMBERS = 2**24  # of a trajectory, for which gradients are asked for
_OUTSIDE = 100.0  # times what is usual, or what must be: of so few right samples more, by Markov
_MOST_BATCHES = 8  # of a chain
_LEAST_DRAWS = 12  # of a batch
_MIXED = 0.5  # of the draws' standard deviation, at most that of batches worth 4 draws or more
_SAME = 1e-9  # of a mean, that chains agree to
_FEW = 16  # chains, that agree on one of two values more often than 4 errors are exceeded
_SHRUNK = 50.0  # times, at most, that an error is taken to be too small
_TINY = np.finfo(np.float64).tiny

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Virial:
    """⟨(x_i - c_i) ∂_iU⟩/noise_scale², which is 1, and ⟨∂_iU⟩, which is 0, of right samples.

    Attributes
    ----------
    ratio, error : float
        The first, the mean over all coordinates, and its Monte Carlo error.
    coordinates, errors : array, shape (*event_shape)
        The same of each coordinate alone, which is 1, too; NaN between two walls, and where frozen.
    shift, shift_errors : array, shape (*event_shape)
        ⟨∂_iU⟩ σ_i/noise_scale² with σ_i the samples' standard deviation, which is 0: of a Gaussian
        it tells by how many of them its samples are shifted. NaN beside a wall, and where frozen.
    n_chains : int
    n_batches : int
        Consecutive parts of each chain, up to 8, that are independent of each other, so that errors
        are as well known as those of so many times as many chains; 1 of few draws, and where a
        chain moves slowly.
    n_outliers : int
        Chains that have run away: off by more than 100 times as much as most are, or may be by
        their own error, and than one right draw may be; or, where three quarters of them are, off
        by more than 100 times what must be.
    tolerance : float
        What is off by more than this, and by more than 4 errors (and more where there are many
        coordinates, or few chains and batches), is not right.
    """

    ratio: float
    error: float
    coordinates: Numbers
    errors: Numbers
    shift: Numbers
    shift_errors: Numbers
    n_chains: int
    n_batches: int
    n_outliers: int
    tolerance: float

    @property
    def is_right(self) -> bool:
        """Whether the ratio may be 1 and the shift 0, of every coordinate."""
        return not self.n_outliers and self.worst[0] <= 1.0

    @property
    def worst(self) -> tuple[float, str]:
        """How far off the furthest is, 1 being as far as may be; and which that is, in words."""
        most = most_errors(1 + 2 * self.coordinates.size, self.n_chains * self.n_batches)
        found = []
        for name, right, values, errors in (
            ("the mean", 1.0, np.array([self.ratio]), np.array([self.error])),
            ("the virial", 1.0, self.coordinates, self.errors),
            ("the shift", 0.0, self.shift, self.shift_errors),
        ):
            with np.errstate(all="ignore"):
                # What is too small by chance has too small an error, too, in proportion.
                shrunk = np.clip(right / np.maximum(values, right / _SHRUNK), 1.0, None)
                off = np.abs(values - right) / (self.tolerance + most * errors * shrunk + _TINY)
                off = np.where(np.isfinite(errors), off, np.nan)
            # What is no number is of no test between walls, and else makes the mean none.
            off = np.nan_to_num(off, nan=np.inf if name == "the mean" else 0.0)
            at = np.unravel_index(int(np.argmax(off)), off.shape)
            text = f"{name} is {values[at]:.4g} ± {errors[at]:.2g}"
            where = "" if name == "the mean" else f" at coordinate {', '.join(map(str, at))}"
            found.append((float(off[at]), f"{text}{where}, which must be {right:g}"))
        return max(found, key=lambda one: one[0])

    def __str__(self) -> str:
        said = "may be right" if self.is_right else "is not right"
        if self.n_outliers:
            said += f", as {self.n_outliers} are far off"
        return (
            f"virial {self.ratio:.4g} ± {self.error:.2g} over {self.n_chains} chains: {said}; at "
            f"worst, {self.worst[1]}"
        )


@knows_keywords
def virial(
    energy: Any,
    x: Any,
    *,
    noise_scale: float | Array | None = None,
    temperature: float | Array | None = None,
    centre: Array | None = None,
    bounds: BoundsLike | Bounds | None = None,
    frozen: object = None,
    tolerance: float = 0.05,
    is_trajectory: bool = False,
    backend: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Virial:
    """Whether samples can be of exp(-U/noise_scale²), for which the truth need not be known.

    By parts, ⟨(x - c)·∇U⟩ = noise_scale² dim for any constant c where the density falls to 0 at its
    bounds; physicists' virial and equipartition theorems (Tolman, Physical Review 11, 1918). Too
    large a step, and chains that have not yet found the bulk, show. Modes that no chain visited do
    not, and neither do samples that are all of one mode. The same is so of each coordinate alone,
    and ⟨∂_iU⟩ = 0. It warns where one of these is off by more than the tolerance and 4 Monte Carlo
    errors, or as many as are as rare with so many coordinates, chains and batches of their draws.

    Parameters
    ----------
    energy : callable
        U; see `isotherm.make_plan`.
    x : Result, path of a store, or array of shape (n_samples, *event_shape)
        Samples: the kept states of a run, where it has a trajectory, else its final ones; with any
        that is not finite the virial is none, and it warns. The error is one over chains and
        over batches of draws, so that draws of one chain need not be independent; chains must be.
        Few chains tell little without a trajectory.
    noise_scale, temperature : float or array of shape (n_samples, 1), optional
        Of the target, one of both; by default what a Result knows (of a schedule that of each
        state's step), and 1 of an array. Or each chain's own.
    centre : array, shape (*event_shape), optional
        c; the mean of the samples by default. The closer to the mean, the smaller the error.
    bounds : (low, high), optional
        Those that reflected the chains, as the sampler got them; a Result knows its own. Where the
        density does not fall to 0 at a wall there is no ⟨∂_iU⟩ = 0, c_i is the wall, and of a
        coordinate between two walls nothing is told. Not a sampler's ``clamp``: what sits on it is
        mass that exp(-U/noise_scale²) does not have, and is rightly told to be no sample of it.
    frozen : bool array, shape (*event_shape), optional
        True where the chains did not move, of which nothing is told; a Result knows its own.
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
        An argument is not usable, there are fewer than 2 chains, or all coordinates are frozen or
        between two walls.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.HarmonicEnergy()
    >>> x = isotherm.sample_chain(energy, dim=3, n_samples=1000, step_size=0.1, seed=0)
    >>> isotherm.virial(energy, x).is_right
    True
    """
    energy = as_energy(energy)
    if isinstance(x, (str, os.PathLike)):
        x = open_run(x)
    known: Any = None
    if isinstance(x, Result):
        bounds = x.info.bounds if bounds is None else bounds
        frozen = x.info.frozen if frozen is None else frozen
        known = x.info.noise_scale
    rows = _chains(x, own_shape(energy), is_trajectory=is_trajectory)
    event = tuple(map(int, rows.shape[2:]))
    tolerance = _tolerance(tolerance)
    scale = _square(noise_scale, temperature, int(rows.shape[0]), known)
    middle = _middle(centre, event)
    low, high = _walls(bounds, event)
    is_unknown = _is_unknown(low, high, frozen)
    every = -(-math.prod(rows.shape) // _MOST_NUMBERS)
    rows, scale = rows[:, ::every, ...], scale[:, ::every]
    states = to_numpy(rows).astype(np.float64)
    g = _gradients(energy, rows, scale, backend, model_kwargs)
    with np.errstate(all="ignore"):
        middle = states.mean(axis=(0, 1)) if middle is None else middle
        middle = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, middle))
        terms, spread = (states - middle) * g, states.std(axis=(0, 1))
        terms[..., is_unknown] = np.nan
        g[..., is_unknown | np.isfinite(low) | np.isfinite(high)] = np.nan
        found = _found(terms, g, spread, is_unknown, tolerance)
    if not found.is_right:
        far = f", with {found.n_outliers} chains far off" if found.n_outliers else ""
        warnings.warn(
            f"these are no samples of exp(-U/noise_scale²): ⟨(x - c)·∇U⟩/(noise_scale² dim) must "
            f"be 1 and is {found.ratio:.4g} ± {found.error:.2g}{far}; at worst, {found.worst[1]}; "
            "take a smaller step_size, an adjusted sampler ('mala', 'hmc'), or more steps",
            SamplingWarning,
            stacklevel=caller_stacklevel(),
        )
    return found


def _gradients(
    energy: Any,
    rows: Array,
    scale: Numbers,
    backend: str | None,
    model_kwargs: Mapping[str, Any] | None,
) -> Numbers:
    """∇U/noise_scale² at states of shape (n, n_kept, *event_shape); NaN where one is not finite."""
    n, n_kept, *event = map(int, rows.shape)
    xp = compat.array_namespace(rows)
    is_finite = xp.isfinite(rows)
    flat = xp.reshape(xp.where(is_finite, rows, xp.zeros_like(rows)), (n * n_kept, *event))
    dim = tuple(event)
    plan = make_plan(energy, flat, dim=dim, n_steps=1, step_size=1.0, seed=0, backend=backend)
    size = 2.0 ** float(np.clip(-np.round(np.log2(scale.mean())), -60.0, 80.0))
    g = gradients(plan, energy, flat, model_kwargs, size).reshape(n, n_kept, *event)
    g[~to_numpy(is_finite)] = np.nan
    with np.errstate(all="ignore"):
        g /= scale.reshape(*scale.shape, *(1,) * len(event))
    return g


def _found(
    terms: Numbers, forces: Numbers, spread: Numbers, is_unknown: Flags, tolerance: float
) -> Virial:
    """What terms (x - c)·∂U/noise_scale² and forces ∂U/noise_scale² tell.

    Both of shape (n, n_kept, *event_shape).
    """
    each = terms[..., ~is_unknown].mean(axis=-1)
    off, batches = np.abs(each.mean(axis=1) - 1.0), _batches(each)
    n, n_batches = batches.shape
    # How far most chains are off, or may be by the error of their batches.
    usual = np.maximum(off, batches.std(axis=1) / np.sqrt(max(n_batches - 1, 1)))
    furthest = _OUTSIDE * np.maximum(np.sort(usual)[n // 2 - 1], 1.0 / each.shape[1])
    # No number, or so far off that it is neither spread nor a single draw of right samples.
    is_far = ~(off <= furthest) | ((off > _OUTSIDE) & (np.sort(off)[n // 4] > _OUTSIDE))
    ratio, error, is_mixed = _mean_and_error(each, spread.any())
    coordinates, errors, are_mixed = _mean_and_error(terms, spread > 0.0)
    force, force_errors, forces_mixed = _mean_and_error(forces, spread > 0.0)
    return Virial(
        ratio=float(ratio),
        error=float(error),
        coordinates=coordinates,
        errors=errors,
        shift=force * spread,
        shift_errors=force_errors * spread,
        n_chains=n,
        n_batches=n_batches if is_mixed and are_mixed and forces_mixed else 1,
        n_outliers=int(is_far.sum()),
        tolerance=tolerance,
    )


def _batches(values: Numbers) -> Numbers:
    """Means of consecutive draws of a chain, (n, n_batches, ...), of values (n, n_kept, ...)."""
    n, n_kept = values.shape[:2]
    n_batches = max(min(_MOST_BATCHES, n_kept // _LEAST_DRAWS), 1)
    size = n_kept // n_batches
    rows = values[:, : n_batches * size].reshape(n, n_batches, size, *values.shape[2:])
    return np.asarray(rows.mean(axis=2))


def _mean_and_error(values: Numbers, is_spread: Any) -> tuple[Numbers, Numbers, bool]:
    """Over chains and draws, of shape (n, n_kept, ...), and whether batches are independent.

    The error is that over chains, and no less than that over batches, or than if all draws were
    independent, as few chains may agree by chance. Batches are taken to be independent where their
    means vary far less than draws do. Where different states (`is_spread`) agree to the last digit,
    as gradients of few values do (of |x|: ±1), that may be an accident, of odds up to 2^(1 - n); of
    few chains the error is then as large as the mean.
    """
    batches = _batches(values)
    n, n_batches = batches.shape[:2]
    mean, chain = np.asarray(values.mean(axis=(0, 1))), values.mean(axis=1).std(axis=0, ddof=1)
    batch, draw = batches.std(axis=(0, 1), ddof=1), values.std(axis=(0, 1))
    variances = chain**2, batch**2 / n_batches, draw**2 / values.shape[1]
    error = np.sqrt(np.max(variances, axis=0) / n)
    is_accident = (error <= _SAME * np.abs(mean)) & is_spread & (n < _FEW)
    is_mixed = not (batch > _MIXED * draw).any()
    return mean, np.asarray(np.where(is_accident, np.abs(mean), error)), is_mixed


def _tolerance(given: Any) -> float:
    """A finite number that is not negative."""
    numbers = real_numbers(given)
    if numbers is None or numbers.shape != () or not 0.0 <= numbers < np.inf:
        raise InputError(f"tolerance must be a finite number ≥ 0, not {short_repr(given)}")
    return float(numbers)


def _middle(centre: Any, event: tuple[int, ...]) -> Numbers | None:
    """The centre given, a finite number or one a coordinate."""
    if centre is None:
        return None
    middle = real_numbers(centre)
    if middle is None or middle.shape not in ((), event):
        raise InputError(f"centre must be a number or an array of shape {event}")
    if not np.isfinite(middle).all():
        raise InputError(f"centre must be finite, not {short_repr(centre)}")
    return middle


def _walls(bounds: Any, event: tuple[int, ...]) -> tuple[Numbers, Numbers]:
    """Low and high of each coordinate, infinite where there is none."""
    walls = as_bounds(bounds, event)
    if walls is None:
        return np.full(event, -np.inf), np.full(event, np.inf)
    low, high = (
        np.broadcast_to(side if side.ndim == 0 else side.reshape(event), event)
        for side in (walls.low, walls.high)
    )
    return low, high


def _is_unknown(low: Numbers, high: Numbers, frozen: object) -> Flags:
    """Of which coordinates nothing is told: those between two walls, and those that are frozen."""
    is_unknown = np.isfinite(low) & np.isfinite(high)
    still = as_frozen(frozen, low.shape)
    if still is not None:
        is_unknown |= still.reshape(low.shape)
    if is_unknown.all():
        raise InputError(
            "every coordinate that moves is between two bounds, where the virial is not known; "
            "compare with samples of an adjusted sampler, or at half the step_size"
        )
    return is_unknown


def _square(
    noise_scale: float | Array | None, temperature: float | Array | None, n_chains: int, known: Any
) -> Numbers:
    """The temperature given, else the square of the noise scale known, else 1.

    Of shape (1, 1), (n_chains, 1), or, of what is known of a schedule, (1, n_kept).
    """
    if noise_scale is None and temperature is None and known is not None:
        if not np.all(known > 0.0):
            raise InputError(
                "the run's noise_scale was 0, where there is no law; give the states of other "
                "steps, or the noise_scale of the law that they are to be samples of"
            )
        return np.atleast_2d(np.square(known))
    if noise_scale is not None and temperature is not None:
        raise InputError("give noise_scale or temperature (its square), not both")
    name, given = ("temperature", temperature) if noise_scale is None else (
        "noise_scale", noise_scale,
    )  # fmt: skip
    numbers = real_numbers(1.0 if given is None else given)
    if numbers is None or numbers.shape not in ((), (n_chains, 1)):
        raise InputError(
            f"{name} must be a number, or one a chain, of shape {(n_chains, 1)}, not "
            f"{short_repr(given)}"
        )
    if not ((numbers > 0.0) & (numbers < np.inf)).all():
        raise InputError(f"{name} must be positive and finite, not {short_repr(given)}")
    return np.atleast_2d(numbers if name == "temperature" else numbers * numbers)


def _chains(x: Any, own: tuple[int, ...] | None, *, is_trajectory: bool) -> Array:
    """Kept states of the chains, (n_samples, n_kept, *event_shape); `own` is the energy's."""
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
    if not is_trajectory and own is not None and tuple(rows.shape[2:]) == own:
        raise InputError(
            f"x has shape {tuple(rows.shape)} but the energy takes states of shape {own}; of a "
            "trajectory, (n_samples, n_kept, *event_shape), pass is_trajectory=True"
        )
    return rows if is_trajectory else rows[:, None, ...]
