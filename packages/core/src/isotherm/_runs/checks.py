"""Before the first step: the start, the energy's shapes and the memory that a run needs."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic import noise
from isotherm._arithmetic.arrays import (
    Array,
    as_state,
    empty,
    move,
    on_own_device,
    round_to,
)
from isotherm._backends.array_loop import Segments, as_column, as_row, matvec
from isotherm._backends.host_noise import fill_normals
from isotherm._backends.protocol import Backend, Outputs, Runner, State
from isotherm._energies.origin import is_declared, is_portable
from isotherm._energies.parameters import check_held
from isotherm._energies.protocol import numbers_digests, signature
from isotherm._energies.users import WithKeywords, check_keywords
from isotherm._planning.arguments import check_start
from isotherm._plans.bounds import Bounds
from isotherm._plans.plan import Plan, format_bytes
from isotherm._results.recorder import allocator
from isotherm._transitions.catalogue import find
from isotherm._transitions.limits import INSIDE
from isotherm._transitions.program import Segment, Variant
from isotherm.errors import EnergyWarning, ExtraNotInstalledError, InputError, caller_stacklevel

if TYPE_CHECKING:  # which needs what is optional
    from isotherm._store.layout import Header

# A run that needs no more than Python itself is begun without asking how much there is.
_SMALL_RUN = 2**26

# Relative, of energies whose parameters may have been rounded to float32, and of networks.
_PROBE_TOLERANCE = 1e-3


def store_module() -> ModuleType:
    """`isotherm._store`, or the sentence that says what to install."""
    try:
        from isotherm import _store
    except ImportError as error:
        raise ExtraNotInstalledError(
            f"a store needs {error.name}, which is not installed; pip install 'isotherm[store]'"
        ) from None
    return _store


def with_keywords(energy: Any, keywords: Mapping[str, Any] | None) -> Any:
    """The energy as a function of x alone."""
    if keywords is None:
        return energy
    if not isinstance(keywords, Mapping):
        raise InputError(
            "model_kwargs must map the names of keywords to their values; got "
            f"{type(keywords).__name__}"
        )
    if is_declared(energy):
        return energy.with_keywords(keywords)
    check_keywords("the energy", energy, keywords)
    if hasattr(energy, "gradient"):
        check_keywords("the energy's gradient", energy.gradient, keywords)
        return WithKeywords(energy, keywords)
    return functools.partial(energy, **keywords)


def initial_state(plan: Plan, backend: Backend, x: Array | None, momentum: Any = None) -> State:
    """The state before the first step: as given, or drawn from the noise stream.

    Without `x` chains start from N(0, I), and without `momentum`, where the sampler has one, from
    N(0, noise_scale² M). `x` was checked, by `make_plan` or by `run`.
    """
    state = {"x": _start(plan, backend, x)}
    carried = find(plan.sampler).carried
    if momentum is not None and "momentum" not in carried:
        raise InputError(f"sampler {plan.sampler!r} has no momentum; leave out momentum=")
    if "momentum" in carried:
        given = as_state(momentum, "momentum")
        if given is None:
            state["momentum"] = _fresh_momentum(plan, backend)
        else:
            check_given(plan, given, "momentum")
            state["momentum"] = _moved(plan, backend, given)
    return state


def _start(plan: Plan, backend: Backend, x: Array | None) -> Array:
    if x is not None:
        return _moved(plan, backend, x)
    normals = _normals(plan, backend, noise.Stream.INITIAL)
    if plan.bounds is not None:
        normals = inside(plan, normals)
    return compat.array_namespace(normals).reshape(normals, plan.shape)


def inside(plan: Plan, states: Array) -> Array:
    """States reflected into the bounds, by the operations of a transition; shape (n, dim).

    What is frozen is, too: it is drawn, and so where nobody wanted it to be.
    """
    program = INSIDE.program(Variant(has_bounds=True))
    sides = replace(plan, inverse_mass=None).vectors()
    values = {program.start["x"]: states}
    for index, one in enumerate(program.values):
        if one.op == "vector":
            values[index] = as_row(sides[program.vectors[int(one.value)]], states)
    (segment,) = program.statements
    assert isinstance(segment, Segment)
    with np.errstate(all="ignore"):  # of choices that are not taken
        (made,) = Segments(program, plan.state_dtype)(segment, values)
    return made


def _fresh_momentum(plan: Plan, backend: Backend) -> Array:
    """noise_scale M½ ξ, by the operations of a transition."""
    normals = _normals(plan, backend, noise.Stream.MOMENTUM)
    xp = compat.array_namespace(normals)
    if plan.inverse_mass is not None:
        root = plan.vectors()["mass_root"]
        normals = matvec(root, normals) if root.ndim == 2 else as_row(root, normals) * normals
    scales = round_to(plan.noise_scale.between(0, 1), plan.state_dtype)
    scale = as_column(scales[:, 0], normals) if scales.ndim == 2 else float(scales[0])
    return xp.reshape(scale * normals, plan.shape)


def _normals(plan: Plan, backend: Backend, stream: noise.Stream) -> Array:
    shape = (plan.steps_per_block, plan.n_samples, plan.n_coordinates)
    normals = empty(backend.library, shape, plan.state_dtype, plan.device)
    own = fill_normals() if backend.library == "numpy" else noise.fill_normals
    fill = getattr(backend, "fill_normals", own)
    fill(normals, seed=plan.seed, stream=stream, block=0, chain_offset=plan.chain_offset)
    return normals[0, ...]


def _moved(plan: Plan, backend: Backend, given: Array) -> Array:
    rows = given[None, ...] if given.ndim == len(plan.event_shape) else given
    state = move(rows, backend.library, plan.state_dtype, plan.device)
    if state.shape == plan.shape:
        return state
    return compat.array_namespace(state).broadcast_to(state, plan.shape)


def check_given(plan: Plan, given: Array, name: str, bounds: Bounds | None = None) -> None:
    """Refuse a start that is not of the plan's shape, not finite, or outside of bounds."""
    if tuple(given.shape) not in (plan.shape, (1, *plan.event_shape), plan.event_shape):
        raise InputError(
            f"{name} has shape {tuple(given.shape)} but the plan was made for {plan.shape}"
        )
    with on_own_device(given):
        check_start(given, plan.dtype, name, bounds)


