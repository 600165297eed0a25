"""Which backends there are, found through entry points, and which one runs a plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from isotherm._backends.installed import offered
from isotherm._backends.numpy_backend import BACKEND as REFERENCE
from isotherm._backends.protocol import Backend
from isotherm._plans.plan import PLAN_VERSION, Plan
from isotherm.errors import BackendError, BackendNotFoundError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "isotherm.backends"

# The reference is core's own; all others are found.
_registered: dict[str, Backend] = {REFERENCE.name: REFERENCE}


def names() -> tuple[str, ...]:
    """The backends that are installed, in alphabetical order."""
    return tuple(sorted({*_entry_points(), *_registered}))


def register(backend: Backend) -> None:
    """Make a backend known by its name for as long as the process lives.

    An installed package declares an entry point in the group ``isotherm.backends`` instead.
    """
    _registered[backend.name] = backend
    load.cache_clear()


@cache
def load(name: str) -> Backend:
    """The backend of this name, whether or not it can be used here.

    Raises
    ------
    BackendNotFoundError
        It is not installed.
    BackendError
        It speaks another version of the plan.
    """
    if name in _registered:
        backend = _registered[name]
    elif name in _entry_points():
        backend = _entry_points()[name].load()
    elif name in ("cupy", "numba", "torch"):
        raise BackendNotFoundError(
            f"backend {name!r} is not installed; pip install isotherm-{name}"
        )
    else:
        raise BackendNotFoundError(
            f"there is no backend {name!r}; installed are {', '.join(names())}"
        )
    if backend.plan_version != PLAN_VERSION:
        raise BackendError(
            f"backend {name!r} speaks version {backend.plan_version} of the plan and this is "
            f"version {PLAN_VERSION}; install releases of isotherm and isotherm-{name} that match"
        )
    return backend


def usable(name: str) -> Backend:
    """The backend of this name, ready for use.

    Raises
    ------
    BackendNotFoundError
        It is not installed.
    BackendError
        It cannot be used on this machine.
    """
    backend = load(name)
    reason = backend.status().reason
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot be used here: {reason}")
    return backend


def first_for(library: str, on_host: bool) -> Backend:
    """The backend for arrays of a library where the user named none.

    Arrays of a library that no backend has are NumPy's as long as they are in host memory.
    """
    if library != "numpy":
        for name in names():
            if load(name).library == library:
                return usable(name)
        if library in ("cupy", "torch"):
            raise BackendNotFoundError(
                f"no installed backend takes arrays of {library}; pip install isotherm-{library}, "
                "or pass NumPy arrays"
            )
        if not on_host:
            raise BackendNotFoundError(
                f"no installed backend takes arrays of {library} on a device; move them to the "
                "CPU, or share them with torch: torch.from_dlpack(x)"
            )
    if on_host:
        return load("numpy")
    for name in ("cupy", "torch"):
        if name in names() and load(name).status().reason is None:
            return load(name)
    raise BackendNotFoundError(
        "a device other than the CPU needs isotherm-cupy or isotherm-torch, and a GPU that they "
        "can use; see `isotherm backends`"
    )


def with_kernel(backend: Backend, plan: Plan, energy: Any) -> Backend:
    """The backend that a backend hands its chains to where that has a kernel; else itself."""
    delegate = backend.delegates.get(plan.device.partition(":")[0])
    if delegate in names() and delegate is not None:
        other = load(delegate)
        if other.status().reason is None and other.has_kernel(plan, energy):
            return other
    return backend


def why_not_fused(backend: Backend, plan: Plan, energy: Any) -> str | None:
    """Why the one to which a backend hands its chains has no kernel; None where it has."""
    delegate = backend.delegates.get(plan.device.partition(":")[0])
    if delegate not in names() or delegate is None:
        return None
    other = load(delegate)
    reason: Callable[[Plan, Any], str | None] | None = getattr(other, "why_not_fused", None)
    return None if reason is None or other.status().reason else reason(plan, energy)


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return offered(GROUP)
