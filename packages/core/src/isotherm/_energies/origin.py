"""Where an energy comes from: the library, dtype and device of what it calculates with."""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from numbers import Integral, Real
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from isotherm._arithmetic.arrays import (
    FLOATING,
    array_origin,
    device_name,
    dtype_name,
    is_array,
    to_numpy,
)
from isotherm._programs.trace import AnyProgram
from isotherm._transitions.program import Kind
from isotherm.errors import InputError

Origin = tuple[str | None, str | None, str | None]

_DEPTH = 3  # an energy's attribute, of which a function, which closes over a network
_ELEMENTS = 16  # of a list of networks, or of a dict of their parameters
_CONTAINERS = (list, tuple, dict)
_REAL = ("float", "bfloat", "int", "uint")  # of dtypes, without their widths
_NOWHERE = "meta"  # a network's skeleton, which is called with parameters from elsewhere
# Libraries whose networks and functions tell by their own modules' names where they come from.
DIFFERENTIATING = ("torch",)


@dataclass(frozen=True)
class Quadratic:
    """The form ½ (x - mean)ᵀ precision (x - mean); these two are the energy's parameter values.

    Attributes
    ----------
    dim : int
    """

    dim: int


#: What a kernel is printed from.
Form: TypeAlias = AnyProgram | Quadratic


class Declared:
    """An energy of this package or of a backend, which tells about itself.

    Of what a user wrote nothing is read by such names: a network's ``dim`` may be a hidden width.

    Attributes
    ----------
    name : str
    dim : int, tuple of int or None
        The only dimension, or shape of a state, that it takes.
    library, dtype, device : str or None
        Of its parameters.
    kind : Kind
        What can be had of it to make differences of U from.
    is_portable : bool
        Whether every operation is one of `isotherm.backend.functions` or exact by IEEE 754, so that
        each backend gives the same bits, and neither checks nor copies what it returns.
    """

    name: str
    dim: int | tuple[int, ...] | None = None
    library: str | None = None
    dtype: str | None = None
    device: str | None = None
    kind: Kind = Kind.VALUE
    is_portable: bool = False

    def form(self, event_shape: tuple[int, ...]) -> Form | None:
        """What a kernel on states of this shape is printed from; None where there is no such."""
        return None

    def has_limited_support(self, event_shape: tuple[int, ...]) -> bool:
        """Whether it has no value at some finite states, as log and sqrt have none."""
        return False

    def asked(self) -> Callable[..., Any] | None:
        """The user's function that it hands states to; a network takes them in its own dtype."""
        return None

    def fixed(self, event_shape: tuple[int, ...]) -> Declared:
        """The energy as it is now, for one run."""
        return self

    def with_keywords(self, keywords: Mapping[str, Any]) -> Declared:
        """The energy called with these; refused by those that are called with x alone."""
        raise InputError(
            f"model_kwargs are for energies that a user wrote; {type(self).__name__} has a "
            "gradient of its own and takes none, so give it other parameters"
        )

    def told(
        self, name: str, value: float, keywords: Mapping[str, Any] | None
    ) -> tuple[Declared, Mapping[str, Any] | None]:
        """The energy at this value of a condition, and the keywords with which it is then called.

        Refused by those that have nothing of this kind.
        """
        raise InputError(
            f"{self.name} cannot be told {name}; give a formula with such a parameter, a score or "
            "a function"
        )


def is_declared(energy: object) -> TypeGuard[Declared]:
    """Whether an energy tells about itself; all that a user wrote does not."""
    return isinstance(energy, Declared)


def own_shape(energy: object) -> tuple[int, ...] | None:
    """The one shape of a chain's state that an energy takes; None where it tells of none."""
    dim = energy.dim if is_declared(energy) else None
    return dim if dim is None or isinstance(dim, tuple) else (dim,)


def is_portable(energy: object) -> bool:
    """See `Declared`."""
    return is_declared(energy) and energy.is_portable


def form_of(energy: object, event_shape: tuple[int, ...]) -> Form | None:
    """What a kernel of an energy is printed from; None of what is called with arrays."""
    return energy.form(event_shape) if is_declared(energy) else None


def name_of(energy: Any) -> str:
    """The energy's name, for people."""
    if is_declared(energy):
        return energy.name
    if isinstance(energy, functools.partial):
        return name_of(energy.func)
    if isinstance(energy, MethodType):
        return name_of(energy.__self__)
    return energy.__name__ if isinstance(energy, FunctionType) else type(energy).__name__


def origin(energy: Any) -> Origin:
    """The library, dtype and device of an energy's parameters; None for each that is not known."""
    if is_declared(energy):
        return energy.library, energy.dtype, energy.device
    if is_module(energy):
        own = _of_module(energy)
        return _found_in(energy) if own[0] is None else own
    if not hasattr(energy, "gradient"):
        return _found_in(energy)
    return None, None, None  # one that brings its gradient is of the library that calls it


def parameters_dtype(energy: Any) -> str | None:
    """The dtype of the first network's parameters that an energy calculates with, if any."""
    asked = energy.asked() if is_declared(energy) else energy
    for part in () if asked is None else _parts(asked):
        if is_module(part):
            for value in part.parameters():
                if is_array(value) and dtype_name(value.dtype) in FLOATING:
                    return dtype_name(value.dtype)
    return None


