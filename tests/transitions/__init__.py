"""Transitions by themselves, and what backends run them with."""

#: Options by the names of samplers; ``malt`` is ``hmc`` with friction.
SAMPLERS = {
    "langevin": {"step_size": 0.01},
    "underdamped": {"step_size": 0.1, "friction": 1.5},
    "mala": {"step_size": 0.05},
    "hmc": {"step_size": 0.2, "n_leapfrog": 6},
    "malt": {"step_size": 0.2, "n_leapfrog": 9, "friction": 0.7},
}
