"""What is in which file of a store, and what a header says of it."""

from __future__ import annotations

import itertools
import json
import math
import operator
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from isotherm._planning.extend_plan import validate_plan
from isotherm._plans.plan import ITEMSIZE, Plan, Schedule
from isotherm._results.result import Divergence
from isotherm.errors import short_repr

#: What the files mean; another layout has another number.
FORMAT = 1

DOCUMENT = "zarr.json"
LOCK = "checkpoint/lock"

_CHUNK_BYTES = 2**24  # of kept states: large enough for a disk, small enough to hold two
_LEAST_CHUNK_BYTES = 2**20  # a run that is gone on with may be longer than it was planned
_LONG_CHUNK = 2**13  # elements, of arrays that have one number a draw or a step
_CHECKSUM_BYTES = 4
_SCHEDULES = ("step_size", "noise_scale")

Document = dict[str, Any]


@dataclass(frozen=True)
class Header:
    """What the root's document says: which run, and how far it is.

    Attributes
    ----------
    plan : Plan
    chunk : int
        Draws in a chunk.
    probe : float or None
        The energy at a state that depends on the plan alone, to tell energies apart.
    path : str
        How the chains ran.
    scheduled : tuple of str
        The plan's schedules that are no constants.
    n_steps : int
        Steps done, burn-in included.
    state : int
        Which of the two states is the last.
    seconds : float
        Wall-clock time so far.
    divergence : Divergence or None
    """

    plan: Plan
    chunk: int
    probe: float | None
    path: str
    scheduled: tuple[str, ...] = ()
    n_steps: int = 0
    state: int = 0
    seconds: float = 0.0
    divergence: Divergence | None = None

    @property
    def n_kept(self) -> int:
        return self.plan.kept_before(self.n_steps)


def documents(header: Header) -> dict[str, Document]:
    """The metadata of the groups and arrays by their path, the root first.

    Each group's document holds those below it, so that whoever reads it reads one moment.
    """
    arrays = arrays_of(header)
    groups = {"checkpoint": _group({}), "diagnostics": _group({})}
    for name in groups:
        below = {
            path.removeprefix(f"{name}/"): document
            for path, document in arrays.items()
            if path.startswith(f"{name}/")
        }
        groups[name] = _group({}, below)
    bare = {name: _group({}) for name in groups}
    return {"": _group(_attributes(header), bare | arrays)} | groups | arrays


