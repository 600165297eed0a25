"""A module's gradient as a CUDA graph: captured once in a run, replayed at every later step.

A small network takes the host longer to launch, kernel by kernel, than the device to compute; a
graph is launched at once. Noise and update stay outside of it: schedules need no new capture.
"""

from __future__ import annotations

import functools
import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
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
    randomness, or with a result that depends on more than x, goes on by itself. Both are asked
    again at the beginning of each piece of a run, before which a callback may have changed what
    the module reads.

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
        """Before a piece of a run: the graph is not trusted until it is shown to be right again."""
        if self._replay is None:
            return
        if self._memory == self._places():
            self._next = self._prove
        else:
            self._give_up("the module's parameters were moved")

    def _try(self, x: torch.Tensor) -> torch.Tensor:
        result = self._gradient(x)  # what a user's code raises is raised here
        try:
            self._replay = self._capture(self._gradient, x)
        except Exception as error:  # of the module too, which did well outside of a capture
            self._give_up(f"capture failed: {str(error).partition(chr(10))[0]}")
        else:
            self._memory = self._places()
            self._next = self._prove
        return result

    def _prove(self, x: torch.Tensor) -> torch.Tensor:
        assert self._replay is not None
        replayed, result = self._replay(x), self._gradient(x)
        if _same_bits(replayed, result):
            self.status = "gradient in a graph"
            self._next = self._replay
        elif _same_bits(self._gradient(x), result):
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


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.view(integer), b.view(integer))  # NaN too is equal to itself


def capture_on_device(gradient: Gradient, x: torch.Tensor) -> Gradient:
    """A function like `gradient` that replays a graph; what it returns, the next call overwrites.

    Raises
    ------
    RuntimeError
        The gradient does what cannot be captured: it waits for the device, or copies from it.
        Nothing of the attempt is left behind.
    """
    here = torch.cuda.current_stream(x.device)
    with _lock:
        place = _places[here] = _places.get(here) or _Place(x.device)
    with place.lock:
        static = x.clone()
        place.stream.wait_stream(here)
        try:
            with torch.cuda.stream(place.stream):
                for _ in range(_WARM_UP):
                    gradient(static)
                if _waits(gradient, static):
                    raise RuntimeError("it waits for the device")
                pool = place.pools.pop() if place.pools else _Pool(x.device)
                try:
                    graph, result = pool.capture(lambda: gradient(static))
                except BaseException:
                    place.pools.append(pool)
                    raise
        finally:
            here.wait_stream(place.stream)
    replay = _Replay(graph, static, result)
    weakref.finalize(replay, place.pools.append, pool).atexit = False
    return replay


class _Replay:
    """Copies a state to where a graph reads it, and launches the graph on the current stream."""

    def __init__(
        self, graph: torch.cuda.CUDAGraph, static: torch.Tensor, result: torch.Tensor
    ) -> None:
        self._graph, self._static, self._result = graph, static, result

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self._static.copy_(x)
        self._graph.replay()
        return self._result


class _Place:
    """What the captures for one stream need, made once and used by one run after another.

    A stream of its own, because each on which a matrix product ran keeps a workspace; and memory
    pools that no graph holds at present. Graphs of one pool write to the same memory: they are
    replayed on the same stream, one after another.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.pools: list[_Pool] = []
        self.lock = threading.Lock()


_places: dict[torch.cuda.Stream, _Place] = {}
_lock = threading.Lock()


class _Pool:
    """Device memory for one graph after another.

    An allocator's pool lives as long as one of its graphs, so a first, trivial one is kept.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._handle = torch.cuda.graph_pool_handle()
        self._first, _ = self._capture(self._trivial)

    def capture(
        self, work: Callable[[], torch.Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """The graph of some work on the current stream, and where it leaves its result."""
        try:
            return self._capture(work)
        except BaseException:
            # Up to torch 2.11 random numbers are refused, and graphs with them, from a capture that
            # fails to the end of one that does not.
            self._capture(self._trivial)
            raise

    def _trivial(self) -> torch.Tensor:
        return torch.zeros(1, device=self._device)

    def _capture(
        self, work: Callable[[], torch.Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        # Not torch.cuda.graph, which empties the allocator's cache and waits for the device.
        graph, collects = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.disable()  # what garbage frees on the device may be forbidden during a capture
        try:
            # Of other threads, which may load data meanwhile, nothing is forbidden.
            graph.capture_begin(self._handle, capture_error_mode="thread_local")
            try:
                result = work()
            except BaseException:
                with suppress(RuntimeError):  # the first error is the one to be told
                    graph.capture_end()
                raise
            graph.capture_end()
        except BaseException:
            self._clean_up(graph)
            raise
        finally:
            if collects:
                gc.enable()
        return graph, result

    def _clean_up(self, graph: torch.cuda.CUDAGraph) -> None:
        """What torch up to 2.12 does not do when the end of a capture is an error.

        Its allocators go on taking the capture for underway, so that no cache can be emptied and
        nothing captured any more, and ask the graph about it.
        """
        _failed.append(graph)
        with suppress(RuntimeError):  # later ones have done it
            torch._C._cuda_endAllocateToPool(self._device.index, self._handle)
        with suppress(RuntimeError):
            graph.reset()


_failed: list[torch.cuda.CUDAGraph] = []  # which allocators may ask as long as the process lives


def _waits(gradient: Gradient, x: torch.Tensor) -> bool:
    """Whether a gradient makes the host wait for the device, which no graph can.

    torch warns of that, but does not fail: the mode holds for all threads.
    """
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            gradient(x)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    return any("called a synchronizing" in str(warning.message) for warning in caught)
