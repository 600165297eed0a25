"""The NumPy backend: the array loop on NumPy arrays; and the oracle for all backends."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm._backends.array_loop import ArrayLoop
from isotherm._backends.host_noise import fill_normals
from isotherm._backends.memory import host_memory
from isotherm._backends.protocol import Status
from isotherm._energies.origin import DIFFERENTIATING
from isotherm._plans.plan import PLAN_VERSION, Plan
from isotherm.errors import InputError


class NumpyBackend:
    """See `isotherm._backends.protocol.Backend`."""

    name = "numpy"
    library = "numpy"
    plan_version = PLAN_VERSION
    device_kinds: tuple[str, ...] = ("cpu",)
    kernels_for: tuple[str, ...] = ()
    priority = 0

    def status(self) -> Status:
        return Status(None, ("cpu",), {"numpy": np.__version__})

    def resolve_device(self, device: str | None) -> str:
        if device not in (None, "cpu"):
            raise InputError(f"device {device!r} does not exist for NumPy; it has only 'cpu'")
        return "cpu"

    def available_memory(self, device: str) -> int | None:
        return host_memory()

    def fresh_seed(self, source: object) -> int | None:
        return None

    def supports(self, plan: Plan, energy: Any) -> str | None:
        return array_loop_reason(plan, energy)

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        return False

    def prepare(self, plan: Plan, energy: Any) -> ArrayLoop:
        from isotherm._backends import registry  # which loads this module

        reason = registry.why_not_fused(self, plan, energy)
        return ArrayLoop(plan, energy, energy.gradient, fill_normals(), why_not_fused=reason)


def reference_runner(plan: Plan, energy: Any) -> ArrayLoop:
    """The oracle for all backends: the array loop on core's own noise, nothing of a plugin's."""
    return ArrayLoop(plan, energy, energy.gradient)


def array_loop_reason(plan: Plan, energy: Any) -> str | None:
    """Why the array loop on NumPy arrays cannot run this; None if it can."""
    if plan.dtype == "bfloat16":
        return "NumPy has no bfloat16; use dtype='float32', or the backend of a library that has it"
    if not hasattr(energy, "gradient"):
        return (
            f"{plan.energy} has no method gradient(x) and NumPy does not differentiate; add one, "
            "write the energy with @isotherm.formula, or take the backend of a library that does "
            f"({', '.join(DIFFERENTIATING)})"
        )
    return None


BACKEND = NumpyBackend()
