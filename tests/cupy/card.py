"""Arrays as strict as CuPy's, in host memory: what would fail with arrays of a card fails here.

Nothing turns into NumPy's arrays, or takes them, unless it is asked to; new memory holds no zeros;
and operations take subnormal float32 numbers for zero, as all do that CuPy compiles.
"""

import sys
from types import ModuleType

import numpy as np

from isotherm._backends import registry
from isotherm._backends.protocol import Status
from isotherm_cupy.backend import runner_of
from isotherm_cupy.normals import filler
from tests.cupy.host import HostBackend, compile_for_host

DEVICE = "card:0"


def flushed(x):
    if x.dtype == np.float32:
        x[np.abs(x) < np.finfo(x.dtype).tiny] = 0
    return x


def bare(x, function="it"):
    """What NumPy takes: of arrays, only a card's."""
    if isinstance(x, Array):
        return x.numbers
    if isinstance(x, (list, tuple)):
        return type(x)(bare(one, function) for one in x)
    if isinstance(x, np.ndarray):
        raise TypeError(f"{function}: unsupported type {type(x)}")
    return x


def clothed(x):
    if isinstance(x, tuple):
        return type(x)(map(clothed, x)) if type(x) is tuple else type(x)(*map(clothed, x))
    if isinstance(x, list):
        return list(map(clothed, x))
    return Array(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x


class Array:
    """A view of the memory of `numbers`."""

    __array_ufunc__ = None

    def __init__(self, numbers):
        self.numbers = numbers

    def __array_namespace__(self, api_version=None):
        return CARD

    def __array__(self, *given, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    @property
    def device(self):
        return DEVICE

    def to_device(self, device, stream=None):
        return self.numbers.copy() if device == "cpu" else self

    def __getattr__(self, name):
        found = getattr(self.numbers, name)
        if not callable(found):
            return clothed(found)
        return lambda *given, **options: clothed(found(*bare(given, name), **options))

    def __len__(self):
        return len(self.numbers)

    def __iter__(self):
        return map(clothed, self.numbers)

    def __getitem__(self, key):
        return clothed(self.numbers[bare(key, "[]")])

    def __setitem__(self, key, value):
        value = bare(value, "[] =")
        if isinstance(value, np.ndarray) and value.dtype != self.dtype:
            value = flushed(value.astype(self.dtype))
        self.numbers[bare(key, "[]")] = value

    def __bool__(self):
        return bool(self.numbers)

    def __int__(self):
        return int(self.numbers)

    def __float__(self):
        return float(self.numbers)


def operation(name):
    def apply(x, *others):
        result = getattr(x.numbers, name)(*bare(others, name))
        return result if result is NotImplemented else clothed(flushed(np.asarray(result)))

    return apply


def in_place(name):
    def apply(x, other):
        x[...] = operation(name)(x, other)
        return x

    return apply


for _name in ("add", "sub", "mul", "truediv", "pow", "and", "or", "floordiv", "mod", "matmul",
              "lshift", "rshift", "xor"):  # fmt: skip
    setattr(Array, f"__{_name}__", operation(f"__{_name}__"))
    setattr(Array, f"__r{_name}__", operation(f"__r{_name}__"))
    setattr(Array, f"__i{_name}__", in_place(f"__{_name}__"))
for _name in ("neg", "abs", "invert", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Array, f"__{_name}__", operation(f"__{_name}__"))


class Card(ModuleType):
    """NumPy's functions of a card's arrays."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found

        def function(*given, device=None, **options):
            given, options = bare(given, name), {k: bare(v, name) for k, v in options.items()}
            result = found(*given, **options)
            if isinstance(found, np.ufunc) or name == "astype":
                result = flushed(np.asarray(result))
            return clothed(result)

        return function

    def asarray(self, x, dtype=None, device=None, copy=None, order=None):
        numbers = x.numbers if isinstance(x, Array) else np.array(x)
        return Array(np.array(numbers, dtype, copy=copy, order=order or "K"))

    def empty(self, shape, dtype=np.float64, device=None):
        numbers = np.empty(shape, dtype)
        numbers.view(np.uint8 if numbers.ndim else dtype)[...] = 255
        return Array(numbers)


CARD = sys.modules["card"] = Card("card")


class Module:
    """A module of the host's build, on a card's arrays."""

    def __init__(self, source):
        self._module = compile_for_host(source)

    def launch(self, name, threads, arguments, *block):
        assert not any(isinstance(one, np.ndarray) for one in arguments)
        self._module.launch(name, threads, bare(arguments), *block)


class CardBackend(HostBackend):
    """The host's build on a card's arrays."""

    name = "cupy_on_card"
    library = "card"
    device_kinds = ("card",)

    def status(self):
        return Status(None, (DEVICE,), {})

    def resolve_device(self, device):
        return DEVICE

    def fill_normals(self, out, **counter):
        filler(CARD, Module)(out, **counter)

    def prepare(self, plan, energy):
        return runner_of(plan, energy, CARD, Module)


registry.register(CardBackend())
