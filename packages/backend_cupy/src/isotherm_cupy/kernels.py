"""Which kernel an energy has, as source not yet compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm.energies import GaussianEnergy
from isotherm.formulas import FormulaEnergy
from isotherm.plan import Plan
from isotherm_cupy.modules import BLOCK
from isotherm_cupy.printer import print_program
from isotherm_cupy.source import assemble

# A thread that steps a whole chain holds its state, gradient and four normals of each coordinate:
# with more coordinates than this they would not fit into its 255 registers.
_WHOLE_STATE = 32
_QUADRATIC = 128  # coordinates; beyond, a matrix product of all chains reads the precision less
_ROW_IN_REGISTERS = 32  # coordinates up to which a thread keeps its row of the precision
_QUADRATIC_BLOCK = 128  # threads, at least one chain


@dataclass(frozen=True)
class Kernel:
    """A module whose kernel ``advance`` steps the chains of an energy.

    Attributes
    ----------
    path : str
        What the result's info says.
    source : str
    parameters : float64 array
    block, threads : int
        Threads of a block, and at least in all.
    """

    path: str
    source: str
    parameters: np.ndarray[Any, np.dtype[np.float64]]
    block: int
    threads: int


def kernel_of(plan: Plan, energy: Any) -> Kernel | None:
    """The energy's kernel, or None where the chains are run as arrays."""
    if plan.dtype not in ("float32", "float64"):
        return None
    dim = plan.n_coordinates
    if isinstance(energy, GaussianEnergy) and dim <= _QUADRATIC:
        chains = max(1, _QUADRATIC_BLOCK // dim)
        constants = {
            "DIM": dim,
            "CHAINS_PER_BLOCK": chains,
            "ROW_IN_REGISTERS": int(dim <= _ROW_IN_REGISTERS),
        }
        blocks = -(-plan.n_samples // chains)
        return Kernel(
            path="fused quadratic form",
            source=assemble(plan.dtype, "quadratic.cu", "moments.cu", constants=constants),
            parameters=np.concatenate([energy.mean, energy.precision.ravel()]),
            block=chains * dim,
            threads=blocks * chains * dim,
        )
    if isinstance(energy, FormulaEnergy):
        return _of_program(plan, energy)
    return None


def _of_program(plan: Plan, energy: FormulaEnergy) -> Kernel | None:
    if not energy.is_elementwise and plan.n_coordinates > _WHOLE_STATE:
        return None
    program = energy.program(plan.event_shape[0])
    loops = "elementwise.cu" if energy.is_elementwise else "whole.cu"
    constants = {} if energy.is_elementwise else {"DIM": program.dim}
    return Kernel(
        path="fused program",
        source=assemble(
            plan.dtype, print_program(program), loops, "moments.cu", constants=constants
        ),
        parameters=energy.parameter_values(),
        block=BLOCK,
        threads=plan.n_samples * (plan.n_coordinates if energy.is_elementwise else 1),
    )
