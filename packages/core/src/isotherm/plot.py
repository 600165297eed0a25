"""Pictures of samples, trajectories and diagnostics. Needs the extra ``isotherm[plot]``."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import Array, to_numpy
from isotherm._results.diagnostics import Diagnostics
from isotherm.errors import ExtraNotInstalledError, InputError

try:
    from matplotlib.figure import Figure
except ImportError:
    raise ExtraNotInstalledError(
        "plots need matplotlib, which is not installed; pip install 'isotherm[plot]'"
    ) from None

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"]
_MARKERS = {"color": "black", "markeredgecolor": "white", "zorder": 3}
_GRID = 200  # points along an axis of the landscape


def samples(energy: Any, x: Array, *, noise_scale: float = 1.0) -> Figure:
    """Samples in two dimensions over the contours of U/noise_scale².

    Parameters
    ----------
    energy : callable
    x : array, shape (n_samples, 2)
    noise_scale : float

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        The samples are not of two dimensions.
    """
    points = _two_dimensional(x, 2)
    figure, axes = _landscape(energy, points, noise_scale)
    axes.plot(points[:, 0], points[:, 1], ".", color=_COLOURS[0], markersize=2.5, alpha=0.6)
    axes.set_title(f"{len(points)} samples")
    return figure


def trajectories(energy: Any, x: Array, *, noise_scale: float = 1.0) -> Figure:
    """Paths of chains in two dimensions over the contours of U/noise_scale².

    Parameters
    ----------
    energy : callable
    x : array, shape (n_samples, n_kept, 2)
    noise_scale : float

    Returns
    -------
    matplotlib.figure.Figure
        Each chain's first kept state is a circle, its last a square.
    """
    paths = _two_dimensional(x, 3)
    figure, axes = _landscape(energy, paths.reshape(-1, 2), noise_scale)
    axes.set_prop_cycle(color=_COLOURS)
    for path in paths:
        axes.plot(path[:, 0], path[:, 1], linewidth=0.6, alpha=0.8)
    axes.plot(paths[:, 0, 0], paths[:, 0, 1], "o", **_MARKERS, label="start")
    axes.plot(paths[:, -1, 0], paths[:, -1, 1], "s", **_MARKERS, label="end")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def diagnostics(found: Diagnostics) -> Figure:
    """Mean, variance and mean energy of the chains at each kept step; a line a coordinate.

    Parameters
    ----------
    found : Diagnostics
        Of a run with ``return_diagnostics=True``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(7, 7), layout="constrained")
    energies = to_numpy(found.energy).mean(axis=1)
    rows = {"mean energy": energies, "variance": found.variance, "mean": found.mean}
    for axes, (name, value) in zip(figure.subplots(3, sharex=True), rows.items(), strict=True):
        axes.set_prop_cycle(color=_COLOURS)
        lines = axes.plot(found.steps, to_numpy(value).reshape(len(found), -1), linewidth=1.0)
        axes.set_ylabel(name)
    axes.set_xlabel("step")
    if len(lines) <= len(_COLOURS):  # with more, a colour is no name
        names = ["".join(f"[{i}]" for i in at) for at in np.ndindex(value.shape[1:])]
        figure.legend(lines, [f"x{n}" for n in names], loc="outside upper center", ncols=len(lines))
    return figure


def _two_dimensional(x: Array, ndim: int) -> np.ndarray[Any, Any]:
    points = to_numpy(x)
    if points.ndim != ndim or points.shape[-1] != 2:
        raise InputError(
            f"only states of two dimensions can be drawn; these have shape {points.shape}"
        )
    return points


def _landscape(energy: Any, points: np.ndarray[Any, Any], noise_scale: float) -> tuple[Figure, Any]:
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low) + 1e-6
    sides = [np.linspace(a, b, _GRID) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    heights = to_numpy(energy(grid)).reshape(_GRID, _GRID) / noise_scale**2
    width, height = high - low + 2.0 * margin
    longest = max(width, height)
    size = np.maximum([6.0 * width / longest, 6.0 * height / longest], 3.0)
    figure = Figure(figsize=tuple(size), layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlabel="x[0]", ylabel="x[1]")
    # As many levels as hold nearly all of the samples' mass: they are at most this far up.
    levels = np.linspace(heights.min(), heights.min() + 8.0, 17)
    axes.contourf(*sides, heights, levels, cmap="Greys_r", extend="max", alpha=0.35)
    return figure, axes
