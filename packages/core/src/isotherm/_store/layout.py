"""What is in which file of a store, and what a header says of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import operator
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from isotherm._limits import LIMITS
from isotherm._planning.extend_plan import validate_plan
from isotherm._plans.plan import ITEMSIZE, PLAN_VERSION, Plan
from isotherm._results.result import Divergence
from isotherm._store.plan_fields import Document, plan_from_json, plan_to_json
from isotherm.errors import short_repr

#: What the files mean; another layout has another number. Format 1, which is still read, knows one
#: state, x, and has no digests.
FORMAT = 2

DOCUMENT = "zarr.json"
LOCK = "checkpoint/lock"
GROUPS = ("checkpoint", "diagnostics")
CHECKSUM_BYTES = 4

_LONG_CHUNK = 2**13  # elements, of arrays that have one number a draw or a step

_X_OF_FORMAT_1 = "state"
_CARRIED_NAME = re.compile("[a-z][a-z0-9_]{0,63}")
_CARRIED_DTYPE = re.compile("bool|u?int(8|16|32|64)|float(16|32|64)")
_FILE = re.compile(r"(?:(.+)/c(?:/\d+)+|(?:(.+)/)?zarr\.json)(\.partial)?")

# What the digest is made of. "files" is a digest itself, of all chunks that count.
_ATTRIBUTES = (
    "isotherm_store", "id", "energy", "seed", "n_steps", "plan", "run", "versions", "files",
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What the root's document says: which run, and how far it is.

    Attributes
    ----------
    plan : Plan
    chunk : int
        Draws in a chunk.
    probe : float or None
        The energy at states that depend on the plan alone, to tell energies apart.
    numbers : str or None
        Digests of the numbers that the energy is made of, where they are known.
    path : str
        How the chains ran.
    carried : mapping of str to (str, tuple of int)
        Dtype and shape of the arrays that make up the state, each with a row a chain.
    id : str
        Tells this store from others of the same run.
    scheduled : mapping of str to str
        The axes, ``"step"`` or ``"chain"``, of the plan's schedules that are no constants.
    n_steps : int
        Steps done, burn-in included.
    state : int
        Which of the two states is the last.
    seconds : float
        Wall-clock time so far.
    divergence : Divergence or None
    format : int
    """

    plan: Plan
    chunk: int
    probe: float | None
    path: str
    carried: Mapping[str, tuple[str, tuple[int, ...]]]
    id: str
    numbers: str | None = None  # as in stores of earlier versions
    scheduled: Mapping[str, str] = field(default_factory=dict)
    n_steps: int = 0
    state: int = 0
    seconds: float = 0.0
    divergence: Divergence | None = None
    format: int = FORMAT

    @property
    def n_kept(self) -> int:
        return self.plan.kept_before(self.n_steps)

    def states(self, turn: int) -> dict[str, str]:
        """The arrays that hold one of the two states, by the names of what they hold."""
        return {
            name: f"checkpoint/{_X_OF_FORMAT_1 if self.format == 1 else name}_{turn}"
            for name in self.carried
        }


@dataclass(frozen=True)
class File:
    """A chunk.

    Attributes
    ----------
    array, path : str
        Relative to the store.
    size : int
        Bytes.
    begun : tuple of slice or None
        Of a chunk that has room for more: the part of the array that is in it so far.
    is_final : bool
        Nothing will be written to it any more.
    """

    array: str
    path: str
    size: int
    begun: tuple[slice, ...] | None
    is_final: bool


def documents(header: Header) -> dict[str, Document]:
    """The metadata of the groups and arrays by their path, the root, which has more, first.

    Each group's document holds those below it, so that whoever reads it reads one moment.
    """
    arrays = arrays_of(header)
    groups = {}
    for name in GROUPS:
        below = {
            path.removeprefix(f"{name}/"): document
            for path, document in arrays.items()
            if path.startswith(f"{name}/")
        }
        groups[name] = _group(below)
    bare = {name: _group() for name in groups}
    return {"": _group(bare | arrays)} | groups | arrays


def arrays_of(header: Header) -> dict[str, Document]:
    """The metadata of the arrays, as long as the header says."""
    plan = header.plan
    event = {f"x_dim_{i}": size for i, size in enumerate(plan.event_shape)}
    event_chunks = tuple(plan.event_shape)
    dtype = stored_dtype(plan.dtype)
    rows = _rows_in_chunk(plan.shape, dtype)
    chain, draw = {"chain": plan.n_samples}, {"draw": header.n_kept}

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
        for name in energies(plan):
            arrays[f"diagnostics/{name}"] = _array(chain | draw, (rows, header.chunk), dtype)
    for name, (kind, shape) in header.carried.items():
        sizes = {f"{name}_dim_{i}": size for i, size in enumerate(shape[1:])}
        for turn in range(2):
            arrays[header.states(turn)[name]] = _array(
                chain | sizes, (_rows_in_chunk(shape, kind), *shape[1:]), kind
            )
    sizes = {"step": plan.n_total, "chain": plan.n_samples}
    for name, axis in header.scheduled.items():
        arrays[f"checkpoint/{name}"] = long(axis, sizes[axis], "float64")
    return arrays


