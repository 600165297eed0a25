"""From a user's call to a plan: all that is checked of it is checked here."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import (
    FLOATING,
    Array,
    as_state,
    device_name,
    dtype_name,
    library_of,
)
from isotherm._backends import registry
from isotherm._backends.protocol import Backend, on_device
from isotherm._energies.protocol import as_energy, fixed, origin
from isotherm._planning.arguments import (
    ScheduleLike,
    as_backend_name,
    as_bounds,
    as_count,
    as_flag,
    as_on_divergence,
    as_schedule,
    as_seed,
    as_shape,
    check_stream,
    decayed,
)
from isotherm._plans.plan import Plan, Schedule
from isotherm.errors import BackendError, InputError, short_repr


def make_plan(
    energy: Any,
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
    step_size: ScheduleLike = 1e-3,
    noise_scale: ScheduleLike | None = None,
    temperature: ScheduleLike | None = None,
    decay: float = 0.0,
    clamp: tuple[float | None, float | None] | None = None,
    dtype: Any = None,
    device: Any = None,
    backend: str | None = None,
    chain_offset: int = 0,
    step_offset: int = 0,
    on_divergence: str = "warn",
) -> Plan:
    """Check everything that decides a run, and freeze it.

    Parameters
    ----------
    energy : callable
        U: x of shape (n_samples, *event_shape) → shape (n_samples,), or terms of the shape of x
        which are summed. With a method ``gradient`` (x → the shape of x) unless the backend
        differentiates by itself. The target is exp(-U/noise_scale²).
    x : array, optional
        Where the chains start: shape (n_samples, *event_shape); or (dim,), or one row
        (1, *event_shape), from which all chains start. Without it they start from N(0, I), drawn
        from the noise stream.
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
    return_trajectory, return_diagnostics : bool
        Keep the states; keep mean, variance and energies at each kept step.
    seed : int, optional
        Key of the noise, 0 ≤ seed < 2⁶⁴; or a generator of the array library (``torch.Generator``,
        ``numpy.random.Generator``) from which one is drawn. A fresh one by default.
    step_size : float, array or callable
        η > 0: a number, one number for each of the burn_in + n_steps steps, or a function of the
        step's number (which begins at `step_offset`).
    noise_scale : float, array or callable, optional
        ≥ 0, likewise; 1 by default. 0 is gradient descent.
    temperature : float, array or callable, optional
        noise_scale², instead of `noise_scale`.
    decay : float
        In [0, 1): step t uses step_size·(1 - decay)^t.
    clamp : (float or None, float or None), optional
        Bounds into which every coordinate is put after each step.
    dtype : dtype or str, optional
        That of `x`, else of the energy's parameters, else float32.
    device : str or device, optional
        That of `x`, else of the energy's parameters, else the backend's first.
    backend : str, optional
        ``"numpy"``, ``"numba"``, ``"torch"``, ``"cupy"`` or another that is installed; by default
        that of the library of `x`, else of the energy's parameters, else the fastest for NumPy.
    chain_offset, step_offset : int
        The noise stream's numbers of the first chain and the first step: rows k.. of a run are the
        run with ``chain_offset=k``, and a run goes on with ``step_offset`` the steps behind it.
    on_divergence : {"warn", "raise", "ignore"}
        What to do about chains that leave the finite numbers.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        An argument is not usable.
    BackendError, BackendNotFoundError
        The backend cannot run this, or is not installed.
    """
    energy, x = as_energy(energy), as_state(x)
    n_steps = as_count("n_steps", n_steps, 1)
    burn_in = as_count("burn_in", burn_in, 0)
    thinning = as_count("thinning", thinning, 1)
    chain_offset = as_count("chain_offset", chain_offset, 0)
    step_offset = as_count("step_offset", step_offset, 0)
    if thinning > n_steps:
        raise InputError(
            f"thinning={thinning} is more than n_steps={n_steps}, so that no state would be kept; "
            "take more steps or thin less"
        )
    n_samples, event_shape = _state_shape(energy, x, dim, n_samples)
    energy = fixed(energy, event_shape)
    check_stream(n_samples, event_shape, chain_offset, step_offset + burn_in + n_steps)
    on_divergence = as_on_divergence(on_divergence)
    steps = range(step_offset, step_offset + burn_in + n_steps)
    step_sizes = decayed(as_schedule("step_size", step_size, steps, positive=True), decay, steps)
    if temperature is not None and noise_scale is not None:
        raise InputError("give noise_scale or temperature (its square), not both")
    if temperature is not None:
        noise_scales = Schedule(np.sqrt(as_schedule("temperature", temperature, steps)))
    else:
        given = 1.0 if noise_scale is None else noise_scale
        noise_scales = Schedule(as_schedule("noise_scale", given, steps))

    own_library, own_dtype, own_device = origin(energy)
    library = own_library or "numpy" if x is None else library_of(x)
    where = None if device is None else str(device)
    if where is None:
        where = own_device if x is None else device_name(x)
    named = None if backend is None else registry.usable(as_backend_name(backend))
    asked = named or registry.first_for(library, on_host=where is None or where.startswith("cpu"))
    plan = Plan(
        energy=getattr(energy, "name", type(energy).__name__),
        n_samples=n_samples,
        event_shape=event_shape,
        n_steps=n_steps,
        step_size=step_sizes,
        noise_scale=noise_scales,
        seed=_seed(seed, asked),
        backend=asked.name,
        device=_device(asked, where, is_wanted=device is not None),
        library=asked.library if x is None else library,
        burn_in=burn_in,
        thinning=thinning,
        clamp=as_bounds(clamp),
        chain_offset=chain_offset,
        step_offset=step_offset,
        dtype=_dtype(dtype, x, own_dtype),
        return_trajectory=as_flag("return_trajectory", return_trajectory),
        return_diagnostics=as_flag("return_diagnostics", return_diagnostics),
        on_divergence=on_divergence,
    )
    chosen = named or registry.with_kernel(asked, plan, energy)
    plan = replace(plan, backend=chosen.name)
    reason = chosen.supports(plan, energy)
    if reason is not None:
        raise BackendError(f"backend {chosen.name!r} cannot run this: {reason}")
    with on_device(chosen, plan.device):
        _check_start(x, plan.dtype)
    return plan


def _state_shape(
    energy: Any, x: Array | None, dim: Any, n_samples: Any
) -> tuple[int, tuple[int, ...]]:
    """(n_samples, event_shape) of what the user said in three ways, which must agree."""
    own = _own_shape(energy)
    wanted = None if n_samples is None else as_count("n_samples", n_samples, 1)
    said = None if dim is None else as_shape(dim)
    if x is None:
        shape = said or own
        if shape is None:
            raise InputError(
                "give x, where the chains start, or dim, the number of coordinates of a chain"
            )
        rows = 1
    elif x.ndim == 0 or 0 in x.shape:
        raise InputError(
            f"x has shape {tuple(x.shape)}; it must be (n_samples, *event_shape), or (dim,), and "
            "not be empty"
        )
    else:
        is_one_state = x.ndim == 1
        shape = tuple(map(int, x.shape if is_one_state else x.shape[1:]))
        rows = 1 if is_one_state else int(x.shape[0])
        if said is not None and said != shape:
            raise InputError(f"x has shape {tuple(x.shape)} but dim is {dim}; leave out dim")
        if rows > 1 and wanted not in (None, rows):
            raise InputError(
                f"x has shape {tuple(x.shape)}, that is {rows} chains, but n_samples is {wanted}; "
                "leave out n_samples, or pass one state of shape (dim,)"
            )
    if own is not None and shape != own:
        given = f"dim is {dim}" if x is None else f"x has shape {tuple(x.shape)}"
        raise InputError(f"{given} but the energy has dimension {energy.dim}")
    return wanted or rows, shape


def _own_shape(energy: Any) -> tuple[int, ...] | None:
    """The shape of a chain's state that an energy says."""
    dim = getattr(energy, "dim", None)
    return dim if dim is None or isinstance(dim, tuple) else (dim,)


