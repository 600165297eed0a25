"""What is told of a run while it lasts: to a bar, to the caller's functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from isotherm._planning.arguments import as_count
from isotherm._results.result import Progress
from isotherm.errors import ExtraNotInstalledError, InputError, short_repr

#: Called after every piece of a run; what is true of any answer ends the run.
Callback = Callable[[Progress], object]


@dataclass
class Callbacks:
    """What is told of a run, and when.

    Attributes
    ----------
    functions : list of callable
        Called after every piece.
    every : int or None
        A piece ends at every multiple of so many steps.
    """

    functions: list[Callback] = field(default_factory=list)
    every: int | None = None

    def __bool__(self) -> bool:
        return bool(self.functions)

    def tell(self, status: Progress) -> bool:
        """Whether anybody wants the run to end."""
        answers = [report(status) for report in self.functions]  # all are called
        return any(answers)


def collect_callbacks(
    progress: bool | Callable[[int, int], object],
    callback: Callback | None,
    stack: ExitStack,
    every: int | None = None,
) -> Callbacks:
    """What the caller asked to be told, checked; the stack takes a bar away at the end."""
    if every is not None:
        every = as_count("callback_every", every, 1)
        if callback is None:
            raise InputError("callback_every says how often callback is called; give both")
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
        callbacks.append(callback if every is None else _at_multiples(callback, every))
    return Callbacks(callbacks, every)


def _at_multiples(callback: Callback, every: int) -> Callback:
    """The callback, not told of pieces that end between."""

    def tell(status: Progress) -> object:
        is_due = status.n_steps % every == 0 or status.n_steps == status.n_total
        return callback(status) if is_due else False

    return tell


def _bar() -> AbstractContextManager[Callback]:
    try:
        from isotherm._runs.progress import bar
    except ImportError:
        raise ExtraNotInstalledError(
            "a progress bar needs rich; pip install 'isotherm[progress]'"
        ) from None
    return bar()
