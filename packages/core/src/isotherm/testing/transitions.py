"""What a transition must pass on a backend: a suite to subclass.

In a test module of your own::

    from isotherm.testing import TransitionConformance

    class TestMine(TransitionConformance):
        backend = "numba"
        sampler = "mine"
        options = {"step_size": 0.1, "friction": 1.0}

and pytest does the rest. Every test holds the sampler's chains on the backend, what they report and
the state that they hand on, **to the bit** against those of the array loop on NumPy arrays with
core's own noise, or against another run of the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isotherm
from isotherm._arithmetic.arrays import Array, move, to_numpy
from isotherm._backends import registry
from isotherm._backends.numpy_backend import reference_runner
from isotherm._backends.protocol import Backend, Outputs, Runner
from isotherm._results.recorder import allocator
from isotherm._transitions.catalogue import find

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]

DIM = 3


@isotherm.formula(dim=DIM)
def ridge(x: Any, *, k: float = 1.5) -> Any:
    """Couples its coordinates, through an exponential as well."""
    bend = x[0] - x[1] * x[2]
    return 0.5 * k * (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]) + isotherm.math.exp(-bend * bend)


class UsersBowl:
    """½ Σ x² as a user writes an energy: of no kind that a backend knows."""

    def __call__(self, x: Array) -> Array:
        return 0.5 * x * x

    def gradient(self, x: Array) -> Array:
        return 1.0 * x


ENERGIES: Mapping[str, Any] = {
    "terms": isotherm.DoubleWellEnergy(barrier_height=0.5),
    "state": ridge(),
    "quadratic": isotherm.GaussianEnergy(
        [0.5, -0.5, 0.0], [[1.0, 0.3, 0.0], [0.3, 2.0, 0.1], [0.0, 0.1, 1.0]]
    ),
    "mixture": isotherm.GaussianMixtureEnergy(
        [[0.0, 1.0, 0.5], [1.0, -1.0, 0.0]], [1.0, 0.7], [0.3, 0.7]
    ),
    "user's": UsersBowl(),
}
"""One of every kind of which a program is different, with exponentials where there are any."""

MASSES: Mapping[str, Any] = {
    "unit": None,
    "vector": [0.5, 1.0, 2.0],
    "matrix": [[1.0, 0.2, 0.0], [0.2, 0.7, -0.1], [0.0, -0.1, 2.0]],
}

_PLAIN: Mapping[str, Any] = {
    "dim": DIM, "n_samples": 33, "n_steps": 12, "burn_in": 3, "thinning": 2, "seed": 3,
    "noise_scale": 0.8, "step_offset": 5, "chain_offset": 2**32 - 20, "dtype": "float32",
    "return_trajectory": True, "return_diagnostics": True, "on_divergence": "ignore",
}  # fmt: skip


_LADDER = np.array([[0.5], [1.0], [2.0], [0.5], [1.0], [2.0], [0.75]])


@st.composite
def _runs(draw: st.DrawFn) -> dict[str, Any]:
    """Options of small runs: their lengths, their noise and the numbers of their steps."""
    n_steps = draw(st.integers(1, 14))
    burn_in = draw(st.integers(0, 5))
    scales = st.floats(0.25, 2.0)
    n_total = burn_in + n_steps
    return {
        "n_samples": draw(st.sampled_from([2, 7, 33])),
        "n_steps": n_steps,
        "burn_in": burn_in,
        "thinning": draw(st.integers(1, n_steps)),
        "noise_scale": draw(scales | st.lists(scales, min_size=n_total, max_size=n_total)),
        "seed": draw(st.integers(0, 2**32 - 1) | st.integers(2**32, 2**64 - 1)),
        "chain_offset": draw(st.integers(0, 99) | st.integers(2**32 - 40, 2**55)),
        "step_offset": draw(st.integers(0, 99) | st.integers(2**31, 2**31 + 9)),
    }


def _for_few(count: int, **strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`hypothesis.given` with so many examples, for tests that several classes inherit."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        inherited = settings(
            suppress_health_check=[HealthCheck.differing_executors],
            max_examples=max(count, count * settings().max_examples // 100),
            deadline=None,
        )
        wrapped = inherited(given(**strategies)(test))
        wrapped.strategies = strategies  # type: ignore[attr-defined]
        return wrapped

    return decorate


class TransitionConformance:
    """The promises that hold for a sampler on a backend; subclass it and name both.

    Attributes
    ----------
    backend : str
    sampler : str
        The transition's name.
    options : mapping
        Of the sampler: arguments of `isotherm.make_plan`, with which its chains stay finite on most
        of the energies.
    device : str or None
        Its default device by default.
    energies, masses : mapping
        By their names. Of a transition that uses no inverse mass: ``{"unit": None}``.
    n_long : int
        Steps of the longest run.
    """

    backend: str
    sampler: str
    options: Mapping[str, Any]
    device: str | None = None
    energies: ClassVar[Mapping[str, Any]] = ENERGIES
    masses: ClassVar[Mapping[str, Any]] = MASSES
    n_long: int = 1000

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Run the block on so many threads; override it where the backend has threads."""
        yield

    def plan(self, energy: Any, x: Array | None = None, **options: Any) -> isotherm.Plan:
        """A plan of the sampler on the backend."""
        given = {**_PLAIN, "device": self.device, **self.options, **options}
        if x is not None:
            del given["dim"]
        return isotherm.make_plan(energy, x, sampler=self.sampler, backend=self.backend, **given)

    def expected(self, energy: Any, state: Arrays, **options: Any) -> Arrays:
        """What the array loop gives: nothing in it but NumPy and core's own noise."""
        given = {**_PLAIN, **self.options, **options}
        plan = isotherm.make_plan(energy, sampler=self.sampler, backend="numpy", **given)
        with np.errstate(all="ignore"):
            return _advanced(reference_runner(plan, energy), plan, registry.load("numpy"), state)

    def found(self, energy: Any, state: Arrays, cuts: Sequence[int] = (), **options: Any) -> Arrays:
        """What the backend gives, in calls that end at the cuts."""
        plan, backend = self.plan(energy, **options), registry.load(self.backend)
        with np.errstate(all="ignore"):
            return _advanced(backend.prepare(plan, energy), plan, backend, state, cuts)

    def test_every_kind_of_energy_and_mass_has_the_references_bits(self) -> None:
        cases = [(name, "unit", "float32") for name in self.energies]
        first = next(iter(self.energies))
        cases += [(first, mass, "float32") for mass in self.masses if mass != "unit"]
        cases += [(first, [*self.masses][-1], "float64")]
        for name, mass, dtype in cases:
            energy = self.energies[name]
            options = {"inverse_mass": self.masses[mass], "dtype": dtype}
            state = self._start(**options)
            _check(
                self.found(energy, state, **options),
                self.expected(energy, state, **options),
                f"{name}, mass {mass}, {dtype}",
            )

    def test_bounds_and_clipped_gradients_have_the_references_bits(self) -> None:
        bounds = ([-0.5, -np.inf, -0.1], [np.inf, 0.5, 0.125])
        given: dict[str, Any] = {
            "bounds": bounds,
            "gradient_clip": 1.5,
            "gradient_clip_norm": 2.0,
        }
        options = {name: given[name] for name in given if name in find(self.sampler).arguments}
        energy, state = next(iter(self.energies.values())), self._start()
        low, high = np.array(bounds, dtype=np.float32)
        state["x"] = np.clip(state["x"], low, high)
        found = self.found(energy, state, **options)
        _check(found, self.expected(energy, state, **options), options)
        if "bounds" in options:
            x = found["trajectory"].reshape(-1, DIM)
            assert ((low <= x) & (x <= high)).all()

    def test_a_noise_scale_a_chain_is_that_of_a_run_at_it(self) -> None:
        energy = next(iter(self.energies.values()))
        options: dict[str, Any] = {"n_samples": 7, "decay": 0.01, "noise_scale": _LADDER}
        state = self._start(**options)
        found = self.found(energy, state, (4, 9), **options)
        _check(found, self.expected(energy, state, **options), "a ladder of noise scales")
        for scale in np.unique(_LADDER):
            rows = np.flatnonzero(scale == _LADDER)
            alone = self.found(energy, state, **options | {"noise_scale": float(scale)})
            for name, value in alone.items():
                if name not in ("mean", "variance"):
                    axis = 1 if name in ("energy", "energy_error") else 0
                    got, expected = (np.take(of, rows, axis) for of in (found[name], value))
                    np.testing.assert_array_equal(got, expected, err_msg=f"{name} at {scale}")

    @_for_few(3, options=_runs(), number=st.integers(0))
    def test_runs_have_the_references_bits(self, options: dict[str, Any], number: int) -> None:
        energy = [*self.energies.values()][number % len(self.energies)]
        state = self._start(**options)
        _check(
            self.found(energy, state, **options), self.expected(energy, state, **options), options
        )

    def test_a_long_run_has_the_references_bits(self) -> None:
        energy = next(iter(self.energies.values()))
        options: dict[str, Any] = {
            "n_samples": 5,
            "n_steps": self.n_long,
            "burn_in": 0,
            "thinning": 10,
        }
        state = self._start(**options)
        _check(self.found(energy, state, **options), self.expected(energy, state, **options), "")

    def test_it_starts_from_the_streams_normals(self) -> None:
        energy = next(iter(self.energies.values()))
        options = {"n_steps": 2, "burn_in": 0, "thinning": 1}
        given = {**_PLAIN, **self.options, **options}
        reference = isotherm.make_plan(energy, sampler=self.sampler, backend="numpy", **given)
        expected = isotherm.run(reference, energy)
        got = isotherm.run(self.plan(energy, **options), energy)
        assert got.state.keys() == expected.state.keys()
        for name, value in expected.state.items():
            np.testing.assert_array_equal(to_numpy(got.state[name]), value, err_msg=name)
        assert got.info.acceptance_rate == expected.info.acceptance_rate
        assert got.info.n_divergences == expected.info.n_divergences

    def test_threads_change_no_bit(self) -> None:
        energy = next(iter(self.energies.values()))
        options: dict[str, Any] = {"n_samples": 1001}
        state = self._start(**options)
        runs = []
        for count in (2, 1):
            with self.threads(count):
                runs.append(self.found(energy, state, **options))
        _check(runs[1], runs[0], "one thread, and two")

    @_for_few(2, options=_runs(), cut=st.integers(1, 32))
    def test_rows_of_a_run_are_runs_of_their_own(self, options: dict[str, Any], cut: int) -> None:
        energy = next(iter(self.energies.values()))
        cut = 1 + cut % (options["n_samples"] - 1)
        state = self._start(**options)
        whole = self.found(energy, state, **options)
        upper = options | {"n_samples": cut}
        lower = options | {
            "n_samples": options["n_samples"] - cut,
            "chain_offset": options["chain_offset"] + cut,
        }
        parts = [
            self.found(energy, {name: x[rows] for name, x in state.items()}, **part)
            for rows, part in ((slice(None, cut), upper), (slice(cut, None), lower))
        ]
        for name, value in whole.items():
            if name not in ("mean", "variance"):
                axis = 1 if name in ("energy", "energy_error") else 0
                joined = np.concatenate([part[name] for part in parts], axis=axis)
                np.testing.assert_array_equal(joined, value, err_msg=name)

    @_for_few(2, options=_runs(), cut=st.integers(1, 19))
    def test_a_run_goes_on_with_its_state(self, options: dict[str, Any], cut: int) -> None:
        energy = next(iter(self.energies.values()))
        n_total = options["burn_in"] + options["n_steps"]
        cut %= n_total + 1
        whole = self.found(energy, self._start(**options), **options)
        scales = np.broadcast_to(options["noise_scale"], n_total)
        common = options | {"burn_in": 0, "thinning": 1}
        first = common | {"n_steps": cut, "noise_scale": scales[:cut]}
        state = {
            name: move(x, "numpy", "float32", "cpu") for name, x in self._start(**options).items()
        }
        result = isotherm.run(
            self.plan(energy, state["x"], **first),
            energy,
            state["x"],
            momentum=state.get("momentum"),
        )
        second = common | {"n_steps": n_total - cut, "noise_scale": scales[cut:]}
        second["step_offset"] += cut
        x = result.state["x"]
        result = isotherm.run(
            self.plan(energy, x, **second), energy, x, momentum=result.state.get("momentum")
        )
        for name, value in result.state.items():
            np.testing.assert_array_equal(to_numpy(value), whole[f"state {name}"], err_msg=name)

    @_for_few(2, options=_runs(), cuts=st.sets(st.integers(1, 18)))
    def test_a_runner_gives_the_same_bits_however_it_is_cut(
        self, options: dict[str, Any], cuts: set[int]
    ) -> None:
        energy = next(iter(self.energies.values()))
        n_total = options["burn_in"] + options["n_steps"]
        state = self._start(**options)
        before = {name: x.copy() for name, x in state.items()}
        ends = sorted(cut for cut in cuts if cut < n_total)
        _check(
            self.found(energy, state, ends, **options), self.found(energy, state, **options), ends
        )
        _check(state, before, "a state was written to")

    @_for_few(2, options=_runs())
    def test_a_thinned_run_is_a_slice_of_the_whole(self, options: dict[str, Any]) -> None:
        energy = next(iter(self.energies.values()))
        state = self._start(**options)
        thinned = self.found(energy, state, **options)
        whole = self.found(energy, state, **options | {"thinning": 1})
        kept = slice(options["thinning"] - 1, None, options["thinning"])
        for name in whole.keys() & {"mean", "variance", "energy", "energy_error"}:
            whole[name] = whole[name][kept]
        whole["trajectory"] = whole["trajectory"][:, kept]
        _check(thinned, whole, options)

    def _start(self, **options: Any) -> Arrays:
        """A state of all that is carried, not from the noise stream."""
        given = {**_PLAIN, **options}
        rng = np.random.default_rng(1)
        shape = (given["n_samples"], DIM)
        return {name: rng.normal(size=shape).astype(given["dtype"]) for name in self._carried}

    @property
    def _carried(self) -> tuple[str, ...]:
        return find(self.sampler).carried


