"""The transitions by their names."""

from __future__ import annotations

import numpy as np

from isotherm._transitions.hamiltonian import HAMILTONIAN, MALA
from isotherm._transitions.langevin import LANGEVIN
from isotherm._transitions.limits import ARGUMENTS
from isotherm._transitions.program import Kind, Variant
from isotherm._transitions.trace import Schedules, Transition
from isotherm._transitions.underdamped import UNDERDAMPED
from isotherm.errors import FormulaError, InputError, short_repr

_OURS = (LANGEVIN, UNDERDAMPED, MALA, HAMILTONIAN)
_transitions = {one.name: one for one in _OURS}

#: What of a state and a plan there is, and what has to be told of a decision.
_CARRIED = {("x",), ("x", "momentum")}
_ARGUMENTS = {
    "step_size", "friction", "n_leapfrog", "jitter", "clamp", "divergence_threshold", *ARGUMENTS,
}  # fmt: skip
_PLANNED = (_ARGUMENTS - {"clamp", "bounds"}) | {"noise_scale", "low", "high", "lowest"}

#: Arguments with which a step's program is another.
_SHAPING = {
    "clamp": Variant(clamps=True),
    "bounds": Variant(has_bounds=True),
    "gradient_clip": Variant(clips=True),
    "gradient_clip_norm": Variant(clips_norm=True),
}
_OF_A_DECISION = {"energy_error", "accepted", "diverging"}


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
    """Make a transition known by its name, for as long as the process lives.

    It is traced once, so that what is wrong with it is said here.

    Raises
    ------
    InputError
        The name is one of ours, or the state is not what a run can begin with.
    FormulaError
        The function uses what a step does not have.
    """
    name = transition.name
    if name in {one.name for one in _OURS} and transition not in _OURS:
        raise InputError(f"sampler {name!r} is Isotherm's own; choose another name")
    if tuple(transition.carried) not in _CARRIED:
        raise InputError(
            f"sampler {name!r} carries {transition.carried}; it can carry ('x',) or "
            "('x', 'momentum')"
        )
    unknown = sorted(set(transition.arguments) - _ARGUMENTS)
    if unknown:
        raise InputError(
            f"sampler {name!r} cannot take {', '.join(unknown)}; a plan has "
            f"{', '.join(sorted(_ARGUMENTS))}"
        )
    for kind in Kind:
        program = transition.program(Variant(kind))
        given = dict.fromkeys(_PLANNED, np.ones(1))
        made = transition.coefficients(Schedules(np.arange(1), given))
        missing = [one for one in program.coefficients if one not in made]
        if missing:
            raise FormulaError(
                f"the step of {name!r} reads c.{missing[0]}, which is not among its coefficients "
                f"{', '.join(made)}"
            )
        told = _OF_A_DECISION - set(program.reports)
        if transition.is_adjusted and told:
            raise FormulaError(f"{name!r} is adjusted and does not report {', '.join(told)}")
    for argument in _SHAPING.keys() & transition.arguments.keys():
        if transition.program(_SHAPING[argument]).digest == transition.program().digest:
            raise FormulaError(
                f"{name!r} takes {argument}, of which its step makes no use; write it with "
                "inside(), drift() and clipped(), or leave it out of the arguments"
            )
    _transitions[name] = transition
