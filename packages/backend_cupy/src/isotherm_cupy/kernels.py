"""Which kernel an energy has, as source not yet compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm.backend import (
    ArrayProgram,
    Kind,
    Plan,
    Program,
    Quadratic,
    TransitionProgram,
    form_of,
    kind_of,
)
from isotherm_cupy.cuda_energy import CudaEnergy
from isotherm_cupy.limits import LIMITS
from isotherm_cupy.modules import BLOCK
from isotherm_cupy.printer import print_program
from isotherm_cupy.source import assemble
from isotherm_cupy.steps import BLOCK as BLOCKS
from isotherm_cupy.steps import (
    CHAIN,
    DOUBLE_CHAIN,
    ELEMENT,
    LONG_CHAIN,
    WARP,
    Layout,
    Request,
    matrices_of,
    print_advance,
    request_of,
)

# A thread that steps a whole chain holds its state, its gradient and, of few coordinates, a block
# of normals. Trajectories of more than some 20 coordinates in float64 spill its 255 registers, and
# so do the means of a large mixture at any dimension. A kernel that spills still takes a step in
# one launch, where the array loop takes one for each operation of the program.
_WHOLE_STATE = 32
_UNROLLED = 16  # coordinates of a whole state of which a block of steps stays in an SM's cache
_MOST_THREADS = 1024  # of a block
_ALL_REGISTERS = 256  # threads of a block that can have all registers of a thread
_QUADRATIC = 128  # coordinates; beyond, a matrix product of all chains reads the precision less
_ROW_IN_REGISTERS = 32  # coordinates up to which a thread keeps its row of the precision
_BLOCK_OF_CHAINS = 128  # threads, or at least one chain
_TILE = 4  # chains, whose numbers are read at once


@dataclass(frozen=True)
class Kernel:
    """A module whose kernel ``advance`` steps the chains of an energy.

    Attributes
    ----------
    path : str
        What the result's info says.
    request : Request
        What ``advance`` is printed for.
    source : str
    parameters : float64 array
    block, threads : int
        Threads of a block, and at least in all.
    """

    path: str
    request: Request
    source: str
    parameters: np.ndarray[Any, np.dtype[np.float64]]
    block: int
    threads: int


def kernel_of(plan: Plan, energy: Any) -> Kernel | None:
    """The energy's kernel, or None where the chains are run as arrays."""
    if plan.dtype not in ("float32", "float64"):
        return None
    program, dim = plan.transition(kind_of(energy)), plan.n_coordinates
    form = form_of(energy, plan.event_shape)
    if isinstance(form, Quadratic) and dim <= _QUADRATIC:
        request = request_of(plan, program, "quadratic")
        return _kernel(plan, "fused quadratic form", request, BLOCKS, energy.parameter_values())
    if isinstance(form, Program):  # an `ArrayProgram` has no printer here yet
        shape = "elementwise" if kind_of(energy) is Kind.TERMS else "whole"
        layout = _layout_of(program, plan, shape)
        if layout is None:
            return None
        request = request_of(plan, program, shape)
        functions = print_program(form)
        return _kernel(plan, "fused program", request, layout, energy.parameter_values(), functions)
    if isinstance(energy, CudaEnergy) and dim <= _WHOLE_STATE:
        request, layout = request_of(plan, program, "whole"), _layout_of(program, plan, "whole")
        assert layout is not None
        values = energy.parameter_values()
        return _kernel(plan, "fused CUDA functions", request, layout, values, energy.source())
    return None


def why_not_fused(plan: Plan, energy: Any) -> str:
    """Why an energy's chains are run as arrays, and what would be fused."""
    if plan.dtype not in ("float32", "float64"):
        return f"there are no kernels in {plan.dtype}; dtype='float32' has them"
    form = form_of(energy, plan.event_shape)
    if isinstance(form, ArrayProgram):
        return f"{plan.energy} is a formula on arrays, for which there is no CUDA kernel yet"
    if isinstance(form, Program) or isinstance(energy, CudaEnergy):
        return f"{plan.energy} has more than {_WHOLE_STATE} coupled coordinates"
    if form is not None:
        return f"a covariance of more than {_QUADRATIC} coordinates is better a matrix product"
    return (
        "an object whose methods take arrays is called with arrays; @isotherm.formula, or "
        "isotherm_cupy.CudaEnergy, would be fused"
    )


def _layout_of(program: TransitionProgram, plan: Plan, form: str) -> Layout | None:
    dim = plan.n_coordinates
    if form == "whole":
        if dim > _WHOLE_STATE:
            return None
        if dim <= _UNROLLED:
            return CHAIN
        return DOUBLE_CHAIN if program.reports and plan.dtype == "float64" else LONG_CHAIN
    if not program.couples_coordinates and not program.reports:
        return ELEMENT
    if dim <= LIMITS.separable:
        return CHAIN
    return BLOCKS if dim <= _MOST_THREADS else None


def _kernel(
    plan: Plan,
    path: str,
    request: Request,
    layout: Layout,
    parameters: np.ndarray[Any, np.dtype[np.float64]],
    functions: str = "",
) -> Kernel:
    dim, chains = plan.n_coordinates, plan.n_samples
    block = WARP if layout.is_long else BLOCK
    threads = chains if layout.has_whole_chains else chains * dim
    constants: dict[str, object] = {"KEEPS": int(request.keeps)}
    if layout is not ELEMENT:
        constants["DIM"] = dim
    if layout is BLOCKS:
        is_small = dim <= _ROW_IN_REGISTERS
        # What is read of a large matrix serves several chains, where there are many.
        reads_matrix = request.energy == "quadratic" or bool(matrices_of(request.program))
        is_tiled = reads_matrix and not is_small and dim <= _QUADRATIC and chains >= LIMITS.tiled
        tile = _TILE if is_tiled else 1
        tiles = _tiles_of_a_block(dim)
        constants["STRIDE"] = -(-dim // 4) * 4  # a state's place in shared memory, read by fours
        constants |= {"TILE": tile, "TILES": tiles}
        constants |= {"ROW_IN_REGISTERS": int(is_small), "UNROLLED": dim if is_small else 16}
        block, threads = tiles * dim, -(-chains // (tiles * tile)) * tiles * dim
        # A thread's registers are at most 255, which may be more than so many threads can have.
        constants["BOUNDS"] = f"__launch_bounds__({block})" if block > _ALL_REGISTERS else ""
    head, kernels = _FILES[request.energy]
    parts = (*layout.sums, functions, *head, print_advance(request, layout), kernels, "moments.cu")
    return Kernel(
        path=path,
        request=request,
        source=assemble(plan.dtype, *parts, constants=constants),
        parameters=parameters,
        block=block,
        threads=threads,
    )


def _tiles_of_a_block(dim: int) -> int:
    """So many that all warps are full, where that takes no more than two blocks' threads."""
    full = 32 // math.gcd(32, dim)
    if full * dim > 2 * _BLOCK_OF_CHAINS:
        return max(1, _BLOCK_OF_CHAINS // dim)
    return full * max(1, _BLOCK_OF_CHAINS // (full * dim))


#: What an energy's functions take: the file of the functions, if it is one, and that of its kernel.
_FILES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "elementwise": ((), "elementwise.cu"),
    "whole": ((), "energies.cu"),
    "quadratic": (("quadratic.cuh",), "quadratic.cu"),
}
