"""Underdamped Langevin dynamics by BAOAB, unadjusted.

Leimkuhler and Matthews, "Rational construction of stochastic numerical methods for molecular
sampling", Applied Mathematics Research eXpress, 2013, equation 10, with one gradient a step::

    B  p ← p - ½h ∇U(x)
    A  x ← x + ½h M⁻¹p
    O  p ← e^(-γh) p + noise_scale √(1 - e^(-2γh)) M½ ξ
    A  x ← x + ½h M⁻¹p
    B  p ← p - ½h ∇U(x)

for the target exp(-(U(x) + ½ pᵀM⁻¹p)/noise_scale²). Its configurations are biased by order h², and
not at all for a harmonic energy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isotherm._arithmetic import functions
from isotherm._arithmetic.noise import Stream
from isotherm._programs.symbols import Symbol
from isotherm._transitions.limits import ARGUMENTS, clipped, clipping, drift
from isotherm._transitions.trace import (
    Coefficients,
    Draw,
    Numbers,
    Schedules,
    State,
    Transition,
    gradient,
    mass_root,
    perturb,
)


def _step(
    state: State, c: Coefficients, draw: Draw
) -> tuple[Mapping[str, Symbol], Mapping[str, Symbol]]:
    p = state.momentum - c.half_step * clipped(c, state.gradient)
    x, p = drift(c, c.half_step, state.x, p)
    p = perturb(c.decay * p, c.kick, mass_root(c, draw.normal(Stream.LANGEVIN)))
    x, p = drift(c, c.half_step, x, p)
    g = gradient(x)
    p = p - c.half_step * clipped(c, g)
    return {"x": x, "momentum": p, "gradient": g}, {}


def refreshment(given: Schedules) -> Mapping[str, Numbers]:
    """What is left of a momentum after a step, e^(-γh), and the noise that joins it."""
    decay = functions.exp(-(given.friction * given.step_size))
    return {"decay": decay, "kick": given.noise_scale * np.sqrt((1.0 - decay) * (1.0 + decay))}


def _coefficients(given: Schedules) -> Mapping[str, Numbers]:
    return {"half_step": 0.5 * given.step_size, **refreshment(given), **clipping(given)}


UNDERDAMPED = Transition(
    "underdamped",
    _step,
    _coefficients,
    carried=("x", "momentum"),
    cached=("gradient",),
    bias_order=2,
    arguments={"friction": 1.0, **ARGUMENTS},
)
