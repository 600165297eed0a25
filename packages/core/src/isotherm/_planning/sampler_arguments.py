"""The arguments that only some samplers take: checked, as what a plan holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from isotherm._arithmetic import noise
from isotherm._arithmetic.arrays import is_array, real_numbers, to_numpy
from isotherm._arithmetic.factors import cholesky
from isotherm._planning.arguments import (
    ScheduleLike,
    as_bounds,
    as_clamp,
    as_number,
    as_schedule,
    as_seed,
    decayed,
)
from isotherm._plans.bounds import Bounds
from isotherm._plans.masses import InverseMass
from isotherm._plans.plan import Schedule
from isotherm._transitions.catalogue import find, names
from isotherm._transitions.trace import Transition
from isotherm.errors import InputError, short_repr

Flags = np.ndarray[Any, np.dtype[np.bool_]]

OF_CHAINS = ("noise_scale", "temperature")  # of the schedules; these may be one a chain
POSITIVE = ("step_size", "n_leapfrog")  # of the schedules; the others may be 0
LARGEST_DENSE_MASS = 64  # coordinates: beyond, a step would be all matrix


def with_defaults(sampler: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a sampler takes, with its defaults for those that are None.

    Raises
    ------
    InputError
        There is no such sampler, or it does not take what was given.
    """
    transition = find(sampler)
    made: dict[str, Any] = {}
    for argument, value in given.items():
        if value is None:
            made[argument] = transition.arguments.get(argument)
        else:
            check_taken(transition, argument)
            made[argument] = value
    if given.get("clamp") is not None and given.get("bounds") is not None:
        raise InputError(
            "give clamp, which puts on a bound what would leave, or bounds, which reflect, not both"
        )
    if made["step_size"] is None:
        raise InputError(
            f"sampler {transition.name!r} needs a step_size; pass one, for example step_size=0.1"
        )
    return made


def check_taken(transition: Transition, argument: str) -> None:
    """Refuse an argument that a sampler does not have."""
    if argument in ("step_size", "inverse_mass") or argument in transition.arguments:
        return
    takers = [repr(other) for other in names() if argument in find(other).arguments]
    raise InputError(
        f"sampler {transition.name!r} takes no {argument}; leave it out, or choose sampler="
        f"{' or '.join(takers)}"
    )


def check_arguments(sampler: str, **given: Any) -> None:
    """Refuse arguments of a sampler that no plan could use; of functions nothing is known yet.

    Raises
    ------
    InputError
        An argument is not usable.
    """
    _check_one_scale(given.get("noise_scale"), given.get("temperature"))
    seed = given.get("seed")
    if hasattr(seed, "__index__") and not is_array(seed):
        as_seed(seed)
    for name in ("step_size", "noise_scale", "temperature", "friction", "n_leapfrog"):
        value = given.get(name)
        if value is None or (callable(value) and not is_array(value)):
            continue
        numbers = real_numbers(value)
        steps = range(0 if numbers is None or numbers.ndim != 1 else numbers.size)
        is_of_chains = name in OF_CHAINS and numbers is not None and numbers.ndim > 1
        n_chains = len(numbers) if numbers is not None and is_of_chains else None
        made = Schedule(
            as_schedule(name, value, steps, positive=name in POSITIVE, n_chains=n_chains)
        )
        if name == "noise_scale":
            check_noise_scale(find(sampler), made)
    substeps = real_numbers(given.get("n_leapfrog"))
    if substeps is not None:
        as_substeps(substeps, range(substeps.size), "float32", has_friction=False)
    if given.get("decay") is not None:
        decayed(np.ones(1), given["decay"], range(1))
    for name, check in (("jitter", as_jitter), ("divergence_threshold", as_threshold)):
        if given.get(name) is not None:
            check(given[name])
    if given.get("clamp") is not None:
        as_clamp(given["clamp"])
    as_bounds(given.get("bounds"), None)
    for name in ("gradient_clip", "gradient_clip_norm"):
        as_clip(name, given.get(name))
    mass = given.get("inverse_mass")
    values = real_numbers(mass)
    if mass is not None:
        shape: tuple[int, ...] = (1,) if values is None or values.ndim == 0 else values.shape
        is_matrix = len(shape) == 2 and shape[0] == shape[1]
        as_inverse_mass(mass, shape[:1] if is_matrix else shape)


def check_noise_scale(transition: Transition, noise_scale: Schedule) -> None:
    """Refuse a noise scale of 0 where steps end in a Metropolis decision."""
    if transition.is_adjusted and (noise_scale.values == 0.0).any():
        where = "of every chain" if noise_scale.is_of_chains else "at every step"
        raise InputError(
            f"noise_scale, or temperature, must be positive {where} for sampler "
            f"{transition.name!r}, which accepts with probability exp(-ΔH/noise_scale²); for "
            "gradient descent take 'langevin'"
        )


def as_noise_scale(
    noise_scale: ScheduleLike | None, temperature: ScheduleLike | None, steps: range, n_chains: int
) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """A number, one a step or one a chain, of whichever of the two is given; None for neither."""
    _check_one_scale(noise_scale, temperature)
    if temperature is None:
        if noise_scale is None:
            return None
        return as_schedule("noise_scale", noise_scale, steps, n_chains=n_chains)
    root: np.ndarray[Any, np.dtype[np.float64]] = np.sqrt(
        as_schedule("temperature", temperature, steps, n_chains=n_chains)
    )
    return root


def _check_one_scale(noise_scale: object, temperature: object) -> None:
    if noise_scale is not None and temperature is not None:
        raise InputError("give noise_scale or temperature (its square), not both")


