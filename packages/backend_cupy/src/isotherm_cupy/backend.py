"""What core asks of the backend. CuPy itself is imported on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any

from isotherm.arrays import Array
from isotherm.backend import Outputs, Status
from isotherm.errors import InputError
from isotherm.loop import ArrayLoop
from isotherm.plan import PLAN_VERSION, Plan


class CupyBackend:
    """Chains on CuPy arrays; see `isotherm.backend.Backend`."""

    name = "cupy"
    library = "cupy"
    plan_version = PLAN_VERSION
    delegates: Mapping[str, str] = {}

    def status(self) -> Status:
        return _status()

    def resolve_device(self, device: str | None) -> str:
        import cupy

        if device in (None, "cuda"):
            return f"cuda:{cupy.cuda.runtime.getDevice()}"
        if device not in _status().devices:
            raise InputError(
                f"device {device!r} does not exist; CuPy has {', '.join(_status().devices)} here"
            )
        return device

    def available_memory(self, device: str) -> int | None:
        import cupy

        with cupy.cuda.Device(_index(device)):
            free, _ = cupy.cuda.runtime.memGetInfo()
            # What CuPy's pool holds but does not use can be had as well.
            return int(free + cupy.get_default_memory_pool().free_bytes())

    def fresh_seed(self, source: object) -> int | None:
        return None

    def supports(self, plan: Plan, energy: Any) -> str | None:
        if plan.dtype == "bfloat16":
            return "CuPy has no bfloat16; use dtype='float32' or backend='torch'"
        if not hasattr(energy, "gradient"):
            return (
                f"{plan.energy} has no method gradient(x) and CuPy does not differentiate; add "
                "one, write the energy with @isotherm.formula, or use backend='torch'"
            )
        return None

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        return False

    def prepare(self, plan: Plan, energy: Any) -> ArrayLoop:
        return _LoopOnDevice(plan, energy, energy.gradient)


class _LoopOnDevice(ArrayLoop):
    """The array loop with the plan's device current, which CuPy's operations need."""

    def __init__(self, plan: Plan, *args: Any) -> None:
        super().__init__(plan, *args)
        self._device_index = _index(plan.device)

    def advance(self, x: Array, start: int, stop: int, outputs: Outputs) -> Array:
        import cupy

        with cupy.cuda.Device(self._device_index):
            return super().advance(x, start, stop, outputs)


def _index(device: str) -> int:
    return int(device.partition(":")[2])


@cache
def _status() -> Status:
    if importlib.util.find_spec("cupy") is None:
        return Status("CuPy is not installed; pip install cupy-cuda12x (or -cuda13x)", (), {})
    import cupy

    versions = {"cupy": cupy.__version__}
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Status(f"there is no usable CUDA device ({error})", (), versions)
    return Status(None, tuple(f"cuda:{i}" for i in range(count)), versions)


BACKEND = CupyBackend()
