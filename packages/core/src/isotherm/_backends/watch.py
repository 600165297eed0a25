"""After which step a state was first not finite, or had no energy, without asking that again."""

from __future__ import annotations

from math import prod

import array_api_compat as compat

from isotherm._arithmetic.arrays import Array, all_finite
from isotherm._limits import LIMITS


class Watch:
    """Notes, step by step, whether states are finite and energies are numbers.

    An energy may be infinite, as at a wall; NaN it is outside of its support.

    In host memory a few states are looked at together: code that was just run is run much faster. A
    device is not waited for: it looks at each state, and is asked only when somebody wants to know.

    Parameters
    ----------
    device : str
        Where the values are.
    """

    def __init__(self, device: str) -> None:
        self._is_on_host = device == "cpu"
        self._found: int | None = None
        self._noted: list[tuple[Array, int, Array | None, int]] = []

    def note(self, x: Array, n_steps: int, energies: Array | None, n_before: int) -> None:
        """`x` is the state after so many steps, and the energies are those after `n_before`."""
        if self._is_on_host:
            self._noted.append((x, n_steps, energies, n_before))
            if len(self._noted) * prod(x.shape) >= LIMITS.normals_in_cache:
                self.first()
        else:
            largest = None if energies is None else _largest(energies)
            self._noted.append((_largest(x), n_steps, largest, n_before))

    def first(self) -> int | None:
        """The least number of steps after which a state was not finite or had no energy."""
        noted, self._noted = self._noted, []
        values = [one for row in noted for one in row[::2] if one is not None]
        if self._found is None and noted and not self._are_finite(values):
            for x, n_steps, energies, n_before in noted:
                is_inside = energies is None or not _has_nan(energies)
                found = _step(all_finite(x), n_steps, is_inside, n_before)
                self._found = self._found or found
        return self._found

    def _are_finite(self, values: list[Array]) -> bool:
        if self._is_on_host:
            return all(map(all_finite, values))
        return all_finite(compat.array_namespace(values[0]).stack(values))  # waits once


def _step(is_finite: bool, n_steps: int, is_inside: bool, n_before: int) -> int | None:
    """An energy that is NaN is that of the state before, unless it spoilt this state."""
    if not is_finite:
        return n_steps
    return None if is_inside else max(1, n_before)


def _has_nan(values: Array) -> bool:
    xp = compat.array_namespace(values)
    return bool(xp.any(xp.isnan(values)))


def _largest(values: Array) -> Array:
    """NaN where one is, and infinite where one is; no sum, for which a device may lack float64."""
    xp = compat.array_namespace(values)
    return xp.max(xp.abs(values))
