"""A stand-in for CuPy with a card: arrays in host memory, kernels by the host's compiler.

    python -m pytest -p tests.cupy.stand_in tests/agreement -k cupy

runs any tests as on a machine where CuPy works.
"""

import os
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np

from tests.cupy.card import Array, Card, Device, down, function_of, up


class Event:
    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass


class CUDARuntimeError(RuntimeError):
    pass


class NVRTCError(RuntimeError):
    pass


class Module:
    """The host's build of what the stand-in for NVRTC was given, which hands on the source."""

    def load(self, code):
        from tests.cupy.host import compile_for_host

        self.module = compile_for_host(code.decode())

    def get_function(self, name):
        def launch(grid, block, arguments):
            for one in arguments:
                assert isinstance(one, (Array, np.generic)), type(one)
            self.module.launch(name, grid[0] * block[0], down(arguments), block[0])

        return launch


def _runtime():
    return SimpleNamespace(
        is_hip=False,
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        memGetInfo=lambda: (2**33, 2**34),
        runtimeGetVersion=lambda: 13000,
        deviceSynchronize=lambda: None,
    )


def _nvrtc():
    return SimpleNamespace(
        NVRTCError=NVRTCError,
        createProgram=lambda source, name, headers, names: source,
        compileProgram=lambda program, options: None,
        getPTX=lambda program: b"// the stand-in's",
        getCUBIN=lambda program: program.encode(),
        getProgramLog=lambda program: "",
        destroyProgram=lambda program: None,
        getSupportedArchs=lambda: [80, 90],
    )


def cupy():
    """The module."""
    found = Card("cupy")
    found.__spec__ = ModuleSpec("cupy", None)
    found.__version__ = "14.0.0"
    found.ndarray = Array
    found.asnumpy = lambda x: x.get()
    found.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0)
    parts = {
        "cuda": {
            "Device": Device,
            "Event": Event,
            "Module": Module,
            "Stream": SimpleNamespace(null=SimpleNamespace(ptr=0)),
            "get_current_stream": lambda: SimpleNamespace(ptr=0),
            "get_elapsed_time": lambda start, stop: (stop.at - start.at) * 1000,
            "set_allocator": lambda allocator=None: None,
            "runtime": _runtime(),
            "nvrtc": _nvrtc(),
        },
        "random": {
            "standard_normal": lambda size, dtype: up(np.zeros(size, dtype))  # nobody looks
        },
        "linalg": {name: function_of(getattr(np.linalg, name)) for name in np.linalg.__all__},
        "fft": {name: function_of(getattr(np.fft, name)) for name in np.fft.__all__},
        "_core": {"core": SimpleNamespace(assemble_cupy_compiler_options=lambda options: options)},
    }
    for part, names in parts.items():
        module = ModuleType(f"cupy.{part}")
        vars(module).update(names)
        setattr(found, part, module)
    found.__all__ = [*np.__all__, *parts]
    return found


def install():
    """Have this process take it for CuPy."""
    assert "cupy" not in sys.modules, "import the stand-in before CuPy"
    found = sys.modules["cupy"] = cupy()
    for part in ("cuda", "random", "linalg", "fft"):
        sys.modules[f"cupy.{part}"] = getattr(found, part)
    sys.modules["cupy.cuda.device"] = found.cuda
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"


install()
