"""How much memory there is left."""

from __future__ import annotations

import os
import platform


def host_memory() -> int | None:
    """Bytes of main memory that can still be allocated; None where the system does not tell."""
    if platform.system() == "Linux":
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
