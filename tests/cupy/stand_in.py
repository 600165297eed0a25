"""A stand-in for CuPy with a card: arrays in host memory, kernels by the host's compiler.

    python -m pytest -p tests.cupy.stand_in tests/agreement -k cupy

runs any tests as on a machine where CuPy works. Its arrays are of a class of their own, which is
not turned into NumPy's, nor computed with them, unless that is said; as CuPy has it.
"""

import os
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np

REFUSED = "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
#: That make arrays of what is in the host's memory.
MAKERS = {"array", "asarray", "ascontiguousarray", "asanyarray", "from_dlpack"}


class ndarray:  # noqa: N801
    """An array of the card's."""

    __array_priority__ = 100

    def __init__(self, host):
        self.host = host

    def __array__(self, *arguments, **options):
        raise TypeError(REFUSED)

    def __array_ufunc__(self, ufunc, method, *given, **options):
        return up(getattr(ufunc, method)(*down(given), **down(options)))

    def __array_function__(self, function, types, given, options):
        return up(function(*down(given), **down(options)))

    def __dlpack__(self, **options):
        return self.host.__dlpack__()

    def __dlpack_device__(self):
        return (2, 0)

    def __getattr__(self, name):
        found = getattr(object.__getattribute__(self, "host"), name)
        return bound(found) if callable(found) else up(found)

    def __setitem__(self, key, value):
        self.host[down(key)] = down(value)

    def get(self):
        return self.host.copy()

    @property
    def device(self):
        return Device(0)

    @property
    def data(self):
        return SimpleNamespace(ptr=self.host.ctypes.data)


def up(found):
    if isinstance(found, (np.ndarray, np.generic)):
        return ndarray(np.asarray(found))
    if type(found) in (tuple, list):
        return type(found)(map(up, found))
    return found


def down(given, *, of_the_host=False):
    if isinstance(given, ndarray):
        return given.host
    if isinstance(given, np.ndarray) and given.ndim and not of_the_host:
        raise TypeError(f"Unsupported type {np.ndarray}")
    if type(given) in (tuple, list):
        return type(given)(down(one, of_the_host=of_the_host) for one in given)
    if isinstance(given, dict):
        return {name: down(one) for name, one in given.items()}
    return given


def bound(function, name=""):
    def call(*given, **options):
        options.pop("blocking", None)
        given = down(given, of_the_host=name in MAKERS)
        return up(function(*given, **down(options, of_the_host=name in MAKERS)))

    return call


def operator(name):
    def call(self, *others):
        found = getattr(self.host, name)(*down(others))
        return self if found is self.host else up(found)

    def of_the_host(self):
        return getattr(self.host, name)()

    return of_the_host if name in ("__bool__", "__float__", "__int__", "__len__") else call


_BINARY = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
    "lshift", "rshift", "lt", "le", "gt", "ge", "eq", "ne",
)  # fmt: skip
_OTHERS = (
    "neg", "pos", "abs", "invert", "getitem", "bool", "float", "int", "index", "len", "complex",
)  # fmt: skip
for _name in [*_OTHERS, *(f"{form}{one}" for one in _BINARY for form in ("", "r", "i"))]:
    if hasattr(np.ndarray, f"__{_name}__"):
        setattr(ndarray, f"__{_name}__", operator(f"__{_name}__"))
ndarray.__iter__ = lambda self: map(up, iter(self.host))
ndarray.__hash__ = None


class Device:
    compute_capability = "90"

    def __init__(self, number=None):
        self.id = int(getattr(number, "id", number) or 0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def synchronize(self):
        pass


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
                assert isinstance(one, (ndarray, np.generic)), type(one)
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
    found = ModuleType("cupy")
    found.__spec__ = ModuleSpec("cupy", None)
    for name in dir(np):
        one = getattr(np, name)
        if callable(one) and not isinstance(one, type):
            one = bound(one, name)
        if not name.startswith("__") and not isinstance(one, ModuleType):
            setattr(found, name, one)
    found.__version__ = "14.0.0"
    found.ndarray, found.abs, found.max = ndarray, found.absolute, found.amax
    found.min, found.round = found.amin, found.around
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
        "linalg": {n: bound(getattr(np.linalg, n)) for n in np.linalg.__all__},
        "fft": {n: bound(getattr(np.fft, n)) for n in np.fft.__all__},
        "_core": {"core": SimpleNamespace(assemble_cupy_compiler_options=lambda options: options)},
    }
    for part, names in parts.items():
        module = ModuleType(f"cupy.{part}")
        vars(module).update(names)
        setattr(found, part, module)
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
