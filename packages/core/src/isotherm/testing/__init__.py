"""What a backend must pass: a suite to subclass, and the strategies that feed it.

In a test module of the backend's own::

    from isotherm.testing import BackendConformance

    class TestMine(BackendConformance):
        backend = "mine"

and pytest does the rest. Every test holds the backend against the reference, the array loop on
NumPy arrays and core's own noise, or against itself where a promise is about two of its own runs.
Needs the extra ``isotherm[testing]``.

States, energies, means and variances are equal **to the bit**, for every formula and for Gaussians
of up to 64 coordinates. Only to rounding agree

- Gaussians of more coordinates, where a library's matrix product has an order of its own;
- energies whose operations are a library's: networks, ``torch.exp``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import array_api_compat as compat
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import isotherm
from isotherm._arithmetic import noise
from isotherm._arithmetic.arrays import Array, dtype_name, empty, move, round_to, to_numpy
from isotherm._backends import registry
from isotherm._backends.numpy_backend import reference_runner
from isotherm._backends.protocol import Outputs, Runner
from isotherm._energies.gaussian import WRITTEN_ORDER
from isotherm._energies.protocol import chain_energies
from isotherm._results.recorder import allocator
from isotherm.testing import formulas
from isotherm.testing.transitions import TransitionConformance as TransitionConformance

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]


class UsersEnergy:
    """½ k Σ x² as a user writes an energy: of no kind that a backend knows."""

    def __init__(self, k: float) -> None:
        self.k = k

    def __call__(self, x: Array) -> Array:
        return 0.5 * self.k * x * x

    def gradient(self, x: Array) -> Array:
        return self.k * x


DIM = 3
"""Of energies that are not elementwise: one dimension, so that a kernel compiles once."""

ELEMENTWISE_ENERGIES = (
    isotherm.DoubleWellEnergy(barrier_height=0.5),
    isotherm.HarmonicEnergy(k=1.5),
    UsersEnergy(k=0.75),
    isotherm.RastriginEnergy(a=1.0),
)
"""For states of any shape."""


def _gaussian(dim: int) -> isotherm.GaussianEnergy:
    """With all elements of the precision different from 0 and from each other."""
    steps = np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
    return isotherm.GaussianEnergy(np.linspace(-1.0, 1.0, dim), np.eye(dim) + 0.7**steps)


STATE_ENERGIES = (
    isotherm.RosenbrockEnergy(b=2.0),
    isotherm.AckleyEnergy(),
    isotherm.GaussianMixtureEnergy([[0.0, 1.0, 0.5], [1.0, -1.0, 0.0]], [1.0, 0.7], [0.3, 0.7]),
    _gaussian(DIM),
)
"""For states of `DIM` coordinates."""

GAUSSIANS = tuple(map(_gaussian, (1, 2, 7, WRITTEN_ORDER)))
"""Where rows are shorter, longer and no multiples of what a kernel takes at once."""

LARGE_GAUSSIAN = _gaussian(WRITTEN_ORDER + 6)
CHAIN_ULPS = 4096
"""How far its states may be from the reference's after the steps of `run_options`, in units in the
last place of the larger of |x| and 1: each step adds a few and stretches those before it by at most
1 + η max|U''|."""

NORMALS_ONLY = {
    "step_size": 0.5, "noise_scale": 1.0, "decay": 0.0, "burn_in": 0, "thinning": 1, "clamp": None,
    "bounds": None, "gradient_clip": None, "gradient_clip_norm": None,
}  # fmt: skip
"""With ∇U = 2x: x - ½ (2x) is 0 and √(2 · ½) is 1, so that every state is its step's normals."""


@isotherm.formula(dim=None)
def _square(x: Any) -> Any:
    return sum(c * c for c in x)


NORMALS_ONLY_ENERGIES = (
    isotherm.HarmonicEnergy(k=2.0),
    _square(),
    isotherm.GaussianEnergy(np.zeros(DIM), 0.5 * np.eye(DIM)),
    UsersEnergy(k=2.0),
)
"""∇U = 2x in every kind of energy that a backend may have a noise kernel for."""


def _above_and_below_32_bits(most: int) -> st.SearchStrategy[int]:
    """Integers up to `most`, half of which a 32-bit word cannot hold: by itself few would be."""
    return st.integers(0, 2**32 - 1) | st.integers(2**32, most)


