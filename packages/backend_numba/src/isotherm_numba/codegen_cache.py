"""Generated modules: compiled once, kept on disk, and found again by later processes."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import platformdirs

from isotherm.backend import functions, noise

_log = logging.getLogger(__name__)
_PATIENCE = 5.0  # seconds of compiling after which the user is told


@cache
def load(name: str, source: str) -> ModuleType:
    """The module of this source, its functions compiled or taken from the cache on disk.

    Numba keeps what it compiled beside a source file, and takes it for valid as long as that one
    file is unchanged. The folder is therefore named by all the sources that flow into it.

    Parameters
    ----------
    name : str
        For people, and for the name of the file.
    source : str
        Python. Its functions ask for ``cache=True`` and have signatures, so that importing it
        compiles them.
    """
    digest = hashlib.sha256((_sources() + source).encode()).hexdigest()
    path = _folder() / digest[:32] / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be writing the same file: each writes its own, and the last one stays.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(source)
        os.replace(file.name, path)
    spec = importlib.util.spec_from_file_location(f"isotherm_numba.generated.{digest}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where Numba looks for it when it reads its cache
    with _told(name, "later runs, in any process,"):
        spec.loader.exec_module(module)
    return module


@cache
def build(name: str, source: str, users: tuple[tuple[str, Any], ...]) -> ModuleType:
    """The module of a source that uses functions of the user's, by their names.

    Compiled once a process: no file tells whether such a function is still the same.
    """
    module = ModuleType(f"isotherm_numba.generated.{name}")
    module.__dict__.update(users)
    with _told(name, "later runs of this process"):
        exec(compile(source, f"<isotherm_numba: {name}>", "exec"), module.__dict__)
    return module


@cache
def _sources() -> str:
    core = [Path(noise.__file__), Path(functions.__file__)]
    files = [*core, *sorted(Path(__file__).parent.glob("*.py"))]
    return numba.__version__ + "".join(file.read_text(encoding="utf-8") for file in files)


@cache
def _folder() -> Path:
    """Numba's own folder where the user chose one; else the user's cache; else a temporary one."""
    chosen = numba.config.CACHE_DIR
    folder = Path(chosen) if chosen else platformdirs.user_cache_path("isotherm")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        temporary = tempfile.mkdtemp(prefix="isotherm-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        _log.warning(
            "what Numba compiles is lost at the end of this process, as it cannot be kept in %s "
            "(%s); set NUMBA_CACHE_DIR to a folder that can be written to",
            folder,
            error.strerror,
        )
        return Path(temporary)


@contextmanager
def _told(name: str, who: str) -> Iterator[None]:
    """Say what is happening if it takes long."""
    timer = threading.Timer(
        _PATIENCE,
        _log.warning,
        ["compiling %s; %s take it from the cache", name, who],
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
