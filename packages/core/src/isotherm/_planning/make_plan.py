"""From a user's call to a plan: all that is checked of it is checked here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec

from isotherm._arithmetic.arrays import (
    FLOATING,
    Array,
    as_state,
    device_name,
    dtype_name,
    library_of,
    on_own_device,
)
from isotherm._backends import registry
from isotherm._backends.protocol import Backend
from isotherm._energies.origin import is_declared, name_of, origin, own_shape
from isotherm._energies.parameters import check_held
from isotherm._energies.protocol import HasEnergy, as_energy, fixed, signature
from isotherm._planning.arguments import (
    BoundsLike,
    OnDivergence,
    SamplerName,
    ScheduleLike,
    as_backend_name,
    as_bounds,
    as_clamp,
    as_count,
    as_flag,
    as_on_divergence,
    as_schedule,
    as_shape,
    check_meaning,
    check_start,
    check_stream,
    decayed,
)
from isotherm._planning.extend_plan import validate_plan
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.memo import find as find_made
from isotherm._planning.memo import keep, key_of
from isotherm._planning.sampler_arguments import (
    as_clip,
    as_friction,
    as_frozen,
    as_inverse_mass,
    as_jitter,
    as_noise_scale,
    as_substeps,
    as_threshold,
    with_defaults,
)
from isotherm._planning.seeds import seed_of
from isotherm._plans.plan import DIVERGENCE_THRESHOLD, Plan, Schedule
from isotherm._transitions.catalogue import find
from isotherm.errors import BackendError, InputError, printable, short_repr

P = ParamSpec("P")

_OWN = (
    "step_size", "clamp", "bounds", "gradient_clip", "gradient_clip_norm", "friction", "n_leapfrog",
    "jitter", "inverse_mass", "divergence_threshold",
)  # fmt: skip
"""What a sampler may take, or not."""


def _asks_samplers(make: Callable[P, Plan]) -> Callable[P, Plan]:
    """The function, but a sampler in the energy's place plans with arguments of its own."""
    signature = inspect.signature(make)

    @functools.wraps(make)
    def call(*args: P.args, **kwargs: P.kwargs) -> Plan:
        if not isinstance(args[0] if args else kwargs.get("energy"), HasEnergy):
            return make(*args, **kwargs)
        options = signature.bind(*args, **kwargs).arguments
        plan: Plan = options.pop("energy").plan(**options)
        return plan

    return call


