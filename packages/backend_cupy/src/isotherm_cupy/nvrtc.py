"""NVRTC: sources to machine code.

CuPy's own way of compiling adds ``-ftz=true`` after all other options. That takes subnormal numbers
for zero, which the reference does not do; so NVRTC is called here without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from isotherm.backend import CompiledCache

# Contraction would change the bits of the noise. The others are NVRTC's defaults, and are said
# because the bits hang on them: nothing is flushed, and / and sqrt are rounded to nearest.
OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")


class CompileError(Exception):
    """A source that the compiler refused; the message is the compiler's."""


class Code(NamedTuple):
    """What the compiler makes of a source.

    Attributes
    ----------
    loadable : bytes
        Machine code, or PTX where it is for a card that the compiler does not know.
    ptx : bytes
    log : str
    """

    loadable: bytes
    ptx: bytes
    log: str


def machine_code(source: str, capability: str) -> bytes:
    """What a card loads, compiled now or kept from an earlier process.

    Parameters
    ----------
    source : str
    capability : str
        The card's, such as ``"90"``.
    """
    architecture = architecture_of(capability)
    key = "\n".join([*_versions(), architecture, *OPTIONS, source])
    if os.environ.get("CUPY_CACHE_IN_MEMORY") == "1":
        return compiled(source, architecture).loadable
    # Within CuPy's own.
    kept = _kept_in(os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache"))
    code = kept.find(key)
    if code is None:
        code = compiled(source, architecture).loadable
        kept.keep(key, code)
    return code


@cache
def _kept_in(folder: str) -> CompiledCache:
    return CompiledCache(Path(folder, "isotherm"), "CUPY_CACHE_DIR")


def compiled(source: str, architecture: str, *more: str) -> Code:
    """A source compiled with the options of all our kernels.

    Parameters
    ----------
    source : str
    architecture : str
        ``"sm_90"`` for machine code, ``"compute_90"`` for PTX.
    *more : str
        Options that change nothing in the code.

    Raises
    ------
    CompileError
    """
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [*OPTIONS, f"--gpu-architecture={architecture}", *more])
        ptx = nvrtc.getPTX(program)
        is_ptx = architecture.startswith("compute")
        return Code(ptx if is_ptx else nvrtc.getCUBIN(program), ptx, nvrtc.getProgramLog(program))
    except nvrtc.NVRTCError as error:
        raise CompileError(nvrtc.getProgramLog(program) or str(error)) from error
    finally:
        nvrtc.destroyProgram(program)


@cache
def why_not() -> str | None:
    """Why nothing can be compiled here, or None: NVRTC, and headers for CuPy's own kernels."""
    import cupy

    try:
        compiled("", "compute_80")
    except Exception as error:  # it may be missing, or of a version that CuPy does not take
        return f"NVRTC cannot be used ({_in_one_line(error)}); {_remedy(cupy)}"
    try:
        # What CuPy adds to the kernels of its array functions, by which it finds the headers.
        options = cupy._core.core.assemble_cupy_compiler_options(())
    except Exception:  # it is no public function
        return None
    try:
        compiled("#include <cuda_fp16.h>", "compute_80", *options)
    except CompileError as error:
        return (
            f"CuPy does not find CUDA's headers ({_in_one_line(error)}); {_remedy(cupy)}, or set "
            "CUDA_PATH"
        )
    return None


def _remedy(cupy: Any) -> str:
    # Upgraded, as CuPy 13 has no such extra, of which pip only warns.
    toolkit = f"'cupy-cuda{cupy.cuda.runtime.runtimeGetVersion() // 1000}x[ctk]'"
    return f"pip install --upgrade {toolkit}"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@cache
def architecture_of(capability: str, known: Sequence[int] = ()) -> str:
    """What to compile for: the card itself, or PTX where it is newer than the compiler.

    Parameters
    ----------
    capability : str
    known : tuple of int, optional
        The capabilities that the compiler knows; those of this NVRTC by default.
    """
    if not known:
        from cupy.cuda import nvrtc

        known = nvrtc.getSupportedArchs()
    if int(capability) in known:
        return f"sm_{capability}"
    # The driver makes machine code of it; how an instruction rounds stands in PTX itself.
    return f"compute_{max((a for a in known if a < int(capability)), default=min(known))}"


@cache
def _versions() -> tuple[str, ...]:
    """Everything besides source and options that may change the code."""
    import cupy

    head = compiled("", architecture_of("0")).ptx.decode()
    build = [line for line in head.splitlines() if line.startswith("//")]
    return (cupy.__version__, *build)