def numbers_in(energy: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The numbers that an energy is seen to hold, by where: arrays, floats, those of networks.

    And integers of what is called: of other objects they tell levels of logging and the like.
    """
    found = {}
    for path, part, is_of_called in _named_parts(energy, into_modules=True):
        if isinstance(part, Integral) and not is_of_called:
            continue
        values = _as_numbers(part)
        if values is not None:
            found[path] = values
    return found


def _as_numbers(part: Any) -> np.ndarray[Any, Any] | None:
    """Numbers as an array; None of what is none, or is too large for one."""
    if isinstance(part, Real) and not isinstance(part, bool):
        try:
            return np.asarray(float(part))
        except OverflowError:
            return None
    is_real = is_array(part) and dtype_name(part.dtype).rstrip("0123456789") in _REAL
    return to_numpy(part) if is_real and device_name(part) != _NOWHERE else None


def is_module(part: Any) -> bool:
    """Whether this is a network: an object of a library, with parameters."""
    return callable(getattr(part, "parameters", None)) and not isinstance(part, type)


def _found_in(energy: Any) -> Origin:
    known: Origin = (None, None, None)
    for part in _parts(energy):
        if is_module(part):
            own = _of_module(part)
            if own[0] is not None:
                return own
        elif is_array(part):
            own = array_origin([part])
            if own[0] != "numpy" and own[2] != _NOWHERE and None in known:
                known = own
        library = _library_of_code(part)
        if library is not None and known[0] is None:
            known = (library, None, None)
    return known


def _of_module(module: Any) -> Origin:
    buffers: Callable[[], Iterable[Any]] = getattr(module, "buffers", tuple)
    return _first_floating(chain(module.parameters(), buffers()))


def _first_floating(values: Iterable[Any]) -> Origin:
    first: Origin = (None, None, None)
    for value in values:
        own = array_origin([value])
        if own[2] == _NOWHERE:
            continue
        if own[1] is not None:
            return own
        first = first if first[0] is not None else own
    return first


def _library_of_code(part: Any) -> str | None:
    """The library of a network without parameters, or of the functions that a function calls."""
    if isinstance(part, ModuleType):
        names = [part.__name__]
    elif isinstance(part, FunctionType):
        return None
    else:
        kind = part if isinstance(part, type) else type(part)
        names = [base.__module__ for base in kind.__mro__]
    roots = {name.partition(".")[0] for name in names}
    return next((name for name in DIFFERENTIATING if name in roots), None)


def _parts(energy: Any) -> Iterator[Any]:
    """The energy, and what it calculates with, nearest first."""
    return (part for _, part, _ in _named_parts(energy))


def _named_parts(energy: Any, *, into_modules: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """The same with names that tell where a part was found, and whether in what is called."""
    level, met = [("", energy, True)], {}
    for _ in range(_DEPTH + 1 + into_modules):
        following = []
        for path, part, is_of_called in level:
            if isinstance(part, Real) or id(part) not in met:  # equal numbers may be one object
                met[id(part)] = part
                yield path, part, is_of_called
                is_called = callable(part) or (is_of_called and isinstance(part, _CONTAINERS))
                held = _in_module(part) if into_modules and is_module(part) else _held_by(part)
                following += [(f"{path}.{name}", one, is_called) for name, one in held]
        level = following


def _held_by(part: Any) -> Iterable[tuple[object, Any]]:
    if isinstance(part, functools.partial):
        return [("func", part.func), *enumerate(part.args), *part.keywords.items()]
    if isinstance(part, MethodType):
        return [("self", part.__self__), ("func", part.__func__)]
    if isinstance(part, FunctionType):
        names = _globals_of(part.__code__)
        cells = zip(part.__code__.co_freevars, part.__closure__ or (), strict=True)
        return [
            *((name, cell.cell_contents) for name, cell in cells if not _is_empty(cell)),
            *((name, part.__globals__[name]) for name in names if name in part.__globals__),
            *enumerate(part.__defaults__ or ()),
            *(part.__kwdefaults__ or {}).items(),
        ]
    if isinstance(part, (list, tuple)):
        return enumerate(part[:_ELEMENTS])
    if isinstance(part, dict):
        items = enumerate(islice(part.items(), _ELEMENTS))
        return [(key if isinstance(key, str) else i, value) for i, (key, value) in items]
    if isinstance(part, (type, ModuleType)) or is_module(part) or is_array(part):
        return []
    bases = type(part).__mro__
    slots = chain.from_iterable(_slots_of(base) for base in bases)
    return [
        *getattr(part, "__dict__", {}).items(),
        *((name, getattr(part, name)) for name in slots if hasattr(part, name)),
        *(("call", vars(base).get("__call__")) for base in bases),
    ]


def _slots_of(base: type) -> tuple[str, ...]:
    names = vars(base).get("__slots__", ())
    own = (names,) if isinstance(names, str) else tuple(names)
    return tuple(name for name in own if name not in ("__dict__", "__weakref__"))


def _in_module(module: Any) -> Iterator[tuple[str, Any]]:
    """The parameters and buffers of a network, and the attributes of all its parts."""
    for kind in ("parameters", "buffers"):
        named = getattr(module, f"named_{kind}", None)
        values = getattr(module, kind, tuple)
        yield from named() if named is not None else enumerate(values())
    parts = getattr(module, "named_modules", lambda: [("", module)])
    for path, part in parts():
        for name, value in getattr(part, "__dict__", {}).items():
            if isinstance(value, Real) or not name.startswith("_"):  # the library's own
                yield f"{path}.{name}", value


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


@functools.lru_cache
def _globals_of(code: CodeType) -> tuple[str, ...]:
    """The names of the globals that a function reads, those of functions inside it included."""
    own = (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    inner = (_globals_of(part) for part in code.co_consts if isinstance(part, CodeType))
    return tuple(dict.fromkeys(chain(own, *inner)))
