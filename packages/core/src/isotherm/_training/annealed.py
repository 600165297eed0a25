"""Annealed Langevin dynamics: an energy that is told the noise level, which falls.

Song and Ermon, "Generative modeling by estimating gradients of the data distribution", NeurIPS
2019, algorithm 1: with σ_1 > ... > σ_L and the score s(x, σ) of the data blurred by N(0, σ²), for
each σ_i so many steps of

    x ← x + η_i s(x, σ_i) + √(2η_i) ξ,  η_i = η·σ_i²/σ_L²

(their α_i is 2η_i). The signal-to-noise ratio of a step is then the same at all levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import Array, as_state, is_array, real_numbers
from isotherm._energies.origin import is_declared, origin
from isotherm._energies.protocol import as_energy
from isotherm._planning.arguments import OnDivergence, as_count, as_number
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.make_plan import make_plan
from isotherm._runs.run import run
from isotherm.errors import InputError, short_repr


@knows_keywords
def annealed(
    energy: Any,
    sigmas: Sequence[float] | Array,
    x: Array | None = None,
    dim: int | tuple[int, ...] | None = None,
    n_samples: int | None = None,
    *,
    n_steps_each: int = 100,
    step_size: float = 1e-5,
    seed: object = None,
    condition: str = "sigma",
    n_steps: int | None = None,
    step_offset: int = 0,
    chain_offset: int = 0,
    noise_scale: float = 1.0,
    clamp: tuple[float | None, float | None] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    on_divergence: OnDivergence = "warn",
    dtype: object = None,
    device: object = None,
    backend: str | None = None,
) -> Array:
    """Sample by Langevin dynamics at noise levels that fall (Song and Ermon, NeurIPS 2019).

    At level i the energy is told σ_i, and `n_steps_each` steps are taken of size
    η_i = step_size·(σ_i/σ_L)², where σ_L is the last level.

    Steps go on counting from level to level, so that one seed serves all of them and no noise comes
    twice. (A loop of runs that all begin at step 0 with one seed would draw the same noise at each
    level.)

    Parameters
    ----------
    energy : callable
        U(x, sigma=σ), a `isotherm.score` s(x, sigma=σ), or a formula with a parameter of this name:
        the conditioned energy. σ is a Python float.
    sigmas : sequence of float, shape (L,)
        The levels, positive, none greater than the one before.
    x : array, optional
        Where the chains start; see `isotherm.sample_chain`. Without it from N(0, σ_1²), drawn from
        the noise stream.
    dim, n_samples, seed, chain_offset, clamp, on_divergence, dtype, device, backend
        See `isotherm.sample_chain`.
    n_steps_each : int
        Steps at each level.
    step_size : float
        η of the last level, half of Song and Ermon's ε.
    condition : str
        The keyword, or the formula's parameter, by which the energy is told σ.
    n_steps : int, optional
        Steps to take now, by default all that are left.
    step_offset : int
        Steps that `x` has behind it, in mid-level or not: a run goes on with it, with the seed that
        it had, and has the bits of one that was not cut.
    noise_scale : float
        Of exp(-U/noise_scale²), at all levels.
    model_kwargs : mapping of str to anything, optional
        What the energy receives besides.

    Returns
    -------
    array, shape (n_samples, *event_shape)
        The final states. Where steps are left, and the energy is of half precision, they are in
        float32, in which chains are kept between steps: such an `x` goes on with the same bits.

    Raises
    ------
    InputError
        An argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> score = isotherm.score(lambda x, sigma: -x / (1.0 + sigma**2), dim=2)  # of blurred N(0, I)
    >>> sigmas = [10.0, 3.0, 1.0, 0.3, 0.1]
    >>> isotherm.annealed(score, sigmas, n_samples=100, step_size=1e-3, seed=0).shape
    (100, 2)
    """
    energy = as_energy(energy)
    if isinstance(model_kwargs, Mapping) and condition in model_kwargs:
        raise InputError(
            f"the energy is told the level as {condition!r}; leave it out of model_kwargs"
        )
    levels = _as_levels(sigmas)
    each = as_count("n_steps_each", n_steps_each, 1)
    first = as_count("step_offset", step_offset, 0)
    left = len(levels) * each - first
    taken = left if n_steps is None else as_count("n_steps", n_steps, 0)
    if first and x is None:
        raise InputError("step_offset is the number of steps behind x; give both")
    if first and seed is None:
        raise InputError("a run goes on with the seed that it had; give seed with step_offset")
    if not 0 <= taken <= left:
        raise InputError(
            f"{len(levels)} levels of {each} steps end with step {len(levels) * each}, and "
            f"step_offset={first} with n_steps={taken} goes beyond it"
        )
    size = _as_step_size(step_size)
    # Once, also for a generator: all levels have one seed. The plan is that of the start.
    told, keywords = _told(energy, condition, levels[0], model_kwargs)
    options: dict[str, Any] = {
        "noise_scale": noise_scale, "clamp": clamp, "chain_offset": chain_offset, "dtype": dtype,
        "device": device, "backend": backend, "on_divergence": on_divergence,
    }  # fmt: skip
    x = as_state(x)
    if first and dtype is None:  # x may be a state in float32, which does not tell it
        options["dtype"] = origin(energy)[1]
    plan = make_plan(told, x, dim, n_samples=n_samples, n_steps=0, seed=seed, **options)
    result = run(plan, told, x, model_kwargs=keywords)
    options["dtype"] = plan.dtype  # which a state in float32 does not tell
    start = result.state["x"] * levels[0] if x is None else result.state["x"]
    for level, begin, end in _pieces(first, first + taken, each):
        told, keywords = _told(energy, condition, levels[level], model_kwargs)
        plan = make_plan(
            told,
            start,
            plan.event_shape,
            n_steps=end - begin,
            step_size=size * (levels[level] / levels[-1]) ** 2,
            seed=plan.seed,
            step_offset=begin,
            **options,
        )
        result = run(plan, told, start, model_kwargs=keywords)
        start = result.state["x"]
    return start if taken < left else result.samples


def _pieces(first: int, last: int, each: int) -> Iterator[tuple[int, int, int]]:
    """The level, the first step and the last of each piece of the steps first..last-1."""
    while first < last:
        level = first // each
        end = min(last, (level + 1) * each)
        yield level, first, end
        first = end


def _told(
    energy: Any, condition: str, sigma: float, keywords: Mapping[str, Any] | None
) -> tuple[Any, Mapping[str, Any] | None]:
    """The energy at a level, and the keywords that it is called with."""
    if is_declared(energy):
        return energy.told(condition, sigma, keywords)
    return energy, {**(keywords or {}), condition: sigma}


def _as_levels(sigmas: Any) -> list[float]:
    values = real_numbers(
        sigmas if is_array(sigmas) else list(sigmas) if _is_long(sigmas) else None
    )
    if values is None or values.ndim != 1 or not values.size:
        raise InputError(f"sigmas must be a sequence of numbers, not {short_repr(sigmas)}")
    if not (np.isfinite(values) & (values > 0.0)).all() or (np.diff(values) > 0.0).any():
        raise InputError(
            "sigmas must be positive and finite, the greatest first and none greater than the one "
            f"before; got {short_repr(values.tolist())}"
        )
    levels: list[float] = values.tolist()
    return levels


def _is_long(sigmas: Any) -> bool:
    return isinstance(sigmas, (list, tuple, range))


def _as_step_size(given: Any) -> float:
    try:
        number = as_number(given)
    except TypeError:
        number = np.nan
    if not 0.0 < number < np.inf:
        raise InputError(
            f"step_size is that of the last level, a positive number, not {short_repr(given)}"
        )
    return number
