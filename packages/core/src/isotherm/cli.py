"""The command ``isotherm``. Needs the extra ``isotherm[cli]``."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import isotherm
from isotherm._arithmetic.arrays import to_numpy
from isotherm._backends import registry
from isotherm._runs.advance import describe
from isotherm.errors import InputError, IsothermError

try:
    import typer
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from isotherm._runs.progress import bar
except ImportError:
    sys.exit("the command needs typer and rich; pip install 'isotherm[cli]'")

ENERGIES: dict[str, Callable[..., Any]] = {
    "gaussian": isotherm.GaussianEnergy,
    "harmonic": isotherm.HarmonicEnergy,
    "double-well": isotherm.DoubleWellEnergy,
    "gaussian-mixture": isotherm.GaussianMixtureEnergy,
    "rosenbrock": isotherm.RosenbrockEnergy,
    "rastrigin": isotherm.RastriginEnergy,
    "ackley": isotherm.AckleyEnergy,
}

_PATIENCE = 1.0  # seconds of a run after which a bar is shown

app = typer.Typer(help="Langevin sampling from energy functions.", no_args_is_help=True)


@app.command()
def backends() -> None:
    """List the backends: installed, usable or why not, devices, versions."""
    table = Table("backend", "usable", "devices", "versions")
    for name in registry.names():
        status = registry.load(name).status()
        versions = ", ".join(f"{key} {version}" for key, version in status.versions.items())
        usable = "yes" if status.reason is None else f"no: {status.reason}"
        table.add_row(name, usable, ", ".join(status.devices), versions)
    Console().print(table)
    Console().print("A backend that is not listed comes with pip install isotherm-NAME.")


@app.command()
def sample(
    energy: Annotated[str, typer.Option(help=f"One of {', '.join(ENERGIES)}.")],
    dim: Annotated[int | None, typer.Option(help="Coordinates of a chain.")] = None,
    n_samples: int = 1000,
    n_steps: int = 1000,
    burn_in: int = 0,
    thinning: int = 1,
    step_size: float = 1e-2,
    noise_scale: float | None = None,
    temperature: float | None = None,
    bounds: Annotated[
        tuple[float, float] | None, typer.Option(help="LOW HIGH, which reflect; -inf, inf: none.")
    ] = None,
    gradient_clip: float | None = None,
    gradient_clip_norm: float | None = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the energy, the value as JSON.")
    ] = None,
    dtype: str | None = None,
    device: str | None = None,
    backend: str | None = None,
    seed: int | None = None,
    trajectory: Annotated[bool, typer.Option(help="Keep every state.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the samples to this .npz.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the samples (dim 2) or steps.")] = None,
) -> None:
    """Sample a built-in energy."""
    chosen = _energy(energy, parameter or [])
    is_landscape = (getattr(chosen, "dim", None) or dim) == 2
    plan = isotherm.make_plan(
        chosen, dim=dim, n_samples=n_samples, n_steps=n_steps, burn_in=burn_in,
        thinning=thinning, step_size=step_size, noise_scale=noise_scale,
        temperature=temperature, bounds=bounds, gradient_clip=gradient_clip,
        gradient_clip_norm=gradient_clip_norm, dtype=dtype, device=device, backend=backend,
        seed=seed,
        return_trajectory=trajectory, return_diagnostics=plot is not None and not is_landscape,
    )  # fmt: skip
    for path in (out, plot):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"the folder of {path} does not exist; make it first")
        if path is not None and path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
    pictures = None if plot is None else _pictures()
    with bar(_PATIENCE) as show, warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.DivergenceWarning)  # told below, in a sentence
        result = isotherm.run(plan, chosen, callback=show)
    if out is not None:
        _write_samples(out, result)
    if pictures is not None and is_landscape:
        # Without noise there is no density: U itself is drawn.
        scale = float(plan.noise_scale.between(plan.n_total - 1, plan.n_total)[0]) or 1.0
        states = to_numpy(result.samples)
        pictures.samples(chosen, states, noise_scale=scale).savefig(plot, dpi=120)
    elif pictures is not None:
        pictures.diagnostics(result.diagnostics).savefig(plot, dpi=120)
    Console().print(summary_table(chosen, result))
    divergence = result.info.divergence
    if divergence is not None:
        _complain(describe(plan, divergence))
        if divergence.n_chains == plan.n_samples:  # there is no sample
            raise typer.Exit(1)


def summary_table(energy: Any, result: isotherm.Result) -> Table:
    """What a run gave, for people: mean, standard deviation, energy, time, seed.

    Of chains that are not finite nothing is counted.
    """
    states = to_numpy(result.samples).astype(np.float64)
    with np.errstate(all="ignore"):
        energies = to_numpy(energy(result.samples))
    is_finite = np.isfinite(states).all(axis=1) & np.isfinite(energies)
    states, energies = states[is_finite], energies[is_finite]
    options = np.printoptions(precision=4, suppress=True, threshold=6, edgeitems=3)
    with options, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of no chain at all
        rows = {
            "mean": str(states.mean(axis=0)),
            "standard deviation": str(states.std(axis=0)),
            "energy": f"{energies.mean():.4g}",
            "time": f"{result.info.seconds:.3g} s",
            "ran": f"{result.info.path} ({result.info.backend} on {result.info.device})",
            "seed": str(result.info.seed),
        }
    table = Table(show_header=False)
    for name, text in rows.items():
        table.add_row(name, Text(text))  # not markup, which [nan] would be
    return table


def _energy(name: str, parameters: list[str]) -> Any:
    if name not in ENERGIES:
        raise InputError(f"there is no energy {name!r}; there are {', '.join(ENERGIES)}")
    values = {}
    for text in parameters:
        key, _, value = text.partition("=")
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError:
            raise InputError(
                f"--parameter must be NAME=VALUE with a JSON value, not {text!r}"
            ) from None
    try:
        return ENERGIES[name](**values)
    except TypeError as error:
        raise InputError(f"energy {name!r}: {error}; give it with --parameter") from None


def _write_samples(path: Path, result: isotherm.Result) -> None:
    """Write beside the file and rename, so that an interruption leaves no half-written one."""
    arrays: dict[str, Any] = {"samples": to_numpy(result.samples)}
    if result.trajectory is not None:
        arrays["trajectory"] = to_numpy(result.trajectory)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            np.savez(file, seed=np.uint64(result.info.seed), **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _pictures() -> Any:
    try:
        from isotherm import plot
    except ImportError:
        raise InputError("a plot needs matplotlib; pip install 'isotherm[plot]'") from None
    return plot


def main() -> None:
    """Run the command; an error is one sentence and exit status 2, and a run without samples 1."""
    try:
        app()
    except IsothermError as error:
        _complain(str(error))
        sys.exit(2)
    except OSError as error:  # of the files that were asked for
        _complain(str(error))
        sys.exit(1)


def _complain(sentence: str) -> None:
    Console(stderr=True).print(sentence, style="red", markup=False, soft_wrap=True)
