"""Compiled sources and how their kernels are launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

from isotherm_cupy.nvrtc import machine_code

THREADS = 128  # threads of a block where nothing asks for another number


class Module(Protocol):
    """The kernels of one source."""

    def launch(
        self, name: str, threads: int, arguments: Sequence[Any], block: int = THREADS
    ) -> None:
        """Run a kernel with at least so many threads, on the current stream.

        `arguments` are arrays and NumPy scalars of the types that the kernel declares.
        """


Compile: TypeAlias = Callable[[str], Module]


class DeviceModule:
    """Kernels on the current device."""

    def __init__(self, source: str) -> None:
        import cupy

        self._module = cupy.cuda.Module()
        self._module.load(machine_code(source, cupy.cuda.Device().compute_capability))
        self._kernels: dict[str, Any] = {}

    def launch(
        self, name: str, threads: int, arguments: Sequence[Any], block: int = THREADS
    ) -> None:
        if name not in self._kernels:
            self._kernels[name] = self._module.get_function(name)
        self._kernels[name]((-(-threads // block),), (block,), tuple(arguments))


def compile_for_device(source: str) -> Module:
    """The module of a source on the current device, loaded once a process."""
    import cupy

    return _loaded(source, cupy.cuda.runtime.getDevice())


@cache
def _loaded(source: str, device: int) -> Module:
    # A module belongs to the device that was current when it was loaded.
    return DeviceModule(source)
