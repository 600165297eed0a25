"""What every plan has to be, and the plan of a run that goes on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import FLOATING
from isotherm._arithmetic.versions import ARITHMETIC_VERSION, STREAM_VERSION
from isotherm._backends import registry
from isotherm._energies.protocol import signature
from isotherm._planning.arguments import (
    ScheduleLike,
    as_backend_name,
    as_bounds,
    as_clamp,
    as_count,
    as_flag,
    as_on_divergence,
    as_schedule,
    as_seed,
    as_shape,
    check_length,
    check_rounded,
    check_stream,
    decayed,
)
from isotherm._planning.sampler_arguments import (
    POSITIVE,
    as_clip,
    as_friction,
    as_frozen,
    as_inverse_mass,
    as_jitter,
    as_noise_scale,
    as_substeps,
    as_threshold,
    check_bounded_mass,
    check_noise_scale,
    check_substeps,
    check_taken,
)
from isotherm._plans.masses import InverseMass
from isotherm._plans.plan import PLAN_VERSION, Plan, Schedule
from isotherm._transitions.catalogue import find
from isotherm._transitions.program import Kind
from isotherm.errors import BackendError, InputError, short_repr


def extend_plan(
    plan: Plan,
    done: int,
    energy: Any,
    *,
    n_steps: int | None,
    decay: float,
    backend: str | None,
    device: Any,
    **follows: ScheduleLike | None,
) -> tuple[Plan, int]:
    """The plan of a run that goes on, and the step to which it now goes.

    Parameters
    ----------
    plan : Plan
        Of the run so far.
    done : int
        Steps that are done.
    energy : callable
    n_steps, decay, backend, device
        As given to `isotherm.resume`.
    **follows
        ``step_size``, ``noise_scale``, ``temperature``, ``friction`` and ``n_leapfrog``, likewise.
    """
    _check_versions(plan)
    if n_steps is None and done == plan.n_total:
        raise InputError(f"all {done} steps of this run are done; say how many more: n_steps=100")
    last = plan.n_total if n_steps is None else done + as_count("n_steps", n_steps, 1)
    beyond = range(plan.step_offset + plan.n_total, plan.step_offset + last)
    said = [name for name, value in follows.items() if value is not None]
    said += ["decay"] if decay else []
    if said and not beyond:
        raise InputError(
            f"what is given for {', '.join(said)} is for steps beyond those that were planned, and "
            f"step {last} is one of the {plan.n_total} planned; leave it out, or take more steps"
        )
    for name in ("friction", "n_leapfrog"):
        if follows[name] is not None:
            check_taken(find(plan.sampler), name)
    check_stream(plan.n_samples, plan.event_shape, plan.chain_offset, beyond.stop)
    chosen = registry.usable(plan.backend if backend is None else as_backend_name(backend))
    where = None if device is None else str(device)
    if where is None and chosen.name == plan.backend:
        where = plan.device
    follows["noise_scale"] = as_noise_scale(
        follows["noise_scale"], follows["temperature"], beyond, plan.n_samples
    )
    made: dict[str, Any] = {}
    for name in ("step_size", "noise_scale", "friction", "n_leapfrog"):
        schedule, given = getattr(plan, name), follows[name]
        if schedule is not None or given is not None:
            made[name] = _extend_schedule(
                name,
                Schedule(0.0) if schedule is None else schedule,
                plan.n_total,
                beyond,
                given,
                decay if name == "step_size" else 0.0,
            )
    longer = replace(
        plan,
        **made,
        n_steps=max(plan.n_total, last) - plan.burn_in,
        backend=chosen.name,
        device=chosen.resolve_device(where),
        library=chosen.library,
        energy_signature=signature(energy, plan.event_shape),
    )
    longer = validate_plan(longer)
    if longer.transition(Kind.VALUE) != plan.transition(Kind.VALUE):
        raise InputError(
            f"the run had no friction so far, and with friction a step of sampler {plan.sampler!r} "
            "is another; begin a run where this one ends: x=result.samples, "
            f"step_offset={beyond.start}"
        )
    plan = longer
    reason = chosen.supports(plan, energy)
    if reason is not None:
        raise BackendError(f"backend {chosen.name!r} cannot run this: {reason}")
    return plan, last


def _check_versions(plan: Plan) -> None:
    """Refuse to go on with a run in other bits than it began with."""
    for name, own in (
        ("stream_version", STREAM_VERSION), ("arithmetic_version", ARITHMETIC_VERSION),
    ):  # fmt: skip
        given = getattr(plan, name)
        if given != own:
            raise InputError(
                f"the run has {name} {given} and this release of isotherm has {own}, so that its "
                "chains would go on in other bits; go on with the release that began it"
            )


def validate_plan(plan: Plan) -> Plan:
    """A plan, just made or from elsewhere, after a look at all that it says.

    What passes here can be stored, and what is stored passes here.

    Raises
    ------
    InputError
        A field is not what a plan may hold.
    """
    n_steps = as_count("n_steps", plan.n_steps, 0)
    burn_in = as_count("burn_in", plan.burn_in, 0)
    step_offset = as_count("step_offset", plan.step_offset, 0)
    chain_offset = as_count("chain_offset", plan.chain_offset, 0)
    n_samples = as_count("n_samples", plan.n_samples, 1)
    event_shape = as_shape(plan.event_shape)
    check_stream(n_samples, event_shape, chain_offset, step_offset + burn_in + n_steps)
    if plan.version != PLAN_VERSION:
        raise InputError(
            f"the plan has version {short_repr(plan.version)}, and this is {PLAN_VERSION}"
        )
    if plan.dtype not in FLOATING:
        raise InputError(
            f"dtype must be one of {', '.join(FLOATING)}, not {short_repr(plan.dtype)}"
        )
    for name in ("energy", "backend", "device"):
        if not isinstance(getattr(plan, name), str):
            raise InputError(f"{name} must be a name, not {short_repr(getattr(plan, name))}")
    if plan.tuning is not None and not isinstance(plan.tuning, str):
        raise InputError("tuning must be the text that Tuning.to_json gave")
    steps = range(burn_in + n_steps)
    checked = replace(
        plan,
        n_samples=n_samples,
        event_shape=event_shape,
        thinning=as_count("thinning", plan.thinning, 1),
        step_size=_as_step_size(plan.step_size, step_offset, steps),
        noise_scale=Schedule(
            as_schedule("noise_scale", plan.noise_scale.values, steps, n_chains=n_samples)
        ),
        seed=as_seed(plan.seed),
        clamp=as_clamp(plan.clamp),
        bounds=as_bounds(plan.bounds, (math.prod(event_shape),)),
        gradient_clip=as_clip("gradient_clip", plan.gradient_clip),
        gradient_clip_norm=as_clip("gradient_clip_norm", plan.gradient_clip_norm),
        sampler=find(plan.sampler).name,
        friction=None if plan.friction is None else as_friction(plan.friction.values, steps),
        n_leapfrog=None
        if plan.n_leapfrog is None
        else as_substeps(
            plan.n_leapfrog.values, steps, plan.dtype, has_friction=plan.friction is not None
        ),
        jitter=as_jitter(plan.jitter),
        inverse_mass=_as_mass(plan.inverse_mass, math.prod(event_shape)),
        divergence_threshold=as_threshold(plan.divergence_threshold),
        stream_version=as_count("stream_version", plan.stream_version, 1),
        arithmetic_version=as_count("arithmetic_version", plan.arithmetic_version, 1),
        return_diagnostics=as_flag("return_diagnostics", plan.return_diagnostics),
        has_start=as_flag("has_start", plan.has_start),
        on_divergence=as_on_divergence(plan.on_divergence),
    )
    check_noise_scale(find(checked.sampler), checked.noise_scale)
    check_rounded(checked)
    check_bounded_mass(checked.bounds, checked.inverse_mass)
    if checked.friction is not None and checked.n_leapfrog is not None:
        check_substeps(event_shape, range(step_offset, step_offset + steps.stop))
    return checked


def _as_step_size(schedule: Schedule, step_offset: int, steps: range) -> Schedule:
    if not schedule.decay:
        return Schedule(as_schedule("step_size", schedule.values, steps, positive=True))
    start = as_schedule("step_size", schedule.start, steps, positive=True)
    return decayed(start, schedule.decay, range(step_offset, step_offset + len(steps)))


def _extend_schedule(
    name: str, schedule: Schedule, planned: int, beyond: range, given: Any, decay: float = 0.0
) -> Schedule:
    """A schedule of `planned` steps that goes on for the steps `beyond` of the noise stream."""
    if given is None and not decay:
        if not (schedule.is_constant or schedule.is_of_chains) and beyond:
            raise InputError(
                f"the run's {name} changed from step to step, and that was planned for {planned} "
                f"steps only; say what follows: {name}="
            )
        return schedule
    if given is None:
        raise InputError(f"decay is that of a {name}; give this as well")
    if schedule.is_of_chains or (name == "noise_scale" and given.ndim == 2):
        if schedule != Schedule(given):
            raise InputError(
                f"a {name} a chain is the same for all steps of a run; begin a run where this one "
                f"ends: x=result.samples, step_offset={beyond.start}"
            )
        return schedule
    new = decayed(as_schedule(name, given, beyond, positive=name in POSITIVE), decay, beyond)
    if schedule.is_constant and schedule == new:
        return schedule
    if schedule.decay and (new.start, new.decay) == (schedule.start, schedule.decay):
        return Schedule(schedule.start, schedule.decay, schedule.first, planned + len(beyond))
    check_length(name, planned + len(beyond))
    counts = (planned, len(beyond))
    parts = (
        np.broadcast_to(part.values, (count,))
        for part, count in zip((schedule, new), counts, strict=True)
    )
    return Schedule(np.concatenate([*parts]))


def _as_mass(mass: InverseMass | None, dim: int) -> InverseMass | None:
    if mass is None:
        return None
    if not mass.n_frozen:
        return as_inverse_mass(mass.values, (dim,))
    frozen = mass.values == 0.0
    return as_inverse_mass(np.where(frozen, 1.0, mass.values), (dim,), as_frozen(frozen, (dim,)))
