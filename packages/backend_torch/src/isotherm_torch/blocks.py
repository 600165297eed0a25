"""Steps of a module's chains as one CUDA graph: gradients, noise and update.

A graph replays the same kernels with the same arguments. So it is made of whole blocks of the noise
stream, and what changes from one to the next, the step and its coefficients, is read from the
device's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from weakref import WeakMethod

import numpy as np
import torch

from isotherm.backend import (
    ArrayLoop,
    Loop,
    Outputs,
    Plan,
    Segment,
    TransitionProgram,
    Values,
    noise,
    walk,
)
from isotherm_torch.graph import Capture, Graph
from isotherm_torch.printer import can_print

#: Steps of a graph: whole blocks of each stream of noise.
N_STEPS = noise.EXPONENTIALS_PER_BLOCK

_COUNTED = ("accepted", "diverging")

Steps: TypeAlias = Iterator[tuple[Values, dict[str, Any]]]


def coefficients_in_memory(plan: Plan, program: TransitionProgram) -> dict[int, str]:
    """The coefficients that may differ from step to step: their values' numbers, and names."""
    varying = plan.varying_coefficients()
    names = {
        index: program.coefficients[int(one.value)]
        for index, one in enumerate(program.values)
        if one.op == "coefficient"
    }
    return {index: name for index, name in names.items() if name in varying}


def why_not(plan: Plan, program: TransitionProgram) -> str | None:
    """Why steps are not the same kernels again and again; None if they are."""
    in_memory = coefficients_in_memory(plan, program)
    if any(name in plan.varying_coefficients() for name in program.chain_coefficients):
        return "a step takes numbers a chain from the host"
    for one in walk(program.statements):
        if isinstance(one, Loop) and one.count in in_memory:
            return "steps differ in their number of substeps"
        if isinstance(one, Segment) and not can_print(program, one):
            return "a part of the step has no kernel"
    return None


