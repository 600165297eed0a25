"""What installed packages offer, by their entry points."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints


def offered(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by their names."""
    return {point.name: point for point in _entry_points().select(group=group)}


@cache  # to read what is installed takes milliseconds
def _entry_points() -> EntryPoints:
    # Imported here because it takes a third of the time of importing isotherm.
    from importlib.metadata import entry_points

    return cast("EntryPoints", entry_points())  # as Python 3.12 types it