def checked_allocator(
    plan: Plan, backend: Backend, *, is_stored: bool, moments_dtype: str | None = None
) -> Callable[[int], Outputs]:
    """What makes room for kept states; refuses a run that does not fit into memory."""
    needed = store_module().buffer_bytes(plan) if is_stored else plan.result_bytes
    # The first states are drawn with their whole block of the noise stream.
    needed += plan.steps_per_block * plan.state_bytes
    if needed > _SMALL_RUN:
        available = backend.available_memory(plan.device)
        if available is not None and needed > available:
            remedy = "run fewer chains"
            if not is_stored and (plan.return_trajectory or plan.return_diagnostics):
                remedy = (
                    "keep what is kept on the disk (store='run.zarr'), keep less (a larger "
                    f"thinning), or {remedy}"
                )
            raise InputError(
                f"the run needs {format_bytes(needed)} and {plan.device} has "
                f"{format_bytes(available)} available; {remedy}"
            )
    return allocator(plan, backend, moments_dtype)


def probe_energy(plan: Plan, energy: Any) -> float | None:
    """The energy at one state, to tell energies apart; None where it cannot be had on the host."""
    if not is_portable(energy):
        return None
    normals = np.empty((noise.steps_per_block("float64"), 1, plan.n_coordinates))
    noise.fill_normals(normals, seed=plan.seed, stream=noise.Stream.INITIAL, block=0)
    with np.errstate(all="ignore"):
        return float(energy(normals[0].reshape(1, *plan.event_shape))[0])


def check_same_energy(plan: Plan, energy: Any, held: Header, path: os.PathLike[str]) -> None:
    """Refuse an energy that is known not to be the one of the run; warn of a user's own.

    Of one that is made of numbers alone all of them are compared, in float64. A user's energy may
    have been mended, so that it is let go on.
    """
    if is_declared(energy) and held.plan.energy_signature not in ("", plan.energy_signature):
        raise InputError(
            f"{path} is a run of {held.plan.energy_signature}, and this is "
            f"{plan.energy_signature}; pass the energy that the run had"
        )
    if held.numbers is not None and (numbers := numbers_digests(energy)):
        is_same = numbers.issuperset(held.numbers.split())
        if not is_same and is_portable(energy):
            raise InputError(
                f"the energy is not that of {path}: it is the same formula with other numbers; "
                "pass the energy that the run had, with the same values to the last digit"
            )
        if not is_same:
            warnings.warn(
                f"the energy holds other numbers (parameters of a network, attributes, "
                f"model_kwargs) than when {path} was begun; the chains go on with what it is now",
                EnergyWarning,
                stacklevel=caller_stacklevel(),
            )
        return
    probe = probe_energy(plan, energy)
    if not _is_near(probe, held.probe):
        raise InputError(
            f"the energy is not that of {path}: at one state it is {probe:g}, and it was "
            f"{held.probe:g} there; pass the energy that the run had"
        )


def _is_near(probe: float | None, held: float | None) -> bool:
    """Whether two energies at the same states may be those of one energy."""
    return (probe is None or held is None) or bool(
        np.isclose(probe, held, rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE, equal_nan=True)
    )


def check_belongs(plan: Plan, energy: Any, x: Array | None) -> None:
    """Refuse an energy, or a start, that is not what the plan was made for.

    A kernel trusts the plan: the dimension of another energy would lead it out of its arrays.
    """
    given = signature(energy, plan.event_shape)
    if given != plan.energy_signature:
        raise InputError(
            f"the plan was made for {plan.energy_signature}, not for {given}; make a plan for this "
            "energy"
        )
    check_held(energy, plan.dtype)
    if plan.has_start and x is None:
        raise InputError(
            "the plan was made for chains that start at a given x; pass it to run as well: "
            "run(plan, energy, x)"
        )
    if x is not None and not plan.has_start:
        raise InputError(
            "the plan was made without x, for chains that start from N(0, I); leave out x, or make "
            "the plan with it: make_plan(energy, x)"
        )


def begin(plan: Plan, runner: Runner, state: State) -> None:
    """Let the runner ask a user's energy for the first step, and refuse what is wrong with it."""
    ask: Callable[[State], None] | None = getattr(runner, "begin", None)
    if ask is not None and plan.n_total:
        with np.errstate(all="ignore"):
            ask(state)
