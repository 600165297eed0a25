"""A runner that serves several runs, which differ in their start and their noise alone."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from isotherm._backends.protocol import RENEWED, Backend, Renews, Runner
from isotherm._energies.origin import origin, parameters_dtype
from isotherm._plans.plan import Plan

_ANY = dict.fromkeys(RENEWED)


class Loan(NamedTuple):
    """A runner, and what it was made for."""

    runner: Runner
    plan: Plan
    energy: Any
    dtype: str | None  # in which it is given states, if not in theirs
    about: tuple[Any, ...]


class Prepared:
    """The runner of a sampler's last run, kept for the next: training loops run thousands.

    Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        # Its ends are atomic: of two threads, or a run within a run, one gets the runner.
        self._kept: deque[Loan] = deque(maxlen=1)

    def take(self, backend: Backend, plan: Plan, energy: Any) -> Loan:
        """A runner for the plan; nobody else has it until it is given back."""
        try:
            kept = self._kept.pop()
        except IndexError:
            kept = None
        if kept is None or not _serves(kept, plan, energy):
            runner = backend.prepare(plan, energy)
            return Loan(runner, plan, energy, parameters_dtype(energy), _about(energy))
        renewed: Renews = kept.runner  # type: ignore[assignment]
        renewed.renew(plan)
        return kept

    def give_back(self, loan: Loan) -> None:
        """Keep the runner of a run that has ended well, if it lets itself be kept."""
        if getattr(loan.runner, "is_kept", False):
            self._kept.append(loan)

    def __reduce__(self) -> tuple[type[Prepared], tuple[()]]:
        return Prepared, ()


def _serves(kept: Loan, plan: Plan, energy: Any) -> bool:
    """Whether a runner serves a plan, which may differ from its own in `RENEWED`."""
    if kept.energy is not energy or vars(plan) | _ANY != vars(kept.plan) | _ANY:
        return False
    if kept.dtype != parameters_dtype(energy):  # no plan tells that of an object's own gradient
        return False
    # Plans that were made as one share their schedules; and else the energy, which is an object,
    # may have changed what it is.
    return plan.step_size is kept.plan.step_size or kept.about == _about(energy)


def _about(energy: Any) -> tuple[Any, ...]:
    return type(energy), origin(energy), hasattr(energy, "gradient")
