"""The command ``isotherm``. Needs the extra ``isotherm[cli]``."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import isotherm
from isotherm._arithmetic.arrays import to_numpy
from isotherm._backends import registry
from isotherm._energies.protocol import as_energy
from isotherm._runs.advance import describe
from isotherm._samplers.sample_chain import SAMPLERS, sampler_of
from isotherm._transitions.catalogue import names as sampler_names
from isotherm._warmup.starts import placed
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

_WARMUP = 500  # steps, where neither they nor a step size are given

app = typer.Typer(
    help="Sampling from energy functions, the same chain on every backend.", no_args_is_help=True
)


def _completed(incomplete: str) -> list[str]:
    words = [*ENERGIES, *(f"{path}:" for path in sorted(Path().glob("*.py")))]
    return [word for word in words if word.startswith(incomplete)]


Energy = Annotated[
    str,
    typer.Argument(
        help=f"FILE.py:NAME, an energy of yours, or one of {', '.join(ENERGIES)}.",
        autocompletion=_completed,
    ),
]
Parameter = Annotated[
    list[str] | None, typer.Option(help="NAME=VALUE of the energy, the value as JSON.")
]
Store = Annotated[Path, typer.Argument(help="The folder that a run was kept in.")]


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
    energy: Energy,
    sampler: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(sampler_names())}, or one that the file registers.",
            autocompletion=lambda: list(sampler_names()),
        ),
    ] = "langevin",
    dim: Annotated[int | None, typer.Option(help="Coordinates of a chain.")] = None,
    n_samples: Annotated[int, typer.Option(help="Chains.")] = 1000,
    n_steps: Annotated[int, typer.Option(help="Steps after the burn-in.")] = 1000,
    burn_in: Annotated[int, typer.Option(help="Steps taken first, which are not kept.")] = 0,
    thinning: Annotated[int, typer.Option(help="Every how many steps a state is kept.")] = 1,
    step_size: Annotated[float | None, typer.Option(help="Without it a warm-up finds one.")] = None,
    warm_up: Annotated[
        int | None, typer.Option(help=f"Steps of a warm-up; {_WARMUP} without a step size.")
    ] = None,
    friction: Annotated[float | None, typer.Option(help="Of underdamped and hmc.")] = None,
    n_leapfrog: Annotated[int | None, typer.Option(help="Substeps of hmc.")] = None,
    noise_scale: Annotated[float | None, typer.Option(help="1 by default.")] = None,
    temperature: Annotated[float | None, typer.Option(help="The noise scale squared.")] = None,
    bounds: Annotated[
        tuple[float, float] | None, typer.Option(help="LOW HIGH, which reflect; -inf, inf: none.")
    ] = None,
    gradient_clip: Annotated[float | None, typer.Option(help="Of each coordinate of ∇U.")] = None,
    gradient_clip_norm: Annotated[float | None, typer.Option(help="Of the norm of ∇U.")] = None,
    parameter: Parameter = None,
    dtype: Annotated[str | None, typer.Option(help="float32 by default.")] = None,
    device: Annotated[str | None, typer.Option(help="The backend's first by default.")] = None,
    backend: Annotated[str | None, typer.Option(help="The fastest by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="A fresh one by default.")] = None,
    trajectory: Annotated[bool, typer.Option(help="Write every kept state with --out.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="Keep the run in this folder while it goes on.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the samples to this .npz.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the samples (dim 2) or steps.")] = None,
) -> None:
    """Sample an energy: one of yours in a file, or a built-in one.

    For example: isotherm sample model.py:ring --sampler hmc --warm-up 500 --store run.zarr
    """
    chosen = _energy(energy, parameter or [])
    out, plot = map(_target, (out, plot))
    pictures = None if plot is None else _pictures()
    is_landscape = (getattr(chosen, "dim", None) or dim) == 2
    arguments: dict[str, Any] = {
        "step_size": step_size, "friction": friction, "n_leapfrog": n_leapfrog,
        "noise_scale": noise_scale, "temperature": temperature, "bounds": bounds,
        "gradient_clip": gradient_clip, "gradient_clip_norm": gradient_clip_norm,
        "dtype": dtype, "device": device, "backend": backend,
    }  # fmt: skip
    given = {name: value for name, value in arguments.items() if value is not None}
    x = None
    with _told():
        if warm_up or (warm_up is None and step_size is None and sampler in SAMPLERS):
            warmed = sampler_of(sampler, chosen, given)
            tuning = isotherm.warm_up(warmed, dim=dim, n_warmup=warm_up or _WARMUP, seed=seed)
            Console().print(str(tuning), markup=False, highlight=False)
            x, seed = placed(tuning.x, n_samples, 0), tuning.seed
            given |= tuning.arguments  # what was given is among them
        plan = isotherm.make_plan(
            chosen, x, dim, n_samples=n_samples, n_steps=n_steps, burn_in=burn_in,
            thinning=thinning, seed=seed, sampler=sampler, **given,
            return_trajectory=trajectory,
            return_diagnostics=store is not None or (plot is not None and not is_landscape),
        )  # fmt: skip
        with bar(_PATIENCE) as show:
            result = isotherm.run(plan, chosen, x, callback=show, store=store)
    if out is not None:
        _write_samples(out, result, with_trajectory=trajectory)
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


@app.command()
def resume(
    store: Store,
    energy: Energy,
    n_steps: Annotated[
        int | None, typer.Option(help="Steps to take now; by default those that are left.")
    ] = None,
    parameter: Parameter = None,
    device: Annotated[str | None, typer.Option(help="The run's by default.")] = None,
    backend: Annotated[str | None, typer.Option(help="The run's by default.")] = None,
) -> None:
    """Go on with a run as if it had never stopped. A store holds data alone: name the energy again.

    For example: isotherm resume run.zarr model.py:ring
    """
    chosen = _energy(energy, parameter or [])
    with _told(), bar(_PATIENCE) as show:
        result = isotherm.resume(
            store, chosen, n_steps, backend=backend, device=device, callback=show
        )
    Console().print(summary_table(chosen, result))
    divergence = result.info.divergence
    if divergence is not None:
        _complain(
            f"{divergence.n_chains} of {len(result.samples)} chains left the finite numbers, the "
            f"first after step {divergence.first_step}; take a smaller step size"
        )
        if divergence.n_chains == len(result.samples):
            raise typer.Exit(1)


@app.command()
def summary(store: Store) -> None:
    """Tell mean, deviation, effective sample sizes and R-hat of a run; needs the extra arviz.

    For example: isotherm summary run.zarr
    """
    run = isotherm.open_run(store)
    print(run)
    with warnings.catch_warnings():
        # ArviZ's to programmers, of its next release.
        warnings.simplefilter("ignore", FutureWarning)
        table = isotherm.summary(run)
    print(table.to_string())


@app.command()
def plot(
    store: Store,
    energy: Annotated[
        str | None,
        typer.Argument(help="Its energy, to draw paths over it.", autocompletion=_completed),
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("run.png"),
    n_chains: Annotated[int, typer.Option(min=1, help="Chains whose paths are drawn.")] = 5,
    parameter: Parameter = None,
) -> None:
    """Draw a run: its mean, variance and energy at each kept step, or paths over its energy.

    For example: isotherm plot run.zarr model.py:ring --out paths.png
    """
    file = _target(out)
    pictures = _pictures()
    run = isotherm.open_run(store)
    if energy is not None:
        kept: Any = run.trajectory  # of a store, of which this reads a part
        paths = np.asarray(kept[:n_chains])
        figure = pictures.trajectories(_energy(energy, parameter or []), paths)
    elif run.diagnostics is not None:
        figure = pictures.diagnostics(run.diagnostics)
    else:
        raise InputError(
            f"{store} was kept without diagnostics; name its energy to draw the chains' paths"
        )
    figure.savefig(file, dpi=120)
    print(f"drawn in {out}")


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


def _energy(text: str, parameters: list[str]) -> Any:
    """The energy that a word or FILE.py:NAME stands for, with its parameters."""
    values = {}
    for given in parameters:
        key, _, value = given.partition("=")
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError:
            raise InputError(
                f"--parameter must be NAME=VALUE with a JSON value, not {given!r}"
            ) from None
    path, colon, name = text.rpartition(":")
    if text in ENERGIES:
        found: Any = ENERGIES[text]
    elif colon or text.endswith(".py"):
        found = _in_file(Path(path or text), name if colon else "")
    else:
        raise InputError(
            f"there is no energy {text!r}; there are {', '.join(ENERGIES)}, and FILE.py:NAME "
            "is one of yours"
        )
    if values or found in ENERGIES.values() or isinstance(found, type):
        try:
            found = found(**values)
        except TypeError as error:
            raise InputError(f"energy {text!r}: {error}; give it with --parameter") from None
    return as_energy(found)


def _in_file(path: Path, name: str) -> Any:
    """What a user's file calls by this name; the file is run, as Python runs it."""
    if not path.is_file():
        raise InputError(f"there is no file {path}; name the energy as FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file; name the energy as FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # for what it imports from beside it
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        there = [key for key, held in vars(module).items() if callable(held) and key[0] != "_"]
        lacks = f"has no {name!r}" if name else "may hold more than one energy"
        raise InputError(f"{path} {lacks}; name the energy as {path}:NAME, of {', '.join(there)}")
    return getattr(module, name)


@contextmanager
def _told() -> Iterator[None]:
    """What Isotherm warns of in the block is told in sentences; of divergence its table tells."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except isotherm.RunInterrupted as interruption:
            n_steps = interruption.result.info.n_steps
            _complain(f"stopped after {n_steps} steps; isotherm resume goes on with a store")
            raise typer.Exit(130) from None
    for warning in caught:
        if issubclass(warning.category, isotherm.DivergenceWarning):
            continue
        if warning.category.__module__.startswith("isotherm"):
            _complain(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _target(path: Path | None) -> Path | None:
    """The plain file that a path stands for, where a link leads to; refused if it is none."""
    if path is None:
        return None
    file = Path(os.path.realpath(path))
    if not file.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it first")
    if file.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    if os.path.lexists(file) and not file.is_file():
        raise InputError(f"{path} is a device, a pipe or a link to itself; name a plain file")
    return file


def _write_samples(path: Path, result: isotherm.Result, *, with_trajectory: bool) -> None:
    """Write beside the file and rename, so that an interruption leaves no half-written one."""
    arrays: dict[str, Any] = {"samples": to_numpy(result.samples)}
    if with_trajectory:
        arrays["trajectory"] = np.asarray(result.trajectory)
    part = path.with_name(f".isotherm-{uuid.uuid4().hex}.partial")
    try:
        with part.open("xb") as file:
            np.savez(file, seed=np.uint64(result.info.seed), **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _pictures() -> Any:
    from isotherm import plot  # which says what to install where matplotlib is not

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
