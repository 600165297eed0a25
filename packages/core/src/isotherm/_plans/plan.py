"""The plan of a run: everything that decides its result, frozen, as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from isotherm._arithmetic import functions
from isotherm._arithmetic.arrays import round_to
from isotherm._arithmetic.noise import steps_per_block
from isotherm._arithmetic.versions import ARITHMETIC_VERSION, STREAM_VERSION
from isotherm._plans.bounds import Bounds
from isotherm._plans.masses import InverseMass
from isotherm._transitions.catalogue import find
from isotherm._transitions.hamiltonian import n_substeps
from isotherm._transitions.program import Kind, Mass, TransitionProgram, Variant
from isotherm._transitions.trace import Schedules
from isotherm.errors import InputError

#: What the fields of a plan mean; a backend refuses a version that it does not know.
PLAN_VERSION = 3

#: |ΔH|/noise_scale² above which a step of an adjusted sampler counts as diverging.
DIVERGENCE_THRESHOLD = 1000.0

ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


class Schedule:
    """One float64 number a step; a constant, and one that decays, stand as what they are.

    Or one number a chain, the same at all steps.

    Parameters
    ----------
    values : float or array, shape (n,) or, of chains, (n_samples, 1)
    decay : float
        Of a number in [0, 1): step i has values·(1 - decay)^(first + i).
    first, size : int
        Of a schedule that decays: the first step's number in the noise stream, and how many steps
        there are.
    """

    __slots__ = ("_given", "decay", "first", "size")

    def __init__(self, values: Any, decay: float = 0.0, first: int = 0, size: int = 0) -> None:
        self._given = np.array(values, dtype=np.float64)
        self._given.flags.writeable = False
        self.decay = float(decay)
        self.first, self.size = (first, size) if decay else (0, self._given.size)

    @property
    def is_constant(self) -> bool:
        """Whether every step, and every chain, has the same number."""
        return self._given.ndim == 0 and not self.decay

    @property
    def is_of_chains(self) -> bool:
        """Whether each chain has a number."""
        return self._given.ndim == 2

    def of_chains(self, first: int, last: int) -> Schedule:
        """That of the chains first..last-1."""
        return Schedule(self._given[first:last]) if self.is_of_chains else self

    @property
    def start(self) -> float:
        """The number that decays, or that of the first step or chain."""
        return float(self._given.flat[0]) if self._given.size else 0.0

    @property
    def values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A number where it is constant, else one a step, which takes memory, or one a chain."""
        return self.between(0, self.size) if self.decay else self._given

    @property
    def ends(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Numbers among which are the least and the greatest."""
        if not self.decay:
            return self._given.reshape(-1)
        if not self.size:
            return np.empty(0)
        return np.concatenate([self.between(0, 1), self.between(self.size - 1, self.size)])

    def between(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The numbers of the steps start..stop-1; shape (stop - start,), or (n_samples, 1)."""
        if self.is_of_chains:
            return self._given
        if self.is_constant:
            return np.broadcast_to(self._given, (stop - start,))
        if not 0 <= start <= stop <= self.size:  # a kernel would read beyond the end
            raise InputError(f"the schedule has {self.size} steps, and {stop} were asked")
        if not self.decay:
            return self._given[start:stop]
        # (1 - decay)^t by functions whose bits do not depend on the machine's library.
        rate = functions.log(np.float64(1.0) - np.array([self.decay]))
        steps = np.arange(self.first + start, self.first + stop)
        values: np.ndarray[Any, np.dtype[np.float64]] = self._given * functions.exp(steps * rate)
        return values

    def distinct(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The same, but one number, shape (1,), where it is constant."""
        return self.between(start, start + 1 if self.is_constant else stop)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Schedule)
            and (self.decay, self.first, self.size) == (other.decay, other.first, other.size)
            and np.array_equal(self._given, other._given)
        )

    def __hash__(self) -> int:
        return hash((self._given.tobytes(), self.decay, self.first, self.size))

    def __repr__(self) -> str:
        return f"Schedule({self})"

    def __str__(self) -> str:
        if self.is_constant:
            return f"{float(self._given):g}"
        if not self.size:
            return "none"
        if self.is_of_chains:
            return f"{self._given.min():g} … {self._given.max():g} ({self.size} chains)"
        first, last = self.between(0, 1)[0], self.between(self.size - 1, self.size)[0]
        return f"{first:g} … {last:g} ({self.size} values)"


@dataclass(frozen=True, repr=False)
class Plan:
    """Everything that decides a run's result; made, and checked, by `isotherm.make_plan`.

    The run takes ``n_total`` = burn_in + n_steps steps; its step i = 0, 1, ... is the step
    ``step_offset + i`` of the noise stream. The state after step i is kept where i + 1 - burn_in is
    a positive multiple of `thinning`.

    Attributes
    ----------
    energy : str
        The energy's name, for people.
    n_samples : int
        Chains.
    event_shape : tuple of int
        The shape of one chain's state.
    n_steps, burn_in, thinning : int
    step_size, noise_scale : Schedule
        η and the noise scale of each of the n_total steps; decay is in them. The noise scale may be
        one a chain.
    clamp : (float or None, float or None) or None
        Bounds into which every coordinate is put after every step.
    bounds : Bounds or None
        Which reflect.
    gradient_clip, gradient_clip_norm : float or None
        What a gradient's coordinates, and its norm, are clipped to.
    seed : int
        Key of the noise stream, 64 bits.
    chain_offset, step_offset : int
        The stream's numbers of the first chain and of the first step.
    dtype : str
        Of the state: ``"float32"``, ``"float64"``, ``"float16"`` or ``"bfloat16"``.
    backend, device : str
        Where it runs.
    library : str
        The array library in which the result comes back.
    return_trajectory, return_diagnostics : bool
    on_divergence : str
        ``"raise"``, ``"warn"`` or ``"ignore"``.
    sampler : str
        The transition's name: ``"langevin"``, ``"underdamped"``, ``"mala"``, ``"hmc"``.
    friction, n_leapfrog : Schedule or None
        γ, and the substeps of a trajectory before jitter, of each of the n_total steps.
    jitter : float
        By how much trajectories may be shorter than `n_leapfrog`, in [0, 1].
    inverse_mass : InverseMass or None
        M⁻¹; None for 1.
    divergence_threshold : float
        A trajectory of an adjusted sampler whose energy error is larger counts as diverging.
    has_start : bool
        Whether the chains start where the caller says, rather than from N(0, I).
    tuning : str or None
        What a warm-up found, where it led to this plan, as ``Tuning.to_json`` tells it: for people;
        the numbers above are what counts.
    energy_signature : str
        What an energy must be for this plan; see `isotherm._energies.protocol.signature`.
    version : int
    """

    energy: str
    n_samples: int
    event_shape: tuple[int, ...]
    n_steps: int
    step_size: Schedule
    noise_scale: Schedule
    seed: int
    backend: str
    device: str
    library: str
    burn_in: int = 0
    thinning: int = 1
    clamp: tuple[float | None, float | None] | None = None
    bounds: Bounds | None = None
    gradient_clip: float | None = None
    gradient_clip_norm: float | None = None
    chain_offset: int = 0
    step_offset: int = 0
    dtype: str = "float32"
    return_trajectory: bool = False
    return_diagnostics: bool = False
    on_divergence: str = "warn"
    sampler: str = "langevin"
    friction: Schedule | None = None
    n_leapfrog: Schedule | None = None
    jitter: float = 0.0
    inverse_mass: InverseMass | None = None
    divergence_threshold: float = DIVERGENCE_THRESHOLD
    has_start: bool = False
    tuning: str | None = None
    energy_signature: str = ""
    stream_version: int = STREAM_VERSION
    arithmetic_version: int = ARITHMETIC_VERSION
    version: int = PLAN_VERSION

    @property
    def n_total(self) -> int:
        """Steps taken: burn_in + n_steps."""
        return self.burn_in + self.n_steps

    @property
    def n_coordinates(self) -> int:
        """Elements of one chain's state."""
        return math.prod(self.event_shape)

    @property
    def n_kept(self) -> int:
        """Kept states: n_steps // thinning."""
        return self.kept_before(self.n_total)

    @property
    def shape(self) -> tuple[int, ...]:
        """The state's shape: (n_samples, *event_shape)."""
        return (self.n_samples, *self.event_shape)

    @property
    def steps_per_block(self) -> int:
        """Consecutive steps that one block of the noise stream serves."""
        return steps_per_block(self.dtype)

    def with_seed(self, seed: int) -> Plan:
        """The same plan with another key of the noise."""
        made = copy(self)
        object.__setattr__(made, "seed", seed)  # in a tenth of the time of dataclasses.replace
        return made

    def kept_before(self, step: int) -> int:
        """How many states are kept in the first `step` steps."""
        return max(0, step - self.burn_in) // self.thinning

    def of_chains(self, first: int, last: int) -> Plan:
        """The plan of the rows first..last-1 by themselves."""
        return replace(
            self,
            n_samples=last - first,
            chain_offset=self.chain_offset + first,
            noise_scale=self.noise_scale.of_chains(first, last),
        )

    def is_kept(self, step: int) -> bool:
        """Whether the state after step `step` (counted from 0) is kept."""
        return self.kept_before(step + 1) > self.kept_before(step)

    def kept_steps(self, first: int, last: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """How many steps of the run the kept states first..last-1 have behind them."""
        return self.burn_in + self.thinning * np.arange(first + 1, last + 1)

    def kept_step_sizes(self, n_kept: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The step size of the step before each of the first kept states."""
        return _picked(self.step_size, self.kept_steps(0, n_kept) - 1)

    def kept_substeps(self, n_kept: int) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """The substeps of that step's trajectory; None where there are none."""
        if self.n_leapfrog is None:
            return None
        steps = self.kept_steps(0, n_kept) - 1
        wanted = _picked(self.n_leapfrog, steps)
        made = n_substeps(wanted, np.full(1, self.jitter), self.step_offset + steps)
        return made.astype(np.int64)

    def sample_stats(self, n_kept: int) -> dict[str, Callable[[], Any]]:
        """What diagnostics tell of the first kept states and the plan knows, made when asked."""
        return {
            "step_size": partial(self.kept_step_sizes, n_kept),
            "n_substeps": partial(self.kept_substeps, n_kept),
        }

    @property
    def frozen(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Which coordinates do not move, of shape (*event_shape); None where all do."""
        if self.inverse_mass is None or not self.inverse_mass.n_frozen:
            return None
        still: np.ndarray[Any, np.dtype[np.bool_]] = self.inverse_mass.values == 0.0
        return still.reshape(self.event_shape)

    @property
    def effective_bounds(self) -> Bounds | None:
        """The bounds, infinite where a coordinate is frozen: wherever it is, none moves it."""
        if self.bounds is None or self.frozen is None:
            return self.bounds
        still = self.frozen.reshape(-1)
        low = np.where(still, -np.inf, self.bounds.low)
        return Bounds(low, np.where(still, np.inf, self.bounds.high))

    def law(self, n_steps: int) -> dict[str, Any]:
        """What the info tells of the law whose samples the first steps leave."""
        scale = self._scale_of_samples(n_steps)
        return {"bounds": self.bounds, "frozen": self.frozen, "noise_scale": scale}

    def _scale_of_samples(
        self, n_steps: int
    ) -> float | np.ndarray[Any, np.dtype[np.float64]] | None:
        """The noise scale as `Info` tells it."""
        if self.noise_scale.is_of_chains:
            return self.noise_scale.values
        if self.noise_scale.is_constant:
            return self.noise_scale.start
        steps = np.arange(max(n_steps - 1, 0), n_steps)
        if self.return_trajectory:
            steps = self.kept_steps(0, self.kept_before(n_steps)) - 1
        made = _picked(self.noise_scale, steps)
        if not made.size:
            return None
        return float(made[0]) if (made == made[0]).all() else made[None]

    @property
    def state_dtype(self) -> str:
        """The dtype of the state between steps: half precision is what the energy sees."""
        return "float32" if self.dtype in ("float16", "bfloat16") else self.dtype

    @property
    def is_adjusted(self) -> bool:
        """Whether steps end in a Metropolis decision."""
        return find(self.sampler).is_adjusted

    def variant(self, kind: Kind) -> Variant:
        """What shapes the program of a step, for an energy of this kind."""
        return Variant(
            kind=kind,
            mass=Mass.UNIT if self.inverse_mass is None else self.inverse_mass.kind,
            clamps=self.clamp is not None,
            has_friction=self.friction is not None,
            has_bounds=self.bounds is not None,
            clips=self.gradient_clip is not None,
            clips_norm=self.gradient_clip_norm is not None,
            chain_coefficients=self._of_chains(),
        )

    def transition(self, kind: Kind) -> TransitionProgram:
        """The program of a step, for an energy of this kind."""
        return find(self.sampler).program(self.variant(kind))

    def coefficients(
        self, start: int, stop: int
    ) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """The transition's coefficients for the steps start..stop-1, by their names.

        Calculated in float64, rounded once to the dtype of the state, and held in float64; shape
        (stop - start,) each.
        """
        steps = np.arange(self.step_offset + start, self.step_offset + stop, dtype=np.int64)
        made = self._made(steps, lambda one: one.of_chains(0, 1).distinct(start, stop))
        return {
            name: np.full(steps.shape, round_to(np.asarray(values), self.state_dtype))
            for name, values in made.items()
            if np.ndim(values) < 2
        }

    def chain_coefficients(
        self, start: int, stop: int
    ) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Those of which each chain has its own; none where the noise scale is not one a chain.

        Made likewise; shape (n_samples, stop - start), or (n_samples, 1) of those that do not vary.
        """
        if not self.noise_scale.is_of_chains:
            return {}
        steps = np.arange(self.step_offset + start, self.step_offset + stop, dtype=np.int64)
        made = self._made(steps, lambda one: one.distinct(start, stop))
        return {
            name: round_to(values, self.state_dtype)
            for name, values in made.items()
            if np.ndim(values) == 2
        }

    def varying_coefficients(self) -> frozenset[str]:
        """The coefficients that may differ from step to step."""
        return frozenset(name for name, shape in self._shapes().items() if shape[-1:] == (2,))

    def _of_chains(self) -> frozenset[str]:
        """The coefficients that are made of a noise scale a chain."""
        if not self.noise_scale.is_of_chains:
            return frozenset()
        return frozenset(name for name, shape in self._shapes().items() if len(shape) == 2)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The coefficients' shapes for two steps: what stays one number, whatever is made of it."""

        def values_of(one: Schedule) -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.ones((1, 1) if one.is_of_chains else 1 if one.is_constant else 2)

        return {name: np.shape(of) for name, of in self._made(np.arange(2), values_of).items()}

    def _made(
        self,
        steps: np.ndarray[Any, np.dtype[np.int64]],
        values_of: Callable[[Schedule], np.ndarray[Any, np.dtype[np.float64]]],
    ) -> Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """The coefficients of some steps, from schedules' values."""
        low, high = self.clamp or (None, None)
        given: dict[str, Any] = {
            "low": np.float64(-np.inf if low is None else low),
            "high": np.float64(np.inf if high is None else high),
            "lowest": np.float64(np.finfo(self.state_dtype).min),
            "divergence_threshold": np.float64(self.divergence_threshold),
            "jitter": np.float64(self.jitter),
            "friction": np.float64(0.0),
        }
        for name in ("gradient_clip", "gradient_clip_norm"):
            if getattr(self, name) is not None:
                given[name] = np.float64(getattr(self, name))
        schedules = {
            "step_size": self.step_size,
            "noise_scale": self.noise_scale,
            "friction": self.friction,
            "n_leapfrog": self.n_leapfrog,
        }
        given |= {name: values_of(one) for name, one in schedules.items() if one is not None}
        return find(self.sampler).coefficients(Schedules(steps, given))

    def vectors(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """What the transition takes of inverse mass and bounds: shape (dim,) each, or (dim, dim).

        Rounded once, to the dtype of the state, bounds to that of the samples; held in float64.
        """
        factors = {} if self.inverse_mass is None else self.inverse_mass.factors()
        made = {name: round_to(values, self.state_dtype) for name, values in factors.items()}
        bounds = self.effective_bounds
        if bounds is not None:
            sides, shape = bounds.rounded(self.dtype), (self.n_coordinates,)
            made["low"] = np.broadcast_to(sides.low, shape).copy()
            made["high"] = np.broadcast_to(sides.high, shape).copy()
        return made

    @property
    def state_bytes(self) -> int:
        """Memory of the chains' states at one step."""
        return self.n_samples * self.n_coordinates * ITEMSIZE[self.dtype]

    def kept_bytes(self, n_kept: int) -> int:
        """Memory of what the plan keeps, trajectory and diagnostics, of so many kept states."""
        elements = 0
        if self.return_trajectory:
            elements += self.n_samples * self.n_coordinates
        if self.return_diagnostics:
            elements += 2 * self.n_coordinates + self.n_samples
        return n_kept * elements * ITEMSIZE[self.dtype]

    @property
    def result_bytes(self) -> int:
        """Memory that the result needs: final state, trajectory and diagnostics."""
        return self.state_bytes + self.kept_bytes(self.n_kept)

    def _of_sampler(self) -> dict[str, str]:
        """What only some samplers have, for people."""
        rows = {}
        if self.friction is not None:
            rows["friction"] = str(self.friction)
        if self.n_leapfrog is not None:
            rows["substeps"] = f"{self.n_leapfrog}, jitter {self.jitter:g}"
        if self.inverse_mass is not None:
            rows["inverse mass"] = str(self.inverse_mass)
        if self.bounds is not None:
            rows["bounds"] = str(self.bounds)
        if self.gradient_clip is not None:
            rows["gradient clip"] = f"{self.gradient_clip:g}"
        if self.gradient_clip_norm is not None:
            rows["gradient norm"] = f"at most {self.gradient_clip_norm:g}"
        return rows

    def __repr__(self) -> str:
        return (
            f"<Plan: {self.n_total} steps of {self.sampler} with {self.n_samples} chains of shape "
            f"{self.event_shape} in {self.energy}, {self.dtype}, on {self.backend}>"
        )

    def __str__(self) -> str:
        every = f", every {self.thinning}th" if self.thinning > 1 else ""
        results = [f"final state {self.shape}"]
        if self.return_trajectory:
            results.append(f"trajectory {(self.n_samples, self.n_kept, *self.event_shape)}")
        if self.return_diagnostics:
            results.append(f"diagnostics {(self.n_kept, 3, *self.shape)}")
        rows = {
            "sampler": self.sampler,
            "energy": self.energy,
            "chains": f"{self.n_samples} of shape {self.event_shape}, {self.dtype}",
            "start": "x, as given" if self.has_start else "N(0, I)",
            "steps": f"{self.burn_in} burn-in + {self.n_steps} ({self.n_kept} kept{every})",
            "step size": str(self.step_size),
            "noise scale": str(self.noise_scale),
            **self._of_sampler(),
            "clamp": "none" if self.clamp is None else str(self.clamp),
            "seed": f"{self.seed} (first chain {self.chain_offset}, first step {self.step_offset})",
            "result": " and ".join(results),
            "memory": format_bytes(self.result_bytes),
            "backend": f"{self.backend} on {self.device}, arrays of {self.library}",
            "on divergence": self.on_divergence,
            "cost": "print(isotherm.explain(energy, plan=plan)) measures a step",
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _picked(
    schedule: Schedule, steps: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The numbers of some steps of a plan."""
    if not steps.size or schedule.is_constant:
        return np.full(steps.shape, schedule.start)
    made: np.ndarray[Any, np.dtype[np.float64]] = schedule.between(0, int(steps[-1]) + 1)[steps]
    return made


def format_bytes(count: float) -> str:
    """A number of bytes as people read it: ``"1.5 GiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"
