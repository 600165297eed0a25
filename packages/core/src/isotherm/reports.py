"""What is told of a run while it lasts: to a bar, to the caller's functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from isotherm.errors import InputError, shown
from isotherm.result import Progress

#: Called after every piece of a run; what is true of any answer ends the run.
Report = Callable[[Progress], object]


def reports(
    progress: bool | Callable[[int, int], object], callback: Report | None, stack: ExitStack
) -> list[Report]:
    """What the caller asked to be told, checked; the stack takes a bar away at the end."""
    if not (isinstance(progress, bool) or callable(progress)):
        raise InputError(
            f"progress must be True, False or a callable of (done, total), not {shown(progress)}"
        )
    if not (callback is None or callable(callback)):
        raise InputError(f"callback must be a callable of one Progress, not {shown(callback)}")
    told: list[Report] = []
    if progress is True:
        told.append(stack.enter_context(_bar()))
    elif progress is not False:
        function = progress

        def tell(status: Progress) -> None:
            function(status.n_steps, status.n_total)

        told.append(tell)
    if callback is not None:
        told.append(callback)
    return told


def _bar() -> AbstractContextManager[Report]:
    try:
        from isotherm.progress import bar
    except ImportError:
        raise InputError("a progress bar needs rich; pip install 'isotherm[progress]'") from None
    return bar()
