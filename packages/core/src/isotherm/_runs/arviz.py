"""Whether chains have converged, by ArviZ. Needs the extra ``isotherm[arviz]``."""

from __future__ import annotations

import inspect
import os
import warnings
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import Array, is_array, to_numpy
from isotherm._planning.arguments import BoundsLike, as_count
from isotherm._plans.bounds import Bounds
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Result
from isotherm._runs.resume import open_run
from isotherm._runs.virial import virial
from isotherm.errors import (
    ExtraNotInstalledError,
    InputError,
    UnknownArgumentError,
    short_repr,
    text_of,
)

_LEAST_DRAWS = 4  # of which ArviZ calculates an ESS or R-hat: each half of a chain needs two
_ATTRIBUTES = ("seed", "backend", "device", "path", "n_steps", "seconds", "tuning")


def summary(
    result: Any,
    *,
    n_superchains: int | None = None,
    energy: Any = None,
    noise_scale: float | Array | None = None,
    temperature: float | Array | None = None,
    bounds: BoundsLike | Bounds | None = None,
    frozen: object = None,
    **options: Any,
) -> Any:
    """Mean, sd, their Monte Carlo errors, effective sample sizes and R-hat of every coordinate.

    What ``arviz.summary`` returns for `to_arviz`: R-hat is the rank-normalised split R-hat, and
    the sizes are those of the bulk and of the tail (Vehtari, Gelman, Simpson, Carpenter and
    Bürkner, Bayesian Analysis 16, 2021).

    These tell how good a chain's kept states are as draws. A run that keeps only final states has
    one draw a chain: n_samples independent draws, if every chain has run long enough to forget its
    start. That it has, one draw cannot show, so there is no R-hat, and no ESS but n_samples.

    Parameters
    ----------
    result : Result, path, or array of shape (n_samples, n_kept, *event_shape)
        Of a run with ``return_trajectory=True``; or its store; or the trajectory itself, an array
        of any library or an ``xarray.DataArray``. At least 4 kept states a chain. ArviZ needs all
        in memory; of a store for which that is too much, give ``open_run(store).trajectory[:,
        ::10]``.
    n_superchains : int, optional
        Adds the column ``r_hat_nested``, for many short chains: the chains i, i + n_superchains,
        ..., which start at the same state (as from a warm-up's `x` of so many pilots), are one
        superchain, and superchains must agree (Margossian et al., "Nested R-hat", Bayesian
        Analysis, 2024, equation 6). A divisor of the number of chains, at least 2 and less than it.
    energy : callable, optional
        Adds the columns ``virial``, which is 1 of samples of exp(-U/noise_scale²), and its Monte
        Carlo error ``mcse_virial``; and warns where they are not; see `isotherm.virial`.
    noise_scale, temperature : float or array of shape (n_samples, 1), optional
        Of the target, for the virial: one of both; by default what a Result or a store knows, and
        1 of an array. Chains at temperatures of their own have several laws, for which there is no
        R-hat: give the trajectory of one at a time.
    bounds : (low, high), optional
    frozen : bool array, shape (*event_shape), optional
        Of the chains, for the virial; a Result or a store knows its own.
    **options
        Those of ``arviz.summary``: ``round_to="none"`` for all digits, ``kind="diagnostics"``.

    Returns
    -------
    pandas.DataFrame
        A row a coordinate. Of a run of an adjusted sampler ``acceptance`` and ``divergences`` are
        those of the steps that this call of `run` or `resume` took; a store knows none. R-hat
        is NaN for one chain alone; every statistic is NaN of a coordinate that was not finite
        throughout.

    Raises
    ------
    InputError
        There is no trajectory, too few states were kept, or ArviZ does not know the value of an
        option; the message lists those that it knows.
    ExtraNotInstalledError
        ArviZ is not installed.
    UnknownArgumentError
        There is no such option.
    StoreError
        There is no such store, or it is not sound.
    """
    if isinstance(result, (str, os.PathLike)):
        result = open_run(result)
    data = to_arviz(result)
    draws = data["posterior"].sizes["draw"]
    if draws < _LEAST_DRAWS:
        raise InputError(
            f"{draws} kept states a chain are too few for R-hat and ESS, which need "
            f"{_LEAST_DRAWS}; take more steps or thin less"
        )
    make = partial(_arviz().summary, data)
    unknown = sorted(options.keys() - inspect.signature(make).parameters.keys())
    if unknown:
        raise UnknownArgumentError(
            f"summary() has no argument {unknown[0]!r}, and neither has arviz.summary"
        )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of 0/0 where a coordinate is constant
        try:
            made = make(**options)
        except (KeyError, TypeError, ValueError) as error:
            if not options:
                raise
            given = ", ".join(f"{name}={short_repr(one)}" for name, one in options.items())
            said = " ".join(text_of(error).split())
            raise InputError(f"arviz.summary cannot take {given}: {said}") from None
    x = data["posterior"]["x"].values
    n_rows = len(made) if hasattr(made, "loc") and hasattr(made, "columns") else None
    if n_rows == x[0, 0].size:
        is_known = np.isfinite(x).all(axis=(0, 1)).ravel()
        if not is_known.all():
            made.loc[~is_known] = np.nan
    elif n_superchains is not None or energy is not None:
        raise InputError(
            "n_superchains and energy add columns to a table with a row for every coordinate, "
            f"which arviz.summary does not make with {', '.join(sorted(options))}; leave these out"
        )
    if n_superchains is not None:
        made["r_hat_nested"] = _nested_r_hat(x, n_superchains)
    if energy is not None:
        found = virial(
            energy, result, noise_scale=noise_scale, temperature=temperature, bounds=bounds,
            frozen=frozen, is_trajectory=True,
        )  # fmt: skip
        made["virial"], made["mcse_virial"] = found.coordinates.ravel(), found.errors.ravel()
    elif any(given is not None for given in (noise_scale, temperature, bounds, frozen)):
        raise InputError(
            "noise_scale, temperature, bounds and frozen are for the virial; give the energy, too"
        )
    if isinstance(result, Result) and result.info.acceptance_rate is not None:
        made["acceptance"] = result.info.acceptance_rate
        made["divergences"] = result.info.n_divergences
    return made


