"""Arrays as strict as CuPy's, in host memory: what would fail with arrays of a card fails here.

Nothing turns into NumPy's arrays, or takes them, unless it is asked to; new memory holds no zeros;
and operations take subnormal float32 numbers for zero, as all do that CuPy compiles.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np

REFUSED = "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
#: Functions that make arrays of what is in the host's memory.
MAKERS = {"array", "asarray", "ascontiguousarray", "asanyarray", "from_dlpack"}


class Device:
    """The only one."""

    compute_capability = "90"

    def __init__(self, number=0):
        self.id = int(getattr(number, "id", number) or 0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def __str__(self):
        return f"card:{self.id}"

    def synchronize(self):
        pass


class Array:
    """A view of the memory of `numbers`."""

    device = Device()
    __hash__ = None

    def __init__(self, numbers):
        self.numbers = numbers

    def __array_namespace__(self, api_version=None):
        return CARD

    def __array__(self, *given, **options):
        raise TypeError(REFUSED)

    def __array_ufunc__(self, ufunc, method, *given, **options):
        return function_of(getattr(ufunc, method), is_compiled=True)(*given, **options)

    def __array_function__(self, function, types, given, options):
        return function_of(function)(*given, **options)

    def __dlpack__(self, **options):
        return self.numbers.__dlpack__()

    def __dlpack_device__(self):
        return (2, 0)

    def __getattr__(self, name):
        found = getattr(object.__getattribute__(self, "numbers"), name)
        return (
            function_of(found, name, is_compiled=name == "astype") if callable(found) else up(found)
        )

    def __setitem__(self, key, value):
        value = down(value)
        if isinstance(value, np.ndarray) and value.dtype != self.dtype:
            value = flushed(value.astype(self.dtype))
        self.numbers[down(key)] = value

    def __iter__(self):
        return map(up, self.numbers)

    @property
    def data(self):
        return SimpleNamespace(ptr=self.numbers.ctypes.data)

    def get(self):
        return self.numbers.copy()

    def to_device(self, device, stream=None):
        return self.get() if device == "cpu" else self


def flushed(found):
    if isinstance(found, np.ndarray) and found.dtype == np.float32:
        found[np.abs(found) < np.finfo(np.float32).tiny] = 0
    return found


def up(found):
    """As arrays of the card's."""
    if isinstance(found, (np.ndarray, np.generic)):
        return Array(np.asarray(found))
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return type(found)(*map(up, found))
    return type(found)(map(up, found)) if type(found) in (tuple, list) else found


def down(given, function="it"):
    """As NumPy takes them: of arrays only the card's, but where a function makes arrays."""
    if isinstance(given, Array):
        return given.numbers
    if isinstance(given, np.ndarray) and given.ndim:
        if function not in MAKERS:
            raise TypeError(f"{function}: unsupported type {type(given)}")
        return given.copy()
    if type(given) in (tuple, list):
        return type(given)(down(one, function) for one in given)
    return given


def function_of(found, name="it", *, is_compiled=False):
    """A function of NumPy's, of the card's arrays."""

    def function(*given, device=None, blocking=None, **options):
        options = {key: down(value, name) for key, value in options.items()}
        result = found(*down(given, name), **options)
        if result is NotImplemented:
            return result
        return up(flushed(np.asarray(result)) if is_compiled else result)

    return function


def operator(name):
    def apply(self, *others):
        return function_of(getattr(self.numbers, name), is_compiled=True)(*others)

    return apply


def in_place(name):
    def apply(self, other):
        self[...] = operator(name)(self, other)
        return self

    return apply


def of_the_host(name):
    return lambda self: getattr(self.numbers, name)()


for _name in (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
    "lshift", "rshift",
):  # fmt: skip
    setattr(Array, f"__{_name}__", operator(f"__{_name}__"))
    setattr(Array, f"__r{_name}__", operator(f"__r{_name}__"))
    setattr(Array, f"__i{_name}__", in_place(f"__{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"):
    setattr(Array, f"__{_name}__", operator(f"__{_name}__"))
for _name in ("bool", "float", "int", "index", "len"):
    setattr(Array, f"__{_name}__", of_the_host(f"__{_name}__"))
Array.__getitem__ = lambda self, key: up(self.numbers[down(key, "[]")])


class Card(ModuleType):
    """NumPy's functions of a card's arrays."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, (type, ModuleType)) or not callable(found):
            return found
        return function_of(found, name, is_compiled=isinstance(found, np.ufunc))

    def empty(self, shape, dtype=np.float64, *, device=None):
        numbers = np.empty(shape, dtype)
        numbers.reshape(-1).view(np.uint8)[...] = 255
        return Array(numbers)


CARD = sys.modules["card"] = Card("card")
