"""What core asks of the backend. torch itself is imported on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from isotherm.backend import PLAN_VERSION, InputError, Plan, Runner, Status, host_memory

_SEED_BITS = 63  # what torch's generators draw at once: an int64 from 0


class TorchBackend:
    """Chains on torch tensors, on the CPU or a CUDA device; see `isotherm.backend.Backend`."""

    name = "torch"
    library = "torch"
    plan_version = PLAN_VERSION
    delegates: Mapping[str, str] = {"cpu": "numba", "cuda": "cupy"}

    def status(self) -> Status:
        if importlib.util.find_spec("torch") is None:
            return Status("torch is not installed; pip install torch", (), {})
        import torch

        return Status(None, self._devices(), {"torch": torch.__version__})

    def resolve_device(self, device: str | None) -> str:
        import torch

        try:
            wanted = torch.device(device or "cpu")
        except RuntimeError:
            wanted = None
        name = None if wanted is None else wanted.type
        if name == "cuda" and torch.cuda.is_available():
            index = torch.cuda.current_device() if wanted.index is None else wanted.index
            name = f"cuda:{index}"
        if name not in self._devices():
            raise InputError(
                f"device {device!r} does not exist; torch has {', '.join(self._devices())} here"
            )
        return name

    def available_memory(self, device: str) -> int | None:
        if device == "cpu":
            return host_memory()
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        # What torch's allocator holds but does not use can be had as well.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

    def fresh_seed(self, source: object) -> int | None:
        import torch

        if source is not None and not isinstance(source, torch.Generator):
            return None
        device = "cpu" if source is None else source.device
        drawn = torch.randint(2**_SEED_BITS - 1, (), generator=source, device=device)
        return int(drawn.item())

    def default_dtype(self) -> str:
        """What `torch.set_default_dtype` set."""
        import torch

        return str(torch.get_default_dtype()).removeprefix("torch.")

    def supports(self, plan: Plan, energy: Any) -> str | None:
        return None

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        return False

    def prepare(self, plan: Plan, energy: Any) -> Runner:
        from isotherm_torch.loop import TorchLoop

        return TorchLoop(plan, energy)

    def on_device(self, device: str) -> AbstractContextManager[None]:
        import torch

        # Triton launches on the current device, a user's kernels too.
        return nullcontext() if device == "cpu" else torch.cuda.device(device)

    def _devices(self) -> tuple[str, ...]:
        import torch

        return ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())))


BACKEND = TorchBackend()
