"""What a backend must pass: a suite to subclass, and the strategies that feed it.

In a test module of the backend's own::

    from isotherm.testing import BackendConformance

    class TestMine(BackendConformance):
        backend = "mine"

and pytest does the rest. Every test holds the backend against the NumPy reference, or against
itself where a promise is about two of its own runs. Needs the extra ``isotherm[testing]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import isotherm
from isotherm import registry
from isotherm.arrays import Array, empty, move, to_numpy
from isotherm.backend import Outputs

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]

EXACT_ENERGIES = (
    isotherm.HarmonicEnergy(k=1.5),
    isotherm.DoubleWellEnergy(barrier_height=0.5),
    isotherm.RosenbrockEnergy(b=2.0),
)
"""Of + - * / and square roots alone: their chains are equal to the bit."""

ROUNDED_ENERGIES = (
    isotherm.RastriginEnergy(a=1.0),
    isotherm.AckleyEnergy(),
    isotherm.GaussianMixtureEnergy([[0.0, 1.0, 0.5], [1.0, -1.0, 0.0]], [1.0, 0.7], [0.3, 0.7]),
    isotherm.GaussianEnergy([0.5, 0.0, -0.5], [[1.0, 0.3, 0.0], [0.3, 2.0, 0.1], [0.0, 0.1, 1.0]]),
)
"""With functions, or sums whose order is a library's own: their chains agree to rounding."""

DIM = 3
"""Of energies that are not elementwise: one dimension, so that a kernel compiles once."""


@st.composite
def run_options(draw: st.DrawFn, *, is_elementwise: bool = True) -> dict[str, Any]:
    """Options of `isotherm.make_plan`, of every kind, for small runs that keep everything."""
    n_steps = draw(st.integers(1, 24))
    burn_in = draw(st.integers(0, 9))
    n_total = burn_in + n_steps
    step_sizes = st.floats(1e-4, 0.03)
    noise_scales = st.floats(0.0, 2.0)
    shapes = st.sampled_from([1, 2, DIM, 5, (2, 3)]) if is_elementwise else st.just(DIM)
    return {
        "dim": draw(shapes),
        "n_samples": draw(st.sampled_from([1, 2, 7, 33])),
        "n_steps": n_steps,
        "burn_in": burn_in,
        "thinning": draw(st.integers(1, n_steps)),
        "step_size": draw(
            step_sizes | st.lists(step_sizes, min_size=n_total, max_size=n_total).map(np.array)
        ),
        "noise_scale": draw(
            noise_scales | st.lists(noise_scales, min_size=n_total, max_size=n_total).map(np.array)
        ),
        "decay": draw(st.sampled_from([0.0, 0.01, 0.3])),
        "clamp": draw(st.sampled_from([None, (-0.5, 0.75), (None, 1.0), (-1.0, None)])),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "chain_offset": draw(st.integers(0, 2**40)),
        "step_offset": draw(st.integers(0, 2**20)),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "return_trajectory": True,
        "return_diagnostics": True,
    }


