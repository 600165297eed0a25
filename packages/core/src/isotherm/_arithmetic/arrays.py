"""Arrays of any library: which one it is, its dtype's and device's name, and moving between them.

No array library but NumPy is imported here, unless an array of it, or its name, is given.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, TypeAlias, cast

import array_api_compat as compat
import numpy as np

from isotherm.errors import InputError

#: An array of any library that follows the array API standard, as array-api-compat presents it.
Array: TypeAlias = Any

_MOST_AXES = 64  # that an array of NumPy may have
FLOATING = ("float16", "bfloat16", "float32", "float64")


# A loop of calls asks for the same few classes, dtypes and devices again and again.
_namespaces: dict[type, ModuleType] = {}


def namespace_of(x: Array) -> Any:
    """The array-API namespace of an array's library."""
    found = _namespaces.get(type(x))
    if found is None:
        found = _namespaces[type(x)] = compat.array_namespace(x)
    return found


def is_array(x: Any) -> bool:
    """Whether `x` is an array of a library (and not a number or a list)."""
    if isinstance(x, np.generic):
        return False
    return type(x) in _namespaces or compat.is_array_api_obj(x)


def library_of(x: Array) -> str:
    """The name of the library that an array comes from: ``"numpy"``, ``"torch"``, ``"cupy"``."""
    return _library_name(namespace_of(x))


@cache
def _library_name(xp: ModuleType) -> str:
    return str(xp.__name__).removeprefix("array_api_compat.").split(".")[0]


@cache
def namespace(library: str) -> ModuleType:
    """The array-API namespace of a library, imported if need be."""
    if library in ("numpy", "torch", "cupy"):
        return importlib.import_module(f"array_api_compat.{library}")
    if library == "jax":
        return importlib.import_module("jax.numpy")
    return importlib.import_module(library)


def dtype_name(dtype: object) -> str:
    """The plain name of a dtype of any library: ``"float32"`` for ``torch.float32``, ``"<f4"``."""
    name = str(dtype)
    if name.startswith("torch."):
        return name.removeprefix("torch.")
    if name in FLOATING:
        return name
    try:
        return str(np.dtype(cast(Any, dtype)).name)
    except (TypeError, ValueError, SyntaxError):  # NumPy parses strings
        return name.rsplit(".", 1)[-1].rstrip("'>")


def device_name(x: Array) -> str:
    """The device of an array as torch writes it: ``"cpu"``, ``"cuda:1"``."""
    if isinstance(x, np.ndarray):
        return "cpu"
    library = library_of(x)
    device = x.device if library == "torch" else compat.device(x)
    if library == "cupy":
        return f"cuda:{device.id}"
    return "cpu" if "cpu" in str(device).lower() else str(device)


def plain_array(name: str, x: Any) -> Any:
    """`x`, of which every library sees the same numbers; what is no array is left as it is.

    Raises
    ------
    InputError
        It is an array of which a part would be lost, or that other libraries cannot read.
    """
    if isinstance(x, (list, tuple)):
        level = [x]
        for _ in range(_MOST_AXES):
            items = [item for held in level for item in held if not isinstance(item, (int, float))]
            inner = {id(item): item for item in items if isinstance(item, (list, tuple))}
            for item in items:
                if id(item) not in inner:
                    plain_array(name, item)
            if not inner:
                return x
            level = list(inner.values())
        raise InputError(
            f"{name} holds lists within lists, more than {_MOST_AXES} deep; give an array"
        )
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            raise InputError(
                f"{name} is a masked array, whose mask chains would lose; fill it, "
                "for example by .filled(0.0), or leave out what is masked"
            )
        return x.view(np.ndarray) if isinstance(x, np.matrix) else x  # whose * is of matrices
    for is_so, what, remedy in _UNUSUAL_TENSORS:
        if is_so(x):
            raise InputError(f"{name} is a {what} tensor; {remedy}")
    # torch refuses to hand out what is yet to be negated.
    return x.resolve_neg() if hasattr(x, "resolve_neg") else x


_UNUSUAL_TENSORS: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (
        lambda x: bool(getattr(x, "is_nested", False)),
        "nested",
        "give a dense one, whose rows are of one length",
    ),
    (
        lambda x: str(getattr(x, "layout", "torch.strided")) != "torch.strided",
        "sparse",
        "give .to_dense()",
    ),
    (lambda x: bool(getattr(x, "is_quantized", False)), "quantized", "give .dequantize()"),
    (
        lambda x: bool(getattr(x, "is_meta", False)),
        "meta",
        "which holds no numbers; give one on a device",
    ),
)


def on_own_device(x: Array) -> AbstractContextManager[Any]:
    """The context in which a library computes on the array, where that is on a current device."""
    current: AbstractContextManager[Any] = x.device if compat.is_cupy_array(x) else nullcontext()
    return current


def array_origin(
    values: Iterable[Any], device: object = None
) -> tuple[str | None, str | None, str | None]:
    """The library, dtype and device of the first array among `values`; None for each not known.

    A `device` that is given stands in for the arrays' own.
    """
    named = None if device is None else str(device)
    for value in values:
        if is_array(value):
            dtype = dtype_name(value.dtype)
            own = named or device_name(value)
            return library_of(value), dtype if dtype in FLOATING else None, own
    return None, None, named