def as_friction(given: ScheduleLike | None, steps: range) -> Schedule | None:
    """γ of each step; None where there is none."""
    if given is None:
        return None
    schedule = Schedule(as_schedule("friction", given, steps))
    return schedule if (schedule.values > 0.0).any() else None


def as_substeps(given: Any, steps: range, dtype: str, *, has_friction: bool) -> Schedule | None:
    """The substeps of each trajectory before jitter."""
    if given is None:
        return None
    values = as_schedule("n_leapfrog", given, steps, positive=True)
    if (values % 1.0 != 0.0).any():
        wrong = float(values[values % 1.0 != 0.0][0] if values.ndim else values)
        raise InputError(f"n_leapfrog must be a positive integer at every step, not {wrong!r}")
    # The noise of substeps is numbered by what is left of the counter's word.
    most = noise.steps_per_block(dtype) << (32 - noise.COORDINATE_BITS)
    if has_friction and values.max() > most:
        raise InputError(
            f"n_leapfrog must be at most {most} with friction, as the noise stream numbers no more "
            f"substeps; got {float(values.max()):g}"
        )
    return Schedule(values)


def check_substeps(event_shape: tuple[int, ...], steps: range) -> None:
    """Refuse what the noise of substeps cannot number: coordinates and steps."""
    dim = math.prod(event_shape)
    if dim > 1 << noise.COORDINATE_BITS or steps.stop > 1 << 32:
        raise InputError(
            f"with friction a trajectory may have {1 << noise.COORDINATE_BITS} coordinates and a "
            f"run {1 << 32} steps; got {dim} and {steps.stop}"
        )


def as_jitter(given: Any) -> float:
    """By how much trajectories may be shorter, in [0, 1]."""
    number = _finite("jitter", given)
    if not 0.0 <= number <= 1.0:
        raise InputError(f"jitter must be in [0, 1], not {short_repr(given)}")
    return number


def as_threshold(given: Any) -> float:
    """The energy error above which a step counts as diverging."""
    return _positive("divergence_threshold", given)


def as_clip(name: str, given: Any) -> float | None:
    """What gradients are clipped to; None for not at all."""
    return None if given is None else _positive(name, given)


def check_bounded_mass(bounds: Bounds | None, mass: InverseMass | None) -> None:
    """Refuse bounds with a mass that couples coordinates, whose momenta no wall turns alone."""
    if bounds is not None and mass is not None and mass.values.ndim == 2:
        raise InputError("bounds go with an inverse_mass a coordinate, no matrix")


def as_frozen(given: Any, event_shape: tuple[int, ...]) -> Flags | None:
    """Which coordinates do not move, shape (dim,); None where all do."""
    if given is None:
        return None
    flags = to_numpy(given)
    if flags.dtype != np.bool_ or flags.shape != event_shape:
        raise InputError(
            f"frozen must be a boolean array of the shape of a chain's state, {event_shape}, True "
            f"where a coordinate does not move; got {short_repr(given)}"
        )
    if flags.all():
        raise InputError("frozen is True for every coordinate, so that nothing would move")
    return flags.reshape(-1) if flags.any() else None


def as_inverse_mass(
    given: Any, event_shape: tuple[int, ...], frozen: Flags | None = None
) -> InverseMass | None:
    """M⁻¹: None for 1."""
    dim = math.prod(event_shape)
    if frozen is not None:
        mass = as_inverse_mass(given, event_shape)
        own = np.ones(dim) if mass is None else mass.values
        if own.ndim == 2:
            raise InputError("frozen coordinates go with an inverse_mass a coordinate, no matrix")
        return InverseMass(np.where(frozen, 0.0, own))
    if given is None:
        return None
    values = real_numbers(given)
    if values is None:
        raise InputError(
            f"inverse_mass must be a number, an array or a matrix, not {short_repr(given)}"
        )
    if values.ndim == 0:
        values = np.full(dim, float(values))
    elif values.shape == event_shape:
        values = values.reshape(-1)
    elif values.shape != (dim, dim):
        raise InputError(
            f"inverse_mass has shape {values.shape}; it must be a number, have the shape of a "
            f"chain's state, {event_shape}, or be a matrix {(dim, dim)}"
        )
    if not np.isfinite(values).all():
        raise InputError("inverse_mass must be finite")
    if values.ndim == 1:
        if not (values > 0.0).all():
            raise InputError(f"inverse_mass must be positive, not {float(values.min()):g}")
        return None if (values == 1.0).all() else InverseMass(values)
    return InverseMass(_positive_definite(values))


def _positive_definite(
    matrix: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    if len(matrix) > LARGEST_DENSE_MASS:
        raise InputError(
            f"inverse_mass may be a matrix for up to {LARGEST_DENSE_MASS} coordinates, not "
            f"{len(matrix)}; give one number a coordinate"
        )
    if np.abs(matrix - matrix.T).max() > np.finfo(np.float32).eps * np.abs(matrix).max():
        raise InputError("inverse_mass must be symmetric; pass (m + m.T) / 2 if you mean that")
    symmetric: np.ndarray[Any, np.dtype[np.float64]] = matrix / 2 + matrix.T / 2
    with np.errstate(all="ignore"):
        pivots = np.diagonal(cholesky(symmetric))
    if not (pivots > 0.0).all():  # false for NaN
        raise InputError("inverse_mass must be positive definite, which this is not")
    return symmetric


def _positive(name: str, given: Any) -> float:
    number = _finite(name, given)
    if not number > 0.0:
        raise InputError(f"{name} must be positive, not {short_repr(given)}")
    return number


def _finite(name: str, given: Any) -> float:
    try:
        number = as_number(given)
    except TypeError:
        raise InputError(f"{name} must be a number, not {short_repr(given)}") from None
    if not math.isfinite(number):
        raise InputError(f"{name} must be finite, not {short_repr(given)}")
    return number
