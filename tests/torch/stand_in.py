"""A stand-in for what a graph's capture uses of CUDA, as torch up to 2.12 has it.

Work runs at once, on the CPU. What is stood in for is what a capture leaves behind: the state of
the allocator, of the random numbers and of the streams.
"""

import importlib.util
import itertools
import warnings
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

SYNC = "called a synchronizing CUDA operation"
INVALID = "CUDA error: operation failed due to a previous error during capture"


class Stream:
    def __init__(self, cuda, number):
        self.cuda, self.number = cuda, number

    def wait_stream(self, other):
        self.cuda.waits.append((self.number, other.number))


class Cuda:
    """Which captures are underway, and for whom."""

    def __init__(self, *, cleans_up):
        self.cleans_up = cleans_up  # as later versions of torch do
        self.streams = [Stream(self, 0)]
        self.current = self.streams[0]
        self.mode = 0
        self.capturing = None  # the graph
        self.is_valid = True
        self.underway = []  # pools to which the allocator takes captures for underway
        self.underway_on_host = []  # ... and that of pinned memory, from torch 2.11 on
        self.users = {}  # of each pool
        self.generator_captures = False
        self.handles = itertools.count(1)
        self.waits, self.alive = [], 0

    def install(self, patch):
        for name in (
            "Stream", "stream", "current_stream", "graph_pool_handle", "get_sync_debug_mode",
            "set_sync_debug_mode",
        ):  # fmt: skip
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch.cuda, "CUDAGraph", lambda: Graph(self))
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_allocate, raising=False)
        patch.setattr(torch._C, "_cuda_releasePool", self.release, raising=False)

    def Stream(self, device):  # noqa: N802
        self.streams.append(Stream(self, len(self.streams)))
        return self.streams[-1]

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def current_stream(self, device):
        return self.current

    def graph_pool_handle(self):
        return (0, next(self.handles))

    def get_sync_debug_mode(self):
        return self.mode

    def set_sync_debug_mode(self, mode):
        self.mode = {"default": 0, "warn": 1, "error": 2}.get(mode, mode)

    def end_allocate(self, device, pool):
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def release(self, device, pool):
        self.users[pool] -= 1
        assert self.users[pool] >= 0

    # What a user does.

    def synchronize(self):
        """As ``.item()``: warned of where that is asked for, an error within a capture."""
        if self.mode == 1:
            warnings.warn(SYNC, stacklevel=2)
        self.forbid()

    def forbid(self):
        """What nobody warns of and no capture allows."""
        if self.capturing is not None:
            self.is_valid = False
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def empty_cache(self):
        assert not self.underway, "captures_underway.empty() INTERNAL ASSERT FAILED"

    def randn(self):
        if (self.capturing is not None) != self.generator_captures:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")


class Graph:
    def __init__(self, cuda):
        self.cuda, self.handle, self.has_ended = cuda, None, False
        cuda.alive += 1

    def __del__(self):
        self.cuda.alive -= 1
        if self.has_ended:
            self.cuda.users[self.handle] -= 1

    def capture_begin(self, pool, capture_error_mode):
        cuda = self.cuda
        assert capture_error_mode == "thread_local"
        assert cuda.capturing is None
        assert cuda.current is not cuda.streams[0], "captured on a non-default stream"
        assert cuda.users.get(pool) != 0, "a pool without a user is not taken again"
        cuda.empty_cache()
        self.handle = pool
        cuda.users[pool] = cuda.users.get(pool, 0) + 1
        cuda.underway.append(pool)
        if pool in cuda.underway_on_host:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        cuda.underway_on_host.append(pool)
        cuda.capturing, cuda.is_valid, cuda.generator_captures = self, True, True

    def capture_end(self):
        cuda = self.cuda
        cuda.capturing = None
        if cuda.is_valid or cuda.cleans_up:
            cuda.end_allocate(0, self.handle)
            cuda.underway_on_host.remove(self.handle)
            cuda.generator_captures = False
        if not cuda.is_valid:
            raise RuntimeError(INVALID)
        self.has_ended = True

    def reset(self):
        assert self.cuda.capturing is not self

    def replay(self):
        assert self.has_ended
        self.cuda.randn()


class Recording(TorchDispatchMode):
    """What is done to tensors, so that it can be done again, to the same memory.

    As a graph does it, of which the numbers and the branches of Python are no part.
    """

    current = None

    def __init__(self):
        super().__init__()
        self.operations = []

    def __enter__(self):
        Recording.current = self
        return super().__enter__()

    def __exit__(self, *error):
        Recording.current = None
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        results = function(*args, **kwargs)
        if function._schema.is_mutable:
            self.operations.append(partial(function, *args, **kwargs))
        elif not is_view(function):
            self.operations.append(partial(renew, results, function, args, kwargs))
        return results

    def replay(self):
        for operation in self.operations:
            operation()


def is_view(function):
    """Whether an operation looks at the same memory, so that there is nothing to be launched."""
    returned = [one.alias_info for one in function._schema.returns]
    return any(one is not None and not one.is_write for one in returned)


def renew(results, function, args, kwargs):
    for old, new in zip(tree_leaves(results), tree_leaves(function(*args, **kwargs)), strict=True):
        old.copy_(new)


def record(function, *given):
    """As `capture_on_device`; the counts of what replays take from the host are in `record`."""
    static = [one.clone() for one in given]
    function(*static)
    with Recording() as recording:
        results = function(*static)

    def replay(*given):
        with _disable_current_modes(), torch.no_grad():
            for place, one in zip(static, given, strict=True):
                if one is not None:
                    record.copies += 1
                    place.copy_(one)
            record.replays += 1
            recording.replay()
        return results

    return replay


record.copies = record.replays = 0


class Launched:
    """A kernel of Triton's interpreter, which a recording launches again."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return partial(self.launch, grid)

    def launch(self, *args, **options):
        def again(grid, *args):
            self.kernel[grid](*args, **options)

        with _disable_current_modes():
            again(*args)
        if Recording.current is not None:
            Recording.current.operations.append(partial(again, *args))


@contextmanager
def interpreted(kernel):
    """A module of kernels once more, for Triton's interpreter, which runs on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        spec = importlib.util.spec_from_file_location("interpreted_kernel", kernel.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
