"""What an energy is: any callable U(x), and what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from isotherm._arithmetic.arrays import Array
from isotherm._arithmetic.sums import total_of_terms
from isotherm._energies.formulas import Formula
from isotherm._energies.origin import Quadratic, is_declared, is_portable, numbers_in
from isotherm._transitions.program import Kind
from isotherm.errors import InputError, printable


class HasEnergy:
    """What may stand in an energy's place: a sampler, which has one and plans its runs itself."""

    name: ClassVar[str]
    energy_function: Any
    plan: Callable[..., Any]


def as_energy(energy: Any) -> Any:
    """The energy itself; of a formula whose parameters all have defaults, the energy with those."""
    if isinstance(energy, HasEnergy):
        raise InputError(
            f"the energy is a {type(energy).__name__}; call its own sample_chain, or give its "
            "energy_function"
        )
    if isinstance(energy, Formula):
        return energy()
    if isinstance(energy, type):
        raise InputError(f"the energy must be an object; got the class {energy.__name__} itself")
    if not callable(energy) and not hasattr(energy, "gradient"):
        raise InputError(
            "the energy must be callable, U(x) of shape (n_samples,), or have a gradient(x); "
            f"got {type(energy).__name__}"
        )
    return energy


def fixed(energy: Any, event_shape: tuple[int, ...]) -> Any:
    """The energy as it is now, for one run: of a formula, with what its function reads now."""
    return energy.fixed(event_shape) if is_declared(energy) else energy


def planned(energy: Any, event_shape: tuple[int, ...], sampler: str) -> Any:
    """The energy of a run that has a plan already, or that of the sampler which made the plan."""
    if not isinstance(energy, HasEnergy):
        return fixed(as_energy(energy), event_shape)
    if energy.name != sampler:
        raise InputError(
            f"the plan is of sampler {sampler!r}, not of {energy.name!r}; give the sampler that "
            "made it, or an energy"
        )
    return fixed(energy.energy_function, event_shape)


def kind_of(energy: Any) -> Kind:
    """What can be had of an energy to make differences of U from."""
    return energy.kind if is_declared(energy) else Kind.VALUE


def energy_terms(energy: Any, x: Array) -> Array:
    """The terms of U of a separable energy, of the shape of `x`."""
    terms: Array = energy.terms(x)
    return terms


def signature(energy: Any, event_shape: tuple[int, ...]) -> str:
    """What of an energy decides by which kernel, and on how much memory, its chains run; in words.

    Values of parameters are not in it: one plan serves them all.
    """
    # Not its qualified name, which is another where a class is sent to a worker by value.
    parts = [printable(type(energy).__name__)]
    if not is_declared(energy):
        return " ".join([*parts, f"on states of shape {event_shape}"])
    form = energy.form(event_shape)
    if form is not None and not isinstance(form, Quadratic):
        parts.append(f"{form.name} (program {form.digest[:12]})")
    if energy.dim is not None:
        parts.append(f"of dimension {energy.dim}")
    parameters = getattr(energy, "parameters", None)
    if isinstance(parameters, Mapping):
        shapes = (f"{name} {np.shape(value)}" for name, value in parameters.items())
        parts.append(f"with parameters {', '.join(shapes) or 'none'}")
    return " ".join([*parts, f"on states of shape {event_shape}"])


def numbers_digests(energy: Any) -> frozenset[str]:
    """Digests of the numbers that an energy is seen to hold, and of where; all of a formula in one.

    They depend on the values alone, not on the dtype, library or device that they came in.
    """
    numbers = getattr(energy, "numbers", None) if is_portable(energy) else None
    if numbers is not None:
        held = numbers()
        return frozenset({_digest(b"", *held)} if held else ())
    named = numbers_in(energy).items()
    return frozenset(_digest(path.encode("utf-8", "replace"), values) for path, values in named)


def _digest(path: bytes, *held: np.ndarray[Any, Any]) -> str:
    digest = hashlib.blake2b(path, digest_size=16)
    for values in held:
        digest.update(f"{values.shape}".encode() + values.astype("<f8").tobytes())
    return digest.hexdigest()


def chain_energies(energy: Array) -> Array:
    """U of each chain, shape (n_samples,), of what an energy returned: terms are added up."""
    return energy if energy.ndim == 1 else total_of_terms(energy)
