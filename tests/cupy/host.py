"""The backend's own CUDA source, built by the host's compiler and run on NumPy arrays.

Nothing of the source is repeated: ``host.hpp`` gives CUDA's words a meaning, a wrapper for each
kernel runs its grid, and ``host.cpp`` watches the threads: what only a card would show, as a race,
is an error here.
"""

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from isotherm._backends import registry
from isotherm._backends.protocol import Status
from isotherm._plans.plan import PLAN_VERSION
from isotherm.errors import InputError
from isotherm_cupy.backend import BACKEND, runner_of
from isotherm_cupy.kernels import kernel_of
from isotherm_cupy.modules import THREADS
from isotherm_cupy.normals import filler
from isotherm_cupy.nvrtc import CompileError
from tests.cupy.card import CARD, Array, down

SHIM = Path(__file__).with_name("host.hpp")
KERNEL = re.compile(
    r'extern "C" __global__ (?:BOUNDS )?void (\w+)\((.*?)\)\s*\{(.*?)^\}',
    re.DOTALL | re.M,
)


FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-w"]
# Each access to memory calls what host.cpp has in the place of the sanitizer's library.
WATCHED = ["-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0"]
MOST_WATCHED = 2**22  # bytes of arrays; of more, accesses are not looked at


@cache
def folder():
    """A new folder with the shim, compiled beforehand: it takes longer than most kernels."""
    path = Path(tempfile.mkdtemp(prefix="isotherm-host-"))
    shutil.copy(SHIM, path)
    build("-c", SHIM.with_suffix(".cpp"), "-o", path / "host.o")
    build(*WATCHED, "-x", "c++-header", path / SHIM.name, "-o", path / f"{SHIM.name}.gch")
    return path


def build(*arguments):
    compiler = shutil.which("g++")
    assert compiler, "g++ is needed to run the CUDA source without a GPU"
    command = [compiler, *FLAGS, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise CompileError(ended.stderr)


def names_of(parameters):
    return re.findall(r"(\w+)\s*(?:,|$)", parameters)


def wrapper(name, parameters, body):
    """A function that runs a kernel's grid, with the same parameters after its own two."""
    names = ", ".join(names_of(parameters))
    # Whether the threads of a block meet, or lanes of a warp do.
    several = (f"{size} > 1" for size in ("TEAM", "LANES") if size in body)
    meets = "true" if "__shared__" in body else next(several, "false")
    return (
        f'extern "C" const char* run_{name}(unsigned blocks, unsigned threads, {parameters}) {{\n'
        f"    auto kernel = [&] {{ {name}({names}); }};\n"
        f"    const auto call = [](void* kernel_) {{ (*(decltype(kernel)*)kernel_)(); }};\n"
        f"    return run_grid(blocks, threads, {meets}, call, &kernel);\n}}\n"
    )


class HostModule:
    """See `isotherm_cupy.modules.Module`."""

    def __init__(self, source):
        wrappers = [wrapper(*kernel) for kernel in KERNEL.findall(source)]
        self._names = {name: names_of(parameters) for name, parameters, _ in KERNEL.findall(source)}
        text = f'#include "{SHIM.name}"\n{source}\n' + "\n".join(wrappers)
        stem = folder() / hashlib.sha256(text.encode()).hexdigest()[:32]
        stem.with_suffix(".cpp").write_text(text)
        build(*WATCHED, "-c", f"{stem}.cpp", "-o", f"{stem}.o")
        build("-shared", "-Wl,-Bsymbolic", f"{stem}.o", folder() / "host.o", "-o", f"{stem}.so")
        self._library = ctypes.CDLL(f"{stem}.so")

    def launch(self, name, threads, arguments, block=THREADS):
        run = self._library[f"run_{name}"]
        run.restype = ctypes.c_char_p
        blocks = -(-threads // block)
        arrays = {
            one: argument
            for one, argument in zip(self._names[name], arguments, strict=True)
            if isinstance(argument, np.ndarray)
        }
        if sum(array.nbytes for array in arrays.values()) <= MOST_WATCHED:
            for one, array in arrays.items():
                first, last = np.lib.array_utils.byte_bounds(array)
                self._library.watch_array(
                    one.encode(), ctypes.c_void_p(first), ctypes.c_size_t(last - first),
                    ctypes.c_bool(one == "memory"),
                )  # fmt: skip
        fault = run(ctypes.c_uint(blocks), ctypes.c_uint(block), *map(as_c, arguments))
        assert not fault, f"{name}: {fault.decode()}"


def as_c(argument):
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())


class HostBackend:
    """The CuPy backend, with NumPy in CuPy's place and g++ in NVRTC's."""

    name = "cupy_on_host"
    library = "numpy"
    plan_version = PLAN_VERSION
    device_kinds = ("cpu",)
    kernels_for = ()
    priority = 0

    def status(self):
        return Status(None, ("cpu",), {})

    def resolve_device(self, device):
        if device not in (None, "cpu"):
            raise InputError(f"device {device!r} does not exist; there is only 'cpu'")
        return "cpu"

    def available_memory(self, device):
        return None

    def fresh_seed(self, source):
        return None

    def fill_normals(self, out, **counter):
        filler(np, compile_for_host)(out, **counter)

    def supports(self, plan, energy):
        return BACKEND.supports(plan, energy)

    def has_kernel(self, plan, energy):
        return kernel_of(plan, energy) is not None

    def prepare(self, plan, energy):
        return runner_of(plan, energy, np, compile_for_host)


class CardModule(HostModule):
    """A module of the host's build, on a card's arrays."""

    def launch(self, name, threads, arguments, *block):
        assert not any(isinstance(one, np.ndarray) for one in arguments)
        super().launch(name, threads, down(arguments), *block)


compile_for_host, compile_for_card = cache(HostModule), cache(CardModule)


class CardBackend(HostBackend):
    """The host's build on a card's arrays."""

    name = "cupy_on_card"
    library = "card"
    device_kinds = ("card",)

    def status(self):
        return Status(None, (str(Array.device),), {})

    def resolve_device(self, device):
        return str(Array.device)

    def fill_normals(self, out, **counter):
        filler(CARD, compile_for_card)(out, **counter)

    def prepare(self, plan, energy):
        return runner_of(plan, energy, CARD, compile_for_card)


registry.register(HostBackend())
registry.register(CardBackend())
BUILDS = (HostBackend.name,) if BACKEND.status().reason else (HostBackend.name, BACKEND.name)
"""The backends that run the source here: on the host, and on a GPU where there is one."""