def arrays_of(header: Header) -> dict[str, Document]:
    """The metadata of the arrays, as long as the header says."""
    plan = header.plan
    event = {f"x_dim_{i}": size for i, size in enumerate(plan.event_shape)}
    event_chunks = tuple(plan.event_shape)
    rows = max(1, min(plan.n_samples, _CHUNK_BYTES // _chain_bytes(plan)))
    chain, draw = {"chain": plan.n_samples}, {"draw": header.n_kept}
    dtype = stored_dtype(plan)

    def long(name: str, size: int, dtype: str) -> Document:
        return _array({name: size}, (_LONG_CHUNK,), dtype)

    arrays = {
        "x": _array(chain | draw | event, (rows, header.chunk, *event_chunks), dtype),
        "chain": long("chain", plan.n_samples, "int64"),
        "draw": long("draw", header.n_kept, "int64"),
        "step": long("draw", header.n_kept, "int64"),
    }
    arrays["x"]["attributes"] = {"coordinates": "step"}
    if plan.return_diagnostics:
        for name in ("mean", "variance"):
            arrays[f"diagnostics/{name}"] = _array(
                draw | event, (header.chunk, *event_chunks), dtype
            )
        arrays["diagnostics/energy"] = _array(chain | draw, (rows, header.chunk), dtype)
    for name in ("state_0", "state_1"):
        arrays[f"checkpoint/{name}"] = _array(chain | event, (rows, *event_chunks), dtype)
    for name in header.scheduled:
        arrays[f"checkpoint/{name}"] = long("step", plan.n_total, "float64")
    return arrays


def chunks(header: Header) -> Iterator[tuple[str, int]]:
    """The files of the arrays' values, and how many bytes each has."""
    for name, document in arrays_of(header).items():
        chunk: list[int] = document["chunk_grid"]["configuration"]["chunk_shape"]
        size = math.prod(chunk) * np.dtype(document["data_type"]).itemsize + _CHECKSUM_BYTES
        counts = [-(-length // part) for length, part in zip(document["shape"], chunk, strict=True)]
        for indices in itertools.product(*map(range, counts)):
            yield "/".join([name, "c", *map(str, indices)]), size


def draws_in_chunk(plan: Plan) -> int:
    """Draws in a chunk of a new store: so many that its files have a good size."""
    least = _LEAST_CHUNK_BYTES // _state_bytes(plan)
    chunk = min(_most_draws(plan), max(least, plan.n_kept))
    # Whole blocks of the noise stream, where there are: none is then made twice.
    return max(1, chunk // plan.steps_per_block * plan.steps_per_block)


def buffer_bytes(plan: Plan) -> int:
    """Memory that a run into a store needs: two chunks and two copies of the states."""
    draws = min(draws_in_chunk(plan), plan.n_kept)
    return 2 * (plan.kept_bytes(draws) + _state_bytes(plan))


def scheduled(plan: Plan) -> tuple[str, ...]:
    """The schedules of a plan that are no constants."""
    return tuple(name for name in _SCHEDULES if not getattr(plan, name).is_constant)


def stored_dtype(plan: Plan) -> str:
    """Zarr has no bfloat16; float32 holds each of its numbers."""
    return "float32" if plan.dtype == "bfloat16" else plan.dtype


def _attributes(header: Header) -> Document:
    """The header as numbers and strings, which attributes are in every file format."""
    plan, divergence = header.plan, header.divergence
    fields = {
        key: value
        for key, value in vars(plan).items()
        if key not in ("library", "return_trajectory")
    }
    for name in _SCHEDULES:
        is_constant = name not in header.scheduled
        fields[name] = float(getattr(plan, name).values) if is_constant else None
    run = {key: value for key, value in vars(header).items() if key not in ("plan", "scheduled")}
    run["divergence"] = None if divergence is None else [divergence.first_step, divergence.n_chains]
    return {
        "isotherm_store": FORMAT,
        "energy": plan.energy,
        "seed": plan.seed,
        "n_steps": header.n_steps,
        "plan": json.dumps(fields),
        "run": json.dumps(run),
        "versions": _versions(),
    }


@cache  # a store's metadata are made many times, and to look versions up reads files
def _versions() -> str:
    versions = {name: version(name) for name in ("isotherm", "numpy", "zarr")}
    return json.dumps({"python": platform.python_version(), **versions})


def header_of(attributes: Document) -> Header:
    """The header of attributes; of schedules that are arrays only that they are.

    Raises
    ------
    KeyError, TypeError, ValueError, RecursionError
        They are not those of a run.
    """
    if attributes["isotherm_store"] != FORMAT:
        raise ValueError(
            f"isotherm_store is {short_repr(attributes['isotherm_store'])}, not {FORMAT}"
        )
    fields, run = (json.loads(attributes[name]) for name in ("plan", "run"))
    run["scheduled"] = tuple(name for name in _SCHEDULES if fields[name] is None)
    for name in _SCHEDULES:
        fields[name] = Schedule(1.0 if fields[name] is None else float(fields[name]))
    fields["event_shape"] = tuple(fields["event_shape"])
    plan = validate_plan(Plan(**fields, library="numpy", return_trajectory=True))
    if run["divergence"] is not None:
        first_step, n_chains = map(operator.index, run["divergence"])
        run["divergence"] = Divergence(first_step, n_chains)
    header = Header(plan, **run)
    numbers = {"chunk": header.chunk, "n_steps": header.n_steps, "state": header.state}
    limits = {"chunk": (1, _most_draws(plan)), "n_steps": (0, plan.n_total), "state": (0, 1)}
    for name, number in numbers.items():
        least, most = limits[name]
        if type(number) is not int or not least <= number <= most:
            raise ValueError(f"{name} is {short_repr(number)}, not an integer in {least}..{most}")
    if not isinstance(header.path, str) or not all(
        type(number) is float for number in (header.seconds, header.probe or 0.0)
    ):
        raise TypeError("path, seconds and probe are not a name and two numbers")
    return header


def _group(attributes: Document, below: dict[str, Document] | None = None) -> Document:
    group: Document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if below is not None:
        group["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": below,
        }
    return group


def _array(dimensions: dict[str, int], chunks: tuple[int, ...], dtype: str) -> Document:
    """Metadata of an array (Zarr core specification, version 3) whose chunks have a checksum."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(dimensions.values()),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0 if dtype == "int64" else "NaN",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "attributes": {},
        "dimension_names": list(dimensions),
    }


def _chain_bytes(plan: Plan) -> int:
    return plan.n_coordinates * ITEMSIZE[stored_dtype(plan)]


def _state_bytes(plan: Plan) -> int:
    return plan.n_samples * _chain_bytes(plan)


def _most_draws(plan: Plan) -> int:
    return max(1, _CHUNK_BYTES // _state_bytes(plan))
