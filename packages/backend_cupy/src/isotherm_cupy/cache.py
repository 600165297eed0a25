"""What was compiled, kept on disk for later processes.

Code from this folder runs on the card with the user's rights, so it is only taken from where nobody
else can write, and only where it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

_log = logging.getLogger(__name__)
_DIGEST = hashlib.sha256().digest_size


def kept(folder: Path | None, key: str, make: Callable[[], bytes]) -> bytes:
    """What `make` returns, from an earlier call if there was one.

    Parameters
    ----------
    folder : path or None
        Of `cache_folder`; without one nothing is kept.
    key : str
        Everything that the result depends on.
    make : callable
    """
    if folder is None:
        return make()
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.cubin"
    found = _read(path, key)
    if found is None:
        found = make()
        _write(path, _digest(key, found) + found)
    return found


def cache_folder() -> Path | None:
    """The user's folder for this, within CuPy's own; None where there can be none."""
    if os.environ.get("CUPY_CACHE_IN_MEMORY") == "1":
        return None
    return _checked(os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache"))


@cache
def _checked(parent: str) -> Path | None:
    folder = Path(parent, "isotherm")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_own(folder.lstat(), stat.S_ISDIR):
            reason = "others can write to it"
        elif not os.access(folder, os.W_OK | os.X_OK):
            reason = "you cannot write to it"
        else:
            return folder
    except OSError as error:
        reason = str(error.strerror)
    _log.warning(
        "kernels are compiled anew in each process, as they cannot be kept in %s (%s); set "
        "CUPY_CACHE_DIR to a folder of your own",
        folder,
        reason,
    )
    return None


def _is_own(found: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    """Whether it is of this kind and nobody else can write to it."""
    if not is_kind(found.st_mode):
        return False
    if not hasattr(os, "getuid"):  # Windows keeps others out of a user's folders by other means
        return True
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path, key: str) -> bytes | None:
    """The content of a file that is whole, of this key and the user's own; else None."""
    try:
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        )
        with os.fdopen(descriptor, "rb") as file:
            if not _is_own(os.fstat(descriptor), stat.S_ISREG):
                return None
            data = file.read()
    except OSError:
        return None
    digest, content = data[:_DIGEST], data[_DIGEST:]
    return content if digest == _digest(key, content) else None


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing, whoever else writes the same file."""
    with contextlib.suppress(OSError):  # a full disk is no reason not to run
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise


def _digest(key: str, content: bytes) -> bytes:
    # With the key, so that a file under another's name is not taken for it.
    return hashlib.sha256(hashlib.sha256(key.encode()).digest() + content).digest()
