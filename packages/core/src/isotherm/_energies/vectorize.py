"""Energies of one state, mapped over the chains."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, library_of
from isotherm._energies.origin import is_declared, name_of
from isotherm._energies.protocol import as_energy
from isotherm.errors import InputError


def vectorize(energy: Any) -> Any:
    """An energy of one state, as one of all chains.

    Tensors of torch and arrays of JAX are mapped by their libraries' ``vmap``, others by a loop.

    Parameters
    ----------
    energy : callable
        U: a state of shape (*event_shape) → one number. It may have a method ``gradient`` (a state
        → the same shape), without which torch differentiates.

    Returns
    -------
    callable
        x of shape (n_samples, *event_shape) → U of each chain, with a ``gradient`` where `energy`
        has one.

    Examples
    --------
    >>> import isotherm
    >>> class Spring:
    ...     def __call__(self, x):
    ...         return 0.5 * (x @ x)
    ...     def gradient(self, x):
    ...         return x
    >>> energy = isotherm.vectorize(Spring())
    >>> isotherm.sample_chain(energy, dim=3, n_samples=4, n_steps=10, seed=0).shape
    (4, 3)
    """
    energy = as_energy(energy)
    if is_declared(energy):
        raise InputError(f"{name_of(energy)} takes the states of all chains already; use it as is")
    return _WithGradient(energy) if hasattr(energy, "gradient") else _Vectorized(energy)


class _Vectorized:
    """See `vectorize`."""

    def __init__(self, energy: Any) -> None:
        self._energy = energy

    def __call__(self, x: Array, **keywords: Any) -> Array:
        return _mapped(self._energy, x, keywords)

    def __repr__(self) -> str:
        return f"vectorize({name_of(self._energy)})"


class _WithGradient(_Vectorized):
    def gradient(self, x: Array, **keywords: Any) -> Array:
        return _mapped(self._energy.gradient, x, keywords)


def _mapped(function: Callable[..., Any], x: Array, keywords: dict[str, Any]) -> Array:
    library = library_of(x)
    if library == "torch":
        vmap = importlib.import_module("torch.func").vmap
        return vmap(lambda row: function(row, **keywords), randomness="different")(x)
    if library == "jax":
        return importlib.import_module("jax").vmap(lambda row: function(row, **keywords))(x)
    values = [function(x[i, ...], **keywords) for i in range(x.shape[0])]
    if library == "numpy":
        return np.stack(values)
    return compat.array_namespace(x).stack(values)
