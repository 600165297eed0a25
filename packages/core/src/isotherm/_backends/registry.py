"""Which backends there are, found through entry points, and which one runs a plan."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from isotherm._backends.installed import offered
from isotherm._backends.numpy_backend import BACKEND as REFERENCE
from isotherm._backends.protocol import Backend, kind_of_device
from isotherm._energies.origin import DIFFERENTIATING
from isotherm._plans.plan import PLAN_VERSION, Plan
from isotherm.errors import BackendError, BackendNotFoundError, plain_name, short_repr, text_of

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
    forget()


def forget() -> None:
    """Look anew which backends there are."""
    for found in (load, usable, _by_priority, _with_kernels_for):
        found.cache_clear()


@cache
def load(name: str) -> Backend:
    """The backend of this name, whether or not it can be used here.

    Raises
    ------
    BackendNotFoundError
        It is not installed.
    BackendError
        It speaks another version of the plan, or cannot be imported.
    """
    if name in _registered:
        backend = _registered[name]
    elif name in _entry_points():
        try:
            backend = _entry_points()[name].load()
        except Exception as error:  # of what the backend imports, which may be set up wrongly
            raise BackendError(
                f"backend {name!r} cannot be loaded: {type(error).__name__}: {text_of(error)}; "
                f"mend what it needs, or pip uninstall isotherm-{name}"
            ) from error
    else:
        like = get_close_matches(name, names(), n=1, cutoff=0.75)  # numba is not numpy
        if like:
            raise BackendNotFoundError(
                f"there is no backend {short_repr(name)}; did you mean {like[0]!r}?"
            )
        is_name = plain_name(name) == name.replace("-", "_")
        advice = f"{_how_to_install(name)}, or take" if is_name else "take"
        raise BackendNotFoundError(
            f"backend {short_repr(name)} is not installed; {advice} one of those that are: "
            f"{', '.join(names())}"
        )
    if backend.plan_version != PLAN_VERSION:
        raise BackendError(
            f"backend {name!r} speaks version {backend.plan_version} of the plan and this is "
            f"version {PLAN_VERSION}; install releases of isotherm and isotherm-{name} that match"
        )
    return backend


@cache
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


def first_for(library: str, device: str) -> Backend:
    """The backend for arrays of a library where the user named none.

    Arrays of a library that no backend has are NumPy's as long as they are in host memory, but for
    those that the library would differentiate: another backend would give up more than speed.

    Parameters
    ----------
    library : str
    device : str
        On which the arrays are, or which the user named: ``"cpu"``, ``"cuda:1"``.
    """
    kind = kind_of_device(device)
    if library != REFERENCE.library:
        own = [backend for backend in _by_priority() if backend.library == library]
        if own:
            return usable(own[0].name)
        if library in DIFFERENTIATING or kind != "cpu":
            raise BackendNotFoundError(
                f"no installed backend takes arrays of {library} on {device}; "
                f"{_how_to_install(library)}, or pass arrays of NumPy, or share them by DLPack "
                "with a library that has one"
            )
    if kind == "cpu":
        return REFERENCE
    for backend in _by_priority():
        if kind in backend.device_kinds and backend.status().reason is None:
            return backend
    there_are = dict.fromkeys(name for one in _by_priority() for name in one.status().devices)
    raise BackendNotFoundError(
        f"device {device!r} does not exist for the installed backends, which have "
        f"{', '.join(there_are)} here; `isotherm backends` says what each of them lacks"
    )


def with_kernel(backend: Backend, plan: Plan, energy: Any) -> Backend:
    """The first backend for these arrays that has a kernel where this one has none; else itself."""
    for other in _with_kernels_for(backend.library, kind_of_device(plan.device)):
        if other.status().reason is None and other.has_kernel(plan, energy):
            return other
    return backend


def why_not_fused(backend: Backend, plan: Plan, energy: Any) -> str | None:
    """Why the first backend with kernels for these arrays has none here; None where it has."""
    for other in _with_kernels_for(backend.library, kind_of_device(plan.device)):
        reason: Callable[[Plan, Any], str | None] | None = getattr(other, "why_not_fused", None)
        if reason is not None and other.status().reason is None:
            return reason(plan, energy)
    return None


def _how_to_install(name: str) -> str:
    return f"pip install isotherm-{name}"


@cache
def _by_priority() -> tuple[Backend, ...]:
    """All backends, in the order in which they are chosen."""
    return tuple(sorted(map(load, names()), key=lambda one: (-one.priority, one.name)))


@cache
def _with_kernels_for(library: str, kind: str) -> tuple[Backend, ...]:
    return tuple(
        one for one in _by_priority() if library in one.kernels_for and kind in one.device_kinds
    )


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return offered(GROUP)
