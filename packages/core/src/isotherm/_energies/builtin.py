"""The built-in energies that are formulas."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast

import numpy as np

import isotherm.math as im
from isotherm._arithmetic import functions
from isotherm._arithmetic.arrays import array_origin
from isotherm._energies.formulas import FormulaEnergy, formula
from isotherm._energies.parameters import finite_numbers
from isotherm._programs.symbols import Symbol, Symbols
from isotherm.errors import InputError, short_repr


@formula
def HarmonicEnergy(x: Symbol, *, k: float = 1.0) -> Symbol:
    """½ k Σ x²: independent Gaussians of variance 1/k at unit noise scale."""
    return 0.5 * k * (x * x)


@formula
def DoubleWellEnergy(x: Symbol, *, barrier_height: float = 2.0, b: float = 1.0) -> Symbol:
    """barrier_height Σ (x² - b²)²: two wells a coordinate, at ±b."""
    d = x * x - b * b
    return barrier_height * (d * d)


@formula(dim=None)
def RosenbrockEnergy(x: Symbols, *, a: float = 1.0, b: float = 100.0) -> Any:
    """Σ_i b (x_{i+1} - x_i²)² + (a - x_i)²: a curved valley (Rosenbrock, Comput. J. 3, 1960)."""
    if len(x) < 2:
        raise ValueError("RosenbrockEnergy needs at least 2 dimensions")
    total: Any = 0.0
    for left, right in pairwise(x):
        bend = right - left * left
        total = total + (b * (bend * bend) + (a - left) * (a - left))
    return total


@formula
def RastriginEnergy(x: Symbol, *, a: float = 10.0) -> Symbol:
    """Σ a + x² - a cos(2πx): a grid of wells (Rastrigin, Systems of Extremal Control, 1974)."""
    return cast(Symbol, a + (x * x - a * im.cos(2.0 * math.pi * x)))


@formula(dim=None)
def AckleyEnergy(x: Symbols, *, a: float = 20.0, b: float = 0.2, c: float = 2.0 * math.pi) -> Any:
    """-a exp(-b √(mean x²)) - exp(mean cos(c x)) + a + e (Ackley, 1987, section 2).

    At the origin, where the root has a kink, the gradient is taken to be 0.
    """
    square = sum(x * x) / len(x)
    # The root of 1 stands in for the root of 0, whose slope is infinite and would meet a factor 0.
    distance = im.where(square > 0.0, im.sqrt(im.where(square > 0.0, square, 1.0)), 0.0)
    return a + math.e - a * im.exp(-(b * distance)) - im.exp(sum(im.cos(c * x)) / len(x))


@formula(dim=None)
def _gaussian_mixture(
    x: Symbols, *, means: Symbols, precisions: Symbols, log_weights: Symbols
) -> Any:
    logits = [
        log_weight - 0.5 * precision * sum((x - mean) * (x - mean))
        for mean, precision, log_weight in zip(means, precisions, log_weights, strict=True)
    ]
    return -im.logsumexp(logits)


class GaussianMixtureEnergy(FormulaEnergy):
    """-log Σ_k weights_k N(x; means_k, scales_k² I), up to a constant.

    Parameters
    ----------
    means : array, shape (n_components, dim)
    scales : number or array, shape (n_components,)
        Standard deviations, the same in every direction.
    weights : array, shape (n_components,), optional
        Positive, of any sum; equal by default.
    device : str or device, optional
        Where to sample by default.

    Raises
    ------
    InputError
        Shapes do not fit, or scales or weights are not positive.
    """

    def __init__(
        self, means: Any, scales: Any = 1.0, weights: Any = None, device: object = None
    ) -> None:
        mu = finite_numbers("GaussianMixtureEnergy", "means", means)
        if mu.ndim != 2 or mu.size == 0:
            raise InputError(
                f"GaussianMixtureEnergy: means must have shape (n_components, dim), not {mu.shape}"
            )
        sigma = _positive("scales", scales, mu.shape[0])
        w = _positive("weights", 1.0 if weights is None else weights, mu.shape[0])
        with np.errstate(all="ignore"):  # what is too large or too small is refused below
            parameters = {
                "means": mu,
                "precisions": 1.0 / sigma**2,
                "log_weights": functions.log(w / w.sum()) - mu.shape[1] * functions.log(sigma),
            }
        super().__init__(_gaussian_mixture, parameters, dim=mu.shape[1])
        found = array_origin((means, scales, weights), device)
        self.__dict__ |= dict(zip(("library", "dtype", "device"), found, strict=True))
        self.__dict__ |= {"name": "GaussianMixtureEnergy"}


def _positive(parameter: str, value: Any, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    numbers = finite_numbers("GaussianMixtureEnergy", parameter, value)
    if numbers.shape not in ((), (count,)) or (numbers <= 0).any():
        raise InputError(
            f"GaussianMixtureEnergy: {parameter} must be positive, one number or {count} "
            f"(one a component); got {short_repr(value)}"
        )
    return np.broadcast_to(numbers, (count,))