def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    """A NumPy array with the values of `x`: a view where `x` is in host memory, else a copy.

    bfloat16, which NumPy lacks, becomes float32.

    Raises
    ------
    InputError
        It is an array of which a part would be lost.
    """
    x = plain_array("the array", x)
    if hasattr(x, "detach"):  # torch refuses to hand out what autograd tracks
        x = x.detach()
    if is_array(x) and dtype_name(x.dtype) == "bfloat16":
        xp = compat.array_namespace(x)
        x = xp.astype(x, xp.float32)
    if is_array(x) and device_name(x) != "cpu":
        x = compat.to_device(x, "cpu")
    return np.asarray(x)


def device_of(library: str, device: str) -> Any:
    """What a library's functions take as ``device=`` for a device of this name."""
    if library == "cupy":
        return namespace("cupy").cuda.Device(int(device.partition(":")[2] or 0))
    return device if library == "torch" else None


def move(x: Array, library: str, dtype: str, device: str) -> Array:
    """`x` as an array of another library, dtype or device; `x` itself where nothing changes.

    Libraries share memory where both sides are on one device; bytes are copied only where the
    device or the dtype changes, or where a library cannot share.
    """
    x = x.detach() if hasattr(x, "detach") else x
    xp = namespace(library)
    if not is_array(x) or library_of(x) != library:
        if is_array(x) and device_name(x) == device != "cpu":
            x = xp.from_dlpack(x)
        else:
            host = to_numpy(x)
            if library != "numpy" and not _can_be_shared(host):
                host = np.array(host, dtype=host.dtype.newbyteorder("="), order="C")
            x = xp.asarray(host, device=device_of(library, device))
    if device_name(x) != device:
        x = compat.to_device(x, device_of(library, device))
    wanted = getattr(xp, dtype)
    return x if x.dtype == wanted else xp.astype(x, wanted)


def _can_be_shared(host: np.ndarray[Any, Any]) -> bool:
    """Whether every library takes this memory; torch no reversed axes."""
    return host.flags.writeable and host.dtype.isnative and min(host.strides, default=0) >= 0


def empty(library: str, shape: tuple[int, ...], dtype: str, device: str) -> Array:
    """An uninitialised array of a library on a device."""
    xp = namespace(library)
    return xp.empty(shape, dtype=getattr(xp, dtype), device=device_of(library, device))


def all_finite(x: Array) -> bool:
    """Whether no element is NaN or infinite."""
    host = x
    if not isinstance(x, np.ndarray):
        try:
            host = x.detach().numpy() if x.requires_grad else x.numpy()
        except (AttributeError, TypeError, RuntimeError):  # on a device, or in bfloat16
            host = None
    # One pass, of a tenth of the time. The squares of large numbers overflow, hence what follows.
    if host is not None and host.dtype.kind == "f" and math.isfinite(np.vdot(host, host)):
        return True
    xp = compat.array_namespace(x)
    return bool(xp.all(xp.isfinite(x)))


def round_to(values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """float64 numbers rounded once to a dtype, and held in float64.

    bfloat16, which NumPy lacks, is float32 less its last 16 bits, rounded to even.
    """
    if dtype != "bfloat16":
        return values.astype(dtype).astype(np.float64)
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)


def real_numbers(
    value: Any, *, takes_truths: bool = False
) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """A number or an array in float64, in host memory; None if it does not hold real numbers.

    With `takes_truths` they are 1 and 0.
    """
    try:
        numbers = to_numpy(value)
    except InputError:
        raise
    except (TypeError, ValueError):
        return None
    kinds = "biuf" if takes_truths else "iuf"
    return np.array(numbers, dtype=np.float64) if numbers.dtype.kind in kinds else None


@lru_cache
def _is_real(xp: Any, dtype: Any) -> bool:
    return bool(xp.isdtype(dtype, ("real floating", "integral")))


def as_state(x: Any, name: str = "x") -> Array | None:
    """`x` as an array: lists and numbers as NumPy arrays, arrays of real numbers as they are."""
    x = plain_array(name, x)
    if x is None:
        return x
    if is_array(x):
        if not _is_real(namespace_of(x), x.dtype):
            raise InputError(
                f"{name} has dtype {x.dtype}; it must be real: one of {', '.join(FLOATING)}"
            )
        return x
    if isinstance(x, (list, tuple)) and x and all(map(is_array, x)):
        xp = compat.array_namespace(*x[:1])
        if all(row.shape == x[0].shape and library_of(row) == library_of(x[0]) for row in x):
            return xp.stack([row.detach() if hasattr(row, "detach") else row for row in x])
    if hasattr(x, "__array__") and (held := np.asarray(x)).dtype.kind in "iuf":
        return held  # of tables, in the dtype that they have
    numbers = real_numbers(x)
    if numbers is None:
        raise InputError(
            f"{name} must be an array of shape (n_samples, *event_shape), not {type(x).__name__}"
        )
    with np.errstate(over="ignore"):  # infinity is refused with the other starts
        return numbers.astype(np.float32)