@dataclass(frozen=True)
class _StepSizes:
    """One a step, as a function of its number: an array could be meant for the coordinates."""

    values: list[float]
    first: int

    def __call__(self, step: int) -> float:
        return self.values[step - self.first]


@st.composite
def run_options(draw: st.DrawFn, *, is_elementwise: bool = True) -> dict[str, Any]:
    """Options of `isotherm.make_plan`, of every kind, for small runs that keep everything."""
    n_steps = draw(st.integers(1, 24))
    burn_in = draw(st.integers(0, 9))
    n_total = burn_in + n_steps
    step_sizes = st.floats(1e-4, 0.03)
    noise_scales = st.just(0.0) | st.floats(1e-4, 2.0)
    shapes = st.sampled_from([1, 2, DIM, 5, (2, 3)]) if is_elementwise else st.just(DIM)
    decay = draw(st.sampled_from([0.0, 0.01, 0.3]))
    # Steps that have decayed to nothing would hide everything.
    step_offset = draw(_step_offsets if decay == 0.0 else st.integers(0, 9))
    return {
        "dim": draw(shapes),
        "n_samples": draw(st.sampled_from([1, 2, 7, 33])),
        "n_steps": n_steps,
        "burn_in": burn_in,
        "thinning": draw(st.integers(1, n_steps)),
        "step_size": draw(
            step_sizes
            | st.lists(step_sizes, min_size=n_total, max_size=n_total).map(
                lambda sizes: _StepSizes(sizes, step_offset)
            )
        ),
        "noise_scale": draw(
            noise_scales | st.lists(noise_scales, min_size=n_total, max_size=n_total).map(np.array)
        ),
        "decay": decay,
        **draw(st.sampled_from(_LIMITS)),
        "seed": draw(_above_and_below_32_bits(2**64 - 1)),
        "chain_offset": draw(_chain_offsets),
        "step_offset": step_offset,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "return_trajectory": True,
        "return_diagnostics": True,
        "on_divergence": "ignore",  # such chains, too, are the same everywhere
    }


_LIMITS: tuple[dict[str, Any], ...] = (
    {},
    {"clamp": (-0.5, 0.75)},
    {"clamp": (None, 1.0)},
    {"clamp": (-1.0, None)},
    {"bounds": (-0.5, 0.75)},
    {"bounds": (None, 0.5), "gradient_clip": 0.5, "gradient_clip_norm": 0.75},
)

# Numbers that chains and steps can have, less what a run or two need behind them.
_chain_offsets = _above_and_below_32_bits(2**56 - 2000) | st.integers(2**32 - 40, 2**32)
_step_offsets = st.integers(0, 2**33 - 100)

_few_chains = {
    "dim": 2, "n_samples": 9, "n_steps": 6, "step_size": 0.01, "return_trajectory": True,
    "return_diagnostics": True, "dtype": "float32", "chain_offset": 5,
}  # fmt: skip


