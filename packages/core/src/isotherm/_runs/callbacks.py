"""What is told of a run while it lasts: to a bar, to the caller's functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from isotherm._results.result import Progress
from isotherm.errors import InputError, short_repr

#: Called after every piece of a run; what is true of any answer ends the run.
Callback = Callable[[Progress], object]


def collect_callbacks(
    progress: bool | Callable[[int, int], object], callback: Callback | None, stack: ExitStack
) -> list[Callback]:
    """What the caller asked to be callbacks, checked; the stack takes a bar away at the end."""
    if not (isinstance(progress, bool) or callable(progress)):
        raise InputError(
            "progress must be True, False or a callable of (done, total), not "
            f"{short_repr(progress)}"
        )
    if not (callback is None or callable(callback)):
        raise InputError(f"callback must be a callable of one Progress, not {short_repr(callback)}")
    callbacks: list[Callback] = []
    if progress is True:
        callbacks.append(stack.enter_context(_bar()))
    elif progress is not False:
        function = progress

        def tell(status: Progress) -> None:
            function(status.n_steps, status.n_total)

        callbacks.append(tell)
    if callback is not None:
        callbacks.append(callback)
    return callbacks


def _bar() -> AbstractContextManager[Callback]:
    try:
        from isotherm._runs.progress import bar
    except ImportError:
        raise InputError("a progress bar needs rich; pip install 'isotherm[progress]'") from None
    return bar()
