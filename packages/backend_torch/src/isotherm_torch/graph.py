"""CUDA graphs of what a module's chains do: captured once in a run, replayed from then on.

A small network takes the host longer to launch, kernel by kernel, than the device to compute; a
graph is launched at once.
"""

from __future__ import annotations

import functools
import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

#: Of tensors, which leaves its results in others.
Function = Callable[..., Sequence[torch.Tensor]]
Capture = Callable[..., Function]

# A capture takes some ten milliseconds, of which a step gives back some hundred microseconds.
LEAST_STEPS = 500
_WARM_UP = 1  # calls before the one that looks whether it waits: libraries choose and allocate


class Graph:
    """What asks a module, from a graph once that is shown to give what the function gives.

    The first call runs the function itself, which then is captured. At the second call, which is
    at another state, graph and function are both asked. Only if the graph's answer is the
    function's, bit for bit, do later calls replay the graph; with a module that is random, or whose
    result depends on more than x, the function goes on by itself. Both are asked again at the
    beginning of each piece of a run, before which a callback may have changed what the module
    reads.

    Parameters
    ----------
    what : str
        What the function calculates, in a word.
    function : callable
        Tensors on a CUDA device → tensors.
    energy : callable
        The U that is asked.
    in_graph : callable, optional
        The same function, which takes all that differs from call to call from the tensors that it
        is given; the function itself by default. It may write its results there, for the next.
    capture : callable, optional
        Such a function and what it is given → one like it, whose results the next call overwrites,
        and which takes what is None from where it was left; `capture_on_device` by default.

    Attributes
    ----------
    status : str
        Whether there is a graph, or why not, in words.
    """

    def __init__(
        self,
        what: str,
        function: Function,
        energy: Any,
        in_graph: Function | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.status = "no graph yet"
        self._what = what
        self._function, self._in_graph = function, in_graph or function
        self._module: Any = energy.func if isinstance(energy, functools.partial) else energy
        self._capture = capture or capture_on_device
        self._replay: Function | None = None
        self._memory: list[int] = []
        # No bound method: a cycle would keep the graph's memory until garbage is collected.
        self._next: Callable[..., Sequence[torch.Tensor]] = Graph._try
        reason = _why_not(self._module)
        if reason is not None:
            self._give_up(reason)

    def __call__(self, *given: torch.Tensor | None) -> Sequence[torch.Tensor]:
        return self._next(self, *given)

    @property
    def is_pure(self) -> bool:
        """Whether the next call is a replay, which depends on what it is given alone."""
        return self._next is Graph._replayed

    @property
    def has_ended(self) -> bool:
        """Whether the function runs by itself from now on."""
        return self._next is Graph._by_itself

    def check(self) -> None:
        """Before a piece of a run: the graph is not trusted until it is shown to be right again."""
        if self._replay is None:
            return
        if self._memory == self._places():
            self._next = Graph._prove
        else:
            self._give_up("the module's parameters were moved")

    def _try(self, *given: torch.Tensor) -> Sequence[torch.Tensor]:
        results = self._function(*given)  # what a user's code raises is raised here
        try:
            self._replay = self._capture(self._in_graph, *given)
        except Exception as error:  # of the module too, which did well outside of a capture
            self._give_up(f"capture failed: {str(error).partition(chr(10))[0]}")
        else:
            self._memory = self._places()
            self._next = Graph._prove
        return results

    def _prove(self, *given: torch.Tensor) -> Sequence[torch.Tensor]:
        assert self._replay is not None
        replayed, results = self._replay(*given), self._function(*given)
        if _same_bits(replayed, results):
            self.status = f"{self._what} in a graph"
            self._next = Graph._replayed
        elif _same_bits(self._function(*given), results):
            self._give_up("its gradient depends on more than x")
        else:
            self._give_up("its gradient differs from one call to the next")
        return results

    def _replayed(self, *given: torch.Tensor | None) -> Sequence[torch.Tensor]:
        assert self._replay is not None
        return self._replay(*given)

    def _by_itself(self, *given: torch.Tensor) -> Sequence[torch.Tensor]:
        return self._function(*given)

    def _give_up(self, reason: str) -> None:
        self.status = f"no graph: {reason}"
        self._replay = None
        self._next = Graph._by_itself

    def _places(self) -> list[int]:
        """Where in memory the graph finds what belongs to the module."""
        held = (*self._module.parameters(), *self._module.buffers())
        return [tensor.data_ptr() for tensor in held]


class GraphGradient(Graph):
    """x → ∇U(x) as a `Graph`: noise and update stay outside of it.

    Parameters
    ----------
    gradient : callable
        x → ∇U(x) on a CUDA device, of the shape of x; it may tell in an attribute ``seen`` what
        the energy returned.
    energy : callable
        The U of which that is the gradient.
    capture : callable, optional
        See `Graph`.

    Attributes
    ----------
    seen : tensor or None
        What the energy returned at the last call, until the next, which may write to it.
    """

    hands_copies = True  # the gradient's own, or the graph's

    def __init__(
        self,
        gradient: Callable[[torch.Tensor], torch.Tensor],
        energy: Any,
        capture: Capture | None = None,
    ) -> None:
        def both(x: torch.Tensor) -> Sequence[torch.Tensor]:
            slope, seen = gradient(x), getattr(gradient, "seen", None)
            return [slope] if seen is None else [slope, seen]

        super().__init__("gradient", both, energy, capture=capture)
        self.seen: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        slope, *seen = self._next(self, x)
        self.seen = seen[0] if seen else None
        return slope


def _why_not(module: Any) -> str | None:
    """Why what asks it is not worth trying to capture; None if it is."""
    if not isinstance(module, nn.Module):
        return "the energy is no module, so that nobody knows what it reads"
    if torch.is_autocast_enabled("cuda"):
        return "autocast is on, whose copies of the parameters it would not renew"
    for part in module.modules():
        if part.training and next(part.buffers(recurse=False), None) is not None:
            return "a part of the module in training mode has buffers, which each call may change"
    return None


def _same_bits(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    # NaN too is equal to itself.
    return len(some) == len(others) and all(
        torch.equal(_bytes_of(a), _bytes_of(b)) for a, b in zip(some, others, strict=True)
    )


def _bytes_of(one: torch.Tensor) -> torch.Tensor:
    return one.contiguous().reshape(-1).view(torch.uint8)  # a number has no axis to be cut


def capture_on_device(function: Function, *given: torch.Tensor) -> Function:
    """A function like `function` that replays a graph; its results the next call overwrites.

    What it is given is copied to where the graph reads it, but where that is None.

    Raises
    ------
    RuntimeError
        The function does what cannot be captured: it waits for the device, or copies from it.
        Nothing of the attempt is left behind.
    """
    device = given[0].device
    here = torch.cuda.current_stream(device)
    with _lock:
        place = _places[here] = _places.get(here) or _Place(device)
    with place.lock:
        static = [one.clone() for one in given]
        place.stream.wait_stream(here)
        try:
            with torch.cuda.stream(place.stream):
                for _ in range(_WARM_UP):
                    function(*static)
                if _waits(function, static):
                    raise RuntimeError("it waits for the device")
                pool = place.pools.pop() if place.pools else _Pool(device)
                try:
                    graph, results = pool.capture(lambda: function(*static))
                except BaseException:
                    # Up to torch 2.11 random numbers are refused, and graphs with them, from a
                    # capture that fails to the end of one that does not; and from 2.11 to 2.12 a
                    # pool into which one failed is refused for good. So there is another now.
                    place.pools.append(_Pool(device))
                    raise
        finally:
            here.wait_stream(place.stream)
    replay = _Replay(graph, static, results)
    weakref.finalize(replay, place.pools.append, pool).atexit = False
    return replay


class _Replay:
    """Copies tensors to where a graph reads them, and launches it on the current stream."""

    def __init__(
        self,
        graph: torch.cuda.CUDAGraph,
        static: Sequence[torch.Tensor],
        results: Sequence[torch.Tensor],
    ) -> None:
        self._graph, self._static, self._results = graph, static, results

    def __call__(self, *given: torch.Tensor | None) -> Sequence[torch.Tensor]:
        for static, value in zip(self._static, given, strict=True):
            if value is not None:
                static.copy_(value)
        self._graph.replay()
        return self._results


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
        self._first, _ = self.capture(lambda: [torch.zeros(1, device=device)])

    def capture(
        self, work: Callable[[], Sequence[torch.Tensor]]
    ) -> tuple[torch.cuda.CUDAGraph, Sequence[torch.Tensor]]:
        """The graph of some work on the current stream, and where it leaves its results.

        Raises
        ------
        BaseException
            What the work raises, or its capture. The pool is then not to be used any more.
        """
        # Not torch.cuda.graph, which empties the allocator's cache and waits for the device.
        graph, collects = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.disable()  # what garbage frees on the device may be forbidden during a capture
        try:
            # Of other threads, which may load data meanwhile, nothing is forbidden.
            graph.capture_begin(self._handle, capture_error_mode="thread_local")
            try:
                results = work()
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
        return graph, results

    def _clean_up(self, graph: torch.cuda.CUDAGraph) -> None:
        """What torch up to 2.12 does not do when the end of a capture is an error.

        Its allocators go on taking the capture for underway, so that no cache can be emptied and
        nothing captured any more, and ask the graph about it.
        """
        _failed.append(graph)
        with suppress(RuntimeError):  # later ones have done it
            torch._C._cuda_endAllocateToPool(self._device.index, self._handle)
            torch._C._cuda_releasePool(self._device.index, self._handle)
        with suppress(RuntimeError):
            graph.reset()


_failed: list[torch.cuda.CUDAGraph] = []  # which allocators may ask as long as the process lives


def _waits(function: Function, given: Sequence[torch.Tensor]) -> bool:
    """Whether a function makes the host wait for the device, which no graph can.

    torch warns of that, but does not fail: the mode holds for all threads.
    """
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function(*given)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    return any("called a synchronizing" in str(warning.message) for warning in caught)
