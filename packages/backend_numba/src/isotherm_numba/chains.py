"""Whole chains in compiled loops: how a run is given to its kernel, in parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from isotherm.backend import JoinedNodes, Moments, Outputs, Plan, State, TransitionProgram, noise
from isotherm_numba import codegen_cache, threads
from isotherm_numba.compiled_energy import check_slopes, compile_for
from isotherm_numba.driver import arguments, print_driver, vectors_of
from isotherm_numba.kernel_calls import address_of
from isotherm_numba.kernels import Kernel
from isotherm_numba.limits import LIMITS
from isotherm_numba.printer import print_module
from isotherm_numba.sums import stack_depth

_KERNEL = """\
signature = kernel_calls.kernel_signature("{dtype}")
compiled = {decorator}(signature, **inner)


"""


class FusedChains:
    """A runner whose steps are taken by a kernel; see `isotherm.backend.Runner`."""

    def __init__(self, plan: Plan, transition: TransitionProgram, kernel: Kernel) -> None:
        self.path = kernel.path
        self._plan = plan
        self._transition = transition
        self._users = kernel.users
        self._dtype = np.dtype(plan.dtype)
        # Parts end where nodes of the moments' tree do.
        self._part = _power_of_two(max(kernel.chains_per_tile, plan.n_samples / LIMITS.parts))
        source = print_module(
            "an energy",
            plan.dtype,
            _KERNEL.format(dtype=plan.dtype, decorator="njit" if kernel.users else "kept")
            + kernel.functions,
        )
        if kernel.users:
            names = ("energy_of_chain", "gradient_of_chain")
            users = zip(names, compile_for(kernel.users, self._dtype), strict=True)
            module = codegen_cache.build(plan.energy, source, tuple(users))
        else:
            module = codegen_cache.load(plan.energy, source)
        vectors = plan.vectors()
        self._given = {
            "gradient": address_of(module.gradient),
            "terms": address_of(module.terms),
            "is_elementwise": kernel.is_elementwise,
            "has_terms": kernel.has_terms,
            "by_coordinate": kernel.by_coordinate,
            "chains": kernel.chains_per_tile,
            "parameters": kernel.parameters.astype(self._dtype),
            "vectors": np.concatenate(
                [np.empty(0), *(vectors[name].ravel() for name in vectors_of(transition))]
            ).astype(self._dtype),
        }
        self._advance = _advance_of(transition, plan.dtype)
        self._arguments = tuple(arguments(plan.dtype, transition.carried))
        varying = plan.varying_coefficients()
        self._varies_by_chain = not varying.isdisjoint(transition.chain_coefficients)
        self.renew(plan)

    is_kept = True

    def renew(self, plan: Plan) -> None:
        """Serve a plan that draws other numbers; see `isotherm.backend.Renews`."""
        self._plan = plan
        first_end, n = self._part - plan.chain_offset % self._part, plan.n_samples
        self._bounds = [0, *range(first_end, n, self._part), n]
        self._given |= {
            "k0": plan.seed & noise.MASK,
            "k1": plan.seed >> 32,
            "chain_offset": plan.chain_offset,
        }

    def advance(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        plan = self._plan
        rows = plan.n_samples, plan.n_coordinates
        parts: Any = {name: np.ascontiguousarray(one).reshape(rows) for name, one in state.items()}
        if self._users and not start:
            check_slopes(plan.energy, self._users, parts["x"])
        done = plan.kept_before(start)
        for first, last in self._intervals(start, stop, outputs):
            kept = plan.kept_before(first) - done, plan.kept_before(last) - done
            parts = self._take(parts, first, last, outputs.between(*kept))
        return {name: one.reshape(plan.shape) for name, one in parts.items()}

    def _intervals(self, start: int, stop: int, outputs: Outputs) -> Iterator[tuple[int, int]]:
        """The steps, in intervals whose numbers fit into the memory set aside for them.

        Those are the moments of all parts, and coefficients of each chain and step.
        """
        length = stop - start
        if self._varies_by_chain:
            names = self._transition.chain_coefficients
            row = self._plan.n_samples * len(names) * self._dtype.itemsize
            length = max(1, LIMITS.coefficients_bytes // row)
        if outputs.mean is not None:
            per_part = 1 + stack_depth.py_func(self._part)
            per_kept = 16 * per_part * (len(self._bounds) - 1) * self._plan.n_coordinates
            most = self._plan.thinning * max(1, LIMITS.moments_bytes // per_kept)
            length = min(length, most)
        for first in range(start, max(stop, start + 1), max(length, 1)):
            yield first, min(first + length, stop)

    def _take(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        plan, bounds = self._plan, self._bounds
        n, dim = plan.n_samples, plan.n_coordinates
        parts = len(bounds) - 1
        steps = np.arange(start, stop)
        is_kept = (steps >= plan.burn_in) & ((steps + 1 - plan.burn_in) % plan.thinning == 0)
        n_kept = int(is_kept.sum())
        moments = np.empty((2, parts, 0 if outputs.mean is None else n_kept, dim))
        coefficients, names = plan.coefficients(start, stop), self._transition.coefficients
        of_chains = plan.chain_coefficients(start, stop)
        rows = [of_chains[name].T for name in self._transition.chain_coefficients]
        none = np.empty((0, 0), self._dtype)
        nobody = np.empty(0, np.int64)
        after = {name: np.empty((n, dim), self._dtype) for name in self._transition.carried}
        given = self._given | {
            "coefficients": np.array([coefficients[name] for name in names], self._dtype).reshape(
                len(names), stop - start
            ),
            "chain_coefficients": np.array(
                np.broadcast_arrays(*rows) if rows else np.empty((0, 1, 0)), self._dtype
            ),
            **{f"{name}_before": state[name] for name in after},
            **{f"{name}_after": one for name, one in after.items()},
            "kept": np.where(is_kept, np.cumsum(is_kept) - 1, -1),
            "trajectory": (
                np.empty((0, 0, 0), self._dtype)
                if outputs.trajectory is None
                else outputs.trajectory.reshape(n, n_kept, dim)
            ),
            "energy": none if outputs.energy is None else outputs.energy,
            "energy_error": none if outputs.energy_error is None else outputs.energy_error,
            "accepted": nobody if outputs.accepted is None else outputs.accepted,
            "diverging": nobody if outputs.diverging is None else outputs.diverging,
            "first_step": plan.step_offset + start,
            "first_counted": stop if outputs.accepted is None else plan.burn_in - start,
        }

        # The last four are a part's own.
        common = [given[name] for name in self._arguments if name in given]

        def take(part: int) -> None:
            self._advance(*common, *moments[:, part], bounds[part], bounds[part + 1])

        threads.run_all(take, parts, most=1 + n * dim * (stop - start) // LIMITS.worth_a_thread)
        if outputs.mean is not None and outputs.variance is not None:
            nodes = JoinedNodes()
            for part, (first, last) in enumerate(pairwise(bounds)):
                node = Moments(float(last - first), *moments[:, part])
                nodes.add(plan.chain_offset + first, node)
            found = nodes.moments()
            outputs.mean[...] = found.mean.reshape(outputs.mean.shape)
            outputs.variance[...] = found.variance.reshape(outputs.mean.shape)
        return after


_advances: dict[tuple[str, str], Any] = {}


def _advance_of(transition: TransitionProgram, dtype: str) -> Any:
    """The compiled loop over tiles; to print it takes longer than a small run."""
    key = transition.digest, dtype
    if key not in _advances:
        source = print_driver(transition, dtype)
        _advances[key] = codegen_cache.load(f"{transition.name}_{dtype}", source).advance
    return _advances[key]


def _power_of_two(size: float) -> int:
    """The least one that is not below `size`."""
    return 1 << (math.ceil(size) - 1).bit_length()