@knows_keywords
@_asks_samplers
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
    seed: object = None,
    *,
    sampler: SamplerName | str = "langevin",
    step_size: ScheduleLike | None = None,
    noise_scale: ScheduleLike | None = None,
    temperature: ScheduleLike | None = None,
    decay: float = 0.0,
    clamp: tuple[float | None, float | None] | None = None,
    bounds: BoundsLike | None = None,
    gradient_clip: float | None = None,
    gradient_clip_norm: float | None = None,
    friction: ScheduleLike | None = None,
    n_leapfrog: ScheduleLike | None = None,
    jitter: float | None = None,
    inverse_mass: object = None,
    frozen: object = None,
    divergence_threshold: float | None = None,
    dtype: object = None,
    device: object = None,
    backend: str | None = None,
    chain_offset: int = 0,
    step_offset: int = 0,
    on_divergence: OnDivergence = "warn",
) -> Plan:
    """Check everything that decides a run, and freeze it.

    Parameters
    ----------
    energy : callable or sampler
        U: x of shape (n_samples, *event_shape) → shape (n_samples,) or (n_samples, 1), or terms,
        which are summed: of the shape of x, or (n_samples, 1, ...). It is called with an array of
        its own, which it may keep. With a method ``gradient`` (x → the shape of x) unless a backend
        differentiates by itself. The target is exp(-U/noise_scale²). Or a sampler object, whose
        arguments are then those it has.
    x : array, optional
        Where the chains start: shape (n_samples, *event_shape); or (dim,), the shape that `dim`
        says, or one row (1, *event_shape), from which all chains start. Without it they start from
        N(0, I), drawn from the noise stream.
    dim : int or tuple of int, optional
        The shape of one chain's state; needed where neither `x` nor the energy tells it.
    n_steps : int
        Steps after the burn-in; with 0, and no burn-in, the start comes back.
    n_samples : int, optional
        Chains; the rows of `x` by default, else 1.
    burn_in : int
        Steps taken first, whose states are not kept.
    thinning : int
        Every how many steps a state is kept.
    return_trajectory, return_diagnostics : bool
        Keep the states; keep mean, variance and energies at each kept step.
    seed : int, generator or key, optional
        Key of the noise, 0 ≤ seed < 2⁶⁴; or a generator from which one is drawn
        (``torch.Generator``, ``numpy.random.Generator`` or ``RandomState``), a
        ``numpy.random.SeedSequence``, or a key of JAX, whose two words are the seed. A fresh one by
        default, never the same in two processes: for torch drawn from its global generator, so that
        ``torch.manual_seed`` governs; NumPy's global seed has no say.
    sampler : {"langevin", "underdamped", "mala", "hmc"}
        How a step is made; see `isotherm.LangevinDynamics`, `isotherm.UnderdampedLangevin`,
        `isotherm.MALA` and `isotherm.HamiltonianMonteCarlo`.
    step_size : float, array or callable, optional
        η or h > 0: a number, one number for each of the burn_in + n_steps steps, or a function of
        the step's number (which begins at `step_offset`). 1e-3 by default for ``"langevin"``,
        needed for the others. For a step size a coordinate give `inverse_mass`; an array of as many
        numbers as there are steps and coordinates alike is refused, as it may be meant for either.
    noise_scale : float, array or callable, optional
        ≥ 0, likewise; 1 by default. 0 is gradient descent; adjusted samplers need it positive. An
        array of shape (n_samples, 1) is one a chain, the same at all steps: chain i then samples
        exp(-U/noise_scale[i]²), with the bits that it has in a run at this noise scale.
    temperature : float, array or callable, optional
        noise_scale², instead of `noise_scale`.
    decay : float
        In [0, 1): step t uses step_size·(1 - decay)^t.
    clamp : (float or None, float or None), optional
        Bounds into which every coordinate is put after each step of ``"langevin"``. What would
        leave them then sits on them, where the law has mass: of a half normal 16 % in steps of
        0.05. `bounds` reflect instead. In half precision they are rounded inwards.
    bounds : (low, high), optional
        Which reflect: each a number, None or an array of the shape of a chain's state (-inf and inf
        for no bound). Every sampler's drifts are mirrored at them and momenta turned, after which a
        state is inside for certain; the law is exp(-U/noise_scale²) between them, exact for
        adjusted samplers and without mass on the bounds. For an inverse mass a coordinate.
    gradient_clip, gradient_clip_norm : float, optional
        Clip each coordinate of ∇U to ±gradient_clip, and then the chain's gradient to this norm, in
        the kicks. Unadjusted samplers then have another law where it is steep; adjusted ones keep
        theirs exactly, as they accept by U itself. NaN stays NaN.
    friction : float, array or callable, optional
        γ ≥ 0 a unit of time, of ``"underdamped"`` (1 by default) and ``"hmc"`` (0: a fresh momentum
        for each trajectory and none between).
    n_leapfrog : int, array or callable, optional
        Substeps of a trajectory of ``"hmc"``, before jitter; 10 by default.
    jitter : float, optional
        In [0, 1], of ``"hmc"``: trajectories have max(1, ⌈n_leapfrog·(1 - jitter·(1 - h(t)))⌉)
        substeps, the same for all chains, with h(t) in (0, 1) the base-2 radical inverse of t + 1;
        1 by default.
    inverse_mass : float, array or matrix, optional
        M⁻¹: a number, one a coordinate (*event_shape), or a symmetric positive definite matrix
        (dim, dim) for up to 64 coordinates; 1 by default.
    frozen : bool array, optional
        Of the shape of a chain's state: True where neither noise nor gradient moves a coordinate.
        The others draw the numbers that they would have drawn. It is no matter whether what is
        frozen is within the clamp or the bounds.
    divergence_threshold : float, optional
        Of the adjusted samplers: a step whose |ΔH|/noise_scale² is larger counts as diverging;
        1000 by default.
    dtype : dtype or str, optional
        That of `x`, else of the energy's parameters, else float32 (with torch, what
        ``torch.set_default_dtype`` set). A network is called in the dtype of its own parameters,
        whatever that of the state.
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
    given = (  # in the order of `_Options`, which a repeated call need not make
        dim, n_steps, n_samples, burn_in, thinning, return_trajectory, return_diagnostics, sampler,
        step_size, noise_scale, temperature, decay, clamp, bounds, gradient_clip,
        gradient_clip_norm, friction, n_leapfrog, jitter, inverse_mass, frozen,
        divergence_threshold, dtype, device, backend, chain_offset, step_offset, on_divergence,
    )  # fmt: skip
    key = key_of(energy, x, given)
    made = None if key is None else find_made(energy, key)
    if made is not None and x is not None:
        check_start(x, made.plan.dtype)
        return made.plan.with_seed(seed_of(seed, made.asked))
    options = _Options(*given)
    chains = _chains(energy, x, options)
    now = fixed(energy, chains.event_shape)
    place = _place(now, x, options)
    plan = _planned(now, x, options, chains, place, seed)
    if key is not None:
        keep(energy, now, key, plan, place.asked)
    return plan


class _Options(NamedTuple):
    """What was given besides energy, start and seed; see `make_plan`."""

    dim: Any
    n_steps: Any
    n_samples: Any
    burn_in: Any
    thinning: Any
    return_trajectory: Any
    return_diagnostics: Any
    sampler: Any
    step_size: Any
    noise_scale: Any
    temperature: Any
    decay: Any
    clamp: Any
    bounds: Any
    gradient_clip: Any
    gradient_clip_norm: Any
    friction: Any
    n_leapfrog: Any
    jitter: Any
    inverse_mass: Any
    frozen: Any
    divergence_threshold: Any
    dtype: Any
    device: Any
    backend: Any
    chain_offset: Any
    step_offset: Any
    on_divergence: Any


class _Chains(NamedTuple):
    """How many there are, of what shape, and their steps: fields of the plan."""

    n_samples: int
    event_shape: tuple[int, ...]
    n_steps: int
    burn_in: int
    thinning: int
    chain_offset: int
    step_offset: int

    @property
    def steps(self) -> range:
        """The steps' numbers in the noise stream."""
        return range(self.step_offset, self.step_offset + self.burn_in + self.n_steps)