def _nested_r_hat(x: Any, n_superchains: Any) -> Any:
    """Of each coordinate; x has shape (n_chains, n_draws, *event_shape)."""
    n, n_draws = x.shape[:2]
    k = as_count("n_superchains", n_superchains, 2)
    if n % k or n == k:
        raise InputError(
            f"n_superchains must divide the number of chains, {n}, and be less; got {k}"
        )
    groups = x.reshape(n // k, k, n_draws, -1)  # chain i is of the superchain i % k
    means = groups.mean(axis=2)
    within = means.var(axis=0, ddof=1) + (groups.var(axis=2, ddof=1).mean(axis=0))
    between = means.mean(axis=0).var(axis=0, ddof=1)
    with np.errstate(all="ignore"):
        return np.sqrt(1.0 + between / within.mean(axis=0))


def to_arviz(result: Any) -> Any:
    """A run as an object for ArviZ's plots and statistics.

    Parameters
    ----------
    result : Result, path, or array of shape (n_samples, n_kept, *event_shape)
        Of a run with ``return_trajectory=True``; or its store; or the trajectory itself, an array
        of any library or an ``xarray.DataArray`` of the dimensions ``chain``, ``draw`` and those of
        the event.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        A tree with ArviZ 1, before that ``InferenceData``. Its group ``posterior`` holds ``x``, of
        dimensions (chain, draw, x_dim_0, ...) and float64: ArviZ adds numbers up in the precision
        in which it gets them, and float32 means of a million draws may lose all but two digits.
        Where there are diagnostics, ``sample_stats`` holds ``energy`` and, by ArviZ's names,
        ``step_size``, of adjusted samplers ``acceptance_rate``, ``energy_error`` and ``diverging``,
        and of ``"hmc"`` ``n_steps``, the substeps of trajectories; and the coordinate ``step``
        along ``draw`` tells the steps behind each kept state. Attributes say how the run went.

    Raises
    ------
    InputError
        There is no trajectory.
    ExtraNotInstalledError
        ArviZ is not installed.
    StoreError
        There is no such store, or it is not sound.
    """
    arviz = _arviz()
    import xarray

    if isinstance(result, (str, os.PathLike)):
        result = open_run(result)
    x = _draws(_trajectory(result), "x")
    coords: dict[str, Any] = {name: np.arange(x.sizes[name]) for name in ("chain", "draw")}
    variables = {"posterior": {"x": x}}
    attributes: dict[str, Any] = {"inference_library": "isotherm"}
    if isinstance(result, Result):
        known = {name: getattr(result.info, name) for name in _ATTRIBUTES}
        attributes |= {name: value for name, value in known.items() if value is not None}
        if result.diagnostics is not None:
            coords["step"] = xarray.Variable("draw", result.diagnostics.steps)
            variables["sample_stats"] = _sample_stats(result.diagnostics, x.sizes["chain"])
    coords |= x.coords  # those of a store
    groups = {name: xarray.Dataset(held, coords, attributes) for name, held in variables.items()}
    if hasattr(arviz, "convert_to_datatree"):
        return xarray.DataTree.from_dict(groups)
    return arviz.InferenceData(**groups)


def _sample_stats(diagnostics: Diagnostics, n_chains: int) -> dict[str, Any]:
    """What is known of each kept state, by ArviZ's names; of the dimensions (chain, draw)."""
    import xarray

    made = {}
    for name in ("energy", "energy_error", "acceptance_rate"):
        values = getattr(diagnostics, name)
        if values is not None:
            made[name] = _draws(values.T, name)
    if diagnostics.diverging is not None:
        held = to_numpy(diagnostics.diverging).T
        made["diverging"] = xarray.DataArray(held, dims=("chain", "draw"))
    for name, row in (("step_size", diagnostics.step_size), ("n_steps", diagnostics.n_substeps)):
        if row is not None:  # the same for all chains
            rows = np.broadcast_to(row, (n_chains, len(row))).copy()
            made[name] = xarray.DataArray(rows, dims=("chain", "draw"))
    return made


def _arviz() -> ModuleType:
    try:
        with warnings.catch_warnings():
            # Once a day it tells of its own next version, which is nothing to our users.
            warnings.simplefilter("ignore", FutureWarning)
            import arviz
    except ImportError:
        raise ExtraNotInstalledError(
            "statistics of convergence need ArviZ; pip install 'isotherm[arviz]'"
        ) from None
    return arviz


def _trajectory(result: Any) -> Any:
    if isinstance(result, Result):
        if result.trajectory is None:
            raise InputError(
                "this run kept only the chains' final states, one draw a chain, of which nothing "
                "tells whether it has converged; run with return_trajectory=True or store="
            )
        return result.trajectory
    if not (is_array(result) or hasattr(result, "dims")):
        raise InputError(
            "give a Result, a store's path or a trajectory of shape (n_samples, n_kept, "
            f"*event_shape), not {type(result).__name__}"
        )
    if result.ndim < 3:
        raise InputError(
            f"a trajectory has shape (n_samples, n_kept, *event_shape), not {tuple(result.shape)}; "
            "of final states nothing tells whether they have converged: run with "
            "return_trajectory=True"
        )
    return result


def _draws(values: Any, name: str) -> Any:
    """A DataArray of float64 in memory; one that is given keeps its dimensions."""
    import xarray

    if isinstance(values, xarray.DataArray):
        return values.transpose("chain", "draw", ...).astype(np.float64).compute()
    axes = [f"{name}_dim_{i}" for i in range(values.ndim - 2)]
    wide = to_numpy(values).astype(np.float64)
    return xarray.DataArray(wide, dims=("chain", "draw", *axes))
