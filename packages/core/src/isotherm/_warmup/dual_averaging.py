"""Step sizes by dual averaging."""

from __future__ import annotations

import numpy as np

from isotherm._arithmetic import functions

_SHRINKAGE, _FORGOTTEN, _POWER = 0.05, 10.0, 0.75  # γ, t0 and κ of the paper


class DualAveraging:
    """The step size at which a wanted part of proposals is accepted.

    Hoffman and Gelman, "The No-U-Turn Sampler", JMLR 15, 2014, equation 6, with its constants::

        ln ε ← μ - √t/γ · H̄,   H̄ ← (1 - 1/(t + t0)) H̄ + (target - accepted)/(t + t0)
        ln ε̄ ← t^-κ ln ε + (1 - t^-κ) ln ε̄

    but for μ, which is the logarithm of where it starts: the acceptance is counted over many
    chains, and is no guess that must be probed from above. exp and log are those of the written
    arithmetic, so that equal counts give equal bits everywhere.

    Parameters
    ----------
    start : float
        The first step size.
    target : float
        The acceptance wanted.
    """

    def __init__(self, start: float, target: float) -> None:
        self.step_size = start
        self._target = target
        self._centre = self._average = log(start)
        self._error = 0.0
        self._t = 0

    def update(self, accepted: float) -> None:
        """Take in which part of the proposals of one step size was accepted."""
        self._t += 1
        t = float(self._t)
        weight = 1.0 / (t + _FORGOTTEN)
        self._error = (1.0 - weight) * self._error + weight * (self._target - accepted)
        now = self._centre - float(np.sqrt(t)) / _SHRINKAGE * self._error
        share = exp(-_POWER * log(t))
        self._average = share * now + (1.0 - share) * self._average
        self.step_size = exp(now)

    @property
    def found(self) -> float:
        """The average of the step sizes so far."""
        return exp(self._average)


def exp(x: float) -> float:
    """By the written arithmetic, in float64."""
    return float(functions.exp(np.array([x]))[0])


def log(x: float) -> float:
    """By the written arithmetic, in float64."""
    return float(functions.log(np.array([x]))[0])