def _device(backend: Backend, device: str | None, *, is_wanted: bool) -> str:
    """The device's full name. Arrays are moved to another only where the user named it."""
    if device is not None and device.startswith("cpu") and not is_wanted:
        device = None  # host arrays go wherever the backend that was named runs
    try:
        return backend.resolve_device(device)
    except InputError:
        if is_wanted:
            raise
        raise InputError(
            f"the arrays are on {device}, where backend {backend.name!r} cannot run; move them, "
            "name the device to move them to, or choose another backend"
        ) from None


def _dtype(dtype: Any, x: Array | None, own: str | None) -> str:
    if dtype is not None:
        name = dtype_name(dtype)
        if name not in FLOATING:
            raise InputError(f"dtype must be one of {', '.join(FLOATING)}, not {short_repr(dtype)}")
        return name
    name = own or "float32"
    if x is None:
        return name
    given = dtype_name(x.dtype)
    if given in FLOATING:
        return given
    if compat.array_namespace(x).isdtype(x.dtype, "integral"):
        return name
    raise InputError(f"x has dtype {x.dtype}; it must be real: one of {', '.join(FLOATING)}")


def _seed(seed: Any, backend: Backend) -> int:
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**64, dtype=np.uint64))
    if seed is None or not hasattr(seed, "__index__"):
        drawn = backend.fresh_seed(seed)
        if drawn is not None:
            return drawn
        if seed is None:
            return secrets.randbits(64)
        raise InputError(f"seed must be an integer in [0, 2**64), not {short_repr(seed)}")
    return as_seed(seed)


def _check_start(x: Array | None, dtype: str) -> None:
    if x is None:
        return
    xp = compat.array_namespace(x)
    # NumPy has no bfloat16, whose range is that of float32.
    wanted = xp.float32 if dtype == "bfloat16" else getattr(xp, dtype)
    with np.errstate(over="ignore"):
        state = xp.astype(x, wanted, copy=False)
    if not bool(xp.all(xp.isfinite(state))):
        raise InputError(
            f"x holds NaN, infinity or what {dtype} cannot hold; chains must start from finite "
            "states"
        )
