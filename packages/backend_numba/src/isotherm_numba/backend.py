"""The backend as core sees it; Numba itself is imported on first use."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import numpy as np

from isotherm.backend import (
    PLAN_VERSION,
    ArrayLoop,
    InputError,
    Plan,
    Runner,
    RunSegment,
    Segments,
    Status,
    TransitionProgram,
    host_memory,
    kind_of,
    noise,
)
from isotherm_numba.kernels import kernel_of


def fill_normals(out: np.ndarray[Any, Any], **counter: Any) -> None:
    """See `isotherm.backend.noise.fill_normals`; the same bits, for NumPy arrays."""
    if _is_switched_off():
        noise.fill_normals(out, **counter)
        return
    from isotherm_numba.arrays import fill

    fill(out, **counter)


def segments(program: TransitionProgram, dtype: str) -> RunSegment:
    """See `isotherm.backend.host_noise.run_segment`."""
    if _is_switched_off():
        return Segments(program, dtype)
    from isotherm_numba import arrays

    return arrays.Segments(program, dtype)


class NumbaBackend:
    """See `isotherm.backend.Backend`."""

    name = "numba"
    library = "numpy"
    plan_version = PLAN_VERSION
    device_kinds: tuple[str, ...] = ("cpu",)
    kernels_for: tuple[str, ...] = ("numpy", "torch")
    priority = 1

    def status(self) -> Status:
        found = _status()
        if found.reason is None and _is_switched_off():
            return Status("NUMBA_DISABLE_JIT is set; unset it", (), found.versions)
        return found

    def resolve_device(self, device: str | None) -> str:
        if device not in (None, "cpu"):
            raise InputError(f"device {device!r} does not exist for Numba; it has only 'cpu'")
        return "cpu"

    def available_memory(self, device: str) -> int | None:
        return host_memory()

    def fresh_seed(self, source: object) -> int | None:
        return None

    def supports(self, plan: Plan, energy: Any) -> str | None:
        if plan.dtype not in ("float32", "float64"):
            return f"Numba has no {plan.dtype}; use dtype='float32' or 'float64'"
        if not hasattr(energy, "gradient"):
            return (
                f"{plan.energy} has no method gradient(x) and Numba does not differentiate; add "
                "one, write the energy with @isotherm.formula, or as plain loops over one chain "
                "for isotherm_numba.CompiledEnergy"
            )
        return None

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        transition = plan.transition(kind_of(energy))
        return self.supports(plan, energy) is None and not isinstance(
            kernel_of(plan, transition, energy), str
        )

    def why_not_fused(self, plan: Plan, energy: Any) -> str | None:
        if self.supports(plan, energy) is not None:
            return None
        kernel = kernel_of(plan, plan.transition(kind_of(energy)), energy)
        return kernel if isinstance(kernel, str) else None

    def prepare(self, plan: Plan, energy: Any) -> Runner:
        transition = plan.transition(kind_of(energy))
        kernel = kernel_of(plan, transition, energy)
        if not isinstance(kernel, str):
            from isotherm_numba.chains import FusedChains

            return FusedChains(plan, transition, kernel)
        run_segment = segments(transition, plan.state_dtype)
        return ArrayLoop(
            plan,
            energy,
            energy.gradient,
            fill_normals,
            run_segment,
            path="array loop, fused segments",
            why_not_fused=kernel,
        )


def _is_switched_off() -> bool:
    """Whether Numba is told to compile nothing; a kernel would then have no machine code."""
    if "numba" in sys.modules:
        import numba

        return bool(numba.config.DISABLE_JIT)
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


@cache
def _status() -> Status:
    from importlib.metadata import PackageNotFoundError, version

    try:
        versions = {"numba": version("numba"), "numpy": np.__version__}
    except PackageNotFoundError:
        return Status("Numba is not installed; pip install numba", (), {})
    return Status(None, ("cpu",), versions)


BACKEND = NumbaBackend()
