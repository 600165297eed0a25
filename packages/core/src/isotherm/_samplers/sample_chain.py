"""One call: `sample_chain`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, Unpack, overload

from isotherm._arithmetic.arrays import Array, as_state
from isotherm._energies.protocol import as_energy
from isotherm._planning.arguments import BoundsLike, OnDivergence, SamplerName, ScheduleLike
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.make_plan import make_plan
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Info, Progress
from isotherm._runs.executors import ExecutorLike
from isotherm._runs.prepared import Prepared
from isotherm._runs.run import run_prepared
from isotherm._samplers.base import Sampler
from isotherm._samplers.langevin import LangevinDynamics, UnderdampedLangevin
from isotherm._samplers.metropolis import MALA, HamiltonianMonteCarlo
from isotherm._samplers.options import SampleOptions, shortened
from isotherm._transitions.catalogue import find
from isotherm._warmup.starts import placed
from isotherm.errors import InputError


@overload
def sample_chain(
    energy: Any,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_steps: int = 100,
    n_samples: int | None = None,
    *,
    return_diagnostics: Literal[False] = False,
    return_info: Literal[False] = False,
    **options: Unpack[SampleOptions],
) -> Array: ...
@overload
def sample_chain(
    energy: Any,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_steps: int = 100,
    n_samples: int | None = None,
    *,
    return_diagnostics: Literal[True],
    return_info: Literal[False] = False,
    **options: Unpack[SampleOptions],
) -> tuple[Array, Diagnostics]: ...
@overload
def sample_chain(
    energy: Any,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_steps: int = 100,
    n_samples: int | None = None,
    *,
    return_diagnostics: Literal[False] = False,
    return_info: Literal[True],
    **options: Unpack[SampleOptions],
) -> tuple[Array, Info]: ...
@overload
def sample_chain(
    energy: Any,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_steps: int = 100,
    n_samples: int | None = None,
    *,
    return_diagnostics: Literal[True],
    return_info: Literal[True],
    **options: Unpack[SampleOptions],
) -> tuple[Array, Diagnostics, Info]: ...
@knows_keywords
def sample_chain(
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
    return_info: bool = False,
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
    n_warmup: int = 0,
    momentum: Array | None = None,
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
    """Sample exp(-U/noise_scale²) with many chains, in one call.

    Parameters
    ----------
    energy : callable
        U: x of shape (n_samples, *event_shape) → shape (n_samples,) or (n_samples, 1), or terms,
        which are summed: of the shape of x, or (n_samples, 1, ...). It is called with an array of
        its own, which it may keep. With a method ``gradient`` (x → the shape of x) unless a backend
        differentiates by itself. The target is exp(-U/noise_scale²).
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
    return_trajectory, return_diagnostics, return_info : bool
        Keep the states; keep mean, variance and energies at each kept step; say how the run went
        (seed, backend, path, divergences, acceptance).
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
        The others draw the numbers that they would have drawn.
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
    n_warmup : int
        Warm up first, with so many steps of pilots (500, say), and sample with what they find, from
        where they are; see `isotherm.warm_up`. `n_leapfrog`, `friction` and `inverse_mass` that are
        given stand, each a number and no schedule; a step size is where the search begins.
        Frozen coordinates are those of `x`, for pilots and chains.
    momentum : array, optional
        With which the chains start, where the sampler carries one; see `isotherm.run`.
    chain_offset, step_offset : int
        The noise stream's numbers of the first chain and the first step: rows k.. of a run are the
        run with ``chain_offset=k``, and a run goes on with ``step_offset`` the steps behind it.
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

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.DoubleWellEnergy(barrier_height=2.0)
    >>> isotherm.sample_chain(energy, dim=10, n_samples=1000, step_size=5e-3, seed=0).shape
    (1000, 10)
    """
    energy = as_energy(energy)
    own: dict[str, Any] = {
        "step_size": step_size, "noise_scale": noise_scale, "temperature": temperature,
        "clamp": clamp, "bounds": bounds, "gradient_clip": gradient_clip,
        "gradient_clip_norm": gradient_clip_norm, "friction": friction, "n_leapfrog": n_leapfrog,
        "jitter": jitter, "inverse_mass": inverse_mass,
        "divergence_threshold": divergence_threshold, "dtype": dtype, "device": device,
        "backend": backend,
    }  # fmt: skip
    planned: dict[str, Any] = {
        "burn_in": burn_in, "thinning": thinning, "return_trajectory": return_trajectory,
        "return_diagnostics": return_diagnostics, "seed": seed, "frozen": frozen,
        "chain_offset": chain_offset, "step_offset": step_offset, "on_divergence": on_divergence,
    }  # fmt: skip
    if n_warmup:
        made: Any = sampler_of(sampler, energy, {**own, "decay": decay or None})
        return made.sample_chain(
            x, dim, n_steps, n_samples, n_warmup=n_warmup, return_info=return_info, **planned,
            momentum=momentum, model_kwargs=model_kwargs, progress=progress, callback=callback,
            callback_every=callback_every, store=store, flush_every=flush_every, executor=executor,
        )  # fmt: skip
    x = as_state(placed(x, n_samples, chain_offset))
    plan = make_plan(
        energy, x, dim, n_steps, n_samples, sampler=sampler, decay=decay, **own, **planned
    )
    result = run_prepared(
        Prepared(), plan, energy, x, momentum, model_kwargs, progress, callback, callback_every,
        store, flush_every, executor,
    )  # fmt: skip
    return shortened(plan, result, with_info=return_info)


SAMPLERS: Mapping[str, Callable[..., Sampler]] = {
    one.name: one for one in (LangevinDynamics, UnderdampedLangevin, MALA, HamiltonianMonteCarlo)
}


def sampler_of(word: str, energy: Any, arguments: Mapping[str, Any]) -> Sampler:
    """The sampler that a word stands for, of those of these arguments that are not None."""
    make = SAMPLERS.get(find(word).name)
    if make is None:
        raise InputError(
            f"n_warmup is for the samplers {', '.join(map(repr, SAMPLERS))}, not {word!r}"
        )
    return make(energy, **{name: one for name, one in arguments.items() if one is not None})
