"""The transitions by their names."""

from __future__ import annotations

from isotherm._transitions.hamiltonian import HAMILTONIAN, MALA
from isotherm._transitions.langevin import LANGEVIN
from isotherm._transitions.trace import Transition
from isotherm._transitions.underdamped import UNDERDAMPED
from isotherm.errors import InputError, short_repr

_transitions = {one.name: one for one in (LANGEVIN, UNDERDAMPED, MALA, HAMILTONIAN)}


def names() -> tuple[str, ...]:
    """The words for the samplers."""
    return tuple(_transitions)


def find(name: object) -> Transition:
    """The transition of this name.

    Raises
    ------
    InputError
        There is none.
    """
    if isinstance(name, str) and name in _transitions:
        return _transitions[name]
    raise InputError(
        f"sampler must be one of {', '.join(map(repr, names()))}, not {short_repr(name)}"
    )


def register(transition: Transition) -> None:
    """Make a transition known by its name for as long as the process lives."""
    _transitions[transition.name] = transition
