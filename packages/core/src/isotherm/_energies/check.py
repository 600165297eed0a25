"""Whether an energy's gradient is its derivative."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import (
    Array,
    as_state,
    device_name,
    dtype_name,
    library_of,
    move,
    namespace,
    to_numpy,
)
from isotherm._energies.origin import is_declared, origin
from isotherm._energies.protocol import as_energy, chain_energies
from isotherm.errors import InputError

_DRAWN = 8  # states by default


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradient` found.

    Attributes
    ----------
    is_correct : bool
    worst_error : float
        The largest difference between ``energy.gradient(x)`` and the finite differences of
        ``energy(x)``, in units of the gradient's largest element (at least 1, and more where the
        energy is so large that its rounding shows).
    tolerance : float
        Up to which the gradient counts as correct.
    chain, coordinate : int
        Where the largest difference is (coordinates count in C order).
    given, expected : float
        The gradient there, and what the finite difference says.
    seed : int or None
        Of the states, where they were drawn.
    """

    is_correct: bool
    worst_error: float
    tolerance: float
    chain: int
    coordinate: int
    given: float
    expected: float
    seed: int | None = None

    def __str__(self) -> str:
        drawn = "" if self.seed is None else f" (states drawn with seed={self.seed})"
        if self.is_correct:
            return (
                f"the gradient is right to {self.worst_error:.2g} (up to {self.tolerance:.2g} is)"
                + drawn
            )
        return (
            f"the gradient is wrong: at chain {self.chain}, coordinate {self.coordinate} it is "
            f"{self.given:.6g}, but the energy's slope there is {self.expected:.6g}{drawn}"
        )


def check_gradient(
    energy: Any,
    x: Array | None = None,
    *,
    dim: int | tuple[int, ...] | None = None,
    seed: int | None = None,
) -> GradientReport:
    """Compare an energy's gradient with central differences of the energy.

    Parameters
    ----------
    energy : callable with a method ``gradient``
    x : array, shape (n_samples, *event_shape), optional
        Where to compare; a few states of the size that chains will meet. float64 tells most. By
        default some from N(0, I), in float64, in the library of the energy's parameters. To look
        into a chain that went wrong, pass its last states.
    dim : int or tuple of int, optional
        The shape of a state, where neither `x` nor the energy tells it.
    seed : int, optional
        Of the states that are drawn; a fresh one by default, which the report tells.

    Returns
    -------
    GradientReport
        Print it: it says what is wrong, and where.

    Raises
    ------
    InputError
        The energy has no gradient, or the two return wrong shapes.
    """
    energy, x = as_energy(energy), as_state(x)
    if x is None:
        seed = secrets.randbits(32) if seed is None else seed
        x = _drawn(energy, dim, seed)
    else:
        seed = None
    if x.ndim < 2:
        raise InputError("x must have shape (n_samples, *event_shape)")
    if not hasattr(energy, "gradient"):
        raise InputError(f"{type(energy).__name__} has no method gradient(x) to check")
    if not callable(energy):
        raise InputError(f"{type(energy).__name__} has a gradient but no energy to compare it with")
    place = library_of(x), dtype_name(x.dtype), device_name(x)
    host = to_numpy(x).astype(np.float64)
    n_samples = host.shape[0]
    given = to_numpy(energy.gradient(x)).astype(np.float64)
    if given.shape != host.shape:
        raise InputError(f"gradient(x) has shape {given.shape}; it must be that of x, {host.shape}")

    # The cube root of the rounding error balances it with the difference's own error (Press et
    # al., Numerical Recipes, 3rd ed., 2007, section 5.7).
    epsilon = float(np.finfo(place[1]).eps)
    width = epsilon ** (1 / 3) * np.maximum(np.abs(host), 1.0)

    def energies(points: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
        value = energy(move(points, *place))
        return to_numpy(chain_energies(value)).astype(np.float64)

    slopes = np.empty_like(host).reshape(n_samples, -1)
    scale = np.abs(energies(host)).max()
    for coordinate in range(slopes.shape[1]):
        step = np.zeros_like(slopes)
        step[:, coordinate] = width.reshape(n_samples, -1)[:, coordinate]
        step = step.reshape(host.shape)
        rise = energies(host + step) - energies(host - step)
        slopes[:, coordinate] = rise / (2.0 * step.reshape(n_samples, -1)[:, coordinate])
    flat = given.reshape(n_samples, -1)
    # What eight roundings of an energy this large do to a difference is no fault of the gradient.
    rounding = 4.0 * epsilon ** (1 / 3) * float(scale)
    unit = max(1.0, float(np.abs(slopes).max()), rounding)
    error = np.abs(flat - slopes) / unit
    error[np.isnan(error)] = np.inf
    chain, coordinate = map(int, np.unravel_index(np.argmax(error), error.shape))
    # The error expected is ε^(2/3) times the third derivative: this leaves room for large ones.
    tolerance = epsilon ** (1 / 3)
    return GradientReport(
        is_correct=bool(error[chain, coordinate] <= tolerance),
        worst_error=float(error[chain, coordinate]),
        tolerance=tolerance,
        chain=chain,
        coordinate=coordinate,
        given=float(flat[chain, coordinate]),
        expected=float(slopes[chain, coordinate]),
        seed=seed,
    )


def _drawn(energy: Any, dim: int | tuple[int, ...] | None, seed: int) -> Array:
    """A few states from N(0, I), where the energy takes them."""
    shape = energy.dim if dim is None and is_declared(energy) else dim
    if shape is None:
        raise InputError("give x, states at which to compare, or dim, the shape of one")
    shape = shape if isinstance(shape, tuple) else (shape,)
    states = np.random.default_rng(seed).normal(size=(_DRAWN, *shape))
    library, _, device = origin(energy)
    if library in (None, "numpy"):
        return states
    first = device_name(namespace(str(library)).empty(0))
    return move(states, str(library), "float64", device or first)
