"""From a user's call to a plan: every check of the arguments stands here."""

from __future__ import annotations

import math
import operator
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm import registry
from isotherm.arrays import (
    FLOATING,
    Array,
    array_origin,
    device_name,
    dtype_name,
    is_array,
    library_of,
)
from isotherm.backend import Backend, on_device
from isotherm.errors import BackendError, InputError, shown
from isotherm.formulas import Formula, FormulaEnergy, real_numbers
from isotherm.plan import PLAN_VERSION, Plan, Schedule

ScheduleLike = float | Sequence[float] | Array | Callable[[int], float]

_MAX_CHAINS = 2**56  # the noise stream's counter gives a chain 56 bits
_MAX_STEPS = 2**33  # ... and a block of two float64 steps 32
_MAX_COORDINATES = 2**32


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
    n_steps = _count("n_steps", n_steps, 1)
    burn_in = _count("burn_in", burn_in, 0)
    thinning = _count("thinning", thinning, 1)
    chain_offset = _count("chain_offset", chain_offset, 0)
    step_offset = _count("step_offset", step_offset, 0)
    if thinning > n_steps:
        raise InputError(
            f"thinning={thinning} is more than n_steps={n_steps}, so that no state would be kept; "
            "take more steps or thin less"
        )
    n_samples, event_shape = _state_shape(energy, x, dim, n_samples)
    _check_stream(n_samples, event_shape, chain_offset, step_offset + burn_in + n_steps)
    on_divergence = _on_divergence(on_divergence)
    steps = range(step_offset, step_offset + burn_in + n_steps)
    step_sizes = _decayed(_schedule("step_size", step_size, steps, positive=True), decay, steps)
    if temperature is not None and noise_scale is not None:
        raise InputError("give noise_scale or temperature (its square), not both")
    if temperature is not None:
        noise_scales = Schedule(np.sqrt(_schedule("temperature", temperature, steps)))
    else:
        given = 1.0 if noise_scale is None else noise_scale
        noise_scales = Schedule(_schedule("noise_scale", given, steps))

    own_library, own_dtype, own_device = origin(energy)
    library = own_library or "numpy" if x is None else library_of(x)
    where = None if device is None else str(device)
    if where is None:
        where = own_device if x is None else device_name(x)
    named = None if backend is None else registry.usable(_backend_name(backend))
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
        clamp=_bounds(clamp),
        chain_offset=chain_offset,
        step_offset=step_offset,
        dtype=_dtype(dtype, x, own_dtype),
        return_trajectory=_flag("return_trajectory", return_trajectory),
        return_diagnostics=_flag("return_diagnostics", return_diagnostics),
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


def continued(
    plan: Plan,
    done: int,
    energy: Any,
    *,
    n_steps: int | None,
    step_size: ScheduleLike | None,
    noise_scale: ScheduleLike | None,
    decay: float,
    backend: str | None,
    device: Any,
) -> tuple[Plan, int]:
    """The plan of a run that goes on, and the step to which it now goes.

    Parameters
    ----------
    plan : Plan
        Of the run so far.
    done : int
        Steps that are done.
    energy : callable
    n_steps, step_size, noise_scale, decay, backend, device
        As given to `isotherm.resume`.
    """
    if n_steps is None and done == plan.n_total:
        raise InputError(f"all {done} steps of this run are done; say how many more: n_steps=100")
    last = plan.n_total if n_steps is None else done + _count("n_steps", n_steps, 1)
    beyond = range(plan.step_offset + plan.n_total, plan.step_offset + last)
    if not beyond and (step_size is not None or noise_scale is not None or decay):
        raise InputError(
            "step_size, noise_scale and decay are for steps beyond those that were planned, and "
            f"step {last} is one of the {plan.n_total} planned"
        )
    _check_stream(plan.n_samples, plan.event_shape, plan.chain_offset, beyond.stop)
    chosen = registry.usable(plan.backend if backend is None else _backend_name(backend))
    where = None if device is None else str(device)
    if where is None and chosen.name == plan.backend:
        where = plan.device
    plan = replace(
        plan,
        n_steps=max(plan.n_total, last) - plan.burn_in,
        step_size=_longer("step_size", plan.step_size, plan.n_total, beyond, step_size, decay),
        noise_scale=_longer("noise_scale", plan.noise_scale, plan.n_total, beyond, noise_scale),
        backend=chosen.name,
        device=chosen.resolve_device(where),
        library=chosen.library,
    )
    reason = chosen.supports(plan, energy)
    if reason is not None:
        raise BackendError(f"backend {chosen.name!r} cannot run this: {reason}")
    return plan, last


