"""What all samplers share: an energy, where to run, and `sample_chain`."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, Unpack, overload

import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, real_numbers
from isotherm._energies.origin import name_of
from isotherm._energies.protocol import HasEnergy, as_energy
from isotherm._planning.arguments import BoundsLike, OnDivergence, ScheduleLike
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.make_plan import make_plan
from isotherm._planning.sampler_arguments import check_arguments
from isotherm._plans.plan import Plan
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Info, Progress
from isotherm._runs.executors import ExecutorLike
from isotherm._runs.prepared import Prepared
from isotherm._runs.run import run_prepared
from isotherm._samplers.options import RunOptions, shortened
from isotherm._warmup.starts import placed, rows_of, starts
from isotherm._warmup.warm_up import warm_up
from isotherm.errors import InputError, short_repr


class Sampler(HasEnergy):
    """A sampler of exp(-U/noise_scale²): what a step is made of, and how chains run.

    Parameters
    ----------
    energy_function : callable
        U; see `isotherm.make_plan`.
    **arguments
        Of the sampler; see `isotherm.make_plan`. Each is an attribute, too, and a run takes what it
        is then.
    """

    name: ClassVar[str]
    """The word for it: ``sample_chain(..., sampler=name)``."""

    bounds: BoundsLike | None

    exact: ClassVar[str] = "mala"
    """That of the sampler without bias that a warm-up tunes for it."""

    _found: frozenset[str] = frozenset()  # the arguments that a warm-up found

    def __init__(
        self,
        energy_function: Any,
        *,
        step_size: ScheduleLike | None,
        noise_scale: ScheduleLike | None,
        temperature: ScheduleLike | None,
        dtype: Any,
        device: Any,
        backend: str | None,
        seed: object = None,
        **own: Any,
    ) -> None:
        self.energy_function = as_energy(energy_function)
        self.step_size = step_size
        self.temperature = temperature
        self.dtype = dtype
        self.device = device
        self.backend = backend
        self.seed = seed
        self._noise_scale = noise_scale
        self._names = tuple(own)
        self._tuning: str | None = None
        self.prepared = Prepared()
        check_arguments(
            self.name,
            step_size=step_size,
            noise_scale=noise_scale,
            temperature=temperature,
            seed=seed,
            **own,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; an argument that the caller sets was given, whoever found it before."""
        super().__setattr__(name, value)
        if name in self._found:
            self._found -= {name}

    @property
    def noise_scale(self) -> ScheduleLike:
        """The noise scale, also where a temperature was given: its root."""
        if self.temperature is None:
            return 1.0 if self._noise_scale is None else self._noise_scale
        if callable(self.temperature):
            temperature = self.temperature
            return lambda step: float(np.sqrt(temperature(step)))
        root = np.sqrt(np.asarray(self.temperature, dtype=np.float64))
        return float(root) if root.ndim == 0 else root

    @noise_scale.setter
    def noise_scale(self, value: ScheduleLike | None) -> None:
        self._noise_scale = value

    @property
    def has_noise_scale_a_chain(self) -> bool:
        """Whether each chain has its own, rather than each step or all."""
        held = (self._noise_scale, self.temperature)
        arrays = (real_numbers(one) for one in held if not (one is None or callable(one)))
        return any(one is not None and one.ndim > 1 for one in arrays)

    @property
    def _own(self) -> dict[str, Any]:
        """The arguments that not every sampler has, as they are now."""
        return {name: getattr(self, name) for name in self._names}

    @property
    def _arguments(self) -> dict[str, Any]:
        """All that it was made of besides the energy and the seed, as they are now."""
        return {
            "step_size": self.step_size,
            "noise_scale": self._noise_scale,
            "temperature": self.temperature,
            **self._own,
            "dtype": self.dtype,
            "device": self.device,
            "backend": self.backend,
        }

    def to(self, device: object) -> Self:
        """Sample on this device from now on; returns the sampler."""
        self.device = device
        return self

    def plan(self, x: Array | None = None, *, seed: object = None, **options: Any) -> Plan:
        """The plan of a run; `options` are those of `isotherm.make_plan` that are no sampler's."""
        own = {"sampler": self.name, **self._arguments}
        for name in own.keys() & options.keys():
            raise InputError(f"{name} is the sampler's own; make a sampler with another")
        seed = self.seed if seed is None else seed
        plan = make_plan(self.energy_function, x, seed=seed, **own, **options)
        return plan if self._tuning is None else replace(plan, tuning=self._tuning)

    def given(self, name: str) -> Any:
        """An argument that the caller gave; None for none, or where a warm-up found it."""
        return None if name in self._found else self._own.get(name)

    def pilot(self, x: Array | None, options: Mapping[str, Any]) -> Plan:
        """The plan of a warm-up's pilots, which are of ``"hmc"``."""
        if self.has_noise_scale_a_chain:
            raise InputError(
                "a warm-up is for one noise_scale, not for one a chain; warm up a sampler at one "
                "of them, and give what it finds, tuning.arguments, to the chains of all"
            )
        kept = ("inverse_mass", "bounds", "gradient_clip", "gradient_clip_norm")
        own = self._own if self.name == "hmc" else {name: self._own[name] for name in kept}
        if own["bounds"] is None:  # where a clamp stops chains, the pilots' walls reflect
            own = {**own, "bounds": self._own.get("clamp")}
        return make_plan(
            self.energy_function,
            x,
            sampler="hmc",
            step_size=1.0,
            noise_scale=self._noise_scale,
            temperature=self.temperature,
            dtype=self.dtype,
            device=self.device,
            backend=self.backend,
            on_divergence="ignore",
            **{**own, "n_leapfrog": 1},
            **options,
        )

    def tuned(self, arguments: Mapping[str, Any], tuning: str) -> Self:
        """The sampler with these arguments instead of its own, and `tuning` in its plans."""
        made = copy.copy(self)
        for name, value in arguments.items():  # by its setter, where a subclass has one
            setattr(made, name, value)
        made._tuning, made._found = tuning, frozenset(arguments)
        return made

    @overload
    def sample_chain(
        self,
        x: Array | None = None,
        dim: int | tuple[int, ...] | None = None,
        n_steps: int = 100,
        n_samples: int | None = None,
        *,
        return_diagnostics: Literal[False] = False,
        return_info: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> Array: ...
    @overload
    def sample_chain(
        self,
        x: Array | None = None,
        dim: int | tuple[int, ...] | None = None,
        n_steps: int = 100,
        n_samples: int | None = None,
        *,
        return_diagnostics: Literal[True],
        return_info: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> tuple[Array, Diagnostics]: ...
    @overload
    def sample_chain(
        self,
        x: Array | None = None,
        dim: int | tuple[int, ...] | None = None,
        n_steps: int = 100,
        n_samples: int | None = None,
        *,
        return_diagnostics: Literal[False] = False,
        return_info: Literal[True],
        **options: Unpack[RunOptions],
    ) -> tuple[Array, Info]: ...
    @overload
    def sample_chain(
        self,
        x: Array | None = None,
        dim: int | tuple[int, ...] | None = None,
        n_steps: int = 100,
        n_samples: int | None = None,
        *,
        return_diagnostics: Literal[True],
        return_info: Literal[True],
        **options: Unpack[RunOptions],
    ) -> tuple[Array, Diagnostics, Info]: ...
    @knows_keywords
    def sample_chain(
        self,
        x: Array | None = None,
        dim: int | tuple[int, ...] | None = None,
        n_steps: int = 100,
        n_samples: int | None = None,
        burn_in: int = 0,
        thinning: int = 1,
        return_trajectory: bool = False,
        return_diagnostics: bool = False,
        seed: object = None,
        *,
        return_info: bool = False,
        n_warmup: int = 0,
        momentum: Array | None = None,
        frozen: object = None,
        chain_offset: int = 0,
        step_offset: int = 0,
        on_divergence: OnDivergence = "warn",
        model_kwargs: Mapping[str, Any] | None = None,
        progress: bool | Callable[[int, int], object] = False,
        callback: Callable[[Progress], object] | None = None,
        callback_every: int | None = None,
        store: str | os.PathLike[str] | None = None,
        flush_every: float = 5.0,
        executor: ExecutorLike | None = None,
    ) -> Array | tuple[Array | Diagnostics | Info, ...]:
        """Run the chains.

        Parameters
        ----------
        x : array, optional
            Where the chains start: shape (n_samples, *event_shape); or (dim,), or one row
            (1, *event_shape), from which all chains start. Without it they start from N(0, I),
            drawn from the noise stream. It is never written to.
        dim : int or tuple of int, optional
            The shape of one chain's state; needed where neither `x` nor the energy tells it.
        n_steps : int
            Steps after the burn-in.
        n_samples : int, optional
            Chains; the rows of `x` by default, else 1.
        burn_in : int
            Steps taken first, whose states are not kept.
        thinning : int
            Every how many steps a state is kept.
        return_trajectory, return_diagnostics, return_info : bool
            Keep the states; keep mean, variance and energies at each kept step; say how the run
            went (seed, backend, path, divergences, acceptance).
        seed : int, generator or key, optional
            Key of the noise, 0 ≤ seed < 2⁶⁴; see `isotherm.make_plan`. By default that of the
            sampler, else a fresh one.
        n_warmup : int
            Warm up first, with so many steps of pilots (500, say), and sample with what they find,
            from where they are; see `isotherm.warm_up`. The seed serves both. What the sampler was
            given stands, but for a step size, where the search begins. Frozen coordinates are those
            of `x`, for pilots and chains.
        momentum : array, optional
            With which the chains start, where the sampler carries one; see `isotherm.run`.
        frozen : bool array, optional
            Of the shape of a chain's state: True where a coordinate does not move.
        chain_offset, step_offset : int
            The noise stream's numbers of the first chain and the first step: rows k.. of a run are
            the run with ``chain_offset=k``; a run goes on with ``step_offset`` the steps behind it.
        on_divergence : {"warn", "raise", "ignore"}
            What to do about chains that leave the finite numbers.
        model_kwargs : mapping of str to anything, optional
            Keywords that the energy receives at every call; see `isotherm.run`.
        progress : bool or callable
            True shows a bar; see `isotherm.run`.
        callback : callable, optional
            Is told how far the run is, and may end it; see `isotherm.run`.
        callback_every : int, optional
            At every multiple of so many steps; by default about four times a second.
        store : path, optional
            A folder in which all kept states, and the diagnostics asked for, are kept while the
            chains run; see `isotherm.run`.
        flush_every : float
            Seconds after which what is done is in the store; see `isotherm.run`.
        executor : concurrent.futures.Executor, or callable that makes one, optional
            Whose workers the chains are shared out among; see `isotherm.run`.

        Returns
        -------
        samples : array, shape (n_samples, *event_shape)
            The final states; or with `return_trajectory` the kept states, shape
            (n_samples, n_steps // thinning, *event_shape); with a store an ``xarray.DataArray``.
        diagnostics : Diagnostics
            Only with `return_diagnostics`; what is returned is then a tuple.
        info : Info
            Only with `return_info`, likewise.

        Raises
        ------
        InputError
            An argument is not usable.
        BackendError, BackendNotFoundError
            The backend cannot run this, or is not installed.
        DivergenceError
            Chains left the finite numbers, and ``on_divergence="raise"``.
        """
        sampler = self
        if n_warmup:
            tuning = warm_up(
                self, x, dim, n_warmup, seed=seed, frozen=frozen, model_kwargs=model_kwargs
            )
            sampler, seed = tuning.sampler, tuning.seed
            n_samples = rows_of(x, dim) if n_samples is None else n_samples
            x = starts(tuning.x, x, frozen, n_samples, chain_offset)
        x = as_state(placed(x, n_samples, chain_offset))
        plan = sampler.plan(
            x,
            frozen=frozen,
            dim=dim,
            n_steps=n_steps,
            n_samples=n_samples,
            burn_in=burn_in,
            thinning=thinning,
            return_trajectory=return_trajectory,
            return_diagnostics=return_diagnostics,
            seed=seed,
            chain_offset=chain_offset,
            step_offset=step_offset,
            on_divergence=on_divergence,
        )
        result = run_prepared(
            self.prepared, plan, self.energy_function, x, momentum, model_kwargs, progress,
            callback, callback_every, store, flush_every, executor,
        )  # fmt: skip
        return shortened(plan, result, with_info=return_info)

    def __repr__(self) -> str:
        said = [
            f"{name}={short_repr(value)}"
            for name, value in self._arguments.items()
            if value is not None
        ]
        return f"{type(self).__name__}({', '.join([name_of(self.energy_function), *said])})"
