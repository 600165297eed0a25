"""A runner that serves several runs, which differ in their seed and their start alone."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from isotherm._backends.protocol import Backend, Renews, Runner
from isotherm._energies.origin import origin
from isotherm._plans.plan import Plan


class Loan(NamedTuple):
    """A runner, the energy that it asks, and all else that it hangs on but the seed."""

    runner: Runner
    energy: Any
    made_of: tuple[Any, ...]


class Prepared:
    """The runner of a sampler's last run, kept for the next: training loops run thousands.

    Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        # Its ends are atomic: of two threads, or a run within a run, one gets the runner.
        self._kept: deque[Loan] = deque(maxlen=1)

    def take(self, backend: Backend, plan: Plan, energy: Any) -> Loan:
        """A runner for the plan; nobody else has it until it is given back."""
        # The energy is an object that may change what it is.
        about = type(energy), origin(energy), hasattr(energy, "gradient")
        made_of = {**vars(plan), "seed": None}, *about
        try:
            kept = self._kept.pop()
        except IndexError:
            kept = None
        if kept is None or kept.energy is not energy or kept.made_of != made_of:
            return Loan(backend.prepare(plan, energy), energy, made_of)
        renewed: Renews = kept.runner  # type: ignore[assignment]
        renewed.renew(plan)
        return kept

    def give_back(self, loan: Loan) -> None:
        """Keep the runner of a run that has ended well, if it lets itself be kept."""
        if getattr(loan.runner, "is_kept", False):
            self._kept.append(loan)

    def __reduce__(self) -> tuple[type[Prepared], tuple[()]]:
        return Prepared, ()
