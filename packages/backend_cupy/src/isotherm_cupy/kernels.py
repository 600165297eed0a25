"""Which kernel an energy has, as source not yet compiled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm.backend import FormulaEnergy, GaussianEnergy, Plan, Program, noise
from isotherm_cupy.cuda_energy import CudaEnergy
from isotherm_cupy.modules import BLOCK
from isotherm_cupy.printer import print_program
from isotherm_cupy.source import assemble

# A thread that steps a whole chain holds its state, gradient and a block of normals. In float32 a
# few more coordinates than this spill its 255 registers; in float64 a few more than 20 do, and the
# means of a large mixture at any dimension. A kernel that spills still takes a step in one launch,
# where the array loop takes one for each operation of the program.
_WHOLE_STATE = 32
_QUADRATIC = 128  # coordinates; beyond, a matrix product of all chains reads the precision less
_ROW_IN_REGISTERS = 32  # coordinates up to which a thread keeps its row of the precision
_QUADRATIC_BLOCK = 128  # threads, or at least one chain


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
    if plan.dtype not in ("float32", "float64") or plan.sampler != "langevin":
        return None
    if plan.inverse_mass is not None:
        return None
    dim = plan.n_coordinates
    if isinstance(energy, GaussianEnergy) and dim <= _QUADRATIC:
        chains = _chains_of_a_block(dim)
        constants = {
            "DIM": dim,
            "STRIDE": -(-dim // 4) * 4,  # a state's place in shared memory, read by fours
            "CHAINS_PER_BLOCK": chains,
            "ROW_IN_REGISTERS": int(dim <= _ROW_IN_REGISTERS),
            **needs(plan),
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
    if isinstance(energy, CudaEnergy) and dim <= _WHOLE_STATE:
        return _of_state(plan, "fused CUDA functions", energy.source(), energy.parameter_values())
    return None


def why_not_fused(plan: Plan, energy: Any) -> str:
    """Why an energy's chains are run as arrays, and what would be fused."""
    if plan.dtype not in ("float32", "float64"):
        return f"there are no kernels in {plan.dtype}; dtype='float32' has them"
    if plan.sampler != "langevin" or plan.inverse_mass is not None:
        return f"the sampler {plan.sampler!r} with what it was given has no CUDA kernel yet"
    if isinstance(energy, FormulaEnergy) and not isinstance(
        energy.program(plan.event_shape), Program
    ):
        return f"{plan.energy} is a formula on arrays, for which there is no CUDA kernel yet"
    if isinstance(energy, (FormulaEnergy, CudaEnergy)):
        return f"{plan.energy} has more than {_WHOLE_STATE} coupled coordinates"
    if isinstance(energy, GaussianEnergy):
        return f"a covariance of more than {_QUADRATIC} coordinates is better a matrix product"
    return (
        "an object whose methods take arrays is called with arrays; @isotherm.formula, or "
        "isotherm_cupy.CudaEnergy, would be fused"
    )


def needs(plan: Plan) -> dict[str, int]:
    """What a plan asks of a kernel beyond the plainest run, as the macros of ``chains.cuh``."""
    is_constant = plan.step_size.is_constant and plan.noise_scale.is_constant
    return {
        # Where the noise is switched off none may be added, not even zero.
        "VARIES": int(not is_constant or plan.noise_scale.start == 0.0),
        "CLAMPS": int(plan.clamp is not None),
        "KEEPS": int(plan.return_trajectory or plan.return_diagnostics),
    }


def schedules(plan: Plan, start: int, stop: int) -> tuple[np.ndarray[Any, Any], ...]:
    """η and noise_scale·√(2η) of some steps, or one of each where they do not vary."""
    length = stop - start if needs(plan)["VARIES"] else 1
    given = plan.coefficients(start, start + length)
    return given["step_size"].astype(plan.dtype), given["noise"].astype(plan.dtype)


def counters(plan: Plan) -> list[np.generic[Any]]:
    """The key and the counter of the noise stream, and the clamp, as kernels take them."""
    real = np.dtype(plan.dtype).type
    low, high = plan.clamp or (None, None)
    return [
        np.uint32(plan.seed & noise.MASK),
        np.uint32(plan.seed >> 32),
        np.uint32(noise.Stream.LANGEVIN),
        np.uint64(plan.chain_offset),
        real(-np.inf if low is None else low),
        real(np.inf if high is None else high),
    ]


def _chains_of_a_block(dim: int) -> int:
    """So many that all warps are full, where that takes no more than two blocks' threads."""
    full = 32 // math.gcd(32, dim)
    if full * dim > 2 * _QUADRATIC_BLOCK:
        return max(1, _QUADRATIC_BLOCK // dim)
    return full * max(1, _QUADRATIC_BLOCK // (full * dim))


def _of_program(plan: Plan, energy: FormulaEnergy) -> Kernel | None:
    program = energy.program(plan.event_shape)
    is_long = not energy.is_elementwise and plan.n_coordinates > _WHOLE_STATE
    if is_long or not isinstance(program, Program):
        return None  # an `ArrayProgram` has no printer here yet
    functions = print_program(program)
    if not energy.is_elementwise:
        return _of_state(plan, "fused program", functions, energy.parameter_values())
    return Kernel(
        path="fused program",
        source=assemble(
            plan.dtype, functions, "elementwise.cu", "moments.cu", constants=needs(plan)
        ),
        parameters=energy.parameter_values(),
        block=BLOCK,
        threads=plan.n_samples * plan.n_coordinates,
    )


def _of_state(
    plan: Plan, path: str, functions: str, parameters: np.ndarray[Any, np.dtype[np.float64]]
) -> Kernel:
    constants = {"DIM": plan.n_coordinates, **needs(plan)}
    parts = (functions, "whole.cu", "energies.cu", "moments.cu")
    return Kernel(
        path=path,
        source=assemble(plan.dtype, *parts, constants=constants),
        parameters=parameters,
        block=BLOCK,
        threads=plan.n_samples,
    )
