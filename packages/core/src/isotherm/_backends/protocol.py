"""What a backend is: the contract between core and whoever runs chains with an array library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from isotherm._arithmetic.arrays import Array
from isotherm._plans.plan import Plan

#: What a transition carries from step to step, by its names.
State: TypeAlias = Mapping[str, Array]


@dataclass
class Outputs:
    """Where a runner writes the kept states of the steps that it is given.

    Arrays of the backend's library and device, in the plan's dtype, or None where they are not
    wanted. ``k`` is the number of states kept in those steps.

    Attributes
    ----------
    trajectory : array, shape (n_samples, k, *event_shape)
    mean, variance : array, shape (k, *event_shape)
        Over the chains, the variance divided by n_samples: `isotherm.backend.moments`, rounded once
        to these arrays' dtype, which is float64 where the chains are a part of others.
    energy, energy_error : array, shape (k, n_samples)
        U, and of adjusted samplers what ΔH/noise_scale² of the trajectory was.
    accepted, diverging : int64 array, shape (n_samples,)
        To which the runner adds, of adjusted samplers, how many steps after the burn-in each chain
        accepted, and how many diverged.
    """

    trajectory: Array | None = None
    mean: Array | None = None
    variance: Array | None = None
    energy: Array | None = None
    energy_error: Array | None = None
    accepted: Array | None = None
    diverging: Array | None = None

    def between(self, first: int, last: int) -> Outputs:
        """Views of the kept states first..last-1."""

        def rows(of: Array | None) -> Array | None:
            return None if of is None else of[first:last, ...]

        return Outputs(
            trajectory=None if self.trajectory is None else self.trajectory[:, first:last, ...],
            mean=rows(self.mean),
            variance=rows(self.variance),
            energy=rows(self.energy),
            energy_error=rows(self.energy_error),
            accepted=self.accepted,
            diverging=self.diverging,
        )


class Runner(Protocol):
    """A plan and an energy made ready: compiled, parameters moved to the device."""

    path: str
    """Which way the chains run, for people: ``"fused program"``, ``"array loop"``."""

    def advance(self, state: State, start: int, stop: int, outputs: Outputs) -> State:
        """Take the steps start..stop-1 of the plan (counted from 0, burn-in included).

        A pure function: the same arguments give the same bits, however a run is cut into calls. A
        runner that is handed the very mapping that it returned last may go on with what it still
        has of it, rather than ask the energy again.

        Parameters
        ----------
        state : mapping of str to array, each of shape (n_samples, *event_shape)
            What the transition carries before step `start` (``"x"``, and ``"momentum"`` where there
            is one), in the backend's library, the plan's ``state_dtype`` and device. It is not
            written to.
        start, stop : int
        outputs : Outputs
            Receives the states that the plan keeps of these steps.

        Returns
        -------
        mapping of str to array
            The same after step ``stop - 1``.
        """


class KnowsItsPace(Protocol):
    """What a runner has besides if it knows how long steps take before it has taken any."""

    def steps_at_first(self, start: int) -> int:
        """How many steps from `start` on take a fraction of a second, the first piece of a run."""


class Renews(Protocol):
    """What a runner has besides if one run after another can use it.

    Attributes
    ----------
    is_kept : bool
        Whether it is left to the next run; what it holds of a device's memory is held until then.
    """

    is_kept: bool

    def renew(self, plan: Plan) -> None:
        """Serve a plan that differs from that of before in `RENEWED` alone."""


#: What of a plan no runner is made for: which numbers of the noise stream its chains draw.
RENEWED = ("seed", "chain_offset")


@dataclass(frozen=True)
class Status:
    """Whether a backend can be used here.

    Attributes
    ----------
    reason : str or None
        Why it cannot; None if it can.
    devices : tuple of str
    versions : dict of str to str
        Of the libraries that it uses.
    """

    reason: str | None
    devices: tuple[str, ...]
    versions: dict[str, str]


class Backend(Protocol):
    """Runs plans with one array library. Importing one must be cheap: libraries load on first use.

    Attributes
    ----------
    name : str
        What users say: ``backend="numba"``.
    library : str
        Whose arrays it works on, as array-api-compat names it: ``"numpy"``, ``"torch"``, ...
    plan_version : int
        The `isotherm._plans.plan.PLAN_VERSION` that it speaks.
    device_kinds : tuple of str
        The kinds of devices that it can run on: ``"cpu"``, ``"cuda"``.
    kernels_for : tuple of str
        The libraries whose arrays, in the memory of such a device, it runs as they are with its
        kernels: where it has one, it is taken for these arrays unless the user named a backend.
    priority : int
        Of several that may be taken the one with the highest is.
    """

    name: str
    library: str
    plan_version: int
    device_kinds: tuple[str, ...]
    kernels_for: tuple[str, ...]
    priority: int

    def status(self) -> Status:
        """Whether the backend can be used on this machine."""

    def resolve_device(self, device: str | None) -> str:
        """The full name of a device (``"cuda"`` → ``"cuda:0"``), or of the default one for None.

        Raises
        ------
        InputError
            There is no such device; the message names those that there are.
        """

    def available_memory(self, device: str) -> int | None:
        """Bytes that can still be allocated on a device; None if that is not known."""

    def fresh_seed(self, source: object) -> int | None:
        """A 64-bit seed from the library's generator, or None to leave it to core.

        Parameters
        ----------
        source : object
            None, or what the user gave as the seed that is no integer (a ``torch.Generator``).
        """

    def supports(self, plan: Plan, energy: Any) -> str | None:
        """None if the backend can run this plan with this energy, else the reason why not.

        Cheap: nothing is compiled and no array is touched.
        """

    def has_kernel(self, plan: Plan, energy: Any) -> bool:
        """Whether the whole chain would run fused, in native code."""

    def prepare(self, plan: Plan, energy: Any) -> Runner:
        """Make a supported plan ready to run."""


class SaysWhyNotFused(Protocol):
    """What a backend with kernels has besides: it tells why an energy has none."""

    def why_not_fused(self, plan: Plan, energy: Any) -> str | None:
        """In a few words, with what would be fused; None where there is a kernel."""


class HasCurrentDevice(Protocol):
    """What a backend has besides if its library allocates and computes on a current device."""

    def on_device(self, device: str) -> AbstractContextManager[Any]:
        """A context in which this device is the current one; whole runs take place in it.

        Parameters
        ----------
        device : str
            Of `Backend.resolve_device`.
        """


class HasNormals(Protocol):
    """What a backend has besides if it draws the noise stream faster than arrays can."""

    def fill_normals(self, out: Array, **counter: Any) -> None:
        """What `isotherm.backend.noise.fill_normals` does, with its bits; in the run's context."""


