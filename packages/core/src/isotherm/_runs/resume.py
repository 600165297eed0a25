"""Opening a stored run, and going on with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from isotherm._arithmetic.arrays import move
from isotherm._backends import registry
from isotherm._backends.protocol import on_device
from isotherm._energies.protocol import as_energy, fixed
from isotherm._planning.arguments import ScheduleLike, as_seconds
from isotherm._planning.extend_plan import extend_plan
from isotherm._planning.keywords import knows_keywords
from isotherm._results.result import Progress, Result
from isotherm._runs.advance import Snapshot
from isotherm._runs.callbacks import collect_callbacks
from isotherm._runs.checks import (
    begin,
    check_same_energy,
    checked_allocator,
    store_module,
    with_keywords,
)
from isotherm._runs.run import advance_to, warn_of_divergence
from isotherm._transitions.catalogue import find
from isotherm.errors import StoreError


def open_run(store: str | os.PathLike[str]) -> Result:
    """A run that is kept in a store, whether or not it is at its end.

    Parameters
    ----------
    store : path
        As given to `run` or `sample_chain`.

    Returns
    -------
    Result
        The last states as a NumPy array; trajectory (dimensions ``chain``, ``draw``, ``x_dim_0``,
        ...) and diagnostics are ``xarray.DataArray`` that are read when used. ``info.n_steps`` are
        the steps that are done.

    Raises
    ------
    StoreError
        It is not a run's, or a part of it is missing or was changed; also when a part of the
        trajectory or the diagnostics is read.
    ExtraNotInstalledError
        The extra ``isotherm[store]`` is not installed.
    """
    disk = store_module()
    folder = disk.Store(disk.local_path(store))
    result: Result = folder.result(*folder.snapshot())
    return result


@knows_keywords
def resume(
    store: str | os.PathLike[str],
    energy: Any,
    n_steps: int | None = None,
    *,
    backend: str | None = None,
    device: object = None,
    step_size: ScheduleLike | None = None,
    noise_scale: ScheduleLike | None = None,
    temperature: ScheduleLike | None = None,
    decay: float = 0.0,
    friction: ScheduleLike | None = None,
    n_leapfrog: ScheduleLike | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
    callback: Callable[[Progress], object] | None = None,
    callback_every: int | None = None,
    flush_every: float = 5.0,
) -> Result:
    """Go on with a run that is kept in a store, as if it had never stopped.

    Whichever backend does so, the result is that of a run that was not interrupted: to the bit,
    where backends are equal to the bit.

    Parameters
    ----------
    store : path
    energy : callable
        The run's energy. Of one that is made of numbers (a formula, a Gaussian) all numbers must be
        the same. Of a user's own a warning tells where numbers that it held are others, or gone:
        parameters, buffers and attributes of networks; numbers and arrays of them in attributes,
        slots, closures, defaults, globals and `model_kwargs`, and in lists and dictionaries there,
        of which the first 16 are looked at, three levels deep. Integers are seen in what is called
        (functions, networks, the energy), not in other objects that it holds. Not seen are code,
        what a property calculates, and what the first call of the energy changed when the run
        began: a count of its calls, the running mean of a normalisation. For this it is not called.
    n_steps : int, optional
        Steps to take now; by default those that were planned and are not yet done.
    backend : str, optional
        The run's by default.
    device : str or device, optional
        The run's by default, or that backend's first.
    step_size, noise_scale, friction, n_leapfrog : float, array or callable, optional
        Of the steps beyond those that were planned (a callable is given the step's number in the
        noise stream); by default as before, which can only be said where that was constant. A noise
        scale a chain stays as it is.
    temperature : float, array or callable, optional
        noise_scale² of those steps, instead of `noise_scale`.
    decay : float
        Of this `step_size`: step t of the noise stream uses step_size·(1 - decay)^t.
    model_kwargs, progress, callback, callback_every, flush_every
        See `run`.

    Returns
    -------
    Result
        The whole run: trajectory and diagnostics are ``xarray.DataArray`` that are read when used.

    Raises
    ------
    StoreError
        The store is not a run's, a part of it is missing or was changed, or another run is writing
        to it.
    InputError
        The energy is not the run's, nothing is left to do, this version of Isotherm would go on
        with other numbers, or an argument is not usable.
    BackendError, BackendNotFoundError
        The backend cannot run this, or is not installed.
    DivergenceError, RunInterrupted, OSError
        See `run`.
    """
    started = time.perf_counter()
    flush_every = as_seconds("flush_every", flush_every)
    disk = store_module()
    folder = disk.Store(disk.local_path(store))
    with ExitStack() as stack:
        stack.enter_context(folder.locked())
        header, state = folder.snapshot()
        plan, last = extend_plan(
            header.plan, header.n_steps, as_energy(energy), n_steps=n_steps, decay=decay,
            backend=backend, device=device, step_size=step_size, noise_scale=noise_scale,
            temperature=temperature, friction=friction, n_leapfrog=n_leapfrog,
        )  # fmt: skip
        energy = fixed(as_energy(energy), plan.event_shape)
        energy = with_keywords(energy, model_kwargs)
        if state.keys() != {*find(plan.sampler).carried}:
            raise StoreError(
                f"{folder.path} keeps {', '.join(state)} of its chains, and sampler "
                f"{plan.sampler!r} needs {', '.join(find(plan.sampler).carried)} to go on"
            )
        runs_on = registry.usable(plan.backend)
        stack.enter_context(on_device(runs_on, plan))
        check_same_energy(plan, energy, header, folder.path)
        allocate = checked_allocator(plan, runs_on, is_stored=True)
        moved = {
            name: move(array, runs_on.library, plan.state_dtype, plan.device)
            for name, array in state.items()
        }
        runner = runs_on.prepare(plan, energy)
        begin(plan, runner, moved)
        callbacks = collect_callbacks(progress, callback, stack, callback_every)
        header = folder.reopen(header, state, plan, runner.path)
        recorder = disk.Writer(folder, header, allocate, flush_every)
        first_bad = None if header.divergence is None else header.divergence.first_step
        result = advance_to(
            plan,
            runner,
            Snapshot(moved, header.n_steps, first_bad),
            last,
            recorder,
            callbacks,
            started,
            energy,
        )
    return warn_of_divergence(plan, result, header.n_steps)
