"""Compiled code, kept on disk for later processes.

What is found here runs with the user's rights. So it is only taken from a folder of the user's own,
out of files of the user's own that nobody else can write to, and only where it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

_log = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size
_OTHERS = stat.S_IWGRP | stat.S_IWOTH  # who else may write


class CompiledCache:
    """A folder of compiled code. Where there can be none, nothing is found, which is said once.

    Parameters
    ----------
    folder : path
        Made, with mode 0700, where it is not there.
    setting : str
        The environment variable by which the user chooses another place.
    """

    def __init__(self, folder: Path, setting: str) -> None:
        self._wanted = folder
        self._setting = setting
        self._was_told = False

    def find(self, key: str) -> bytes | None:
        """What was kept under a key; None where that is nothing, not whole, or not the user's."""
        if self.folder is None:
            return None
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NONBLOCK", 0)  # a pipe of this name is not waited for
        try:
            with os.fdopen(os.open(self._path(self.folder, key), flags), "rb") as file:
                if _why_not_own(os.fstat(file.fileno()), stat.S_ISREG) is not None:
                    return None
                data = file.read()
        except OSError:
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        return content if digest == _digest(key, content) else None

    def keep(self, key: str, content: bytes) -> None:
        """Keep what `find` is to find: all of it or nothing, whoever else keeps the same."""
        if self.folder is None:
            return
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_digest(key, content) + content)
                os.replace(temporary, self._path(self.folder, key))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:  # a full disk is no reason not to run
            self._tell(str(error.strerror))

    @cached_property
    def folder(self) -> Path | None:
        """The folder, which is the user's own; None where there can be none."""
        folder = self._wanted
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            found = folder.lstat()
            if _why_not_own(found, stat.S_ISDIR) == "others can write to it":  # of a careless umask
                folder.chmod(0o700)
                found = folder.lstat()
            reason = _why_not_own(found, stat.S_ISDIR)
            if reason is None:
                with tempfile.TemporaryFile(dir=folder):
                    return folder
        except OSError as error:
            reason = str(error.strerror)
        self._tell(reason)
        return None

    def _tell(self, reason: str) -> None:
        if not self._was_told:
            self._was_told = True
            _log.warning(
                "what is compiled is lost at the end of this process, as it cannot be kept in %s "
                "(%s); set %s to a folder of your own that can be written to",
                self._wanted,
                reason,
                self._setting,
            )

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / hashlib.sha256(key.encode()).hexdigest()


def _digest(key: str, content: bytes) -> bytes:
    # With the key, so that a file under the name of another is not taken for it.
    return hashlib.sha256(hashlib.sha256(key.encode()).digest() + content).digest()


def _why_not_own(found: os.stat_result, is_kind: Callable[[int], bool]) -> str | None:
    """Why this is not to be trusted; None if it is the user's own alone."""
    if not is_kind(found.st_mode):
        return "it is a link, or something else of this name"
    if not hasattr(os, "getuid"):  # Windows keeps others out of a user's folders by other means
        return None
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others can write to it" if found.st_mode & _OTHERS else None