class _Place(NamedTuple):
    """Where the chains run, and in which dtype."""

    named: Backend | None  # by the user
    asked: Backend  # by name, or by the arrays
    device: str
    library: str  # of the states that come back
    dtype: str


def _chains(energy: Any, x: Array | None, options: _Options) -> _Chains:
    n_steps = as_count("n_steps", options.n_steps, 0)
    burn_in = as_count("burn_in", options.burn_in, 0)
    thinning = as_count("thinning", options.thinning, 1)
    chain_offset = as_count("chain_offset", options.chain_offset, 0)
    step_offset = as_count("step_offset", options.step_offset, 0)
    if thinning > max(n_steps, 1):
        raise InputError(
            f"thinning={thinning} is more than n_steps={n_steps}, so that no state would be kept; "
            "take more steps or thin less"
        )
    n_samples, event_shape = _state_shape(energy, x, options.dim, options.n_samples)
    made = _Chains(n_samples, event_shape, n_steps, burn_in, thinning, chain_offset, step_offset)
    check_stream(n_samples, event_shape, chain_offset, made.steps.stop)
    return made


def _place(energy: Any, x: Array | None, options: _Options) -> _Place:
    own_library, own_dtype, own_device = origin(energy)
    library = own_library or "numpy" if x is None else library_of(x)
    # What another library differentiates runs there; the states come back as they were given.
    is_elsewhere = x is not None and own_library not in (None, "numpy", library)
    is_elsewhere = is_elsewhere and not hasattr(energy, "gradient")
    where = None if options.device is None else str(options.device)
    if where is None:
        where = own_device if x is None or is_elsewhere else device_name(x)
    named = None if options.backend is None else registry.usable(as_backend_name(options.backend))
    asked = named or registry.first_for(
        own_library if is_elsewhere and own_library else library,
        where or "cpu",
    )
    dtype = _dtype(options.dtype, x, own_dtype or _default_dtype(asked, energy))
    if dtype == "bfloat16" and x is not None and library == "numpy":
        raise InputError(
            "NumPy has no bfloat16, in which the states of its arrays could come back; give x as "
            "an array of another library, leave out x, or take dtype='float32'"
        )
    device = _device(asked, where, is_wanted=options.device is not None)
    return _Place(named, asked, device, asked.library if x is None else library, dtype)


