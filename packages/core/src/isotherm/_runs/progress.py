"""A bar on the terminal that shows how a run goes. Needs the extra ``isotherm[progress]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.console
import rich.progress as bars

from isotherm._results.result import Progress


@contextmanager
def bar(patience: float = 0.0) -> Iterator[Callable[[Progress], None]]:
    """What shows a bar on stderr once a run has lasted, and takes it away at the end.

    Parameters
    ----------
    patience : float
        Seconds of a run before the bar is shown.
    """
    columns = (
        bars.TextColumn("sampling"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[details]}"),
        bars.TimeRemainingColumn(),
    )
    shown = bars.Progress(*columns, console=rich.console.Console(stderr=True), transient=True)
    task = shown.add_task("sampling", details="")

    def show(status: Progress) -> None:
        shown.update(task, completed=status.n_steps, total=status.n_total, details=_details(status))
        if status.seconds > patience and not shown.live.is_started:
            shown.start()

    try:
        yield show
    finally:
        shown.stop()


def _details(status: Progress) -> str:
    parts = [f"{status.rate:.3g} steps/s", f"{status.n_kept} kept"]
    if status.energy is not None:
        parts.append(f"energy {status.energy:.4g}")
    if status.n_diverged:
        parts.append(f"{status.n_diverged} diverged")
    return ", ".join(parts)
