"""What keeps a chain within limits: clamp, bounds that reflect, gradients that are clipped.

Reflection is what a particle does between hard walls. A drift with it keeps volumes and can be run
backwards, as one without, so that adjusted samplers stay exact (Neal, "MCMC using Hamiltonian
dynamics", 2011, section 5.5.1.5); the reflected Euler step has the weak order of the step itself
(Bossy, Gobet and Talay, Journal of Applied Probability 41, 2004). A kick by a clipped gradient is
still a function of x alone, and so keeps volumes and can be run backwards, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from isotherm._programs.symbols import Symbol
from isotherm._transitions.program import Mass
from isotherm._transitions.trace import (
    Coefficients,
    Numbers,
    Schedules,
    Transition,
    inverse_mass,
    total,
    where,
)

#: What a sampler takes that carries all of this out but the clamp, and by default does not.
ARGUMENTS: Mapping[str, None] = {"bounds": None, "gradient_clip": None, "gradient_clip_norm": None}

_SMALL = 2.0**-40  # a power of two, by which squares of steep gradients stay finite


def inside(c: Coefficients, x: Symbol) -> Symbol:
    """`x` put into the clamp, or mirrored at the bounds; NaN passes, infinity is not made finite.

    What is frozen, with an inverse mass of 0, is left where it is; it has no bounds.
    Bounds are mirrors, one behind the other: with remainder = how far x is beyond a bound, modulo
    twice the width, it ends at the remainder from the bound that it passed, or at 2·width -
    remainder where that is nearer. Last it is put between the bounds, as rounding may leave it
    beyond.
    """
    if c.variant.clamps:
        clamped = where(x < c.low, c.low, x)
        clamped = where(clamped > c.high, c.high, clamped)
        if c.variant.mass != Mass.VECTOR:
            return clamped
        return where(c.vector("inverse_mass") > 0.0, clamped, x)
    if not c.variant.has_bounds:
        return x
    low, high = c.vector("low"), c.vector("high")
    beyond, remainder, width = _beyond(c, x)
    away = where(remainder > width, (width + width) - remainder, remainder)
    mirrored = where(x < low, low + away, high - away)
    mirrored = where(mirrored < low, low, mirrored)
    mirrored = where(mirrored > high, high, mirrored)
    return where(beyond > 0.0, mirrored, x)


def turned(c: Coefficients, x: Symbol, momentum: Symbol) -> Symbol:
    """The momentum with which `x` comes to be `inside`: turned by each reflection."""
    if not c.variant.has_bounds:
        return momentum
    beyond, remainder, width = _beyond(c, x)
    return where(beyond > 0.0, where(remainder > width, momentum, -momentum), momentum)


def _beyond(c: Coefficients, x: Symbol) -> tuple[Symbol, Symbol, Symbol]:
    """How far `x` is outside, that modulo twice the width, and the width between the bounds."""
    low, high = c.vector("low"), c.vector("high")
    width = high - low
    beyond = where(x < low, low - x, where(x > high, x - high, 0.0))
    # Nothing is beyond an infinite width, whose multiples would be NaN.
    period = where(width < math.inf, width + width, 1.0)
    remainder = beyond - period * np.floor(beyond / period)
    return beyond, where(beyond > width, remainder, beyond), width


def drift(c: Coefficients, time: Symbol, x: Symbol, momentum: Symbol) -> tuple[Symbol, Symbol]:
    """x + time·M⁻¹p and p: a straight line, reflected by the bounds."""
    x = x + time * inverse_mass(c, momentum)
    return inside(c, x), turned(c, x, momentum)


def clipped(c: Coefficients, gradient: Symbol) -> Symbol:
    """The gradient with each coordinate within ±gradient_clip, then no longer than the norm.

    NaN passes. A gradient whose norm overflows, 10³¹ times what it is clipped to, becomes NaN.
    """
    if c.variant.clips:
        gradient = where(gradient > c.gradient_clip, c.gradient_clip, gradient)
        gradient = where(gradient < -c.gradient_clip, -c.gradient_clip, gradient)
    if c.variant.clips_norm:
        small = (_SMALL * gradient) / c.gradient_clip_norm
        square = total(small * small)
        square = where(square > _SMALL * _SMALL, square, _SMALL * _SMALL)
        gradient = gradient * ((_SMALL * np.sqrt(square)) / square)
    return gradient


def clipping(given: Schedules) -> Mapping[str, Numbers]:
    """The coefficients of `clipped`."""
    names = ("gradient_clip", "gradient_clip_norm")
    return {name: given.values[name] for name in names if name in given.values}


#: The step that puts a state into the bounds, and does nothing else.
INSIDE = Transition("inside", lambda state, c, _: ({"x": inside(c, state.x)}, {}), lambda _: {})
