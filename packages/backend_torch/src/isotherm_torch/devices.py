"""The devices that torch has here, and what chains find on them."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch

from isotherm.backend import host_memory

# On others than these two, every number is the device's own way of rounding: only what needs no
# more than sums and products of float32, and noise from the host, is promised there.
_EXACT = ("cpu", "cuda")


def names() -> tuple[str, ...]:
    """As tensors call them."""
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps:0")
    if torch.xpu.is_available():
        found += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    return tuple(found)


def full_name(wanted: torch.device) -> str:
    """With the number of the current device of its kind, where none is said."""
    if wanted.type == "cpu":
        return "cpu"
    if wanted.index is not None:
        return str(wanted)
    current = 0
    if wanted.type == "cuda" and torch.cuda.is_available():
        current = torch.cuda.current_device()
    elif wanted.type == "xpu" and torch.xpu.is_available():
        current = torch.xpu.current_device()
    return f"{wanted.type}:{current}"


def is_exact(device: str) -> bool:
    """Whether every operation of it rounds as the reference does."""
    return kind(device) in _EXACT


def kind(device: str) -> str:
    """``"cuda"`` of ``"cuda:1"``."""
    return device.partition(":")[0]


def has_float64(device: str) -> bool:
    """Whether it computes in float64."""
    if kind(device) == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return kind(device) != "mps"


def available_memory(device: str) -> int | None:
    """Bytes that can still be allocated, where torch tells."""
    if device == "cpu":
        return host_memory()
    if kind(device) != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What torch's allocator holds but does not use can be had as well.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def current(device: str) -> AbstractContextManager[Any]:
    """The context of a run: this device is the current one of its kind.

    It is none of inference mode, so that what a run makes, and keeps, can be used outside of it.
    """
    if torch.is_inference_mode_enabled():
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(current(device))
        return stack
    # Triton launches on the current device, a user's kernels too.
    if kind(device) == "cuda":
        cuda: AbstractContextManager[Any] = torch.cuda.device(device)
        return cuda
    if kind(device) == "xpu":
        xpu: AbstractContextManager[Any] = torch.xpu.device(device)
        return xpu
    return nullcontext()
