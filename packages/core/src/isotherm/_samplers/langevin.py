"""The user's face: `LangevinDynamics` and `sample_chain`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

from isotherm._arithmetic.arrays import Array
from isotherm._energies.protocol import as_energy
from isotherm._planning.arguments import ScheduleLike
from isotherm._planning.make_plan import make_plan
from isotherm._plans.plan import Plan
from isotherm._results.result import Progress, Result
from isotherm._runs.executors import ExecutorLike
from isotherm._runs.run import run


class LangevinDynamics:
    """Overdamped Langevin sampling of exp(-U/noise_scale²).

    Each step is x ← (x - η ∇U(x)) + noise_scale √(2η) ξ with η the step size and ξ standard normal
    (Roberts and Tweedie, Bernoulli 2, 1996, equation 2).

    Parameters
    ----------
    energy_function : callable
        U; see `isotherm.make_plan` for this and all others.
    step_size : float, array or callable
    noise_scale : float, array or callable, optional
        1 by default.
    decay : float
    clamp : (float or None, float or None), optional
    dtype : dtype or str, optional
    device : str or device, optional
    backend : str, optional
    temperature : float, array or callable, optional
        noise_scale², instead of `noise_scale`.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.GaussianEnergy(mean=[1.0, -1.0], cov=[[1.0, 0.5], [0.5, 2.0]])
    >>> sampler = isotherm.LangevinDynamics(energy, step_size=0.05)
    >>> sampler.sample_chain(dim=2, n_samples=1000, n_steps=200, seed=0).shape
    (1000, 2)
    """

    def __init__(
        self,
        energy_function: Any,
        step_size: ScheduleLike = 1e-3,
        noise_scale: ScheduleLike | None = None,
        decay: float = 0.0,
        clamp: tuple[float | None, float | None] | None = None,
        dtype: Any = None,
        device: Any = None,
        backend: str | None = None,
        *,
        temperature: ScheduleLike | None = None,
    ) -> None:
        self.energy_function = as_energy(energy_function)
        self.step_size = step_size
        self.noise_scale = noise_scale
        self.decay = decay
        self.clamp = clamp
        self.dtype = dtype
        self.device = device
        self.backend = backend
        self.temperature = temperature

    def to(self, device: Any) -> Self:
        """Sample on this device from now on; returns the sampler."""
        self.device = device
        return self

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
        seed: Any = None,
        *,
        chain_offset: int = 0,
        step_offset: int = 0,
        on_divergence: str = "warn",
        model_kwargs: Mapping[str, Any] | None = None,
        progress: bool | Callable[[int, int], object] = False,
        callback: Callable[[Progress], object] | None = None,
        store: str | os.PathLike[str] | None = None,
        flush_every: float = 5.0,
        executor: ExecutorLike | None = None,
    ) -> Any:
        """Run the chains.

        See `isotherm.make_plan` for the parameters and what is raised, and `isotherm.run` for
        `model_kwargs`, `progress`, `callback`, `store`, `flush_every` and `executor`.

        Returns
        -------
        samples : array, shape (n_samples, *event_shape)
            The final states; or with `return_trajectory` the kept states, shape
            (n_samples, n_steps // thinning, *event_shape); with a store an ``xarray.DataArray``.
        diagnostics : Diagnostics
            Only with `return_diagnostics`, as the second of a pair.
        """
        plan = make_plan(
            self.energy_function,
            x,
            dim=dim,
            n_steps=n_steps,
            n_samples=n_samples,
            burn_in=burn_in,
            thinning=thinning,
            return_trajectory=return_trajectory,
            return_diagnostics=return_diagnostics,
            seed=seed,
            step_size=self.step_size,
            noise_scale=self.noise_scale,
            temperature=self.temperature,
            decay=self.decay,
            clamp=self.clamp,
            dtype=self.dtype,
            device=self.device,
            backend=self.backend,
            chain_offset=chain_offset,
            step_offset=step_offset,
            on_divergence=on_divergence,
        )
        result = run(
            plan,
            self.energy_function,
            x,
            model_kwargs=model_kwargs,
            progress=progress,
            callback=callback,
            store=store,
            flush_every=flush_every,
            executor=executor,
        )
        return _short(plan, result)


def sample_chain(
    energy: Any,
    x: Array | None = None,
    *,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callable[[Progress], object] | None = None,
    store: str | os.PathLike[str] | None = None,
    flush_every: float = 5.0,
    executor: ExecutorLike | None = None,
    **options: Any,
) -> Any:
    """Sample exp(-U/noise_scale²) with many Langevin chains, in one call.

    Parameters
    ----------
    energy : callable
        U; see `isotherm.make_plan` for this and all options.
    x : array, optional
        Where the chains start.
    model_kwargs : mapping of str to anything, optional
        Keywords that the energy receives at every call; see `isotherm.run`.
    progress : bool or callable
        True shows a bar; see `isotherm.run`.
    callback : callable, optional
        Is told how far the run is, and may end it; see `isotherm.run`.
    store : path, optional
        A folder in which all kept states, and the diagnostics asked for, are kept while the chains
        run; see `isotherm.run`.
    flush_every : float
        Seconds after which what is done is in the store; see `isotherm.run`.
    executor : concurrent.futures.Executor, or callable that makes one, optional
        Whose workers the chains are shared out among; see `isotherm.run`.
    **options
        Those of `isotherm.make_plan`.

    Returns
    -------
    samples : array, shape (n_samples, *event_shape)
        The final states; or with ``return_trajectory=True`` the kept states, shape
        (n_samples, n_steps // thinning, *event_shape); with a store an ``xarray.DataArray``.
    diagnostics : Diagnostics
        Only with ``return_diagnostics=True``, as the second of a pair.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.DoubleWellEnergy(barrier_height=2.0)
    >>> isotherm.sample_chain(energy, dim=10, n_samples=1000, step_size=5e-3, seed=0).shape
    (1000, 10)
    """
    plan = make_plan(energy, x, **options)
    result = run(
        plan,
        energy,
        x,
        model_kwargs=model_kwargs,
        progress=progress,
        callback=callback,
        store=store,
        flush_every=flush_every,
        executor=executor,
    )
    return _short(plan, result)


_planning = inspect.signature(make_plan)
sample_chain.__signature__ = _planning.replace(  # type: ignore[attr-defined]
    parameters=[
        *_planning.parameters.values(),
        *(
            inspect.signature(sample_chain).parameters[name]
            for name in (
                "model_kwargs",
                "progress",
                "callback",
                "store",
                "flush_every",
                "executor",
            )
        ),
    ],
    return_annotation=Any,
)


def _short(plan: Plan, result: Result) -> Any:
    samples = result.trajectory if plan.return_trajectory else result.samples
    return samples if result.diagnostics is None else (samples, result.diagnostics)
