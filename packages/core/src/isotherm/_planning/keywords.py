"""Keywords that a function does not have, and which its author may have meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

from isotherm.errors import UnknownArgumentError

P = ParamSpec("P")
R = TypeVar("R")

# What other samplers call them.
_ELSEWHERE = {
    "burnin": "burn_in",
    "epsilon": "step_size",
    "eta": "step_size",
    "learning_rate": "step_size",
    "lr": "step_size",
    "n_chains": "n_samples",
    "n_warmup": "burn_in",
    "noise_std": "noise_scale",
    "num_chains": "n_samples",
    "num_steps": "n_steps",
    "random_state": "seed",
    "rng": "seed",
    "x0": "x",
    "x_init": "x",
}


def knows_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which answers an unknown keyword by the one that is most like it."""
    names = set(inspect.signature(function).parameters)
    called = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in () if kwargs.keys() <= names else kwargs.keys() - names:
            like = get_close_matches(name, names, n=1)
            meant = _ELSEWHERE.get(name) if _ELSEWHERE.get(name) in names else None
            meant = meant or (like[0] if like else None)
            hint = "" if meant is None else f"; did you mean {meant}?"
            raise UnknownArgumentError(f"{called}() has no argument {name!r}{hint}")
        return function(*args, **kwargs)

    return call
