"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass

from isotherm.arrays import Array
from isotherm.diagnostics import Diagnostics


@dataclass(frozen=True)
class Divergence:
    """Chains that left the finite numbers.

    Attributes
    ----------
    first_step : int
        The first step of the run (counted from 1, burn-in included) after which a chain was not
        finite.
    n_chains : int
        How many chains were not finite when they were counted.
    """

    first_step: int
    n_chains: int


@dataclass(frozen=True)
class Info:
    """How a run went.

    Attributes
    ----------
    seed : int
    backend, device : str
    path : str
        How the chains ran: fused in a kernel, or in the array loop.
    n_steps : int
        Steps taken, burn-in included.
    seconds : float
        Wall-clock time, without planning; with compiling, where a kernel was compiled.
    divergence : Divergence or None
    """

    seed: int
    backend: str
    device: str
    path: str
    n_steps: int
    seconds: float
    divergence: Divergence | None


@dataclass(frozen=True)
class Result:
    """What `isotherm.run` returns.

    Attributes
    ----------
    samples : array, shape (n_samples, *event_shape)
        The chains' final states.
    trajectory : array, shape (n_samples, n_kept, *event_shape), or None
    diagnostics : Diagnostics or None
    info : Info
    """

    samples: Array
    trajectory: Array | None
    diagnostics: Diagnostics | None
    info: Info
