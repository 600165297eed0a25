"""One argument at a time: what a user may give, checked, as what a plan holds."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic import functions
from isotherm._arithmetic.arrays import (
    Array,
    all_finite,
    is_array,
    namespace_of,
    plain_array,
    real_numbers,
    round_to,
)
from isotherm._plans.bounds import Bounds
from isotherm._plans.plan import Plan, Schedule
from isotherm.errors import InputError, short_repr

OnDivergence = Literal["warn", "raise", "ignore"]
SamplerName = Literal["langevin", "underdamped", "mala", "hmc"]
ScheduleLike = float | Sequence[float] | Array | Callable[[int], float]
BoundsLike = tuple[float | Sequence[float] | Array | None, float | Sequence[float] | Array | None]

_MAX_CHAINS = 2**56  # the noise stream's counter gives a chain 56 bits
_MAX_STEPS = 2**33  # ... and a block of two float64 steps 32
_MAX_COORDINATES = 2**32
_MAX_AXES = 60  # NumPy has 64, and what is kept has up to three more than a state
_PIECE = 2**16  # steps that are looked at together
_MAX_VALUES = 2**28  # of a schedule that is no formula: 2 GiB


def as_count(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    try:
        count = operator.index(plain_array(name, value))
    except TypeError:
        raise InputError(f"{name} must be an integer, not {short_repr(value)}") from None
    if isinstance(value, bool) or count < least:
        raise InputError(f"{name} must be an integer of at least {least}, not {short_repr(value)}")
    return count


def as_flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, not {short_repr(value)}")
    return bool(value)


def as_on_divergence(value: Any) -> OnDivergence:
    """One of the three words."""
    if not isinstance(value, str) or value not in get_args(OnDivergence):
        raise InputError(
            f"on_divergence must be 'warn', 'raise' or 'ignore', not {short_repr(value)}"
        )
    return cast("OnDivergence", value)


def as_shape(dim: Any) -> tuple[int, ...]:
    """The shape of a chain's state: ``dim`` is a number or a tuple of them."""
    sizes = dim if isinstance(dim, (tuple, list)) else (dim,)
    if not sizes:
        raise InputError("dim must be a positive integer, or a shape of at least one axis")
    if len(sizes) > _MAX_AXES:
        raise InputError(f"a chain's state has {len(sizes)} axes; it may have {_MAX_AXES} at most")
    return tuple(as_count("dim", size, 1) for size in sizes)


def check_stream(
    n_samples: int, event_shape: tuple[int, ...], chain_offset: int, last_step: int
) -> None:
    """Refuse more chains, steps or coordinates than the noise stream can number."""
    for what, count, limit in (
        ("chain_offset + n_samples", chain_offset + n_samples, _MAX_CHAINS),
        ("step_offset + burn_in + n_steps", last_step, _MAX_STEPS),
        ("coordinates of a chain", math.prod(event_shape), _MAX_COORDINATES),
    ):
        if count > limit:
            raise InputError(f"{what}: {count} is more than the noise stream can number, {limit}")


def check_start(x: Array, dtype: str, name: str = "x", bounds: Bounds | None = None) -> None:
    """Refuse states that are not finite in the dtype of the chains, or outside of bounds."""
    xp, state = namespace_of(x), x
    # NumPy has no bfloat16, whose range is that of float32.
    wanted = xp.float32 if dtype == "bfloat16" else getattr(xp, dtype)
    if x.dtype != wanted:
        with np.errstate(over="ignore"):
            state = xp.astype(x, wanted, copy=False)
    if not all_finite(state):
        raise InputError(
            f"{name} holds NaN, infinity or what {dtype} cannot hold; chains must start from "
            "finite states"
        )
    if bounds is None:
        return
    rounded = bounds.rounded(dtype)
    for side, sign in ((rounded.low, 1.0), (rounded.high, -1.0)):
        row = xp.asarray(side, dtype=state.dtype, device=compat.device(state))
        rows = xp.reshape(state, (-1, side.size)) if side.ndim else state
        if bool(xp.any(sign * rows < sign * row)):
            advice = "without x they start from N(0, I), reflected into the bounds"
            raise InputError(
                f"{name} holds values outside of the bounds, {bounds}; chains must start inside"
                + (f" ({advice})" if name == "x" else "")
            )


