"""What a run gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import Array
from isotherm._plans.bounds import Bounds
from isotherm._results.diagnostics import Diagnostics


@dataclass(frozen=True)
class Divergence:
    """Chains that left the finite numbers.

    Attributes
    ----------
    first_step : int
        The first step of the run (counted from 1, burn-in included) after which a chain was not
        finite, or after which its energy was seen to be NaN; 0 where chains start there.
    n_chains : int
        How many chains were not finite when they were counted.
    of_energy : bool
        Whether the states are finite and it is their energy that is NaN: chains are outside of its
        support.
    chains : int64 array of NumPy, shape (n_chains,), or None
        Which they were when they were counted, as rows of the samples; None of a run that was
        shared out among workers, or read from a store.
    """

    first_step: int
    n_chains: int
    of_energy: bool = False
    chains: np.ndarray[Any, np.dtype[np.int64]] | None = field(
        default=None, repr=False, compare=False
    )


@dataclass(frozen=True)
class Progress:
    """How far a run is, as a callback is told.

    Attributes
    ----------
    n_steps, n_total : int
        Steps taken and steps in all, burn-in included.
    n_kept : int
        States kept so far.
    seconds : float
        Wall-clock time since the run began; with compiling, where a kernel was compiled.
    energy : float or None
        The mean over the chains of U(x) at the last kept state; None without diagnostics, or where
        no state is kept yet.
    n_diverged : int
        Chains that are not finite now.
    n_before : int
        Steps that were done before a run was gone on with.

    Notes
    -----
    What is of the chains themselves is made when it is asked for, in the library of the result.
    """

    n_steps: int
    n_total: int
    n_kept: int
    seconds: float
    energy: float | None
    n_diverged: int
    n_before: int = 0
    _read: Callable[[str], Array | None] = field(
        default=lambda name: None, repr=False, compare=False
    )

    @property
    def samples(self) -> Array | None:
        """The chains' states now, as a copy; None where shares run in other processes."""
        return self._read("samples")

    @property
    def mean(self) -> Array | None:
        """Over the chains now, of shape (*event_shape)."""
        return self._read("mean")

    @property
    def variance(self) -> Array | None:
        """Over the chains now, divided by their number; of shape (*event_shape)."""
        return self._read("variance")

    @property
    def energies(self) -> Array | None:
        """U of each chain at the last state kept since the last call; None without diagnostics."""
        return self._read("energies")

    @property
    def rate(self) -> float:
        """Steps a second."""
        return (self.n_steps - self.n_before) / self.seconds

    @property
    def seconds_left(self) -> float:
        """Of the steps that are left, at the rate so far."""
        return (self.n_total - self.n_steps) / self.rate


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
        Steps done, burn-in included; fewer than planned where the run was ended early.
    seconds : float
        Wall-clock time, without planning; with compiling, where a kernel was compiled.
    divergence : Divergence or None
    acceptance_rate : float or None
        Of an adjusted sampler: which part of the steps after the burn-in was accepted, of those
        that this call took; None where there was none.
    n_divergences : int or None
        Of an adjusted sampler: steps of chains, likewise, whose energy error was beyond the
        threshold. They are rejected.
    n_diverging_chains : int or None
        Chains to which that happened.
    n_stuck_chains : int or None
        Of an adjusted sampler: chains that rejected every proposal of those steps.
    sampler : str
    tuning : str or None
        What a warm-up found, where it led to this run; `isotherm.Tuning.from_json` reads it.
    bounds : Bounds or None
        Those that reflected the chains.
    frozen : bool array of NumPy, shape (*event_shape), or None
        True where a coordinate did not move.
    noise_scale : float or float64 array of NumPy, or None
        Of the law exp(-U/noise_scale²): a number, or one a chain, of shape (n_samples, 1). Where it
        changed from step to step, that of the steps that led to the kept states, of shape
        (1, n_kept), or where only final states were kept, of the last step; None before the first.
    """

    seed: int
    backend: str
    device: str
    path: str
    n_steps: int
    seconds: float
    divergence: Divergence | None
    acceptance_rate: float | None = None
    n_divergences: int | None = None
    n_diverging_chains: int | None = None
    n_stuck_chains: int | None = None
    sampler: str = "langevin"
    tuning: str | None = None
    bounds: Bounds | None = None
    frozen: np.ndarray[Any, np.dtype[np.bool_]] | None = field(default=None, compare=False)
    noise_scale: float | np.ndarray[Any, np.dtype[np.float64]] | None = field(
        default=None, compare=False
    )


def joined(infos: Sequence[tuple[int, Info]], n_counted: int) -> Info:
    """How runs of several chains each went together.

    Parameters
    ----------
    infos : sequence of (int, Info)
        The number of chains of each run, and how it went.
    n_counted : int
        Steps of each after the burn-in.
    """
    of_all = [info for _, info in infos]
    found = [one.divergence for one in of_all if one.divergence is not None]
    told: dict[str, Any] = {"divergence": None, "seconds": sum(one.seconds for one in of_all)}
    if found:
        counted = [one for one in found if not one.of_energy] or found
        told["divergence"] = Divergence(
            min(one.first_step for one in counted),
            sum(one.n_chains for one in counted),
            of_energy=counted[0].of_energy,
        )
    if of_all[0].acceptance_rate is not None:
        # Whole numbers, so that the rate is that of one run, to its last digit.
        accepted = sum(round(n * n_counted * (one.acceptance_rate or 0)) for n, one in infos)
        told["acceptance_rate"] = accepted / (n_counted * sum(n for n, _ in infos))
        for name in ("n_divergences", "n_diverging_chains", "n_stuck_chains"):
            told[name] = sum(getattr(one, name) for one in of_all)
    return replace(of_all[0], **told)


@dataclass(frozen=True, eq=False)  # results hold arrays, whose == is no yes or no
class Result:
    """What `isotherm.run`, `isotherm.resume` and `isotherm.open_run` return.

    Attributes
    ----------
    samples : array, shape (n_samples, *event_shape)
        The chains' final states.
    trajectory : array, shape (n_samples, n_kept, *event_shape), or None
        An ``xarray.DataArray`` where it is in a store, from which indexing reads a part.
    diagnostics : Diagnostics or None
    info : Info
    state : mapping of str to array, each of shape (n_samples, *event_shape)
        All that going on needs: ``"x"``, and ``"momentum"`` where the sampler has one, in the dtype
        of the state between steps (float32 for half precision).
    """

    samples: Array
    trajectory: Array | None
    diagnostics: Diagnostics | None
    info: Info
    state: Mapping[str, Array]

    def __repr__(self) -> str:
        info = self.info
        parts = [f"samples {tuple(self.samples.shape)}"]
        if self.trajectory is not None:
            parts.append(f"trajectory {tuple(self.trajectory.shape)}")
        if self.diagnostics is not None:
            parts.append(f"diagnostics {self.diagnostics.shape}")
        parts.append(
            f"{info.n_steps} steps of {info.sampler} on {info.backend}, {info.seconds:.3g} s"
        )
        if info.acceptance_rate is not None:
            parts.append(f"{info.acceptance_rate:.0%} accepted")
        if info.divergence is not None:
            parts.append(f"{info.divergence.n_chains} chains diverged")
        return f"<Result: {', '.join(parts)}>"


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a run.

    Attributes
    ----------
    result : Result
        What was done; of a run with a store, `isotherm.resume` goes on with it.
    """

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result
