"""Overdamped Langevin dynamics, unadjusted.

The Euler-Maruyama step of dx = -M⁻¹∇U dt + noise_scale √2 M⁻½ dW (Roberts and Tweedie, Bernoulli 2,
1996, equation 2), for the target exp(-U/noise_scale²)::

    x ← (x - η M⁻¹∇U(x)) + (noise_scale √(2η)) M⁻½ ξ

then the clamp, or reflection by the bounds. The parentheses are the order of evaluation. Its law is
biased by η.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isotherm._arithmetic.noise import Stream
from isotherm._programs.symbols import Symbol
from isotherm._transitions.limits import ARGUMENTS, clipped, clipping, inside
from isotherm._transitions.trace import (
    Coefficients,
    Draw,
    Numbers,
    Schedules,
    State,
    Transition,
    gradient,
    inverse_mass,
    inverse_mass_root,
    perturb,
)


def _step(
    state: State, c: Coefficients, draw: Draw
) -> tuple[Mapping[str, Symbol], Mapping[str, Symbol]]:
    x = state.x - c.step_size * inverse_mass(c, clipped(c, gradient(state.x)))
    x = perturb(x, c.noise, inverse_mass_root(c, draw.normal(Stream.LANGEVIN)))
    return {"x": inside(c, x)}, {}


def _coefficients(given: Schedules) -> Mapping[str, Numbers]:
    return {
        "step_size": given.step_size,
        "noise": given.noise_scale * np.sqrt(2.0 * given.step_size),
        "low": given.low,
        "high": given.high,
        **clipping(given),
    }


LANGEVIN = Transition(
    "langevin",
    _step,
    _coefficients,
    bias_order=1,
    arguments={"step_size": 1e-3, "clamp": None, **ARGUMENTS},
)