def files(header: Header, since: Header | None = None) -> Iterator[File]:
    """The chunks that count: all but those of the state before the last.

    Parameters
    ----------
    header : Header
    since : Header, optional
        An earlier one of the same plan, whose final chunks are left out.
    """
    last, other = (header.states(turn).values() for turn in (header.state, 1 - header.state))
    before = {} if since is None else arrays_of(since)
    for name, document in arrays_of(header).items():
        dimensions: list[str] = document["dimension_names"]
        lengths: list[int] = document["shape"]
        chunk: list[int] = document["chunk_grid"]["configuration"]["chunk_shape"]
        grows = [of in ("draw", "step") for of in dimensions]
        if name in other or (before and name not in last and not any(grows)):
            continue
        first = [0] * len(chunk)
        if before:
            done = zip(before[name]["shape"], chunk, grows, strict=True)
            first = [length // part if g else 0 for length, part, g in done]
        size = math.prod(chunk) * np.dtype(document["data_type"]).itemsize + CHECKSUM_BYTES
        counts = [-(-length // part) for length, part in zip(lengths, chunk, strict=True)]
        for index in itertools.product(*map(range, first, counts)):
            region = tuple(
                slice(i * part, min((i + 1) * part, length))
                for i, part, length in zip(index, chunk, lengths, strict=True)
            )
            has_room = any(
                g and within.stop - within.start < part
                for g, within, part in zip(grows, region, chunk, strict=True)
            )
            yield File(
                array=name,
                path="/".join([name, "c", *map(str, index)]),
                size=size,
                begun=region if has_room else None,
                is_final=not has_room and name not in last,
            )


def leftovers(header: Header, paths: Iterable[str]) -> list[str]:
    """Those of the files that a killed run left: ours, and they do not count.

    Parameters
    ----------
    header : Header
    paths : iterable of str
        Relative to the store.
    """
    held = documents(header)
    ours = {*held, *(f"checkpoint/{name}" for name in plan_to_json(header.plan))}
    ours |= {f"checkpoint/{_X_OF_FORMAT_1}_{turn}" for turn in range(2)}
    counted = {file.path for file in files(header)}
    found = []
    for path in paths:
        match = _FILE.fullmatch(path)
        if match is None or path in counted:
            continue
        array, owner, partial = match.groups(default="")
        if array in ours if array else owner in ours and (partial or owner not in held):
            found.append(path)
    return found


def mark(path: str, content: bytes) -> int:
    """What a chunk adds to the digest of the files: the same content elsewhere adds another."""
    digest = hashlib.blake2b(f"{path}\0".encode() + content, digest_size=16).digest()
    return int.from_bytes(digest, "big")


def sum_as_text(marks: int) -> str:
    """The digest of the files: the sum of their marks, to which chunks are added as they come."""
    return f"{marks % 2**128:032x}"


def draws_in_chunk(plan: Plan) -> int:
    """Draws in a chunk of a new store: so many that its files have a good size."""
    least = LIMITS.least_chunk_bytes // _state_bytes(plan)
    chunk = min(_most_draws(plan), max(least, plan.n_kept))
    # Whole blocks of the noise stream, where there are: none is then made twice.
    return max(1, chunk // plan.steps_per_block * plan.steps_per_block)


def buffer_bytes(plan: Plan) -> int:
    """Memory that a run into a store needs: two chunks and two copies of the states."""
    draws = min(draws_in_chunk(plan), plan.n_kept)
    return 2 * (plan.kept_bytes(draws) + _state_bytes(plan))


def energies(plan: Plan) -> tuple[str, ...]:
    """The diagnostics that have one number a chain."""
    if not plan.return_diagnostics:
        return ()
    return ("energy", "energy_error") if plan.is_adjusted else ("energy",)


def stored_dtype(dtype: str) -> str:
    """Zarr has no bfloat16; float32 holds each of its numbers."""
    return "float32" if dtype == "bfloat16" else dtype


def attributes_of(header: Header, marks: int) -> Document:
    """The header as numbers and strings, which attributes are in every file format.

    Parameters
    ----------
    header : Header
    marks : int
        The sum of the marks of the chunks that count.
    """
    plan, divergence = header.plan, header.divergence
    elsewhere = ("plan", "id", "scheduled", "format")
    run = {key: value for key, value in vars(header).items() if key not in elsewhere}
    if divergence is not None:
        told = divergence.first_step, divergence.n_chains, divergence.of_energy
        run["divergence"] = told
    attributes = {
        "isotherm_store": header.format,
        "id": header.id,
        "energy": plan.energy,
        "seed": plan.seed,
        "n_steps": header.n_steps,
        "plan": json.dumps(plan_to_json(plan)),
        "run": json.dumps(run),
        "versions": _versions(),
        "files": sum_as_text(marks),
    }
    return attributes | {"digest": _digest(attributes)}


def _digest(attributes: Document) -> str:
    held = json.dumps([attributes[name] for name in _ATTRIBUTES])
    return hashlib.sha256(held.encode()).hexdigest()


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
    number = attributes["isotherm_store"]
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ValueError(f"isotherm_store is {short_repr(number)}, and 1 to {FORMAT} are known")
    if number > 1 and attributes["digest"] != _digest(attributes):
        raise ValueError("they are not as they were written")
    fields, run = (json.loads(attributes[name]) for name in ("plan", "run"))
    if number == 1:
        for name in ("step_size", "noise_scale"):
            fields[name] = {"schedule": fields[name]}
    # Plans of before mean the same: they had fewer fields, and no number a chain.
    own = fields["version"]
    fields["version"] = {number: PLAN_VERSION}.get(own, None if number == 1 else own)
    plan, scheduled = plan_from_json(fields)
    plan = validate_plan(plan)
    if number == 1:
        run["carried"] = {"x": (stored_dtype(plan.dtype), plan.shape)}
    run["carried"] = _carried(plan, run["carried"])
    if run["divergence"] is not None:
        # Earlier versions did not tell chains whose energy is NaN from those that are not finite.
        first_step, n_chains, *of_energy = map(operator.index, run["divergence"])
        if not (0 <= first_step <= plan.n_total and 0 <= n_chains <= plan.n_samples):
            raise ValueError(f"there are no {short_repr(run['divergence'])} of steps and chains")
        run["divergence"] = Divergence(first_step, n_chains, of_energy == [True])
    header = Header(plan, **run, id=attributes.get("id", ""), scheduled=scheduled, format=number)
    numbers = {"chunk": header.chunk, "n_steps": header.n_steps, "state": header.state}
    limits = {"chunk": (1, _most_draws(plan)), "n_steps": (0, plan.n_total), "state": (0, 1)}
    for name, value in numbers.items():
        least, most = limits[name]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} is {short_repr(value)}, not an integer in {least}..{most}")
    if not isinstance(header.path, str) or not isinstance(header.numbers or "", str):
        raise TypeError("path and numbers are not text")
    if not all(type(value) is float for value in (header.seconds, header.probe or 0.0)):
        raise TypeError("seconds and probe are not two numbers")
    return header


def _carried(plan: Plan, given: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What makes up a state, as it was read, after a look at it: the names become paths."""
    carried = {}
    for name, (dtype, shape) in given.items():
        sizes = tuple(map(operator.index, shape))
        if not _CARRIED_NAME.fullmatch(name) or not _CARRIED_DTYPE.fullmatch(dtype):
            raise ValueError(f"a state has no {short_repr(name)} of dtype {short_repr(dtype)}")
        if not 1 <= len(sizes) <= 64 or min(sizes) < 1 or sizes[0] != plan.n_samples:
            raise ValueError(f"{short_repr(name)} has not a row for each chain")
        carried[name] = dtype, sizes
    if carried["x"][1] != plan.shape:
        raise ValueError("x has not the plan's shape")
    return carried


def _group(below: dict[str, Document] | None = None) -> Document:
    group: Document = {"zarr_format": 3, "node_type": "group", "attributes": {}}
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
        "fill_value": "NaN" if dtype.startswith("float") else False if dtype == "bool" else 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "attributes": {},
        "dimension_names": list(dimensions),
    }


def _rows_in_chunk(shape: tuple[int, ...], dtype: str) -> int:
    chain = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    return max(1, min(shape[0], LIMITS.chunk_bytes // chain))


def _state_bytes(plan: Plan) -> int:
    return plan.n_samples * plan.n_coordinates * ITEMSIZE[stored_dtype(plan.dtype)]


def _most_draws(plan: Plan) -> int:
    return max(1, LIMITS.chunk_bytes // _state_bytes(plan))
