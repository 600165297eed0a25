"""Which kernel an energy has: its own part of the fused loop, as source not yet compiled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
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
    operations,
)
from isotherm_numba.array_printer import print_arrays
from isotherm_numba.compiled_energy import CompiledEnergy
from isotherm_numba.limits import LIMITS
from isotherm_numba.printer import print_program

_PROGRAM_LANES = 16  # chains of a tile that lies coordinate by coordinate, at least
_MOST_LANES = 128
_FEW_CHAINS = 4  # which by coordinate would leave most lanes of a tile empty
_TILES = 16  # or more, so that there is work for several threads
_KEPT = 128  # programs
_LENGTHS = dict.fromkeys(("exp", "log", "sin", "cos", "tanh"), 20)  # of `functions`, about

_QUADRATIC = """\
from isotherm_numba import quadratic


@compiled
def gradient(x, out, scratch, parameters, dim, stride, n):
    quadratic.gradient(x, out, scratch, parameters, {dim}, {stride}, n)


@compiled
def terms(x, out, scratch, parameters, dim, stride, n):
    gradient(x, out, scratch, parameters, dim, stride, n)
    quadratic.terms(out, scratch, {dim}, {stride}, n)
"""

_QUADRATIC_BY_CHAIN = """\
from isotherm_numba import quadratic


@compiled
def gradient(x, out, scratch, parameters, dim, stride, n):
    quadratic.gradient_by_chain(x, out, scratch, parameters, {dim}, n)


@compiled
def terms(x, out, scratch, parameters, dim, stride, n):
    gradient(x, out, scratch, parameters, dim, stride, n)
    quadratic.terms(out, scratch, 1, 0, n)
"""

_ONE_CHAIN = """\
@compiled
def gradient(x, out, scratch, parameters, dim, stride, n):
    for i in range(0, n, dim):
        gradient_of_chain(x[i : i + dim], out[i : i + dim])


@compiled
def terms(x, out, scratch, parameters, dim, stride, n):
    for i in range(0, n, dim):
        out[i] = energy_of_chain(x[i : i + dim])
"""

_ONE_LANE = """\
@compiled
def gradient(x, out, scratch, parameters, dim, stride, n):
    state, slope = scratch[:dim], scratch[dim : 2 * dim]
    for i in range(n):
        for j in range(dim):
            state[j] = x[j * stride + i]
        gradient_of_chain(state, slope)
        for j in range(dim):
            out[j * stride + i] = slope[j]


@compiled
def terms(x, out, scratch, parameters, dim, stride, n):
    state = scratch[:dim]
    for i in range(n):
        for j in range(dim):
            state[j] = x[j * stride + i]
        out[i] = energy_of_chain(state)
