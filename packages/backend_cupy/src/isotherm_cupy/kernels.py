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
    form_of,
    kind_of,
    operations,
)
from isotherm_cupy.array_printer import MOST_INDEX, PrintedArrays, print_arrays
from isotherm_cupy.cuda_energy import CudaEnergy
from isotherm_cupy.limits import LIMITS
from isotherm_cupy.modules import THREADS
from isotherm_cupy.printer import print_program
from isotherm_cupy.source import assemble
from isotherm_cupy.steps import (
    BLOCK,
    CHAIN,
    DOUBLE_CHAIN,
    ELEMENT,
    LONG_CHAIN,
    TEAM,
    WARP,
    Layout,
    Request,
    matrices_of,
    print_advance,
    request_of,
    shared_numbers,
)

# A thread that steps a whole chain holds its state, its gradient and, of few coordinates, a block
# of normals. Trajectories of more than some 20 coordinates in float64 spill its 255 registers, and
# so do the means of a large mixture at any dimension. A kernel that spills still takes a step in
# one launch, where the array loop takes one for each operation of the program.
_WHOLE_STATE = 32
# Coordinates of a chain, and operations of its energy, of which a block of steps stays in an SM's
# cache; and how many operations exp, log, sin, cos and tanh are.
_UNROLLED, _SHORT, _FUNCTION = 16, 1024, 40
_FUNCTIONS = frozenset(("exp", "log", "sin", "cos", "tanh"))
# Coordinates of a chain for which one of its lanes has registers.
_HELD = {"float32": 16, "float64": 10}
_MOST_THREADS = 1024  # of a block
_SHARED = 48 * 2**10  # bytes of a block's shared memory, unless a kernel asks for more
_ALL_REGISTERS = 256  # threads of a block that can have all registers of a thread
_QUADRATIC = 128  # coordinates; beyond, a matrix product of all chains reads the precision less
_ROW_IN_REGISTERS = 32  # coordinates up to which a thread keeps its row of the precision
_TILE = 4  # chains, whose numbers are read at once
_WIDEST = 32  # chains of a block of teams, one a thread: what a warp reads at once
_SHARING = 8  # ... at least where they read the same matrix
# A team is kept from being so large that it would take as many times what work there is, were none
# to wait. What is one loop of one element is done by teams of one.
_WAITING = 2


@dataclass(frozen=True)
class Team:
    """How teams of threads take chains whose arrays lie in global memory.

    Attributes
    ----------
    size : int
        Threads of a chain.
    width : int
        Chains of a block.
    numbers : int
        Of a chain, in memory.
    indices : int32 array
        What the energy's loops read besides numbers.
    """

    size: int
    width: int
    numbers: int
    indices: np.ndarray[Any, np.dtype[np.int32]]


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
    work : int
        Operations of a step of a chain, about, of all its threads together.
    layout : Layout
    team : Team or None
        Where a chain has a team of threads, each of which takes chains until none is left.
    """

    path: str
    request: Request
    source: str
    parameters: np.ndarray[Any, np.dtype[np.float64]]
    block: int
    threads: int
    work: int
    layout: Layout
    team: Team | None = None


def kernel_of(plan: Plan, energy: Any) -> Kernel | None:
    """The energy's kernel, or None where the chains are run as arrays."""
    if plan.dtype not in ("float32", "float64"):
        return None
    program, dim = plan.transition(kind_of(energy)), plan.n_coordinates
    form = form_of(energy, plan.event_shape)
    if isinstance(form, Quadratic) and dim <= _QUADRATIC:
        request = request_of(plan, program, "quadratic")
        return _kernel(plan, "fused quadratic form", request, BLOCK, energy.parameter_values())
    if isinstance(form, (ArrayProgram, Program)) and _is_long(form):
        return None
    values = energy.parameter_values() if form is not None else np.empty(0)
    if isinstance(form, ArrayProgram):
        try:
            printed = print_arrays(form, values.astype(plan.dtype))
        except OverflowError:
            return None
        return _of_teams(plan, request_of(plan, program, "whole"), printed)
    if isinstance(form, Program):
        shape = "elementwise" if kind_of(energy) is Kind.TERMS else "whole"
        request = request_of(plan, program, shape)
        work = _work(form) * (dim if shape == "elementwise" else 1)
        layout = _layout_of(request, plan, work)
        if layout is TEAM:
            return _of_teams(plan, request, _written_out(form, values, dim))
        text = print_program(form)
        return _kernel(plan, "fused program", request, layout, values, text, work)
    if isinstance(energy, CudaEnergy):
        request, values = request_of(plan, program, "whole"), energy.parameter_values()
        if (layout := _layout_of(request, plan)) is not TEAM:
            text = energy.source()
            return _kernel(plan, "fused CUDA functions", request, layout, values, text)
    return None


