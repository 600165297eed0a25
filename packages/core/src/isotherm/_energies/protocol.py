"""What an energy is: any callable U(x), and what is known of it."""

from __future__ import annotations

from typing import Any

import array_api_compat as compat

from isotherm._arithmetic.arrays import Array, array_origin
from isotherm._energies.formulas import Formula, FormulaEnergy
from isotherm.errors import InputError


def as_energy(energy: Any) -> Any:
    """The energy itself; of a formula whose parameters all have defaults, the energy with those."""
    if isinstance(energy, Formula):
        return energy()
    if isinstance(energy, type):
        raise InputError(f"the energy must be an object; got the class {energy.__name__} itself")
    if not callable(energy):
        raise InputError(
            f"the energy must be callable, U(x) of shape (n_samples,); got {type(energy).__name__}"
        )
    return energy


def fixed(energy: Any, event_shape: tuple[int, ...]) -> Any:
    """The energy as it is now, for one run: of a formula, with what its function reads now."""
    return energy.fixed(event_shape) if isinstance(energy, FormulaEnergy) else energy


def origin(energy: Any) -> tuple[str | None, str | None, str | None]:
    """The library, dtype and device of an energy's parameters; None for each that is not known."""
    parameters = getattr(energy, "parameters", None)
    if callable(parameters):  # a module of a library for networks
        return array_origin(parameters())
    return tuple(getattr(energy, name, None) for name in ("library", "dtype", "device"))  # type: ignore[return-value]


def chain_energies(energy: Array, n_samples: int) -> Array:
    """U of each chain, shape (n_samples,), of what an energy returned: terms are summed."""
    xp = compat.array_namespace(energy)
    if energy.ndim == 1:
        return energy
    return xp.sum(xp.reshape(energy, (n_samples, -1)), axis=1)
