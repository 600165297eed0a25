"""A runner that serves several runs, which differ in their start and their noise alone."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from isotherm._backends.protocol import RENEWED, Backend, Renews, Runner
from isotherm._energies.origin import parameters_dtype
from isotherm._plans.plan import Plan


class Loan(NamedTuple):
    """A runner, and what it was made for."""

    runner: Runner
    plan: Plan
    energy: Any
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
        about = _about(energy)
        if kept is None or not _serves(kept, plan, energy, about):
            return Loan(backend.prepare(plan, energy), plan, energy, about)
        renewed: Renews = kept.runner  # type: ignore[assignment]
        renewed.renew(plan)
        return kept

    def give_back(self, loan: Loan) -> None:
        """Keep the runner of a run that has ended well, if it lets itself be kept."""
        if getattr(loan.runner, "is_kept", False):
            self._kept.append(loan)

    def __reduce__(self) -> tuple[type[Prepared], tuple[()]]:
        return Prepared, ()


def _serves(kept: Loan, plan: Plan, energy: Any, about: tuple[Any, ...]) -> bool:
    """Whether a runner serves a plan, which may differ from its own in `RENEWED`."""
    if kept.energy is not energy or kept.about != about:
        return False
    any_of_them = dict.fromkeys(RENEWED)
    return vars(plan) | any_of_them == vars(kept.plan) | any_of_them


def _about(energy: Any) -> tuple[Any, ...]:
    """What a runner is made for of an energy, which is an object and may change, and no plan tells.

    Its class, its own gradient, and the dtype in which its network is given states.
    """
    return type(energy), getattr(energy, "gradient", None), parameters_dtype(energy)
