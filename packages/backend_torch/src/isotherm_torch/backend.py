"""What core asks of the backend. torch itself is imported on first use."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager
from typing import Any

from isotherm.backend import (
    PLAN_VERSION,
    InputError,
    Plan,
    Runner,
    Status,
    is_portable,
)

_SEED_BITS = 63  # what torch's generators draw at once: an int64 from 0


class TorchBackend:
    """Chains on torch tensors, on any device of torch's; see `isotherm.backend.Backend`."""

    name = "torch"
    library = "torch"
    plan_version = PLAN_VERSION
    device_kinds: tuple[str, ...] = ("cpu", "cuda", "mps", "xpu")
    kernels_for: tuple[str, ...] = ()
    priority = 0

    def status(self) -> Status:
        if importlib.util.find_spec("torch") is None:
            return Status("torch is not installed; pip install torch", (), {})
        import torch

        from isotherm_torch import devices

        return Status(None, devices.names(), {"torch": torch.__version__})

    def resolve_device(self, device: str | None) -> str:
        import torch

        from isotherm_torch import devices

        try:
            name = devices.full_name(torch.device(device or "cpu"))
        except RuntimeError:
            name = ""
        if name not in devices.names():
            raise InputError(
                f"device {device!r} does not exist; torch has {', '.join(devices.names())} here"
            )
        return name

    def available_memory(self, device: str) -> int | None:
        from isotherm_torch import devices

        return devices.available_memory(device)

    def fresh_seed(self, source: object) -> int | None:
        import torch

        if source is not None and not isinstance(source, torch.Generator):
            return None
        device = "cpu" if source is None else source.device
        drawn = torch.randint(2**_SEED_BITS - 1, (), generator=source, device=device)
        return int(drawn.item())

    def fill_normals(self, out: Any, **counter: Any) -> None:
        from isotherm_torch.normals import fill_normals

        fill_normals(out, **counter)

    def default_dtype(self) -> str:
        """What `torch.set_default_dtype` set."""
        import torch

        return str(torch.get_default_dtype()).removeprefix("torch.")

    def supports(self, plan: Plan, energy: Any) -> str | None:
        from isotherm_torch import devices

        if is_portable(energy) and not devices.is_exact(plan.device):
            return (
                f"built-in energies and formulas give the same bits everywhere, and {plan.device} "
                "may round otherwise; use device='cpu', or give the energy as a torch module"
            )
        if not devices.has_float64(plan.device):
            if plan.dtype == "float64":
                return f"{plan.device} has no float64; use dtype='float32' or device='cpu'"
            if plan.return_diagnostics:
                return (
                    f"diagnostics are added up in float64, which {plan.device} has not; leave out "
                    "return_diagnostics, or use device='cpu'"
                )
        return None

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        return False

    def prepare(self, plan: Plan, energy: Any) -> Runner:
        from isotherm_torch.loop import TorchLoop

        return TorchLoop(plan, energy)

    def on_device(self, device: str) -> AbstractContextManager[Any]:
        from isotherm_torch import devices

        return devices.current(device)


BACKEND = TorchBackend()