def _advanced(
    runner: Runner,
    plan: isotherm.Plan,
    backend: Backend,
    state: Arrays,
    cuts: Sequence[int] = (),
) -> Arrays:
    """Everything that a runner gives, as NumPy arrays by their names."""
    place = (backend.library, plan.dtype, plan.device)
    outputs: Outputs = allocator(plan, backend)(plan.n_kept)
    if plan.is_adjusted:
        zeros = np.zeros(plan.n_samples, np.int64)
        outputs.accepted = move(zeros, place[0], "int64", place[2])
        outputs.diverging = move(zeros, place[0], "int64", place[2])
    now: Mapping[str, Array] = {name: move(x.copy(), *place) for name, x in state.items()}
    for start, stop in pairwise([0, *cuts, plan.n_total]):
        kept = plan.kept_before(start), plan.kept_before(stop)
        before = {name: to_numpy(x).copy() for name, x in now.items()}
        after = runner.advance(now, start, stop, outputs.between(*kept))
        _check({name: to_numpy(x) for name, x in now.items()}, before, "a state was written to")
        now = after
    found = {name: value for name, value in vars(outputs).items() if value is not None}
    found |= {f"state {name}": x for name, x in now.items()}
    return {name: to_numpy(value) for name, value in found.items()}


def _check(found: Arrays, expected: Arrays, what: object) -> None:
    """Fail unless both have the same arrays, dtypes and bits (of numbers; NaN is NaN)."""
    assert found.keys() == expected.keys(), what
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, f"{name}: {what}"
        np.testing.assert_array_equal(found[name], value, err_msg=f"{name}: {what}")
