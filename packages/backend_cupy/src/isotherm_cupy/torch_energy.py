"""Modules of torch as energies of CuPy arrays."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import array_api_compat as compat

from isotherm.backend import Array, Declared, printable

if TYPE_CHECKING:
    import torch


class TorchEnergy(Declared):
    """A torch module as an energy of CuPy arrays, with its gradient by autograd.

    Arrays pass between the libraries through DLPack, without a copy, and torch works on CuPy's
    current stream.

    Parameters
    ----------
    module : callable
        U: a tensor of shape (n_samples, *event_shape) → shape (n_samples,), or terms of the shape
        of x which are summed. On the device of the chains, with parameters of their dtype.

    Examples
    --------
    >>> import isotherm
    >>> from isotherm_cupy import TorchEnergy
    >>> isotherm.sample_chain(
    ...     TorchEnergy(network), dim=2, n_samples=1000, backend="cupy"
    ... )  # doctest: +SKIP
    """

    library = "cupy"

    def __init__(self, module: Any) -> None:
        self.module = module
        self.name = printable(type(module).__name__)

    def __call__(self, x: Array) -> Array:
        """The energy of each chain, as the module returns it."""
        import torch

        with torch.no_grad(), _same_stream(x):
            return _shared(self.module(torch.from_dlpack(x)), x)

    def gradient(self, x: Array) -> Array:
        """The gradient at each chain's state, of the shape of `x`."""
        import torch

        with torch.inference_mode(False), torch.enable_grad(), _same_stream(x):
            tensor = torch.from_dlpack(x).requires_grad_()
            (gradient,) = torch.autograd.grad(self.module(tensor).sum(), tensor)
            return _shared(gradient, x)

    def __repr__(self) -> str:
        return f"TorchEnergy({self.name})"


def _shared(tensor: torch.Tensor, x: Array) -> Array:
    tensor = tensor.detach()
    # There is nothing to wait for in `_same_stream`. CuPy would ask torch to, by the number of its
    # stream, and torch refuses that of each thread's own default stream.
    given = tensor.__dlpack__(stream=-1) if compat.is_cupy_array(x) else tensor
    return compat.array_namespace(x).from_dlpack(given)


def _same_stream(x: Array) -> Any:
    """torch on CuPy's current stream: memory that one frees is then not the other's too early."""
    if not compat.is_cupy_array(x):
        return nullcontext()
    import cupy
    import torch

    return torch.cuda.stream(torch_stream(cupy.cuda.get_current_stream().ptr, x.device.id))


def torch_stream(pointer: int, device: int) -> torch.cuda.Stream:
    """A stream of CuPy's as torch knows it.

    Parameters
    ----------
    pointer : int
        0 and 1 are the default stream, for which torch has an object; of 0 it makes any new one. 2
        is each thread's own default stream. Autograd works in another thread, whose own that would
        be; the default stream waits for them all, and they for it.
    device : int
    """
    import torch

    if pointer in (0, 1, 2):
        return torch.cuda.default_stream(device)
    return torch.cuda.ExternalStream(pointer, device=device)