class BlockLoop(ArrayLoop):
    """Gives the steps of an array loop, whole blocks of them from a graph.

    Itself it is the loop that is in the graph: its steps are counted from the block's first.

    Parameters
    ----------
    plan : Plan
    energy : callable
    calls : EnergyCalls
        Of the array loop.
    kernel : module
        Draws noise that is counted from a step in memory, and multiplies by matrices.
    segments : RunSegment
        Of `kernel`, for the `coefficients_in_memory`.
    capture : callable, optional
        See `Graph`.

    Attributes
    ----------
    graph : Graph
    first_replayed : int or None
        The first of the steps last given that came from the graph.
    last_seen : tensor or None
        What the energy returned at the last of these steps, if that came from the graph.
    """

    def __init__(
        self,
        plan: Plan,
        energy: Any,
        calls: Any,
        kernel: Any,
        segments: Any,
        capture: Capture | None = None,
    ) -> None:
        super().__init__(
            replace(plan, step_offset=0),
            energy,
            calls.gradient,
            _weakly(self._fill_normals),
            segments,
            calls,
            exponentials=_weakly(self._draw_exponentials),
            matvec=kernel.matvec,
        )
        one_by_one, in_graph = _weakly(self._one_by_one), _weakly(self._in_graph)
        self.graph = Graph("steps", one_by_one, energy, in_graph, capture)
        self.first_replayed: int | None = None
        self.last_seen: torch.Tensor | None = None
        self._whole_plan = plan
        self._kernel = kernel
        self._names = coefficients_in_memory(plan, self.program)
        state = (*self.program.carried, *self.program.cached)
        self._state = [self.program.start[name] for name in state]
        self._kept = [name for name in self.program.reports if name not in _COUNTED]
        self._counted = [name for name in self.program.reports if name in _COUNTED]
        self._left_at: int | None = None  # the step with which the graph's memory goes on

    def steps(
        self,
        others: Callable[..., Steps],
        values: Values,
        start: int,
        stop: int,
        outputs: Outputs,
        note: Callable[[Any, int], None] | None,
    ) -> Steps:
        """As an `ArrayLoop` gives them, whose own way to do so is `others`."""
        burn_in, offset, begin = self._plan.burn_in, self._whole_plan.step_offset, start
        numbers = self._numbers_of(start, stop, values[self._state[0]])
        self.first_replayed = self._left_at = None
        while start < stop:
            end = min(stop, start + N_STEPS - (offset + start) % N_STEPS)
            if self.graph.has_ended:
                end = stop
            if self.graph.has_ended or end - start < N_STEPS or start < burn_in < end:
                self.last_seen = None
                steps = others(values, start, end, outputs, note)
            else:
                self._now = others, start, note
                try:
                    results = self._block(values, start, numbers[start - begin : end - begin])
                finally:
                    del self._now
                if self.first_replayed is not None and end == stop:
                    results = [one.clone() for one in results]  # the next piece writes to them
                steps = self._apart(results, start, outputs)
            for values, reports in steps:
                yield values, reports
            start = end

    def _block(self, values: Values, start: int, numbers: torch.Tensor) -> Sequence[torch.Tensor]:
        """What is left of the steps of the block that begins with one."""
        is_replay = self.graph.is_pure
        if self._left_at == start:
            nothing = [None for _ in self._state]
            results = self.graph(None, numbers if self._names else None, *nothing)
        else:
            at = self._whole_plan.step_offset + start
            first = torch.full((), at, dtype=torch.int64, device=numbers.device)
            results = self.graph(first, numbers, *(values[index] for index in self._state))
        self._left_at = start + N_STEPS if self.graph.is_pure else None
        if is_replay and self.first_replayed is None:
            self.first_replayed = start
        return results

    def _together(self, steps: Steps) -> list[torch.Tensor]:
        """What steps leave as one row: a state after each, and then what is counted and seen."""
        row: list[torch.Tensor] = []
        counts: dict[str, Any] = dict.fromkeys(self._counted, 0)
        for values, reports in steps:
            row += [*(values[index] for index in self._state), *(reports[n] for n in self._kept)]
            counts = {name: number + reports[name] for name, number in counts.items()}
        row += counts.values()
        if self.seen is not None:
            row.append(self.seen)
        return row

    def _apart(self, row: Sequence[torch.Tensor], start: int, outputs: Outputs) -> Steps:
        """From such a row what the steps gave, when their counts are added to the others."""
        results = iter(row)
        steps = [
            (
                {index: next(results) for index in self._state},
                {name: next(results) for name in self._kept},
            )
            for _ in range(N_STEPS)
        ]
        self._count({name: next(results) for name in self._counted}, start, outputs)
        self.last_seen = next(results, None)
        for state, reports in steps:
            yield self._constants_for(state[self._state[0]]) | state, reports

    def _one_by_one(self, *given: Any) -> Sequence[torch.Tensor]:
        """The steps where nothing is replayed."""
        others, start, note = self._now
        _, _, *state = given
        values = self._values_of(state)
        return self._together(others(values, start, start + N_STEPS, Outputs(), note))

    def _in_graph(
        self, first: torch.Tensor, numbers: torch.Tensor, *state: torch.Tensor
    ) -> Sequence[torch.Tensor]:
        """The steps that are captured: of what changes, only this memory is read."""
        self._first, self._numbers = first, numbers
        self.renew(self._plan)  # no noise is left of a call before
        row = self._together(self._steps(self._values_of(state), 0, N_STEPS, Outputs(), None))
        width = len(self._state) + len(self._kept)
        for before, after in zip(state, row[(N_STEPS - 1) * width :], strict=False):
            before.copy_(after)
        first.add_(N_STEPS)
        return row

    def _values_of(self, state: Sequence[torch.Tensor]) -> Values:
        return self._constants_for(state[0]) | dict(zip(self._state, state, strict=True))

    def _numbers_of(self, start: int, stop: int, like: torch.Tensor) -> torch.Tensor:
        """The coefficients that change, a row a step."""
        given = self._whole_plan.coefficients(start, stop) if self._names else {}
        table = np.empty((stop - start, len(self._names)), str(like.dtype).removeprefix("torch."))
        for column, name in enumerate(self._names.values()):
            table[:, column] = given[name]
        return torch.from_numpy(table).to(like.device, non_blocking=True)  # waits for nothing

    def _varying(self, start: int, stop: int) -> list[tuple[int, Any]]:
        return [(index, self._numbers[:, k].unbind()) for k, index in enumerate(self._names)]

    def _fill_normals(self, out: torch.Tensor, **counter: Any) -> None:
        self._kernel.fill_normals(out, first_step=self._first, **counter)

    def _draw_exponentials(self, like: torch.Tensor, **counter: Any) -> Sequence[torch.Tensor]:
        drawn: Sequence[torch.Tensor] = self._kernel.exponentials(
            like, first_step=self._first, **counter
        )
        return drawn


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of what lives as long as it is called, and is not kept by it.

    A cycle would keep the device's memory of a run that has ended until garbage is collected.
    """
    found = WeakMethod(method)

    def call(*args: Any, **options: Any) -> Any:
        owner = found()
        assert owner is not None
        return owner(*args, **options)

    return call
