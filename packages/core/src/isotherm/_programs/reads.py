"""What a function reads besides its arguments: globals, closures, attributes of modules.

A formula is what it reads. A program that was traced once may be used again only while all of that
is unchanged, so this module makes one value of it, to be compared.
"""

from __future__ import annotations

import functools
import hashlib
import random
import sys
from collections.abc import Hashable
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np

from isotherm._arithmetic.arrays import is_array, plain_array, to_numpy
from isotherm.errors import FormulaError

#: Libraries whose functions and constants are what they are: nobody changes them between two runs.
_FIXED = {
    *("isotherm", "numpy", "array_api_compat", "scipy", "torch", "cupy", "builtins", "math"),
    *("cmath", "itertools", "functools", "_functools", "operator", "_operator", "collections"),
    *("fractions", "numbers", "statistics", "typing", "types", "enum", "dataclasses", "abc"),
}
#: What reads a file or a state, in them, too, and the names by which anything may be read.
_READING = ("get", "load", "read", "open", "fromfile", "fromregex", "genfromtxt", "memmap")
_ANYTHING = {
    *("globals", "vars", "locals", "eval", "exec", "input", "dir", "compile", "attrgetter"),
    *("methodcaller", "import_module"),
}
_RANDOM = ("random", "secrets", "numpy.random")
_OfArrays = type(np.sum)  # a class of NumPy's own
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice)
#: Of a class, what says nothing about what its methods do.
_ABOUT = {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"}


class _CannotTellError(Exception):
    """A function reads something that cannot be compared by value."""


def what_is_read(function: FunctionType) -> Hashable | None:
    """A value that is equal only while everything that the function reads is the same.

    Followed are globals and closures, the functions that are called, and attributes of modules,
    classes and functions; numbers, strings, arrays and containers of them are compared by value.

    Returns
    -------
    hashable or None
        None where a look at the values cannot tell (files, the environment, objects of other
        classes): the function has to be traced again.

    Raises
    ------
    FormulaError
        The function draws random numbers.
    InputError
        It reads an array of which a part would be lost.
    """
    try:
        return _Reader().all_of(function)
    except (_CannotTellError, RecursionError):
        return None


class _Reader:
    def __init__(self) -> None:
        self._seen: dict[Any, int] = {}  # functions and classes, which may name each other
        self._names: dict[str, None] = {}  # of attributes, in any function
        self._owners: dict[int, ModuleType | FunctionType] = {}

    def all_of(self, function: FunctionType) -> Hashable:
        read, done = [self._function(function)], set[tuple[int, str]]()
        # Whatever a function was given, any other one may have named its attribute.
        while pending := [
            (owner, name)
            for owner in self._owners.values()
            for name in self._names
            if (id(owner), name) not in done
        ]:
            for owner, name in pending:
                done.add((id(owner), name))
                if name in vars(owner):
                    read.append((owner.__name__, name, self._value(vars(owner)[name])))
        return tuple(read)

    def _function(self, function: FunctionType) -> Hashable:
        if function in self._seen:  # a recursion
            return self._seen[function]
        self._seen[function] = len(self._seen)
        self._owners[id(function)] = function
        names = _names(function.__code__)
        self._names |= dict.fromkeys(names)
        package = function.__globals__.get("__package__")
        read: list[Hashable] = [function.__code__]
        for name in names:
            if name in function.__globals__:
                read.append((name, self._value(function.__globals__[name])))
            elif name in _ANYTHING or name.startswith((*_READING, "__")):
                raise _CannotTellError
            modules = (name, f"{package}.{name}" if name else str(package))  # inside the function
            read += [(m, self._value(sys.modules[m])) for m in modules if m in sys.modules]
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            is_bound = cell != CellType()
            read.append((name, self._value(cell.cell_contents) if is_bound else None))
        return (*read, self._value((function.__defaults__, function.__kwdefaults__)))

    def _value(self, value: Any) -> Hashable:
        kind = type(value)
        if kind in _PLAIN:
            return kind, repr(value)
        if kind in (tuple, list, set, frozenset):
            return kind, *(self._value(item) for item in value)
        if kind is dict:
            return kind, *(self._value(item) for item in value.items())
        if isinstance(value, np.generic):
            return value.dtype.str, value.tobytes()
        if is_array(value):
            return self._array(plain_array("what a formula reads", value))
        if isinstance(value, FunctionType):
            return self._fixed(value) if _is_fixed(value) else self._function(value)
        if isinstance(value, MethodType):
            return self._value(value.__func__), self._value(value.__self__)
        if isinstance(value, (staticmethod, classmethod)):
            return kind, self._value(value.__func__)
        if isinstance(value, functools.partial):
            return self._value((value.func, value.args, value.keywords))
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            raise FormulaError(_no_random("a generator of random numbers"))
        if isinstance(value, np.ufunc) and getattr(np, value.__name__, None) is value:
            return value
        if isinstance(value, (BuiltinFunctionType, _OfArrays)):
            owner = getattr(value, "__self__", None)
            return self._value(owner) if _is_bound(value) else None, self._fixed(value)
        if isinstance(value, type):
            return self._fixed(value) if _is_fixed(value) else self._class(value)
        raise _CannotTellError

    def _fixed(self, value: Any) -> Hashable:
        """A function or a class of a library, by itself."""
        name = value.__name__
        if name in _ANYTHING or name.startswith(_READING):
            raise _CannotTellError
        if not (_is_bound(value) or _is_fixed(value)):
            raise _CannotTellError
        return cast(Hashable, value)

    def _array(self, value: Any) -> Hashable:
        # Of another class more than the elements may count.
        if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
            raise _CannotTellError
        numbers = to_numpy(value)
        if numbers.dtype == object:
            raise _CannotTellError
        digest = hashlib.blake2b(np.ascontiguousarray(numbers).tobytes()).digest()
        return numbers.dtype.str, numbers.shape, digest

    def _module(self, module: ModuleType) -> Hashable:
        name = module.__name__
        if name in _RANDOM or (name == "numpy" and "random" in self._names):
            raise FormulaError(_no_random(f"the module {name}"))
        if not _is_fixed(module) and (
            type(module) is not ModuleType
            or name in sys.stdlib_module_names - {"__main__"}
            or "__getattr__" in vars(module)
        ):
            raise _CannotTellError
        self._owners[id(module)] = module
        return name

    def _class(self, value: type) -> Hashable:
        """A class is all that it and those before it hold, which may be called without a name."""
        if value in self._seen:
            return self._seen[value]
        self._seen[value] = len(self._seen)
        if type(value) is not type:  # a metaclass of its own can answer anything
            raise _CannotTellError
        return value, *(
            (name, self._value(held))
            for one in value.__mro__
            if not _is_fixed(one)
            for name, held in vars(one).items()
            if name not in _ABOUT
        )


def _names(code: CodeType) -> tuple[str, ...]:
    """The names of globals and attributes in a function's code, and in that of those inside it."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def _is_bound(value: Any) -> bool:
    """Whether a function is a method of an object."""
    return not isinstance(getattr(value, "__self__", None), (ModuleType, type(None)))


def _is_fixed(value: Any) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return (name or "").partition(".")[0] in _FIXED


def _no_random(what: str) -> str:
    return (
        f"a formula cannot draw random numbers, and this one reads {what}: it is called once, so "
        "that they would be the same at every step; draw them before and pass them as a parameter"
    )
