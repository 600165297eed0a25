"""How many Monte Carlo errors are no accident."""

from __future__ import annotations

import math
from statistics import NormalDist

_ERRORS = 4.0  # of one test, with many chains: 1 in 16000 by chance


def most_errors(n_tests: int, n_chains: int) -> float:
    """The quantile of Student's t beyond which one of some tests lies as seldom as one beyond 4σ.

    Bonferroni's correction; t from the normal quantile by Wallace's approximation (Annals of
    Mathematical Statistics 30, 1959), which of few chains is on the safe side.
    """
    tail = NormalDist().cdf(-_ERRORS) / n_tests
    z, degrees = -NormalDist().inv_cdf(tail), n_chains - 1
    bent = z * (8.0 * degrees + 3.0) / (8.0 * degrees + 1.0)
    return math.sqrt(degrees * math.expm1(bent * bent / degrees))
