"""The backend as core sees it; Numba itself is imported on first use."""

from __future__ import annotations

from collections.abc import Mapping
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
    Status,
    TransitionProgram,
    host_memory,
    kind_of,
)
from isotherm_numba.kernels import kernel_of


def fill_normals(
    out: np.ndarray[Any, Any],
    *,
    seed: int,
    stream: int,
    block: int,
    chain_offset: int = 0,
    coordinate_offset: int = 0,
) -> None:
    """See `isotherm.backend.noise.fill_normals`; the same bits, for NumPy arrays."""
    from isotherm_numba.arrays import fill

    fill(
        out,
        seed=seed,
        stream=stream,
        block=block,
        chain_offset=chain_offset,
        coordinate_offset=coordinate_offset,
    )


def segments(program: TransitionProgram, dtype: str) -> RunSegment:
    """See `isotherm.backend.host_noise.run_segment`."""
    from isotherm_numba.arrays import Segments

    return Segments(program, dtype)


class NumbaBackend:
    """See `isotherm.backend.Backend`."""

    name = "numba"
    library = "numpy"
    plan_version = PLAN_VERSION
    delegates: Mapping[str, str] = {}

    def status(self) -> Status:
        return _status()

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


@cache
def _status() -> Status:
    from importlib.metadata import PackageNotFoundError, version

    try:
        versions = {"numba": version("numba"), "numpy": np.__version__}
    except PackageNotFoundError:
        return Status("Numba is not installed; pip install numba", (), {})
    return Status(None, ("cpu",), versions)


BACKEND = NumbaBackend()