def checked(plan: Plan) -> Plan:
    """A plan that came from elsewhere, after a look at everything that `make_plan` looks at.

    Raises
    ------
    InputError
        A field is not what `make_plan` would have made.
    """
    n_steps = _count("n_steps", plan.n_steps, 1)
    burn_in = _count("burn_in", plan.burn_in, 0)
    step_offset = _count("step_offset", plan.step_offset, 0)
    chain_offset = _count("chain_offset", plan.chain_offset, 0)
    n_samples = _count("n_samples", plan.n_samples, 1)
    event_shape = _shape(plan.event_shape)
    _check_stream(n_samples, event_shape, chain_offset, step_offset + burn_in + n_steps)
    if plan.version != PLAN_VERSION:
        raise InputError(f"the plan has version {shown(plan.version)}, and this is {PLAN_VERSION}")
    if plan.dtype not in FLOATING:
        raise InputError(f"dtype must be one of {', '.join(FLOATING)}, not {shown(plan.dtype)}")
    for name in ("energy", "backend", "device"):
        if not isinstance(getattr(plan, name), str):
            raise InputError(f"{name} must be a name, not {shown(getattr(plan, name))}")
    steps = range(burn_in + n_steps)
    return replace(
        plan,
        n_samples=n_samples,
        event_shape=event_shape,
        thinning=_count("thinning", plan.thinning, 1),
        step_size=Schedule(_schedule("step_size", plan.step_size.values, steps, positive=True)),
        noise_scale=Schedule(_schedule("noise_scale", plan.noise_scale.values, steps)),
        seed=_integer_seed(plan.seed),
        clamp=_bounds(plan.clamp),
        return_diagnostics=_flag("return_diagnostics", plan.return_diagnostics),
        on_divergence=_on_divergence(plan.on_divergence),
    )


def as_energy(energy: Any) -> Any:
    """The energy itself; of a formula whose parameters all have defaults, the energy with those."""
    if isinstance(energy, Formula):
        return energy()
    if isinstance(energy, type):
        raise InputError(f"the energy must be an object; got the class {energy.__name__} itself")
    if not callable(energy):
        raise InputError(
            f"the energy must be callable, U(x) of shape (n_samples,); got {type(energy).__name__}"
        )
    return energy


def as_state(x: Any) -> Array | None:
    """`x` as an array: lists and numbers as NumPy arrays, arrays as they are."""
    if x is None or is_array(x):
        return x
    numbers = real_numbers(x)
    if numbers is None:
        raise InputError(
            f"x must be an array of shape (n_samples, *event_shape), not {type(x).__name__}"
        )
    with np.errstate(over="ignore"):  # infinity is refused with the other starts
        return numbers.astype(np.float32)


def origin(energy: Any) -> tuple[str | None, str | None, str | None]:
    """The library, dtype and device of an energy's parameters; None for each that is not known."""
    parameters = getattr(energy, "parameters", None)
    if callable(parameters):  # a module of a library for networks
        return array_origin(parameters())
    return tuple(getattr(energy, name, None) for name in ("library", "dtype", "device"))  # type: ignore[return-value]


