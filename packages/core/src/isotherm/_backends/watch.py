"""After which step a state was first not finite, or had no energy, without asking that again."""

from __future__ import annotations

import math

import array_api_compat as compat

from isotherm._arithmetic.arrays import Array, all_finite


class Watch:
    """Notes, step by step, whether states are finite and energies are numbers.

    An energy may be infinite, as at a wall; NaN it is outside of its support.

    In host memory that is known at once. A device is not waited for: it is left to sum up each
    state, and asked only when somebody wants to know.

    Parameters
    ----------
    device : str
        Where the values are.
    """

    def __init__(self, device: str) -> None:
        self._is_on_host = device == "cpu"
        self._found: int | None = None
        self._sums: list[tuple[Array, int, Array | None, int]] = []

    def note(self, x: Array, n_steps: int, energies: Array | None, n_before: int) -> None:
        """`x` is the state after so many steps, and the energies are those after `n_before`."""
        if not self._is_on_host:
            total = None if energies is None else _total(energies)
            self._sums.append((_total(x), n_steps, total, n_before))
        elif self._found is None:
            is_inside = energies is None or all_finite(energies) or not _has_nan(energies)
            self._found = _step(all_finite(x), n_steps, is_inside, n_before)

    def first(self) -> int | None:
        """The least number of steps after which a state was not finite or had no energy."""
        sums, self._sums = self._sums, []
        if sums and self._found is None:
            xp = compat.array_namespace(sums[0][0])
            totals = [total for row in sums for total in row[::2] if total is not None]
            if not bool(xp.all(xp.isfinite(xp.stack(totals)))):  # the device is waited for once
                for state, n_steps, energies, n_before in sums:
                    is_inside = energies is None or not math.isnan(float(energies))
                    found = _step(math.isfinite(float(state)), n_steps, is_inside, n_before)
                    self._found = self._found or found
        return self._found


def _step(is_finite: bool, n_steps: int, is_inside: bool, n_before: int) -> int | None:
    """An energy that is NaN is that of the state before, unless it spoilt this state."""
    if not is_finite:
        return n_steps
    return None if is_inside else max(1, n_before)


def _has_nan(values: Array) -> bool:
    xp = compat.array_namespace(values)
    return bool(xp.any(xp.isnan(values)))


def _total(values: Array) -> Array:
    xp = compat.array_namespace(values)
    return xp.sum(values, dtype=xp.float64)  # in which no sum of finite float32 is infinite