def why_not_fused(plan: Plan, energy: Any) -> str:
    """Why an energy's chains are run as arrays, and what would be fused."""
    if plan.dtype not in ("float32", "float64"):
        return f"there are no kernels in {plan.dtype}; dtype='float32' has them"
    form = form_of(energy, plan.event_shape)
    if isinstance(form, (ArrayProgram, Program)):
        if _is_long(form):
            return (
                f"{form.name} is a program of more than {LIMITS.longest_program} operations, which "
                "are not compiled; write it with sums, products and slices of arrays in the place "
                "of loops over x[i]"
            )
        return f"a chain of {form.name} has more numbers than a kernel's indices reach"
    if isinstance(energy, CudaEnergy):
        return (
            f"{plan.energy} takes a chain in registers, which have room for {_WHOLE_STATE} "
            "coordinates, or fewer of a step that draws much; @isotherm.formula would be fused"
        )
    if form is not None:
        return f"a covariance of more than {_QUADRATIC} coordinates is better a matrix product"
    return (
        "an object whose methods take arrays is called with arrays; @isotherm.formula, or "
        "isotherm_cupy.CudaEnergy, would be fused"
    )


def _work(program: Program) -> int:
    """The operations of a program, about; functions are many."""
    return sum(_FUNCTION if op in _FUNCTIONS else 1 for op in operations(program.instructions))


def _is_long(program: ArrayProgram | Program) -> bool:
    return sum(1 for _ in operations(program.instructions)) > LIMITS.longest_program


def _written_out(program: Program, values: np.ndarray[Any, Any], dim: int) -> PrintedArrays:
    """A program of numbers for teams; of a whole state, for teams of one."""
    is_elementwise = program.dim is None
    length = len(program.instructions)
    return PrintedArrays(
        source=print_program(program, is_for_teams=not is_elementwise),
        parameters=values,
        indices=np.empty(0, np.int32),
        memory=0,
        loops=((dim, length) if is_elementwise else (1, length),),
        has_products=False,
    )


def _of_teams(plan: Plan, request: Request, printed: PrintedArrays) -> Kernel | None:
    """The kernel of teams of threads, unless a block has more numbers than indices reach."""
    dim = plan.n_coordinates
    advance, states = print_advance(request, TEAM)
    # A sum over coordinates uses the energy's memory.
    numbers = states * dim + max(printed.memory, dim + 1)
    size, width = _team_of(plan, printed, numbers)
    if numbers * width >= MOST_INDEX:
        return None
    constants = {"KEEPS": int(request.keeps), "DIM": dim, "TEAM": size, "WIDTH": width}
    energies = "team_energies.cu" if request.energy == "whole" else "elementwise.cu"
    parts = (*TEAM.sums, printed.source, advance, energies, "moments.cu")
    return Kernel(
        path="fused program",
        request=request,
        source=assemble(plan.dtype, *parts, constants=constants),
        parameters=printed.parameters,
        block=size * width,
        threads=size * plan.n_samples,
        work=dim + printed.work,
        layout=TEAM,
        team=Team(size, width, numbers, printed.indices),
    )