class HasCurrentStream(Protocol):
    """What a backend has besides if its work is queued, where other libraries queue theirs too."""

    def on_stream_of(self, library: str) -> AbstractContextManager[Any]:
        """A context in which work is queued where another library queues its own.

        Entered within `HasCurrentDevice.on_device`. Arrays that pass between the two are then
        neither read before they are written nor, once given back, written while they are read.

        Parameters
        ----------
        library : str
            From which arrays come and to which results go.
        """


def kind_of_device(device: str) -> str:
    """``"cuda"`` of ``"cuda:1"``."""
    return device.partition(":")[0]


def on_device(backend: Backend, plan: Plan) -> AbstractContextManager[Any]:
    """The context of a backend in which a run takes place: its device, and its queue there."""
    # Not by isinstance, which takes as long for a protocol as the small run's planning.
    enter: Callable[[str], AbstractContextManager[Any]] = getattr(backend, "on_device", nullcontext)
    if plan.library == backend.library or not hasattr(backend, "on_stream_of"):
        return enter(plan.device)
    return _on_device_and_stream(enter(plan.device), backend.on_stream_of, plan.library)


@contextmanager
def _on_device_and_stream(
    device: AbstractContextManager[Any],
    follow: Callable[[str], AbstractContextManager[Any]],
    library: str,
) -> Iterator[None]:
    with device, follow(library):
        yield
