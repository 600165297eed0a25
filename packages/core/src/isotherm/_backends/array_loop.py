"""The array loop: chains on arrays of any namespace, one step at a time.

This is the readable form of what every kernel does. A backend that does a part better passes that
part in: a gradient by autograd, noise from a faster source, or the whole move fused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import array_api_compat as compat

from isotherm._arithmetic import noise
from isotherm._arithmetic.arrays import Array
from isotherm._backends.protocol import Outputs
from isotherm._backends.watch import Watch
from isotherm._energies.users import EnergyCalls, calls_of
from isotherm._plans.plan import Plan


class FillNormals(Protocol):
    """Writes a block of the noise stream, as `isotherm._arithmetic.noise.fill_normals` does."""

    def __call__(
        self, out: Array, *, seed: int, stream: noise.Stream, block: int, chain_offset: int = 0
    ) -> None: ...


class Transition(Protocol):
    """One step of a sampler, given the gradient."""

    def start(self, start: int, stop: int) -> None:
        """Called before the steps start..stop-1 of the plan."""

    def __call__(self, x: Array, gradient: Array, step: int) -> Array:
        """The state after `step`; may reuse the memory of `x`, never that of `gradient`."""


class LangevinTransition:
    """x ← (x - η ∇U(x)) + (noise_scale √(2η)) ξ, then the clamp.

    The Euler-Maruyama step of overdamped Langevin dynamics (Roberts and Tweedie, Bernoulli 2, 1996,
    equation 2), for the target exp(-U/noise_scale²). The parentheses are the order of evaluation.

    Parameters
    ----------
    plan : Plan
    fill_normals : FillNormals, optional
        The source of ξ.
    """

    def __init__(self, plan: Plan, fill_normals: FillNormals = noise.fill_normals) -> None:
        self._plan = plan
        self._fill_normals = fill_normals
        self._steps_per_block = plan.steps_per_block
        self._rows: list[Array] = []  # of `_normals`, each of the shape of the state
        self._normals: Array = None
        self._block: int | None = None

    def start(self, start: int, stop: int) -> None:
        step_size, noise_scale = self._plan.coefficients(start, stop)
        self._start = start
        self._coefficients = list(zip(step_size.tolist(), noise_scale.tolist(), strict=True))

    def __call__(self, x: Array, gradient: Array, step: int) -> Array:
        step_size, noise_scale = self._coefficients[step - self._start]
        x -= step_size * gradient
        if noise_scale:
            x += noise_scale * self._normals_of(x, step)
        return x if self._plan.clamp is None else clamp(x, self._plan.clamp)

    def _normals_of(self, x: Array, step: int) -> Array:
        """ξ of one step: blocks serve several steps, so one is made and used up."""
        plan = self._plan
        block, position = divmod(plan.step_offset + step, self._steps_per_block)
        if self._normals is None:
            xp = compat.array_namespace(x)
            shape = (self._steps_per_block, plan.n_samples, plan.n_coordinates)
            self._normals = xp.empty(shape, dtype=x.dtype, device=compat.device(x))
        if block != self._block:
            self._fill_normals(
                self._normals,
                seed=plan.seed,
                stream=noise.Stream.LANGEVIN,
                block=block,
                chain_offset=plan.chain_offset,
            )
            self._block = block
            xp = compat.array_namespace(x)
            self._rows = [
                xp.reshape(self._normals[i, ...], x.shape) for i in range(self._steps_per_block)
            ]
        return self._rows[position]


def clamp(x: Array, bounds: tuple[float | None, float | None] | None) -> Array:
    """`x` with every coordinate put into the bounds; NaN stays NaN."""
    low, high = bounds or (None, None)
    xp = compat.array_namespace(x)
    if low is not None:
        x = xp.where(x < low, xp.full_like(x, low), x)
    if high is not None:
        x = xp.where(x > high, xp.full_like(x, high), x)
    return x


class ArrayLoop:
    """A runner that steps arrays of any namespace through a transition.

    Parameters
    ----------
    plan : Plan
    energy : callable
        x → U, shape (n_samples,) or terms to be summed.
    gradient : callable
        x → ∇U, of the shape of x.
    transition : Transition, optional
        `LangevinTransition` by default.
    path : str
        What the result's info calls this way of running.
    calls : EnergyCalls, optional
        How `energy` and `gradient` are called, where the backend calls them in a way of its own.
    """

    def __init__(
        self,
        plan: Plan,
        energy: Callable[[Array], Array],
        gradient: Callable[[Array], Array],
        transition: Transition | None = None,
        path: str = "array loop",
        calls: EnergyCalls | None = None,
    ) -> None:
        self.path = path
        self._plan = plan
        self._calls = calls or calls_of(energy, energy, gradient, None)
        self._watch = Watch(plan.device)
        self._transition = transition or LangevinTransition(plan)

    def begin(self, x: Array) -> None:
        """Ask the energy for the first step from `x`, and refuse what is wrong with its answer."""
        self._calls.begin(x, wants_energies=self._plan.return_diagnostics)

    @property
    def seen(self) -> Array | None:
        """The energies at the state before the last step, where they are known; or their terms."""
        return self._calls.seen

    def first_bad_step(self) -> int | None:
        """After how many steps, of those last taken, something was not finite; if that is known."""
        return self._watch.first()

    def advance(self, x: Array, start: int, stop: int, outputs: Outputs) -> Array:
        plan = self._plan
        xp = compat.array_namespace(x)
        x = xp.asarray(x, copy=True)
        first = plan.kept_before(start)
        self._transition.start(start, stop)
        calls, self._watch = self._calls, Watch(plan.device)
        is_watched = not calls.is_pure and plan.on_divergence != "ignore"
        for step in range(start, stop):
            x = self._transition(x, calls.gradient(x), step)
            if is_watched:
                self._watch.note(x, calls.seen, step + 1)
            if plan.is_kept(step):
                self._record(x, plan.kept_before(step) - first, outputs)
        return x

    def _record(self, x: Array, k: int, outputs: Outputs) -> None:
        if outputs.trajectory is not None:
            outputs.trajectory[:, k, ...] = x
        if outputs.mean is None or outputs.variance is None or outputs.energy is None:
            return
        xp = compat.array_namespace(x)
        # float64 accumulation: a float32 sum over many chains would lose digits.
        wide = xp.astype(x, xp.float64)
        outputs.mean[k, ...] = xp.astype(xp.mean(wide, axis=0), x.dtype)
        outputs.variance[k, ...] = xp.astype(xp.var(wide, axis=0), x.dtype)
        outputs.energy[k, ...] = self._calls.energies(x)
