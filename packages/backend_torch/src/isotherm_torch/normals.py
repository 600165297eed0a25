"""The noise stream on tensors of any device, by the fastest way there is."""

from __future__ import annotations

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
        on_host = torch.empty(out.shape, dtype=out.dtype)
        fill_normals(on_host, **counter)
        out.copy_(on_host)


def _on_cuda(out: torch.Tensor, **counter: Any) -> None:
    try:
        from isotherm_torch import kernel
    except ImportError:
        noise.fill_normals(out, **counter)
    else:
        has_kernel = kernel.why_not(str(out.dtype).removeprefix("torch.")) is None
        (kernel.fill_normals if has_kernel else noise.fill_normals)(out, **counter)