def _count(name: str, value: Any, least: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be an integer, not {shown(value)}") from None
    if isinstance(value, bool) or count < least:
        raise InputError(f"{name} must be an integer of at least {least}, not {shown(value)}")
    return count


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def _on_divergence(value: Any) -> str:
    if not isinstance(value, str) or value not in ("warn", "raise", "ignore"):
        raise InputError(f"on_divergence must be 'warn', 'raise' or 'ignore', not {shown(value)}")
    return value


def _state_shape(
    energy: Any, x: Array | None, dim: Any, n_samples: Any
) -> tuple[int, tuple[int, ...]]:
    """(n_samples, event_shape) of what the user said in three ways, which must agree."""
    own = getattr(energy, "dim", None)
    wanted = None if n_samples is None else _count("n_samples", n_samples, 1)
    said = None if dim is None else _shape(dim)
    if x is None:
        shape = said or (None if own is None else (own,))
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
    if own is not None and shape != (own,):
        given = f"dim is {dim}" if x is None else f"x has shape {tuple(x.shape)}"
        raise InputError(f"{given} but the energy has dimension {own}")
    if isinstance(energy, FormulaEnergy):
        if len(shape) != 1 and not energy.is_elementwise:
            raise InputError(
                f"{energy.name} takes states of one axis, not of shape {shape}; reshape x to "
                "(n_samples, dim)"
            )
        energy.program(shape[0])
    return wanted or rows, shape


def _shape(dim: Any) -> tuple[int, ...]:
    sizes = dim if isinstance(dim, (tuple, list)) else (dim,)
    if not sizes:
        raise InputError("dim must be a positive integer, or a shape of at least one axis")
    return tuple(_count("dim", size, 1) for size in sizes)


def _check_stream(
    n_samples: int, event_shape: tuple[int, ...], chain_offset: int, last_step: int
) -> None:
    for what, count, limit in (
        ("chain_offset + n_samples", chain_offset + n_samples, _MAX_CHAINS),
        ("step_offset + burn_in + n_steps", last_step, _MAX_STEPS),
        ("coordinates of a chain", math.prod(event_shape), _MAX_COORDINATES),
    ):
        if count > limit:
            raise InputError(f"{what}: {count} is more than the noise stream can number, {limit}")


def _schedule(
    name: str, given: Any, steps: range, *, positive: bool = False
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A number, or one number a step, in float64; checked."""
    if callable(given) and not is_array(given):
        given = [given(step) for step in steps]
    values = real_numbers(given)
    if values is None:
        raise InputError(
            f"{name} must be a number, one number a step, or a function step -> number; "
            f"got {shown(given)}"
        )
    if values.shape not in ((), (len(steps),)):
        raise InputError(
            f"{name} has shape {values.shape}; it must be a number or have one value for each of "
            f"the {len(steps)} steps (burn_in + n_steps)"
        )
    wrong = ~np.isfinite(values) | (values <= 0 if positive else values < 0)
    if wrong.any():
        first = float(values[wrong][0] if values.ndim else values)
        sign = "positive" if positive else "0 or positive"
        raise InputError(f"{name} must be {sign} and finite at every step, not {first!r}")
    return values


def _decayed(
    step_size: np.ndarray[Any, np.dtype[np.float64]], decay: Any, steps: range
) -> Schedule:
    if isinstance(decay, bool) or not isinstance(decay, (int, float, np.number)):
        raise InputError(f"decay must be a number in [0, 1), not {shown(decay)}")
    if not 0.0 <= decay < 1.0:
        raise InputError(f"decay must be in [0, 1), not {shown(decay)}")
    if decay == 0.0:
        return Schedule(step_size)
    return Schedule(step_size * (1.0 - float(decay)) ** np.arange(steps.start, steps.stop))


def _longer(
    name: str, schedule: Schedule, planned: int, beyond: range, given: Any, decay: float = 0.0
) -> Schedule:
    """A schedule of `planned` steps that goes on for the steps `beyond` of the noise stream."""
    if given is None and not decay:
        if schedule.values.ndim and beyond:
            raise InputError(
                f"the run's {name} changed from step to step, and that was planned for {planned} "
                f"steps only; say what follows: {name}="
            )
        return schedule
    if given is None:
        raise InputError(f"decay is that of a {name}; give this as well")
    new = _decayed(_schedule(name, given, beyond, positive=name == "step_size"), decay, beyond)
    if schedule.values.ndim == 0 and schedule == new:
        return schedule
    counts = (planned, len(beyond))
    parts = (
        np.broadcast_to(part.values, (count,))
        for part, count in zip((schedule, new), counts, strict=True)
    )
    return Schedule(np.concatenate([*parts]))


def _bounds(clamp: Any) -> tuple[float | None, float | None] | None:
    if clamp is None:
        return None
    try:
        low, high = (None if bound is None else _number(bound) for bound in clamp)
    except (TypeError, ValueError):
        raise InputError(f"clamp must be a pair (low, high), not {shown(clamp)}") from None
    if math.isnan(low or 0.0) or math.isnan(high or 0.0):
        raise InputError(f"clamp must not be NaN: {shown(clamp)}")
    if low is not None and high is not None and low >= high:
        raise InputError(f"clamp must be (low, high) with low < high, not {shown(clamp)}")
    return None if low is None and high is None else (low, high)


def _number(value: Any) -> float:
    numbers = real_numbers(value)
    if numbers is None or numbers.ndim:
        raise TypeError
    return float(numbers)


def _backend_name(backend: Any) -> str:
    if not isinstance(backend, str):
        raise InputError(f"backend must be a name, for example 'numba', not {shown(backend)}")
    return backend


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
            raise InputError(f"dtype must be one of {', '.join(FLOATING)}, not {shown(dtype)}")
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
        raise InputError(f"seed must be an integer in [0, 2**64), not {shown(seed)}")
    return _integer_seed(seed)


def _integer_seed(seed: Any) -> int:
    number = _count("seed", seed, 0)
    if number >= 2**64:
        raise InputError(f"seed must be an integer in [0, 2**64), not {shown(seed)}")
    return number


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