def _for_all(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`hypothesis.given` for tests that several classes inherit, each with a backend of its own."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        inherited = settings(suppress_health_check=[HealthCheck.differing_executors])
        return inherited(given(**strategies)(test))

    return decorate


class BackendConformance:
    """The promises that every backend keeps; subclass it and name the backend.

    Attributes
    ----------
    backend : str
        The backend's name, registered or installed.
    device : str or None
        Where to test it; its default device by default.
    """

    backend: str
    device: str | None = None

    def run(self, energy: Any, options: Mapping[str, Any], x: Array | None = None) -> Arrays:
        """What a run of the backend gives, as NumPy arrays by their names."""
        return _run(energy, {"device": self.device, **options, "backend": self.backend}, x)

    @_for_all(options=run_options(), index=st.integers(0, 1))
    def test_exact_elementwise_chains_have_the_references_bits(
        self, options: dict[str, Any], index: int
    ) -> None:
        self._check_against_reference(EXACT_ENERGIES[index], options, exact=True)

    @_for_all(options=run_options(is_elementwise=False))
    def test_exact_chains_of_a_whole_state_have_the_references_bits(
        self, options: dict[str, Any]
    ) -> None:
        self._check_against_reference(EXACT_ENERGIES[2], options, exact=True)

    @_for_all(options=run_options(is_elementwise=False), energy=st.sampled_from(ROUNDED_ENERGIES))
    def test_other_chains_agree_to_rounding(self, options: dict[str, Any], energy: Any) -> None:
        self._check_against_reference(energy, options, exact=False)

    @_for_all(options=run_options(), cut=st.integers(1, 32))
    def test_rows_of_a_run_are_runs_of_their_own(self, options: dict[str, Any], cut: int) -> None:
        assume(cut < options["n_samples"])
        whole = self.run(EXACT_ENERGIES[1], options)
        upper = options | {"n_samples": cut}
        lower = options | {
            "n_samples": options["n_samples"] - cut,
            "chain_offset": options["chain_offset"] + cut,
        }
        parts = [self.run(EXACT_ENERGIES[1], part) for part in (upper, lower)]
        for name, axis in (("samples", 0), ("trajectory", 0), ("energy", 1)):
            joined = np.concatenate([part[name] for part in parts], axis=axis)
            np.testing.assert_array_equal(joined, whole[name], err_msg=name)

    @_for_all(options=run_options(), cut=st.integers(1, 32))
    def test_a_run_goes_on_where_it_stopped(self, options: dict[str, Any], cut: int) -> None:
        n_total = options["burn_in"] + options["n_steps"]
        assume(cut < n_total)
        whole = self.run(EXACT_ENERGIES[1], options)
        common = options | {"burn_in": 0, "thinning": 1}
        first = common | {"n_steps": cut} | _schedules(options, 0, cut)
        second = common | {"n_steps": n_total - cut} | _schedules(options, cut, n_total)
        second["step_offset"] += cut
        start = self.run(EXACT_ENERGIES[1], first)["samples"]
        rest = self.run(EXACT_ENERGIES[1], second | {"dim": None}, x=start)
        np.testing.assert_array_equal(rest["samples"], whole["samples"])

    @_for_all(options=run_options())
    def test_a_thinned_run_is_a_slice_of_the_whole(self, options: dict[str, Any]) -> None:
        thinned = self.run(EXACT_ENERGIES[1], options)
        whole = self.run(EXACT_ENERGIES[1], options | {"thinning": 1})
        kept = slice(options["thinning"] - 1, None, options["thinning"])
        np.testing.assert_array_equal(thinned["trajectory"], whole["trajectory"][:, kept])
        for name in ("mean", "variance", "energy"):
            np.testing.assert_array_equal(thinned[name], whole[name][kept], err_msg=name)

    @_for_all(options=run_options(), cuts=st.sets(st.integers(1, 32)))
    def test_a_runner_gives_the_same_bits_however_it_is_cut(
        self, options: dict[str, Any], cuts: set[int]
    ) -> None:
        energy = EXACT_ENERGIES[1]
        options = {"device": self.device, **options, "backend": self.backend}
        plan = isotherm.make_plan(energy, **options)
        backend = registry.load(self.backend)
        place = (backend.library, plan.dtype, plan.device)
        whole = isotherm.run(plan, energy, np.ones((1, *plan.event_shape)))
        runner = backend.prepare(plan, energy)
        state = move(np.ones(plan.shape), *place)
        trajectory = empty(place[0], (plan.n_samples, plan.n_kept, *plan.event_shape), *place[1:])
        bounds = sorted({0, plan.n_total, *(cut for cut in cuts if cut < plan.n_total)})
        for start, stop in pairwise(bounds):
            before = to_numpy(state).copy()
            kept = plan.kept_before(start), plan.kept_before(stop)
            after = runner.advance(state, start, stop, Outputs(trajectory).between(*kept))
            np.testing.assert_array_equal(to_numpy(state), before, err_msg="x was written to")
            state = after
        np.testing.assert_array_equal(to_numpy(state), to_numpy(whole.samples))
        np.testing.assert_array_equal(to_numpy(trajectory), to_numpy(whole.trajectory))

    @_for_all(options=run_options())
    def test_diagnostics_describe_the_kept_states(self, options: dict[str, Any]) -> None:
        energy = EXACT_ENERGIES[1]
        got = self.run(energy, options)
        kept = np.moveaxis(got["trajectory"].astype(np.float64), 1, 0)
        tolerance = _tolerance(options, 64)
        np.testing.assert_allclose(got["mean"], kept.mean(axis=1), **tolerance)
        np.testing.assert_allclose(got["variance"], kept.var(axis=1), **tolerance)
        energies = np.stack([energy(states) for states in kept])
        np.testing.assert_allclose(got["energy"], energies, **tolerance)

    def test_a_gaussian_has_its_exact_moments_at_every_step(self) -> None:
        """Mean and variance against the law of the discrete chain, x' = (1 - ηk) x + s√(2η) ξ.

        The bounds hold with a probability of 1 - 1e-6 for another seed; for this one always or
        never.
        """
        k, step_size, noise_scale, start, n_samples = 1.5, 0.05, 0.8, 2.0, 4000
        options = {
            "n_samples": n_samples, "n_steps": 100, "step_size": step_size,
            "noise_scale": noise_scale, "seed": 2024, "return_diagnostics": True,
        }  # fmt: skip
        x = np.full(2, start, dtype=np.float32)
        got = self.run(isotherm.HarmonicEnergy(k=k), options, x)
        steps = np.arange(1, 101)[:, None]
        shrink = 1.0 - step_size * k
        mean = start * shrink**steps
        variance = 2 * step_size * noise_scale**2 * (1 - shrink ** (2 * steps)) / (1 - shrink**2)
        quantile = 6.1  # of a normal, two-sided, for 1e-6 shared by the 400 comparisons
        mean_error = np.sqrt(variance / n_samples)
        assert (np.abs(got["mean"] - mean) < quantile * mean_error).all()
        variance_error = variance * np.sqrt(2.0 / n_samples)
        assert (np.abs(got["variance"] - variance) < quantile * variance_error).all()

    def _check_against_reference(
        self, energy: Any, options: dict[str, Any], *, exact: bool
    ) -> None:
        got = self.run(energy, options)
        expected = _run(energy, options | {"backend": "numpy"})
        for name, value in expected.items():
            assert got[name].shape == value.shape, name
            assert got[name].dtype == value.dtype, name
        close = _tolerance(options, 64 if exact else 4096)
        for name in ("samples", "trajectory"):
            if exact:
                np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
            else:
                np.testing.assert_allclose(got[name], expected[name], err_msg=name, **close)
        for name in ("mean", "variance", "energy"):
            np.testing.assert_allclose(got[name], expected[name], err_msg=name, **close)


def _run(energy: Any, options: Mapping[str, Any], x: Array | None = None) -> Arrays:
    result = isotherm.run(isotherm.make_plan(energy, x, **options), energy, x)
    found = {"samples": result.samples, "trajectory": result.trajectory}
    if result.diagnostics is not None:
        diagnostics = result.diagnostics
        found |= {
            "mean": diagnostics.mean,
            "variance": diagnostics.variance,
            "energy": diagnostics.energy,
        }
    return {name: to_numpy(value) for name, value in found.items() if value is not None}


def _schedules(options: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The part of a run's schedules that belongs to some of its steps."""
    return {
        name: options[name][start:stop] if isinstance(options[name], np.ndarray) else options[name]
        for name in ("step_size", "noise_scale")
    }


def _tolerance(options: Mapping[str, Any], ulps: int) -> dict[str, Any]:
    """So many units in the last place, of the value or of 1."""
    size = ulps * float(np.finfo(options["dtype"]).eps)
    return {"rtol": size, "atol": size}
