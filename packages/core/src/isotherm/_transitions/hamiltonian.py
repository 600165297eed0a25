"""Trajectories with a Metropolis decision at their end: MALA, Hamiltonian Monte Carlo, MALT.

A trajectory of L leapfrog substeps of size h from a fresh momentum p ~ N(0, noise_scale² M)
(Duane, Kennedy, Pendleton and Roweth, Physics Letters B 195, 1987; Neal, "MCMC using Hamiltonian
dynamics", 2011, section 5.2)::

    p ← p - ½h ∇U(x),   x ← x + h M⁻¹p,   p ← p - ½h ∇U(x)

is accepted where ΔH/noise_scale² ≤ -ln u, with ΔH what H(x, p) = U(x) + ½ pᵀM⁻¹p gained. One
substep with h = √(2η) is the Metropolis-adjusted Langevin algorithm, whose proposal is
x - η M⁻¹∇U + noise_scale √(2η) M⁻½ ξ (Roberts and Tweedie, Bernoulli 2, 1996, section 1.4.1).

With friction γ the momentum is refreshed in part between two substeps, p ← e^(-γh) p + noise_scale
√(1 - e^(-2γh)) M½ ξ, and ΔH is the sum of what the substeps gained: Metropolis-adjusted Langevin
trajectories (Riou-Durand and Vogrinc, "Metropolis adjusted Langevin trajectories", 2022,
algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isotherm._arithmetic.noise import Stream
from isotherm._programs.symbols import Symbol
from isotherm._transitions.limits import ARGUMENTS, clipped, clipping, drift
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
    mass_root,
    repeat,
    where,
)
from isotherm._transitions.underdamped import refreshment


def _step(
    state: State, c: Coefficients, draw: Draw
) -> tuple[Mapping[str, Symbol], Mapping[str, Symbol]]:
    start = state.point
    p = c.momentum_scale * mass_root(c, draw.normal(Stream.MOMENTUM))
    if c.variant.has_friction:
        end, kinetic = _langevin(start, p, c, draw)
    else:
        end, q = leapfrog(start, p, c)
        kinetic = _gained(c, p, q)
    error = c.inverse_temperature * energy_error(start, end, kinetic)
    # An energy of minus infinity is no better a state than one of NaN, which no comparison accepts.
    error = where(error < c.lowest, -error, error)
    is_accepted = error <= draw.exponential()
    names = ("x", "gradient", "energy")
    after = {
        name: where(is_accepted, new, old)
        for name, new, old in zip(names, end, start, strict=True)
        if new is not None
    }
    return after, {
        "energy_error": error,
        "accepted": where(is_accepted, 1.0, 0.0),
        "diverging": where(abs(error) <= c.divergence_threshold, 0.0, 1.0),
    }


# A pass of a loop begins with its gradient and ends with the next one's state: what is elementwise
# between two gradients is then one segment.


def leapfrog(start: Point, p: Symbol, c: Coefficients) -> tuple[Point, Symbol]:
    """The end of a trajectory, and its momentum there; two half kicks are one."""

    def substep(_: Symbol, x: Symbol, p: Symbol) -> Sequence[Symbol]:
        p = p - c.step_size * clipped(c, gradient(x))
        return drift(c, c.step_size, x, p)

    p = p - c.half_step * clipped(c, start.gradient)
    x, p = drift(c, c.step_size, start.x, p)
    x, p = repeat(c.n_before_last, substep, x, p)
    end = evaluate(x)
    return end, p - c.half_step * clipped(c, end.gradient)


def _langevin(start: Point, p: Symbol, c: Coefficients, draw: Draw) -> tuple[Point, Symbol]:
    """The same with a partial refreshment of the momentum between two substeps."""

    def kicked(x: Symbol, g: Symbol, p: Symbol) -> tuple[Symbol, Symbol]:
        return drift(c, c.step_size, x, p - c.half_step * clipped(c, g))

    def substep(
        number: Symbol, x: Symbol, q: Symbol, p: Symbol, kinetic: Symbol
    ) -> Sequence[Symbol]:
        g = gradient(x)
        end = q - c.half_step * clipped(c, g)
        kinetic = kinetic + _gained(c, p, end)
        p = c.decay * end + c.kick * mass_root(c, draw.substep_normal(number))
        return *kicked(x, g, p), p, kinetic

    x, q = kicked(start.x, start.gradient, p)
    x, q, p, kinetic = repeat(c.n_before_last, substep, x, q, p, p - p)
    end = evaluate(x)
    return end, kinetic + _gained(c, p, q - c.half_step * clipped(c, end.gradient))


def _gained(c: Coefficients, before: Symbol, after: Symbol) -> Symbol:
    """What ½ pᵀM⁻¹p gained at each coordinate: ½ (p' - p) M⁻¹(p' + p), which loses no digits."""
    return 0.5 * ((after - before) * inverse_mass(c, after + before))


def _of_trajectory(given: Schedules, step: Numbers, passes: Numbers) -> Mapping[str, Numbers]:
    return {
        "step_size": step,
        "half_step": 0.5 * step,
        "n_before_last": passes - 1.0,
        "momentum_scale": given.noise_scale,
        "inverse_temperature": 1.0 / (given.noise_scale * given.noise_scale),
        "lowest": given.lowest,
        "divergence_threshold": given.divergence_threshold,
        **clipping(given),
    }


def _coefficients(given: Schedules) -> Mapping[str, Numbers]:
    passes = np.maximum(1.0, np.ceil(given.n_leapfrog))
    if given.jitter:  # else it is one number wherever n_leapfrog is
        passes = n_substeps(given.n_leapfrog, given.jitter, given.steps)
    return {**_of_trajectory(given, given.step_size, passes), **refreshment(given)}


def _of_one_substep(given: Schedules) -> Mapping[str, Numbers]:
    return _of_trajectory(given, np.sqrt(2.0 * given.step_size), np.ones(()))


def n_substeps(
    n_leapfrog: Numbers, jitter: Numbers, steps: np.ndarray[Any, np.dtype[np.int64]]
) -> Numbers:
    """Substeps of the trajectories of some steps: max(1, ⌈n_leapfrog·(1 - jitter·(1 - h(t)))⌉).

    h(t) is the base-2 radical inverse of t + 1, which spreads evenly over (0, 1) (van der Corput,
    1935). A trajectory of fixed length can return a Gaussian to its start for ever.
    """
    inverse, rest, weight = np.zeros(len(steps)), steps + 1, 0.5
    while rest.any():
        inverse += weight * (rest & 1)
        rest, weight = rest >> 1, 0.5 * weight
    return np.maximum(1.0, np.ceil(n_leapfrog * (1.0 - jitter * (1.0 - inverse))))


_CACHED = ("energy", "gradient")
HAMILTONIAN = Transition(
    "hmc",
    _step,
    _coefficients,
    cached=_CACHED,
    is_adjusted=True,
    arguments={
        "n_leapfrog": 10,
        "jitter": 1.0,
        "friction": 0.0,
        "divergence_threshold": None,
        **ARGUMENTS,
    },
)
MALA = Transition(
    "mala",
    _step,
    _of_one_substep,
    cached=_CACHED,
    is_adjusted=True,
    arguments={"divergence_threshold": None, **ARGUMENTS},
)