def as_schedule(
    name: str, given: Any, steps: range, *, positive: bool = False, n_chains: int | None = None
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A number, or one number a step, in float64; checked.

    With `n_chains` also one number a chain, of shape (n_chains, 1), or with more axes of length 1.
    """
    if callable(given) and not is_array(given):
        check_length(name, len(steps))
        given = [given(step) for step in steps]
    values = real_numbers(given)
    if values is None:
        raise InputError(
            f"{name} must be a number, one number a step, or a function step -> number; "
            f"got {short_repr(given)}"
        )
    if n_chains is not None and values.ndim > 1:
        if values.shape != (n_chains, *(1,) * (values.ndim - 1)):
            raise InputError(
                f"{name} has shape {values.shape}; for one number a chain it must have the shape "
                f"(n_samples, 1), which is {(n_chains, 1)}"
            )
        values = values.reshape(n_chains, 1)
    elif values.ndim > 1:
        raise InputError(
            f"{name} has shape {values.shape}; it must be a number or one number a step; for one a "
            "chain, make a run of the chains of each, with chain_offset the number of the first"
        )
    elif values.shape not in ((), (len(steps),)):
        of_chains = "" if n_chains is None else "; one a chain has the shape (n_samples, 1)"
        raise InputError(
            f"{name} has shape {values.shape}; it must be a number or have one value for each of "
            f"the {len(steps)} steps (burn_in + n_steps){of_chains}"
        )
    wrong = ~np.isfinite(values) | (values <= 0 if positive else values < 0)
    if wrong.any():
        first = float(values[wrong][0] if values.ndim else values)
        sign = "positive" if positive else "0 or positive"
        at = "of every chain" if values.ndim > 1 else "at every step"
        raise InputError(f"{name} must be {sign} and finite {at}, not {first!r}")
    return values


def check_meaning(step_size: Any, n_steps: int, event_shape: tuple[int, ...]) -> None:
    """Refuse an array that may be meant for the steps, and as well for the coordinates."""
    step_size = plain_array("step_size", step_size)
    is_array_like = is_array(step_size) or isinstance(step_size, (list, tuple))
    if not is_array_like or event_shape != (n_steps,) or n_steps == 1:
        return
    if np.shape(step_size) == (n_steps,):
        raise InputError(
            f"step_size has {n_steps} numbers, and there are {n_steps} steps and {n_steps} "
            "coordinates; for one a step give a function, step_size=lambda t: values[t], for one a "
            "coordinate a number and inverse_mass=values/step_size"
        )


def check_length(name: str, n_steps: int) -> None:
    """Refuse a schedule that would hold a number for each of very many steps."""
    if n_steps > _MAX_VALUES:
        raise InputError(
            f"{name} would hold a number for each of {n_steps} steps, of which there may be "
            f"{_MAX_VALUES}; give a number (with decay=), or make the run in parts, each with its "
            "step_offset"
        )


def decayed(step_size: np.ndarray[Any, np.dtype[np.float64]], decay: Any, steps: range) -> Schedule:
    """Step t of a schedule times (1 - decay)^t."""
    if isinstance(decay, bool) or not isinstance(decay, (int, float, np.number)):
        raise InputError(f"decay must be a number in [0, 1), not {short_repr(decay)}")
    if not 0.0 <= decay < 1.0:
        raise InputError(f"decay must be in [0, 1), not {short_repr(decay)}")
    if decay == 0.0:
        return Schedule(step_size)
    if step_size.ndim == 0:
        return Schedule(step_size, float(decay), steps.start, len(steps))
    return Schedule(step_size * Schedule(1.0, float(decay), steps.start, len(steps)).values)


def as_clamp(clamp: Any, dtype: str = "float64") -> tuple[float | None, float | None] | None:
    """A pair (low, high), of which each may be None; None where there is no bound.

    For half precision, to which states are rounded after the clamp, both are rounded inwards.
    """
    if clamp is None:
        return None
    try:
        low, high = (None if bound is None else as_number(bound) for bound in clamp)
    except (TypeError, ValueError):
        raise InputError(f"clamp must be a pair (low, high), not {short_repr(clamp)}") from None
    if math.isnan(low or 0.0) or math.isnan(high or 0.0):
        raise InputError(f"clamp must not be NaN: {short_repr(clamp)}")
    if low == math.inf or high == -math.inf:
        raise InputError(
            f"clamp={short_repr(clamp)} leaves no finite number between its bounds; give None for "
            "a side without one"
        )
    if low is not None and high is not None and low >= high:
        raise InputError(f"clamp must be (low, high) with low < high, not {short_repr(clamp)}")
    if dtype in ("float16", "bfloat16"):
        low, high = _inwards(low, dtype, 1.0), _inwards(high, dtype, -1.0)
        if low is not None and high is not None and low > high:
            raise InputError(f"no number of {dtype} is within clamp={short_repr(clamp)}; widen it")
    return None if low is None and high is None else (low, high)


def _inwards(bound: float | None, dtype: str, sign: float) -> float | None:
    """The nearest number of a dtype that is at least a bound, or with the sign -1 at most."""
    if bound is None:
        return None
    with np.errstate(over="ignore"):
        nearest = rounded = float(round_to(np.array([bound]), dtype)[0])
    if not math.isfinite(nearest):
        return bound
    gap = bound - nearest  # at most half of the distance to the number on the other side
    while sign * rounded < sign * bound:
        gap *= 2.0
        rounded = float(round_to(np.array([nearest + gap]), dtype)[0])
    return rounded


def as_bounds(given: Any, event_shape: tuple[int, ...] | None) -> Bounds | None:
    """Bounds that reflect; None where there are none. With no shape arrays may have any."""
    if given is None:
        return None
    pair = (given.low, given.high) if isinstance(given, Bounds) else given
    try:
        low, high = (
            real_numbers(without if side is None else side)
            for side, without in zip(pair, (-math.inf, math.inf), strict=True)
        )
    except (TypeError, ValueError):
        low = high = None
    if low is None or high is None:
        raise InputError(
            "bounds must be a pair (low, high) of numbers, None or arrays of the shape of a "
            f"chain's state, not {short_repr(given)}"
        )
    wanted = (low.shape or high.shape) if event_shape is None else event_shape
    for side in (low, high):
        if side.shape not in ((), wanted):
            raise InputError(
                f"bounds hold an array of shape {side.shape}; each must be a number or have the "
                f"shape of a chain's state, {wanted}"
            )
    if not (low < high).all():
        raise InputError(
            "bounds must be (low, high) with low < high at every coordinate (-inf and inf where "
            f"there is none), not {short_repr(given)}"
        )
    made = Bounds(*(side.reshape(-1) if side.ndim else side for side in (low, high)))
    return made if np.isfinite(made.low).any() or np.isfinite(made.high).any() else None


def check_rounded(plan: Plan) -> None:
    """Refuse numbers that are others once they are rounded to the dtype of the chains."""
    dtype = plan.state_dtype
    wider = "" if dtype == "float64" else ", or dtype='float64'"
    remedy = f"; take one that {dtype} can hold{wider}"
    _check_held(
        "step_size", plan.step_size.ends, dtype,
        f", so that the energy would have no say; take a size that {dtype} can hold (less decay, "
        f"fewer steps){wider}",
        plan.step_size,
    )  # fmt: skip
    scales = plan.noise_scale.ends
    _check_held("noise_scale", scales, dtype, remedy, plan.noise_scale)
    if plan.is_adjusted:
        with np.errstate(all="ignore"):
            inverse = round_to(1.0 / (scales * scales), dtype)
        is_lost = (inverse == 0.0) | ~np.isfinite(inverse)
        if is_lost.any():
            raise InputError(
                f"noise_scale is {float(scales[is_lost][0])!r}, and energies are divided by its "
                f"square, which {dtype} cannot hold; scale the energy{wider}"
            )
    if plan.friction is not None:
        friction = plan.friction.values
        lost = friction * (plan.step_size.values if friction.ndim else plan.step_size.ends)
        is_lost = (lost > 0.0) & (round_to(functions.exp(-lost), dtype) == 1.0)
        if is_lost.any():
            raise InputError(
                f"friction·step_size is {float(lost[is_lost][0]):g}, by which a momentum in "
                f"{dtype} would lose nothing, while noise is added to it; take more friction, or "
                f"none{wider}"
            )
    if plan.inverse_mass is not None:
        mass = plan.inverse_mass.values
        diagonal = mass if mass.ndim == 1 else np.diagonal(mass)
        _check_held("inverse_mass", diagonal, dtype, remedy)
        least = diagonal[diagonal > 0.0].min(initial=np.inf)  # frozen coordinates have 0
        _check_held("step_size·inverse_mass", plan.step_size.ends * least, dtype, remedy)
    _check_held("divergence_threshold", np.array([plan.divergence_threshold]), dtype, remedy)
    if plan.clamp is not None:
        _check_clamp(plan.clamp, dtype, plan.dtype)
    for name in ("gradient_clip", "gradient_clip_norm"):
        if getattr(plan, name) is not None:
            _check_held(name, np.array([getattr(plan, name)]), dtype, remedy)
    _check_noise(plan, wider)
    if plan.bounds is not None:
        rounded = plan.bounds.rounded(plan.dtype)
        if not (rounded.low < rounded.high).all():
            raise InputError(
                f"the bounds {plan.bounds} are equal, or infinite, once they are rounded to "
                f"{plan.dtype}; give wider bounds{wider}"
            )


def _check_noise(plan: Plan, wider: str) -> None:
    """Refuse steps whose noise, a product, the dtype cannot hold though it can each factor."""
    if plan.noise_scale == Schedule(1.0):
        return
    if plan.noise_scale.is_of_chains:  # what the least and the greatest leave, others do, too
        some = plan.noise_scale.values[plan.noise_scale.values > 0.0]
        for scale in (some.min(), some.max()) if some.size else ():
            _check_noise(replace(plan, noise_scale=Schedule(scale)), wider)
        return
    schedules = (plan.noise_scale, plan.step_size, plan.friction, plan.n_leapfrog)
    is_short = all(one is None or one.is_constant or one.decay for one in schedules)
    last = plan.n_total - 1
    starts = dict.fromkeys((0, last)) if is_short else range(0, plan.n_total, _PIECE)
    plain = replace(plan, noise_scale=Schedule(1.0))
    for start in starts if plan.n_total else ():
        stop = start + 1 if is_short else min(start + _PIECE, plan.n_total)
        scales = plan.noise_scale.between(start, stop)
        with np.errstate(over="ignore", invalid="ignore"):
            made, unscaled = plan.coefficients(start, stop), plain.coefficients(start, stop)
            for name, noise in made.items():
                # What is not a multiple of the noise scale, such as a rate, may well vanish.
                product = round_to(scales * unscaled[name], plan.state_dtype)
                is_lost = (noise == product) & ((noise == 0.0) | ~np.isfinite(noise))
                is_lost &= (scales > 0.0) & (unscaled[name] != 0.0) & np.isfinite(unscaled[name])
                if is_lost.any():
                    first = int(np.argmax(is_lost))
                    (step_size,) = plan.step_size.between(start + first, start + first + 1)
                    raise InputError(
                        f"noise_scale {float(scales[first]):g} and step_size {step_size:g} make "
                        f"noise of size {float(noise[first]):g} in {plan.state_dtype}; scale x and "
                        f"the energy, so that both are nearer to 1{wider}"
                    )


def _check_held(
    name: str,
    values: np.ndarray[Any, np.dtype[np.float64]],
    dtype: str,
    remedy: str,
    schedule: Schedule | None = None,
) -> None:
    with np.errstate(over="ignore"):
        rounded = round_to(values, dtype)
    is_lost = (rounded == 0.0) & ((values != 0.0) | (name == "step_size")) | ~np.isfinite(rounded)
    if is_lost.any():
        first = int(np.argmax(is_lost))
        where = ""
        if schedule is not None and not schedule.is_constant:
            where = f" at step {schedule.size if schedule.decay else first + 1}"
            if schedule.is_of_chains:
                where = f" of chain {first}"
        raise InputError(
            f"{name} is {float(values[first])!r}{where}, which rounds to {rounded[first]:g} in "
            f"{dtype}{remedy}"
        )


def _check_clamp(clamp: tuple[float | None, float | None], dtype: str, narrow: str) -> None:
    """Refuse bounds without room, and those that an energy of a narrower dtype would not know."""
    with np.errstate(over="ignore"):
        low, high = (
            None if bound is None else float(round_to(np.array([bound]), dtype)[0])
            for bound in clamp
        )
        seen = round_to(np.array([low or 0.0, high or 0.0]), narrow)
    if low == math.inf or high == -math.inf or (low is not None and low == high):
        raise InputError(
            f"clamp={short_repr(clamp)} rounds to {(low, high)} in {dtype}, between which there is "
            "no room; give wider bounds, or dtype='float64'"
        )
    if np.isinf(seen).any() and narrow != dtype:
        raise InputError(
            f"clamp={short_repr(clamp)} rounds to {(float(seen[0]), float(seen[1]))} in {narrow}, "
            f"which the energy would be given; give bounds that {narrow} can hold, or None for a "
            "side without one"
        )


def as_number(value: Any) -> float:
    """One real number; TypeError for anything else."""
    if type(value) is float:
        return value
    numbers = real_numbers(value)
    if numbers is None or numbers.ndim:
        raise TypeError
    return float(numbers)


def as_seconds(name: str, value: Any) -> float:
    """A time, which may be 0 or infinite."""
    try:
        seconds = as_number(value)
    except TypeError:
        seconds = math.nan
    if isinstance(value, bool) or not seconds >= 0.0:
        raise InputError(f"{name} must be a number of seconds, 0 or more, not {short_repr(value)}")
    return seconds


def as_backend_name(backend: Any) -> str:
    """A backend's name, which need not be installed."""
    if not isinstance(backend, str):
        raise InputError(f"backend must be a name, for example 'numpy', not {short_repr(backend)}")
    return backend


def as_seed(seed: Any) -> int:
    """A key of the noise stream."""
    number = as_count("seed", seed, 0)
    if number >= 2**64:
        raise InputError(f"seed must be an integer in [0, 2**64), not {short_repr(seed)}")
    return number