def _for_all(
    portion: float = 1.0, **strategies: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`hypothesis.given` for tests that several classes inherit, each with a backend of its own.

    Parameters
    ----------
    portion : float
        Of the examples that the settings ask for: less where each compiles a kernel.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        inherited = settings(
            suppress_health_check=[HealthCheck.differing_executors],
            max_examples=max(1, round(portion * settings().max_examples)),
        )
        wrapped = inherited(given(**strategies)(test))
        wrapped.strategies = strategies  # type: ignore[attr-defined]
        return wrapped

    return decorate


class BackendConformance:
    """The promises that every backend keeps; subclass it and name the backend.

    Attributes
    ----------
    backend : str
        The backend's name, registered or installed.
    device : str or None
        Where to test it; its default device by default.
    dtypes : tuple of str
        In which its noise is tested; name ``"float16"`` and ``"bfloat16"`` too where it has them.
    """

    backend: str
    device: str | None = None
    dtypes: tuple[str, ...] = ("float32", "float64")

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Run the block on so many threads; override it where the backend has threads."""
        yield

    def run(self, energy: Any, options: Mapping[str, Any], x: Array | None = None) -> Arrays:
        """What a run of the backend gives, as NumPy arrays by their names."""
        return _run(energy, {"device": self.device, **options, "backend": self.backend}, x)

    @_for_all(
        options=run_options(), energy=st.sampled_from(NORMALS_ONLY_ENERGIES), dtype=st.integers(0)
    )
    def test_noise_is_the_stream(self, options: dict[str, Any], energy: Any, dtype: int) -> None:
        options = options | NORMALS_ONLY | {"dtype": self.dtypes[dtype % len(self.dtypes)]}
        if energy in NORMALS_ONLY_ENERGIES[1:3]:
            options["dim"] = DIM
        got = self.run(energy, options)["trajectory"]
        first = options["step_offset"]
        normals = _normals(noise.Stream.LANGEVIN, options, range(first, first + got.shape[1]))
        (state,) = _normals(noise.Stream.INITIAL, options, range(1))
        for k, z in enumerate(normals):
            # Half precision is what the energy sees and what is kept; the state is float32.
            state = (state - _rounded(state, options)) + z
            expected = _rounded(state, options).reshape(got[:, k].shape)
            np.testing.assert_array_equal(got[:, k], expected)

    @_for_all(options=run_options(), dtype=st.integers(0))
    def test_chains_start_from_the_streams_normals(
        self, options: dict[str, Any], dtype: int
    ) -> None:
        # A step that is lost in rounding leaves every number where it was.
        still = {"n_steps": 1, "step_size": 2.0**-100, "noise_scale": 0.0, "decay": 0.0}
        options = options | NORMALS_ONLY | still | {"dtype": self.dtypes[dtype % len(self.dtypes)]}
        got = self.run(ELEMENTWISE_ENERGIES[1], options)["samples"]
        normals = _normals(noise.Stream.INITIAL, options, range(1))
        np.testing.assert_array_equal(got, _rounded(normals, options).reshape(got.shape))

    @_for_all(options=run_options(), energy=st.sampled_from(ELEMENTWISE_ENERGIES))
    def test_elementwise_chains_have_the_references_bits(
        self, options: dict[str, Any], energy: Any
    ) -> None:
        self._check_against_reference(energy, options)

    @_for_all(options=run_options(is_elementwise=False), energy=st.sampled_from(STATE_ENERGIES))
    def test_chains_of_a_whole_state_have_the_references_bits(
        self, options: dict[str, Any], energy: Any
    ) -> None:
        self._check_against_reference(energy, options)

    @_for_all(
        0.2,
        options=run_options(is_elementwise=False),
        energy=st.sampled_from(GAUSSIANS),
        n_samples=st.sampled_from([1, 70, 129]),
    )
    def test_gaussian_chains_have_the_references_bits(
        self, options: dict[str, Any], energy: Any, n_samples: int
    ) -> None:
        self._check_against_reference(energy, options | {"dim": energy.dim, "n_samples": n_samples})

    @_for_all(0.05, options=run_options(is_elementwise=False))
    def test_chains_of_a_large_gaussian_agree_to_rounding(self, options: dict[str, Any]) -> None:
        options = options | {"dim": LARGE_GAUSSIAN.dim}
        self._check_against_reference(LARGE_GAUSSIAN, options, ulps=CHAIN_ULPS)

    @_for_all(0.05, energy=formulas.energies(), seed=st.integers(0, 2**64 - 1))
    def test_random_formulas_have_the_references_bits(self, energy: Any, seed: int) -> None:
        self._check_against_reference(energy, _few_chains | {"seed": seed})

    def test_a_noise_scale_a_chain_has_the_references_bits(self) -> None:
        options = _few_chains | {"seed": 3, "noise_scale": np.linspace(0.0, 2.0, 9)[:, None]}
        for energy in (ELEMENTWISE_ENERGIES[0], STATE_ENERGIES[0], GAUSSIANS[1], UsersEnergy(1.0)):
            dim = DIM if energy is STATE_ENERGIES[0] else 2
            self._check_against_reference(energy, options | {"dim": dim})

    def test_a_repeated_run_has_the_same_bits_on_any_number_of_threads(self) -> None:
        options = {
            "dim": DIM, "n_samples": 1001, "n_steps": 50, "thinning": 7, "step_size": 0.01,
            "seed": 5, "return_trajectory": True, "return_diagnostics": True,
        }  # fmt: skip
        for energy in (*ELEMENTWISE_ENERGIES, *STATE_ENERGIES):
            runs = []
            for count in (2, 1, 2):
                with self.threads(count):
                    runs.append(self.run(energy, options))
            for again in runs[1:]:
                for name, value in runs[0].items():
                    np.testing.assert_array_equal(again[name], value, err_msg=f"{energy} {name}")

    @_for_all(
        options=run_options(),
        energy=st.sampled_from(ELEMENTWISE_ENERGIES),
        n_samples=st.sampled_from([34, 129, 1000]),
    )
    def test_a_chain_does_not_depend_on_how_many_there_are(
        self, options: dict[str, Any], energy: Any, n_samples: int
    ) -> None:
        few = self.run(energy, options)
        many = self.run(energy, options | {"n_samples": n_samples})
        count = options["n_samples"]
        np.testing.assert_array_equal(many["samples"][:count], few["samples"])
        np.testing.assert_array_equal(many["trajectory"][:count], few["trajectory"])
        np.testing.assert_array_equal(many["energy"][:, :count], few["energy"])

    @_for_all(
        options=run_options(),
        energy=st.sampled_from(ELEMENTWISE_ENERGIES),
        cut=st.integers(1, 32),
    )
    def test_rows_of_a_run_are_runs_of_their_own(
        self, options: dict[str, Any], energy: Any, cut: int
    ) -> None:
        assume(cut < options["n_samples"])
        whole = self.run(energy, options)
        upper = options | {"n_samples": cut}
        lower = options | {
            "n_samples": options["n_samples"] - cut,
            "chain_offset": options["chain_offset"] + cut,
        }
        parts = [self.run(energy, part) for part in (upper, lower)]
        for name, axis in (("samples", 0), ("trajectory", 0), ("energy", 1)):
            joined = np.concatenate([part[name] for part in parts], axis=axis)
            np.testing.assert_array_equal(joined, whole[name], err_msg=name)

    @_for_all(
        options=run_options(),
        energy=st.sampled_from(ELEMENTWISE_ENERGIES),
        cut=st.integers(1, 32),
    )
    def test_a_run_goes_on_where_it_stopped(
        self, options: dict[str, Any], energy: Any, cut: int
    ) -> None:
        n_total = options["burn_in"] + options["n_steps"]
        assume(cut < n_total)
        whole = self.run(energy, options)
        common = options | {"burn_in": 0, "thinning": 1}
        first = common | {"n_steps": cut} | _schedules(options, 0, cut)
        second = common | {"n_steps": n_total - cut} | _schedules(options, cut, n_total)
        second["step_offset"] += cut
        start = self.run(energy, first)["samples"]
        rest = self.run(energy, second | {"dim": None}, x=start)
        np.testing.assert_array_equal(rest["samples"], whole["samples"])

    @_for_all(options=run_options(), energy=st.sampled_from(ELEMENTWISE_ENERGIES))
    def test_a_thinned_run_is_a_slice_of_the_whole(
        self, options: dict[str, Any], energy: Any
    ) -> None:
        thinned = self.run(energy, options)
        whole = self.run(energy, options | {"thinning": 1})
        kept = slice(options["thinning"] - 1, None, options["thinning"])
        np.testing.assert_array_equal(thinned["trajectory"], whole["trajectory"][:, kept])
        for name in ("mean", "variance", "energy"):
            np.testing.assert_array_equal(thinned[name], whole[name][kept], err_msg=name)

    @_for_all(
        options=run_options(),
        energy=st.sampled_from(ELEMENTWISE_ENERGIES),
        cuts=st.sets(st.integers(1, 32)),
    )
    def test_a_runner_gives_the_same_bits_however_it_is_cut(
        self, options: dict[str, Any], energy: Any, cuts: set[int]
    ) -> None:
        runner, place = self._prepare(energy, options)
        plan = self._plan(energy, options)
        ones = np.ones(plan.shape)
        trajectories = [
            empty(place[0], (plan.n_samples, plan.n_kept, *plan.event_shape), *place[1:])
            for _ in range(2)
        ]
        whole = runner.advance(
            {"x": move(ones, *place)}, 0, plan.n_total, Outputs(trajectories[0])
        )["x"]
        state = move(ones, *place)
        bounds = sorted({0, plan.n_total, *(cut for cut in cuts if cut < plan.n_total)})
        for start, stop in pairwise(bounds):
            before = to_numpy(state).copy()
            kept = plan.kept_before(start), plan.kept_before(stop)
            after = runner.advance(
                {"x": state}, start, stop, Outputs(trajectories[1]).between(*kept)
            )["x"]
            np.testing.assert_array_equal(to_numpy(state), before, err_msg="x was written to")
            state = after
        np.testing.assert_array_equal(to_numpy(state), to_numpy(whole))
        in_one, in_pieces = map(to_numpy, trajectories)
        np.testing.assert_array_equal(in_pieces, in_one)

    @_for_all(options=run_options(), energy=st.sampled_from(ELEMENTWISE_ENERGIES))
    def test_diagnostics_describe_the_kept_states(
        self, options: dict[str, Any], energy: Any
    ) -> None:
        got = self.run(energy, options)
        kept = np.moveaxis(got["trajectory"].astype(np.float64), 1, 0)
        tolerance = _tolerance(options, 64)
        np.testing.assert_allclose(got["mean"], kept.mean(axis=1), **tolerance)
        np.testing.assert_allclose(got["variance"], kept.var(axis=1), **tolerance)
        energies = np.stack([chain_energies(energy(states)) for states in kept])
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

    def _plan(self, energy: Any, options: Mapping[str, Any]) -> isotherm.Plan:
        named = {"device": self.device, **options, "backend": self.backend}
        return isotherm.make_plan(energy, **named)

    def _prepare(
        self, energy: Any, options: Mapping[str, Any]
    ) -> tuple[Runner, tuple[str, str, str]]:
        """A runner, and the library, dtype and device of its arrays."""
        plan, backend = self._plan(energy, options), registry.load(self.backend)
        return backend.prepare(plan, energy), (backend.library, plan.dtype, plan.device)

    def _check_against_reference(
        self, energy: Any, options: dict[str, Any], *, ulps: int = 0
    ) -> None:
        got, expected = self.run(energy, options), _reference(energy, options)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name].shape == value.shape, name
            assert got[name].dtype == value.dtype, name
            if ulps:
                np.testing.assert_allclose(
                    got[name], value, err_msg=name, **_tolerance(options, ulps)
                )
            else:
                np.testing.assert_array_equal(got[name], value, err_msg=name)


def _reference(energy: Any, options: Mapping[str, Any]) -> Arrays:
    """What the oracle gives: nothing in it but NumPy and core's own noise."""
    plan = isotherm.make_plan(energy, **options, backend="numpy")
    outputs = allocator(plan, registry.load("numpy"))(plan.n_kept)
    start = _inside(_normals(noise.Stream.INITIAL, options, range(1)), options.get("bounds"))
    start = start.reshape(plan.shape)
    with np.errstate(all="ignore"):
        state = reference_runner(plan, energy).advance({"x": start}, 0, plan.n_total, outputs)
    found = {name: getattr(outputs, name) for name in ("trajectory", "mean", "variance", "energy")}
    return {"samples": state["x"], **found}


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
    return {name: _host(value) for name, value in found.items() if value is not None}


def _host(x: Array) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array; bfloat16, which NumPy lacks, as float32."""
    if dtype_name(x.dtype) == "bfloat16":
        xp = compat.array_namespace(x)
        x = xp.astype(x, xp.float32)
    return to_numpy(x)


def _normals(
    stream: noise.Stream, options: Mapping[str, Any], steps: range
) -> np.ndarray[Any, Any]:
    """The stream's normals as core makes them; shape (len(steps), n_samples, n_coordinates)."""
    drawn_in = "float64" if options["dtype"] == "float64" else "float32"
    length = noise.steps_per_block(drawn_in)
    blocks = range(steps.start // length, (steps.stop - 1) // length + 1)
    shape = (options["n_samples"], int(np.prod(options["dim"])))
    normals = np.empty((len(blocks), length, *shape), drawn_in)
    for out, block in zip(normals, blocks, strict=True):
        key = {name: options[name] for name in ("seed", "chain_offset")}
        noise.fill_normals(out, stream=stream, block=block, **key)
    first = steps.start - blocks.start * length
    return normals.reshape(-1, *shape)[first : first + len(steps)]


def _inside(x: np.ndarray[Any, Any], bounds: Any) -> np.ndarray[Any, Any]:
    """States reflected into an interval, which may lack an end."""
    if bounds is None:
        return x
    ends = zip(bounds, (-np.inf, np.inf), strict=True)
    low, high = (x.dtype.type(none if end is None else end) for end, none in ends)
    width = high - low
    with np.errstate(all="ignore"):
        beyond = np.where(x < low, low - x, x - high)
        rest = beyond - 2 * width * np.floor(beyond / (2 * width))
        rest = np.where(beyond > width, rest, beyond)
        away = np.where(rest > width, 2 * width - rest, rest)
        mirrored = np.clip(np.where(x < low, low + away, high - away), low, high)
    return np.where(beyond > 0.0, mirrored, x)


def _rounded(states: np.ndarray[Any, Any], options: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """States with no more digits than the run's dtype has."""
    return round_to(states.astype(np.float64), options["dtype"]).astype(states.dtype)


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
