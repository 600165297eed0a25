"""The noise stream on tensors of any device, by the fastest way there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from isotherm.backend import host_noise, noise


def fill_normals(out: torch.Tensor, **counter: Any) -> None:
    """What `isotherm.backend.noise.fill_normals` does, with its bits.

    On CUDA by one kernel where Triton can make it. On devices of other kinds the numbers are drawn
    by the host and moved, so that the bits hang on nothing that such a device may lack: 64-bit
    integers, or divisions and roots that are rounded to nearest.
    """
    if out.device.type == "cpu":
        if out.dtype == torch.bfloat16:  # which NumPy has not
            noise.fill_normals(out, **counter)
        else:
            host_noise.fill_normals()(out.numpy(), **counter)
    elif out.device.type == "cuda":
        _on_cuda(out, **counter)
    else:
        on_host = torch.empty(out.shape, dtype=out.dtype, device="cpu")
        fill_normals(on_host, **counter)
        out.copy_(on_host)


def exponentials(like: torch.Tensor, **counter: Any) -> Sequence[torch.Tensor]:
    """What `isotherm.backend.noise.exponentials` does, with its bits, where `fill_normals` does."""
    if like.device.type not in ("cpu", "cuda"):
        on_host = torch.empty(len(like), dtype=like.dtype, device="cpu")
        return [one.to(like.device) for one in exponentials(on_host, **counter)]
    kernel = _kernel_for(like) if like.device.type == "cuda" else None
    return (noise if kernel is None else kernel).exponentials(like, **counter)


def _on_cuda(out: torch.Tensor, **counter: Any) -> None:
    kernel = _kernel_for(out)
    (noise if kernel is None else kernel).fill_normals(out, **counter)


def _kernel_for(tensor: torch.Tensor) -> Any:
    """The module of kernels, where Triton can make them for a tensor."""
    try:
        from isotherm_torch import kernel
    except ImportError:
        return None
    return kernel if kernel.why_not(str(tensor.dtype).removeprefix("torch.")) is None else None
