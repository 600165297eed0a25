"""Keywords of `sample_chain` as type checkers see them, and what it gives back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from isotherm._arithmetic.arrays import Array
from isotherm._planning.arguments import BoundsLike, OnDivergence, SamplerName, ScheduleLike
from isotherm._plans.plan import Plan
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Info, Progress, Result
from isotherm._runs.executors import ExecutorLike


class RunOptions(TypedDict, total=False):
    """What a run of a sampler takes besides its start and its length."""

    burn_in: int
    thinning: int
    return_trajectory: bool
    seed: object
    n_warmup: int
    momentum: Array | None
    frozen: object
    chain_offset: int
    step_offset: int
    on_divergence: OnDivergence
    model_kwargs: Mapping[str, Any] | None
    progress: bool | Callable[[int, int], object]
    callback: Callable[[Progress], object] | None
    callback_every: int | None
    store: str | os.PathLike[str] | None
    flush_every: float
    executor: ExecutorLike | None


class SampleOptions(RunOptions, total=False):
    """What `isotherm.sample_chain` takes besides: what a sampler is made of."""

    sampler: SamplerName | str
    step_size: ScheduleLike | None
    noise_scale: ScheduleLike | None
    temperature: ScheduleLike | None
    decay: float
    clamp: tuple[float | None, float | None] | None
    bounds: BoundsLike | None
    gradient_clip: float | None
    gradient_clip_norm: float | None
    friction: ScheduleLike | None
    n_leapfrog: ScheduleLike | None
    jitter: float | None
    inverse_mass: object
    divergence_threshold: float | None
    dtype: object
    device: object
    backend: str | None


def shortened(
    plan: Plan, result: Result, *, with_info: bool
) -> Array | tuple[Array | Diagnostics | Info, ...]:
    """What was asked for of a result: the samples alone, or in a tuple with what else."""
    samples = result.trajectory if plan.return_trajectory else result.samples
    rest: list[Diagnostics | Info] = []
    if result.diagnostics is not None:
        rest.append(result.diagnostics)
    if with_info:
        rest.append(result.info)
    return (samples, *rest) if rest else samples
