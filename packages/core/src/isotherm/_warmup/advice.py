"""Why what a warm-up found is not to be trusted: a function for each reason."""

from __future__ import annotations

import numpy as np

from isotherm._warmup.pilots import Pilots
from isotherm._warmup.scales import Numbers, correlated_r_hat
from isotherm._warmup.search import Found, Search
from isotherm._warmup.tuning import MOST_LEAPFROG

_WORST_R_HAT = 1.1
_DRAWS_THAT_TELL = 4  # in each half, of a disagreement, as ArviZ asks for of an R-hat
_FAR_BELOW, _TOO_HIGH = 0.15, 0.99  # of acceptances: below the target, and whatever it is
_MANY_DIVERGENCES = 0.1  # of steps
_SHRUNK = 1e-4  # of the variance in a window, what the pilots' last states have of it by no chance


def reasons(search: Search, found: Found) -> list[str]:
    """A sentence for each reason; none where the warm-up settled."""
    pilots = search.pilots
    far_out = pilots.far_out(**search.numbers(found.step_size))
    said = (
        _never_moved(found.states),
        _not_finite(pilots),
        far_out,
        None if far_out else _came_from_far(pilots, found.states),
        _disagreement(pilots, found),
        _acceptance(search.target, found),
        _divergence(pilots, found),
        _cut(search, found),
    )
    return [one for one in said if one is not None]


def _never_moved(states: Numbers) -> str | None:
    still = int((states == states[0]).all(axis=(0, 2)).sum()) if len(states) > 1 else 0
    if not still:
        return None
    return (
        f"{still} of {states.shape[1]} pilots never moved: where they started a chain is "
        "caught, or outside of the support; pass x, states nearer to the bulk"
    )


def _not_finite(pilots: Pilots) -> str | None:
    if np.isfinite(pilots.states().astype(np.float64)).all():
        return None
    return "pilots left the finite numbers; check the energy"


def _came_from_far(pilots: Pilots, states: Numbers) -> str | None:
    last = pilots.states().astype(np.float64)
    with np.errstate(all="ignore"):
        has_shrunk = (last.var(axis=0) < _SHRUNK * states.var(axis=(0, 1))).any()
    if not has_shrunk:
        return None
    return (
        "the pilots came from far out in the window that tells how wide the law is; take a "
        "larger n_warmup, or start nearer to the bulk"
    )


def _disagreement(pilots: Pilots, found: Found) -> str | None:
    worst, half = found.worst_r_hat, len(found.states) // 2
    if worst <= max(_WORST_R_HAT, correlated_r_hat(max(half, 2))):
        return None
    if half < _DRAWS_THAT_TELL or worst != worst:
        return "too few steps to tell whether the pilots agree; take a larger n_warmup"
    coordinate = pilots.free[int(np.nanargmax(found.r_hat))]
    where = ", ".join(map(str, np.unravel_index(coordinate, pilots.plan.event_shape)))
    return (
        f"the pilots disagree, R-hat is {worst:.2f} at coordinate {where}: they have not "
        "met yet, a direction is flat, or there are several modes; take a larger n_warmup, "
        "or start nearer to the bulk"
    )


def _acceptance(target: float, found: Found) -> str | None:
    # In few dimensions the acceptance falls from high to nothing at the limit of stability, and a
    # step size shortly below is as good as one can be.
    if target - _FAR_BELOW <= found.acceptance <= max(_TOO_HIGH, target):
        return None
    return (
        f"the acceptance is {found.acceptance:.2f}, far from {target:.2f}; take a larger "
        "n_warmup, or check the energy's gradient"
    )


def _divergence(pilots: Pilots, found: Found) -> str | None:
    n_diverged, steps = found.info.n_divergences or 0, pilots.plan.n_samples * found.info.n_steps
    if n_diverged <= _MANY_DIVERGENCES * steps:
        return None
    return (
        f"{n_diverged} of {steps} steps diverged; raise target_accept, or sample "
        "another parametrisation"
    )


def _cut(search: Search, found: Found) -> str | None:
    is_cut = search.lengths(found.step_size).get("n_leapfrog") == MOST_LEAPFROG
    if not is_cut or search.n_leapfrog is not None:
        return None
    return (
        f"trajectories were cut at {MOST_LEAPFROG} substeps: one direction is far wider "
        "than another; take mass='dense', or another parametrisation"
    )
