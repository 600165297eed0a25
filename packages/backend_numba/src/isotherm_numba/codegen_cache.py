"""Generated modules: compiled once, kept on disk, and found again by later processes.

Numba's own cache is not used: it unpickles what it finds in a folder that may be anybody's, and
takes a file that is damaged for an error.
"""

from __future__ import annotations

import hashlib
import linecache
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
import platformdirs
from numba.core import caching, compiler, serialize

from isotherm.backend import CompiledCache, functions, noise, plain_name
from isotherm_numba.limits import LIMITS

_log = logging.getLogger(__name__)
_SETTING = "NUMBA_CACHE_DIR"

_OPTIONS = {"nogil": True, "error_model": "numpy"}

#: How functions are compiled that Python does not call.
INNER = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@cache
def load(name: str, source: str) -> ModuleType:
    """The module of this source, its functions compiled or taken from the cache on disk.

    Parameters
    ----------
    name : str
        For people.
    source : str
        Python, whose functions are decorated by `kept`. Importing it compiles them.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()
    module = ModuleType(f"isotherm_numba.generated.{digest}")
    sys.modules[module.__name__] = module  # where Numba looks for it when code is found
    try:
        with _told(name, "later runs, in any process,"):
            _execute(source, module, plain_name(name))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


@cache
def build(name: str, source: str, users: tuple[tuple[str, Any], ...]) -> ModuleType:
    """The module of a source that uses functions of the user's, by their names.

    Compiled once a process: no file tells whether such a function is still the same.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()
    module = ModuleType(f"isotherm_numba.generated.{digest}")
    module.__dict__.update(users)
    with _told(name, "later runs of this process"), uninterrupted():
        _execute(source, module, plain_name(name))
    return module


def kept(signature: Any, **options: Any) -> Callable[[Any], Any]:
    """`numba.njit` for one signature, of which later processes find the code.

    Only for functions of a module of `load`, whose name tells what they are.
    """

    def decorate(function: Any) -> Any:
        with uninterrupted():
            dispatcher = numba.njit(**_OPTIONS | options)(function)
            dispatcher._cache = _OnDisk(f"{function.__module__}.{function.__name__}")
            dispatcher.compile(signature)
            dispatcher.disable_compile()
        return dispatcher

    return decorate


def shared(function: Any, variant: str = "") -> Any:
    """`numba.njit` for a function of ours that those of many kernels call, for any types.

    What it is for each types is kept on disk, too, so that a kernel is not compiled with all that
    it calls. Python cannot call it but by its ``py_func``: it has no wrapper, and would crash.

    Parameters
    ----------
    function : function
        A decorated one, or a closure.
    variant : str
        What tells a closure from others of its place in the source.
    """
    dispatcher = numba.njit(**INNER)(function)
    dispatcher._cache = _OnDisk(f"{function.__module__}.{function.__qualname__}.{variant}")
    return dispatcher


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until a function is compiled, some seconds at most.

    Numba that was interrupted in the middle of its work may fail for as long as the process lives.
    """
    came: list[Any] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # where Python raises no KeyboardInterrupt
        return
    signal.signal(signal.SIGINT, lambda *args: came.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])


class _OnDisk(caching.NullCache):  # Numba is not typed
    """What a dispatcher of Numba's asks for code, and gives it to."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def cache_path(self) -> str | None:
        folder = _compiled().folder
        return None if folder is None else str(folder)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        data = _compiled().find(self._key(signature, target_context.codegen()))
        if data is None:
            return None
        return compiler.CompileResult._rebuild(target_context, *pickle.loads(data))

    def save_overload(self, signature: Any, result: Any) -> None:
        if not result.library.has_dynamic_globals:
            data = serialize.dumps(result._reduce())
            _compiled().keep(self._key(signature, result.codegen), data)

    def _key(self, signature: Any, codegen: Any) -> str:
        return repr((self._name, _sources(), str(signature), codegen.magic_tuple()))


def _execute(source: str, module: ModuleType, label: str) -> None:
    """Run a module's source, whose lines tracebacks are to show."""
    file = f"<{module.__name__}: {label}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), module.__dict__)


@cache
def _sources() -> str:
    core = [Path(noise.__file__), Path(functions.__file__)]
    files = [*core, *sorted(Path(__file__).parent.glob("*.py"))]
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    text = repr(versions) + "".join(file.read_text(encoding="utf-8") for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _compiled() -> CompiledCache:
    """A folder of our own in the one that the user chose for Numba, else in the user's cache."""
    if numba.config.CACHE_DIR:
        # Several users may have chosen the same.
        user = os.getuid() if hasattr(os, "getuid") else ""
        return CompiledCache(Path(numba.config.CACHE_DIR, f"isotherm-{user}"), _SETTING)
    return CompiledCache(platformdirs.user_cache_path("isotherm") / "numba", _SETTING)


@contextmanager
def _told(name: str, who: str) -> Iterator[None]:
    """Say what is happening if it takes long."""
    timer = threading.Timer(
        LIMITS.patience,
        _log.warning,
        ["compiling %s; %s take it from the cache", plain_name(name), who],
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