"""


@dataclass(frozen=True)
class Kernel:
    """An energy's own part of the fused loop.

    Attributes
    ----------
    path : str
        What the result's info says.
    functions : str
        The source of ``gradient`` and ``terms`` (see `isotherm_numba.tiles`).
    parameters : float64 array
    is_elementwise : bool
        Whether they take any lanes, in every layout.
    by_coordinate : bool
        The tile's layout.
    has_terms : bool
        Whether ``terms`` gives one term a coordinate rather than one a chain.
    chains_per_tile : int
    users : tuple of functions
        ``energy_of_chain`` and ``gradient_of_chain``, where the source calls them.
    """

    path: str
    functions: str
    parameters: np.ndarray[Any, np.dtype[np.float64]]
    is_elementwise: bool
    by_coordinate: bool
    has_terms: bool
    chains_per_tile: int
    users: tuple[Any, ...] = ()


def kernel_of(plan: Plan, transition: TransitionProgram, energy: Any) -> Kernel | str:
    """The energy's kernel, or why there is none, so that the chains are run as arrays."""
    is_coupled = transition.couples_coordinates
    form = form_of(energy, plan.event_shape)
    if isinstance(form, Quadratic) and plan.n_samples <= _FEW_CHAINS and not is_coupled:
        return Kernel(
            path="fused quadratic form",
            functions=_QUADRATIC_BY_CHAIN.format(dim=form.dim),
            parameters=energy.parameter_values(),
            is_elementwise=False,
            by_coordinate=False,
            has_terms=True,
            chains_per_tile=_whole_chains(plan),
        )
    if isinstance(form, Quadratic):
        chains = _lanes_of_chains(plan, LIMITS.quadratic_lanes)
        return Kernel(
            path="fused quadratic form",
            functions=_QUADRATIC.format(dim=form.dim, stride=chains),
            parameters=energy.parameter_values(),
            is_elementwise=False,
            by_coordinate=True,
            has_terms=True,
            chains_per_tile=chains,
        )
    if isinstance(energy, CompiledEnergy):
        return Kernel(
            path="fused functions of a chain"
            + ("" if energy.functions[1] else ", the gradient by differences"),
            functions=_ONE_LANE if is_coupled else _ONE_CHAIN,
            parameters=np.empty(0),
            is_elementwise=False,
            by_coordinate=is_coupled,
            has_terms=False,
            chains_per_tile=(
                _lanes_of_chains(plan, _PROGRAM_LANES) if is_coupled else _whole_chains(plan)
            ),
            users=energy.functions,
        )
    if isinstance(form, ArrayProgram):
        return _of_arrays(plan, form, energy.parameter_values())
    if form is not None:
        length = _length_of(form)
        if length > LIMITS.longest_program:
            return _too_long(form.name, length)
        has_terms = kind_of(energy) is Kind.TERMS
        by_coordinate = is_coupled or not has_terms
        chains = _lanes_of_chains(plan, _PROGRAM_LANES) if by_coordinate else _whole_chains(plan)
        return Kernel(
            path="fused program",
            functions=_printed(form, chains),
            parameters=energy.parameter_values(),
            is_elementwise=has_terms,
            by_coordinate=by_coordinate,
            has_terms=has_terms,
            chains_per_tile=chains,
        )
    return (
        "an object whose methods take arrays is called with arrays; @isotherm.formula, or "
        "isotherm_numba.CompiledEnergy with plain loops over one chain, would be fused"
    )


# Runs follow each other with the same program, those of a warm-up by the hundred.
_printed = lru_cache(_KEPT)(print_program)


@lru_cache(_KEPT)
def _length_of(program: Program) -> int:
    return sum(_LENGTHS.get(one.op, 1) for one in program.instructions)


def _too_long(name: str, length: int) -> str:
    return (
        f"{name} is a program of {length} operations, and more than {LIMITS.longest_program} are "
        "not compiled; write it with sums, products and slices of arrays in the place of loops "
        "over x[i], or as an isotherm_numba.CompiledEnergy"
    )


def _of_arrays(plan: Plan, program: ArrayProgram, parameters: np.ndarray[Any, Any]) -> Kernel | str:
    length = sum(1 for _ in operations(program.instructions))
    if length > LIMITS.longest_program:
        return _too_long(program.name, length)
    has_products = any(one.op in ("matmul", "matmul_t") for one in program.instructions)
    # A product's loops are short, as the quadratic form's are.
    chains = _lanes_of_chains(plan, LIMITS.quadratic_lanes if has_products else _PROGRAM_LANES)
    try:
        functions, numbers = print_arrays(program, chains, parameters.astype(plan.dtype))
    except OverflowError:
        return f"{program.name} has indices that {plan.dtype} cannot hold; dtype='float64' can"
    return Kernel(
        path="fused program",
        functions=functions,
        parameters=numbers,
        is_elementwise=False,
        by_coordinate=True,
        has_terms=False,
        chains_per_tile=chains,
    )


def _lanes_of_chains(plan: Plan, least: int) -> int:
    """Chains of a tile that lies coordinate by coordinate: a power of two, fixed by the dimension.

    It is printed into the kernel, which would be compiled anew for another number of chains. Only a
    handful of chains have a kernel of their own, whose rows are full, and therefore one loop.
    """
    if plan.n_samples <= _PROGRAM_LANES:
        return _PROGRAM_LANES
    full = max(1, LIMITS.tile // plan.n_coordinates)
    return min(max(least, 2 ** int(math.log2(full))), _MOST_LANES)


def _whole_chains(plan: Plan) -> int:
    """Chains of a tile that lies chain by chain: at most a full one, in tiles for several threads.

    A power of two, so that parts, which have to end at one's multiples, are made of full tiles.
    """
    full = max(1, LIMITS.tile // plan.n_coordinates)
    chains = min(full, max(math.ceil(full / 4), math.ceil(plan.n_samples / _TILES)))
    return 2 ** round(math.log2(chains))
