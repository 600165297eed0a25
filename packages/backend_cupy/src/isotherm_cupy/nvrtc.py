"""Compiled sources and how their kernels are launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

OPTIONS = ("--std=c++17", "--fmad=false")  # contraction would change the bits of the noise
BLOCK = 128  # threads of a block where nothing asks for another number


class CompileError(Exception):
    """A source that the compiler refused; the message is the compiler's."""


class Module(Protocol):
    """The kernels of one source."""

    def launch(self, name: str, threads: int, arguments: Sequence[Any], block: int = BLOCK) -> None:
        """Run a kernel with at least so many threads, on the current stream.

        `arguments` are arrays and NumPy scalars of the types that the kernel declares.
        """


Compile: TypeAlias = Callable[[str], Module]


class DeviceModule:
    """Kernels compiled by NVRTC for the current device."""

    def __init__(self, source: str) -> None:
        import cupy

        self._module = cupy.RawModule(code=source, options=OPTIONS)
        try:
            self._module.compile()
        except cupy.cuda.compiler.CompileException as error:
            raise CompileError(str(error)) from error

    def launch(self, name: str, threads: int, arguments: Sequence[Any], block: int = BLOCK) -> None:
        kernel = self._module.get_function(name)
        kernel((-(-threads // block),), (block,), tuple(arguments))


@cache
def compile_for_device(source: str) -> Module:
    """The module of a source; CuPy keeps what it compiled on disk."""
    return DeviceModule(source)
