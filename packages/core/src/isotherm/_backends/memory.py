"""How much memory there is left."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path


def host_memory() -> int | None:
    """Bytes of main memory that this process can still allocate; None where no system tells.

    The least of what the machine, the process's control group (a container, a batch job) and its
    limit of address space (``ulimit -v``) leave.
    """
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    if platform.system() == "Linux":
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    yield int(line.split()[1]) * 1024
        yield from _control_group()
        yield from _address_space()
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _control_group(
    proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What groups of version 2 leave; the page cache gives way, so that it does not count."""
    with contextlib.suppress(FileNotFoundError):  # groups of version 1 have no such line
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
        for name in (line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
            for group in (root / name, *(root / name).parents):
                limit = group / "memory.max"
                if group.is_relative_to(root) and limit.exists():
                    with (group / "memory.stat").open(encoding="ascii") as counts:
                        used = sum(int(c.split()[1]) for c in counts if c.startswith("anon "))
                    text = limit.read_text(encoding="ascii").strip()
                    if text != "max":
                        yield max(0, int(text) - used)


def _address_space() -> Iterator[int]:
    import resource  # not there on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        yield max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
