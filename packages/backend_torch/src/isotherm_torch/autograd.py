"""Gradients of energies that have none: modules and functions, differentiated by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from isotherm.errors import InputError
from isotherm.loop import chain_energies


def gradient_of(energy: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
    """∇U by autograd, for the state only.

    Parameters
    ----------
    energy : callable
        x, shape (n_samples, *event_shape) → (n_samples,), (n_samples, 1) or terms to be summed. The
        energy of a chain must not depend on the other chains.

    Returns
    -------
    callable
        x → ∇U(x), of the shape of x. Parameters of a module receive no ``.grad``, and neither its
        mode nor any ``requires_grad`` is changed.

    Raises
    ------
    InputError
        When called, if the energy's value does not depend on x.
    """

    def gradient(x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            total = chain_energies(energy(leaf), leaf.shape[0]).sum()
        if not total.requires_grad:
            raise InputError(
                "the energy's value is not connected to x for autograd; calculate it from x with "
                "torch operations, or give the energy a method gradient(x)"
            )
        (result,) = torch.autograd.grad(total, leaf)
        return result

    return gradient