def _team_of(plan: Plan, printed: PrintedArrays, numbers: int) -> tuple[int, int]:
    """Threads of a chain, and chains of a block; powers of two.

    So many threads that a card's cache holds the arrays of all chains that run at once, and, of few
    chains, that most of the card has work; but not so many that most of them would wait.
    """
    in_cache = numbers * np.dtype(plan.dtype).itemsize / LIMITS.cache_share
    wanted = max(in_cache, LIMITS.card / plan.n_samples, 1.0)
    most = _ALL_REGISTERS // _SHARING if printed.has_products else _ALL_REGISTERS
    size = 2 ** int(math.log2(min(wanted, most)))
    while size > 1 and size * _turns(printed, size) >= _WAITING * printed.work:
        size //= 2
    chains = 2 ** math.ceil(math.log2(plan.n_samples))
    return size, max(1, min(_ALL_REGISTERS // size, _WIDEST, chains))


def _turns(printed: PrintedArrays, size: int) -> int:
    """Operations of the busiest thread of a team."""
    return sum(-(-elements // size) * each for elements, each in printed.loops)


def _layout_of(request: Request, plan: Plan, work: int = 0) -> Layout:
    program, dim = request.program, plan.n_coordinates
    if request.energy == "whole":
        return _chain_layout(request, plan, work) if dim <= _WHOLE_STATE else TEAM
    if not program.couples_coordinates and not program.reports:
        return ELEMENT
    if _held(request, plan, work) <= _HELD[plan.dtype]:
        return _chain_layout(request, plan, work)
    return BLOCK if dim <= _MOST_THREADS else TEAM


def _lanes_of(request: Request, plan: Plan, work: int) -> int:
    """Threads of a chain: a power of two, up to a warp.

    The fewest that keep the card busy and whose registers hold the chain: they share what is done
    for each coordinate, but each does what is done once a chain.
    """
    if request.energy != "elementwise" or matrices_of(request.program):
        return 1
    dim = plan.n_coordinates
    wanted = max(LIMITS.busy / plan.n_samples, dim / _HELD[plan.dtype], work / _SHORT, 1.0)
    return 2 ** math.ceil(math.log2(min(wanted, dim, WARP)))


def _held(request: Request, plan: Plan, work: int) -> int:
    """Coordinates of a thread that shares a chain with no more than a warp."""
    return -(-plan.n_coordinates // _lanes_of(request, plan, work))


def _chain_layout(request: Request, plan: Plan, work: int) -> Layout:
    """A chain's coordinates are in registers, unless there is no memory for them."""
    held = _held(request, plan, work)
    if held <= _UNROLLED and work * held <= _SHORT * plan.n_coordinates:
        return CHAIN
    layout = DOUBLE_CHAIN if request.program.reports and plan.dtype == "float64" else LONG_CHAIN
    shared = shared_numbers(request, layout, held, plan.steps_per_block)
    return layout if shared * np.dtype(plan.dtype).itemsize <= _SHARED else TEAM


def _kernel(
    plan: Plan,
    path: str,
    request: Request,
    layout: Layout,
    parameters: np.ndarray[Any, np.dtype[np.float64]],
    functions: str = "",
    work: int = 0,
) -> Kernel:
    dim, chains = plan.n_coordinates, plan.n_samples
    block, threads = WARP if layout.is_long else THREADS, chains * dim
    constants: dict[str, object] = {"KEEPS": int(request.keeps)}
    if layout is not ELEMENT:
        constants["DIM"] = dim
    if layout.has_several_coordinates:
        lanes = _lanes_of(request, plan, work)
        constants |= {"LANES": lanes, "HELD": -(-dim // lanes)}
        threads = chains * lanes
    if layout is BLOCK:
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
    advance, _ = print_advance(request, layout)
    parts = (*layout.sums, functions, *head, advance, kernels, "moments.cu")
    return Kernel(
        path=path,
        request=request,
        source=assemble(plan.dtype, *parts, constants=constants),
        parameters=parameters,
        block=block,
        threads=threads,
        work=dim + (work or parameters.size),
        layout=layout,
    )


def _tiles_of_a_block(dim: int) -> int:
    """So many that all warps are full, where that takes no more than two blocks' threads."""
    full = WARP // math.gcd(WARP, dim)
    if full * dim > 2 * THREADS:
        return max(1, THREADS // dim)
    return full * max(1, THREADS // (full * dim))


#: What an energy's functions take: the file of the functions, if it is one, and that of its kernel.
_FILES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "elementwise": ((), "elementwise.cu"),
    "whole": ((), "energies.cu"),
    "quadratic": (("quadratic.cuh",), "quadratic.cu"),
}