def _planned(
    energy: Any, x: Array | None, options: _Options, chains: _Chains, place: _Place, seed: object
) -> Plan:
    """The plan, on a backend that can run it, from a start that it allows."""
    plan = Plan(
        energy=printable(name_of(energy)),
        energy_signature=signature(energy, chains.event_shape),
        **chains._asdict(),
        **_of_sampler(energy, options, chains, place.dtype),
        backend=place.asked.name,
        device=place.device,
        library=place.library,
        dtype=place.dtype,
        has_start=x is not None,
        return_trajectory=as_flag("return_trajectory", options.return_trajectory),
        return_diagnostics=as_flag("return_diagnostics", options.return_diagnostics),
        on_divergence=as_on_divergence(options.on_divergence),
        seed=seed_of(seed, place.asked),
    )
    plan = validate_plan(plan)
    check_held(energy, plan.dtype)
    chosen = place.named or registry.with_kernel(place.asked, plan, energy)
    plan = replace(plan, backend=chosen.name)
    reason = chosen.supports(plan, energy)
    if reason is not None:
        raise BackendError(f"backend {chosen.name!r} cannot run this: {reason}")
    if x is not None:
        with on_own_device(x):
            check_start(x, plan.dtype, bounds=plan.effective_bounds)
    return plan


def _of_sampler(energy: Any, options: _Options, chains: _Chains, dtype: str) -> dict[str, Any]:
    """The fields of the plan that say how a step is made."""
    transition, steps, shape = find(options.sampler), chains.steps, chains.event_shape
    own = with_defaults(options.sampler, {name: getattr(options, name) for name in _OWN})
    step_sizes = as_schedule("step_size", own["step_size"], steps, positive=True)
    check_meaning(options.step_size, len(steps), shape)
    step_size = decayed(step_sizes, options.decay, steps)
    scales = as_noise_scale(options.noise_scale, options.temperature, steps, chains.n_samples)
    if not callable(energy) and (transition.is_adjusted or options.return_diagnostics):
        asks = options.return_diagnostics
        what = "return_diagnostics" if asks else f"sampler={transition.name!r}"
        raise InputError(
            f"{what} needs the energy's value, and {type(energy).__name__} has a gradient alone; "
            "take sampler='langevin' or 'underdamped' without diagnostics, or add U(x)"
        )
    friction = as_friction(own["friction"], steps)
    threshold, jitter = own["divergence_threshold"], own["jitter"]
    has_friction = friction is not None
    return {
        "sampler": transition.name,
        "step_size": step_size,
        "noise_scale": Schedule(1.0 if scales is None else scales),
        "friction": friction,
        "clamp": as_clamp(own["clamp"], dtype),
        "bounds": as_bounds(own["bounds"], shape),
        "gradient_clip": as_clip("gradient_clip", own["gradient_clip"]),
        "gradient_clip_norm": as_clip("gradient_clip_norm", own["gradient_clip_norm"]),
        "n_leapfrog": as_substeps(own["n_leapfrog"], steps, dtype, has_friction=has_friction),
        "jitter": 0.0 if jitter is None else as_jitter(jitter),
        "inverse_mass": as_inverse_mass(
            own["inverse_mass"], shape, as_frozen(options.frozen, shape)
        ),
        "divergence_threshold": as_threshold(
            DIVERGENCE_THRESHOLD if threshold is None else threshold
        ),
    }


def _state_shape(
    energy: Any, x: Array | None, dim: Any, n_samples: Any
) -> tuple[int, tuple[int, ...]]:
    """(n_samples, event_shape) of what the user said in three ways, which must agree."""
    own = own_shape(energy)
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
        is_one_state = x.ndim == 1 or tuple(x.shape) == said
        shape = tuple(map(int, x.shape if is_one_state else x.shape[1:]))
        rows = 1 if is_one_state else int(x.shape[0])
        if said is not None and said != shape:
            raise InputError(
                f"x has shape {tuple(x.shape)} but dim is {dim}; it is read as {rows} "
                f"{'chain' if rows == 1 else 'chains'} of shape {shape}: leave out dim, or "
                "reshape x"
            )
        if rows > 1 and wanted not in (None, rows):
            raise InputError(
                f"x has shape {tuple(x.shape)}, that is {rows} chains, but n_samples is {wanted}; "
                "leave out n_samples, or pass one state of shape (dim,)"
            )
    if own is not None and shape != own:
        given = f"dim is {dim}" if x is None else f"x has shape {tuple(x.shape)}"
        raise InputError(f"{given} but the energy has dimension {energy.dim}")
    return wanted or rows, shape


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


def _default_dtype(backend: Backend, energy: Any) -> str | None:
    """That of the library's own setting, of which energies of ours are independent."""
    if is_declared(energy):
        return None
    ask: Callable[[], str] | None = getattr(backend, "default_dtype", None)
    return None if ask is None else ask()


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
    return name  # of integers
