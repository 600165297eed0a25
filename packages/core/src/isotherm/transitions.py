"""A sampler of your own: the words that a transition is written with.

A transition is one function over the chains' state, traced once like a formula and carried out by
every backend: ``step(state, c, draw)`` → the parts of the next state and what is to be reported,
each by its name. ``state.x`` and ``state.momentum`` are what is carried, ``c`` has the numbers of a
step by their names, and ``draw.normal(Stream.LANGEVIN)`` is one normal a coordinate. See
``docs/new_transition.md``.
"""

from isotherm._arithmetic import functions
from isotherm._arithmetic.noise import Stream
from isotherm._programs.symbols import Symbol
from isotherm._transitions.catalogue import register
from isotherm._transitions.limits import clipped, clipping, drift, inside, turned
from isotherm._transitions.program import TransitionProgram
from isotherm._transitions.trace import (
    Coefficients,
    Draw,
    Numbers,
    Point,
    Schedules,
    State,
    Transition,
    energy_error,
    evaluate,
    gradient,
    inverse_mass,
    inverse_mass_root,
    mass_root,
    perturb,
    repeat,
    total,
    where,
)

__all__ = [
    "Coefficients",
    "Draw",
    "Numbers",
    "Point",
    "Schedules",
    "State",
    "Stream",
    "Symbol",
    "Transition",
    "TransitionProgram",
    "clipped",
    "clipping",
    "drift",
    "energy_error",
    "evaluate",
    "functions",
    "gradient",
    "inside",
    "inverse_mass",
    "inverse_mass_root",
    "mass_root",
    "perturb",
    "register",
    "repeat",
    "total",
    "turned",
    "where",
]
