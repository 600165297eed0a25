"""A module's gradient as a CUDA graph: captured once in a run, replayed at every later step.

A small network takes the host longer to launch, kernel by kernel, than the device to compute; a
graph is launched at once. Noise and update stay outside of it: schedules need no new capture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Gradient = Callable[[torch.Tensor], torch.Tensor]

# A capture takes some ten milliseconds, of which a step gives back some hundred microseconds.
LEAST_STEPS = 500
_WARM_UP = 3  # calls before the capture, in which libraries choose kernels and allocate


class GraphGradient:
    """∇U from a graph, once that is shown to give what the module gives.

    The first call runs the module itself, and then its gradient is captured. At the second call,
    which is at another state, graph and module are both asked. Only if the graph's answer is the
    module's, bit for bit, do later calls replay the graph; the gradient of a module with
    randomness, or with a result that depends on more than x, goes on by itself.

    Parameters
    ----------
    gradient : callable
        x → ∇U(x) on a CUDA device, of the shape of x.
    energy : callable
        The U of which that is the gradient.
    capture : callable, optional
        Gradient and state → a function like the gradient, whose result the next call overwrites;
        `capture_on_device` by default.

    Attributes
    ----------
    status : str
        Whether there is a graph, or why not, in words.
    """

    hands_copies = True  # the gradient's own, or the graph's
    seen = None

    def __init__(
        self,
        gradient: Gradient,
        energy: Any,
        capture: Callable[[Gradient, torch.Tensor], Gradient] | None = None,
    ) -> None:
        self.status = "no graph yet"
        self._gradient = gradient
        self._module: Any = energy.func if isinstance(energy, functools.partial) else energy
        self._capture = capture or capture_on_device
        self._replay: Gradient | None = None
        self._memory: list[int] = []
        self._next: Gradient = self._try
        reason = _why_not(self._module)
        if reason is not None:
            self._give_up(reason)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._next(x)

    @property
    def is_pure(self) -> bool:
        """Whether the graph runs, which depends on x alone."""
        return self._next is self._replay

    def check(self) -> None:
        """Before a piece of a run: gives the graph up where it would read what is out of date."""
        if self._replay is not None and self._memory != self._places():
            self._give_up("the module's parameters were moved")

    def _try(self, x: torch.Tensor) -> torch.Tensor:
        result = self._gradient(x)  # what a user's code raises is raised here
        try:
            self._replay = self._capture(self._gradient, x)
        except RuntimeError as error:
            self._give_up(f"capture failed: {str(error).splitlines()[0]}")
        else:
            self._memory = self._places()
            self._next = self._prove
        return result

    def _prove(self, x: torch.Tensor) -> torch.Tensor:
        assert self._replay is not None
        replayed, result = self._replay(x), self._gradient(x)
        if torch.equal(replayed, result):
            self.status = "gradient in a graph"
            self._next = self._replay
        elif torch.equal(self._gradient(x), result):
            self._give_up("its gradient depends on more than x")
        else:
            self._give_up("its gradient differs from one call to the next")
        return result

    def _give_up(self, reason: str) -> None:
        self.status = f"no graph: {reason}"
        self._replay = None
        self._next = self._gradient

    def _places(self) -> list[int]:
        """Where in memory the graph finds what belongs to the module."""
        held = (*self._module.parameters(), *self._module.buffers())
        return [tensor.data_ptr() for tensor in held]


def _why_not(module: Any) -> str | None:
    """Why a gradient is not worth trying to capture; None if it is."""
    if not isinstance(module, nn.Module):
        return "the energy is no module, so that nobody knows what it reads"
    if torch.is_autocast_enabled("cuda"):
        return "autocast is on, whose copies of the parameters it would not renew"
    for part in module.modules():
        if part.training and next(part.buffers(recurse=False), None) is not None:
            return "a part of the module in training mode has buffers, which each call may change"
    return None


def capture_on_device(gradient: Gradient, x: torch.Tensor) -> Gradient:
    """A function like `gradient` that replays a graph; what it returns, the next call overwrites.

    Raises
    ------
    RuntimeError
        The gradient does what cannot be captured: it waits for the device, or copies from it.
    """
    static, here = x.clone(), torch.cuda.current_stream(x.device)
    apart = torch.cuda.Stream(x.device)
    graph = torch.cuda.CUDAGraph()
    # A capture that fails leaves its own stream as the current one; the outer context takes it off.
    with torch.cuda.stream(here):
        apart.wait_stream(here)
        with torch.cuda.stream(apart):
            for _ in range(_WARM_UP):
                gradient(static)
        here.wait_stream(apart)
        # Of other threads, which may load data meanwhile, nothing is forbidden.
        with torch.cuda.graph(graph, stream=apart, capture_error_mode="thread_local"):
            result = gradient(static)

    def replay(x: torch.Tensor) -> torch.Tensor:
        static.copy_(x)
        graph.replay()
        return result

    return replay
