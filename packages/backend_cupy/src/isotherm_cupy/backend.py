"""What core asks of the backend. CuPy itself is imported on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from isotherm.backend import PLAN_VERSION, ArrayLoop, InputError, Plan, Runner, Status, kind_of
from isotherm_cupy.cuda_energy import CudaEnergy
from isotherm_cupy.modules import Compile, compile_for_device
from isotherm_cupy.nvrtc import why_not

_DEFAULT_STREAM = 1  # the device's, as CUDA numbers it where 0 could be another


class CupyBackend:
    """Chains on CuPy arrays; see `isotherm.backend.Backend`."""

    name = "cupy"
    library = "cupy"
    plan_version = PLAN_VERSION
    device_kinds: tuple[str, ...] = ("cuda",)
    kernels_for: tuple[str, ...] = ("torch",)
    priority = 1

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

        with self.on_device(device):
            free, _ = cupy.cuda.runtime.memGetInfo()
            # What CuPy's pool holds but does not use can be had as well.
            return int(free + cupy.get_default_memory_pool().free_bytes())

    def fresh_seed(self, source: object) -> int | None:
        return None

    def fill_normals(self, out: Any, **counter: Any) -> None:
        import cupy

        from isotherm_cupy.normals import filler

        filler(cupy, compile_for_device)(out, **counter)

    def supports(self, plan: Plan, energy: Any) -> str | None:
        if plan.dtype == "bfloat16":
            return "CuPy has no bfloat16; use dtype='float32' or backend='torch'"
        if isinstance(energy, CudaEnergy) and plan.dtype == "float16":
            return "CudaEnergy takes float32 and float64; use one of these as dtype"
        if not hasattr(energy, "gradient"):
            return (
                f"{plan.energy} has no method gradient(x) and CuPy does not differentiate; add "
                "one, write the energy with @isotherm.formula, wrap a torch module as "
                "isotherm_cupy.TorchEnergy(module), or use backend='torch'"
            )
        return None

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        from isotherm_cupy.kernels import kernel_of

        return self.supports(plan, energy) is None and kernel_of(plan, energy) is not None

    def prepare(self, plan: Plan, energy: Any) -> Runner:
        import cupy

        def available() -> int | None:
            return self.available_memory(plan.device)

        return runner_of(plan, energy, cupy, compile_for_device, available)

    def on_device(self, device: str) -> AbstractContextManager[Any]:
        import cupy

        current: AbstractContextManager[Any] = cupy.cuda.Device(int(device.partition(":")[2]))
        return current

    def on_stream_of(self, library: str) -> AbstractContextManager[Any]:
        if library != "torch":
            return nullcontext()
        import cupy
        import torch

        # By 0 CuPy may mean each thread's own default stream; torch means the device's.
        current = torch.cuda.current_stream(cupy.cuda.runtime.getDevice())
        pointer = current.cuda_stream or _DEFAULT_STREAM
        stream: AbstractContextManager[Any]
        if hasattr(cupy.cuda.Stream, "from_external"):
            stream = cupy.cuda.Stream.from_external(_Stream(pointer))
        else:  # before CuPy 14
            stream = cupy.cuda.ExternalStream(pointer)
        return stream


class _Stream:
    """Another library's stream, by CUDA's protocol for it."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._pointer  # the protocol's version, the stream


def runner_of(
    plan: Plan,
    energy: Any,
    xp: Any,
    compile_: Compile,
    available: Callable[[], int | None] = lambda: None,
) -> Runner:
    """What runs a plan on the memory of `xp` with modules of `compile_`."""
    from isotherm_cupy.chains import FusedChains
    from isotherm_cupy.kernels import kernel_of, why_not_fused
    from isotherm_cupy.normals import exponentials_by, filler
    from isotherm_cupy.segments import Segments

    kernel = kernel_of(plan, energy)
    if kernel is not None:
        return FusedChains(plan, kernel, xp, compile_, available)
    segments = Segments(plan.transition(kind_of(energy)), plan.state_dtype, xp, compile_)
    return ArrayLoop(
        plan,
        energy,
        energy.gradient,
        filler(xp, compile_),
        segments,
        exponentials=exponentials_by(xp, compile_),
        why_not_fused=why_not_fused(plan, energy),
    )


@cache
def _status() -> Status:
    if importlib.util.find_spec("cupy") is None:
        return Status("CuPy is not installed; pip install cupy-cuda12x (or -cuda13x)", (), {})
    try:
        import cupy
    except (ImportError, OSError) as error:  # a library that is missing, a cache it cannot make
        return Status(f"CuPy cannot be imported ({' '.join(str(error).split())})", (), {})
    versions = {"cupy": cupy.__version__}
    if cupy.cuda.runtime.is_hip:
        return Status("CuPy is built for ROCm, and these kernels are CUDA", (), versions)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Status(f"there is no usable CUDA device ({error})", (), versions)
    reason = why_not()
    devices = tuple(f"cuda:{i}" for i in range(count)) if reason is None else ()
    return Status(reason, devices, versions)


BACKEND = CupyBackend()
