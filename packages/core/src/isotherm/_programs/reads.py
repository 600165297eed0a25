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
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import is_array, plain_array, to_numpy
from isotherm.errors import FormulaError

#: Modules whose functions are what they are: nobody changes them between two runs.
_FIXED = {"isotherm", "numpy", "array_api_compat", "scipy", "torch", "cupy"} | (
    sys.stdlib_module_names - {"__main__"}
)
#: Names of builtins through which a function may read anything.
_ANYTHING = {"globals", "vars", "locals", "eval", "exec", "getattr", "open", "__import__"}
_RANDOM = ("random", "secrets", "numpy.random")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice)


class _CannotTellError(Exception):
    """A function reads something that cannot be compared by value."""


def what_is_read(function: FunctionType) -> Hashable | None:
    """A value that is equal only while everything that the function reads is the same.

    Followed are globals and closures, the functions that are called, and attributes of modules and
    classes; numbers, strings, arrays and containers of them are compared by value.

    Returns
    -------
    hashable or None
        None where a look at the values cannot tell: the function has to be traced again.

    Raises
    ------
    FormulaError
        The function draws random numbers.
    InputError
        It reads an array of which a part would be lost.
    """
    try:
        return _Reader().function(function)
    except _CannotTellError:
        return None


class _Reader:
    def __init__(self) -> None:
        self._functions: dict[FunctionType, int] = {}

    def function(self, function: FunctionType) -> Hashable:
        if function in self._functions:  # a recursion
            return self._functions[function]
        self._functions[function] = len(self._functions)
        names = _names(function.__code__)
        read: list[Hashable] = [function.__code__]
        for name in names:
            if name in function.__globals__:
                read.append((name, self._value(function.__globals__[name], names)))
            elif name in _ANYTHING:
                raise _CannotTellError
            elif name in sys.modules:  # imported inside the function
                read.append((name, self._value(sys.modules[name], names)))
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            is_bound = cell != CellType()
            read.append((name, self._value(cell.cell_contents, names) if is_bound else None))
        defaults = function.__defaults__, function.__kwdefaults__
        return (*read, self._value(defaults, names))

    def _value(self, value: Any, names: tuple[str, ...]) -> Hashable:
        kind = type(value)
        if kind in _PLAIN:
            return kind, repr(value)
        if kind in (tuple, list, set, frozenset):
            return kind, *(self._value(item, names) for item in value)
        if kind is dict:
            return kind, *(self._value(item, names) for item in value.items())
        if isinstance(value, np.generic):
            return value.dtype.str, value.tobytes()
        if is_array(value):
            return self._array(to_numpy(plain_array("what a formula reads", value)))
        if isinstance(value, FunctionType):
            return value if _is_fixed(value.__module__) else self.function(value)
        if isinstance(value, MethodType):
            return self._value(value.__func__, names), self._value(value.__self__, names)
        if isinstance(value, functools.partial):
            return self._value((value.func, value.args, value.keywords), names)
        if isinstance(value, ModuleType):
            return self._module(value, names)
        if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            raise FormulaError(_no_random("a generator of random numbers"))
        if isinstance(value, (np.ufunc, BuiltinFunctionType)):
            return value
        if isinstance(value, type):
            return value, *([] if _is_fixed(value.__module__) else self._attributes(value, names))
        raise _CannotTellError

    def _array(self, value: np.ndarray[Any, Any]) -> Hashable:
        if value.dtype == object:
            raise _CannotTellError
        digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes()).digest()
        return value.dtype.str, value.shape, digest

    def _module(self, module: ModuleType, names: tuple[str, ...]) -> Hashable:
        name = module.__name__
        if name in _RANDOM or (name == "numpy" and "random" in names):
            raise FormulaError(_no_random(f"the module {name}"))
        return name, *([] if _is_fixed(name) else self._attributes(module, names))

    def _attributes(self, owner: Any, names: tuple[str, ...]) -> list[Hashable]:
        known = vars(owner)
        return [(name, self._value(known[name], names)) for name in names if name in known]


def _names(code: CodeType) -> tuple[str, ...]:
    """The names of globals and attributes in a function's code, and in that of those inside it."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def _is_fixed(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _FIXED


def _no_random(what: str) -> str:
    return (
        f"a formula cannot draw random numbers, and this one reads {what}: it is called once, so "
        "that they would be the same at every step; draw them before and pass them as a parameter"
    )
