"""The suite finds what may be wrong with a backend: mutants of the fifth one, each caught by name.

A mutant is one mistake in `StrictBackend`: in what it makes of the plan, in its step, its noise,
or its loop. The original passes the same tests, with more examples, in `test_backends`.
"""

from dataclasses import replace

import array_api_strict as xp
import pytest
from hypothesis import Phase, given, settings

from isotherm._arithmetic import noise, sums
from isotherm._backends import registry
from isotherm._backends.array_loop import ArrayLoop, Segments
from isotherm._energies.protocol import kind_of
from isotherm._plans.plan import Plan, Schedule
from isotherm._transitions.langevin import LANGEVIN
from isotherm._transitions.limits import clipped, inside
from isotherm._transitions.trace import Transition, gradient, perturb
from isotherm.testing import BackendConformance
from tests.conformance.strict import StrictBackend

# Enough to meet every mutant, whatever examples are drawn; a failure needs no smaller example.
EXAMPLES = settings(
    max_examples=200,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
)

NOISE = "test_noise_is_the_stream"
CHAINS = "test_elementwise_chains_have_the_references_bits"
STATES = "test_chains_of_a_whole_state_have_the_references_bits"
GAUSSIANS = "test_gaussian_chains_have_the_references_bits"
LARGE = "test_chains_of_a_large_gaussian_agree_to_rounding"
REPEAT = "test_a_repeated_run_has_the_same_bits_on_any_number_of_threads"
PREFIX = "test_a_chain_does_not_depend_on_how_many_there_are"
ROWS = "test_rows_of_a_run_are_runs_of_their_own"
RESUME = "test_a_run_goes_on_where_it_stopped"
THINNING = "test_a_thinned_run_is_a_slice_of_the_whole"
CUTS = "test_a_runner_gives_the_same_bits_however_it_is_cut"
DIAGNOSTICS = "test_diagnostics_describe_the_kept_states"
MOMENTS = "test_a_gaussian_has_its_exact_moments_at_every_step"

MUTANTS = {}


def caught_by(*tests):
    """Register a mutant, made of a plan and an energy, with the tests that must fail on it."""

    def register(mutant):
        MUTANTS[mutant.__name__] = (mutant, tests)
        return mutant

    return register


def loop(plan, energy, runner=ArrayLoop):
    return runner(plan, energy, energy.gradient)


# What it makes of the plan


@caught_by(NOISE, CHAINS, STATES, GAUSSIANS, LARGE)
def noise_shifted_by_a_step(plan, energy):
    shifted = replace(plan, step_offset=plan.step_offset + 1)
    return loop(shifted, energy)


@caught_by(NOISE, CHAINS, RESUME)
def step_offset_ignored(plan, energy):
    return loop(replace(plan, step_offset=0), energy)


@caught_by(NOISE, CHAINS, ROWS)
def chain_offset_ignored(plan, energy):
    return loop(replace(plan, chain_offset=0), energy)


@caught_by(NOISE, CHAINS)
def chain_offset_of_32_bits(plan, energy):
    low = replace(plan, chain_offset=plan.chain_offset & 0xFFFFFFFF)
    return loop(low, energy)


@caught_by(NOISE, CHAINS)
def seed_of_32_bits(plan, energy):
    return loop(replace(plan, seed=plan.seed & 0xFFFFFFFF), energy)


@caught_by(CHAINS, STATES, GAUSSIANS, LARGE)
def clamp_forgotten(plan, energy):
    return loop(replace(plan, clamp=None), energy)


@caught_by(CHAINS, STATES)
def upper_bound_forgotten(plan, energy):
    low = None if plan.clamp is None else (plan.clamp[0], None)
    return loop(replace(plan, clamp=low), energy)


@caught_by(CHAINS)
def bounds_forgotten(plan, energy):
    return loop(replace(plan, bounds=None), energy)


@caught_by(CHAINS)
def clipping_forgotten(plan, energy):
    return loop(replace(plan, gradient_clip=None, gradient_clip_norm=None), energy)


@caught_by(CHAINS, STATES, RESUME)
def decay_ignored(plan, energy):
    constant = Schedule(plan.step_size.values.flat[0])
    return loop(replace(plan, step_size=constant), energy)


@caught_by(CHAINS, STATES, RESUME)
def noise_schedule_ignored(plan, energy):
    constant = Schedule(plan.noise_scale.values.flat[0])
    return loop(replace(plan, noise_scale=constant), energy)


@caught_by(CHAINS, MOMENTS)
def temperature_for_noise_scale(plan, energy):
    squared = Schedule(plan.noise_scale.values**2)
    return loop(replace(plan, noise_scale=squared), energy)


class BurnInIgnored(Plan):
    def kept_before(self, step):
        return min(step // self.thinning, self.n_steps // self.thinning)


@caught_by(CHAINS, STATES, GAUSSIANS, LARGE)
def burn_in_ignored(plan, energy):
    return loop(BurnInIgnored(**vars(plan)), energy)


class ThinnedOneEarly(Plan):
    def kept_before(self, step):
        early = (max(0, step - self.burn_in) + self.thinning - 1) // self.thinning
        return min(early, self.n_steps // self.thinning)


@caught_by(CHAINS, STATES, THINNING)
def thinning_off_by_one(plan, energy):
    return loop(ThinnedOneEarly(**vars(plan)), energy)


# Its step


def with_step(plan, energy, step):
    """The loop with another transition; see `isotherm._transitions.langevin`."""

    class Mutant(Plan):
        def transition(self, kind):
            mutant = Transition("mutant", step, LANGEVIN.coefficients)
            return mutant.program(self.variant(kind))

    return loop(Mutant(**vars(plan)), energy)


@caught_by(CHAINS, STATES, GAUSSIANS, LARGE, MOMENTS)
def gradient_at_the_new_state(plan, energy):
    def step(state, c, draw):
        x = perturb(state.x, c.noise, draw.normal(noise.Stream.LANGEVIN))
        return {"x": inside(c, x - c.step_size * clipped(c, gradient(x)))}, {}

    return with_step(plan, energy, step)


@caught_by(CHAINS, STATES)
def noise_before_the_gradient(plan, energy):
    def step(state, c, draw):
        x = perturb(state.x, c.noise, draw.normal(noise.Stream.LANGEVIN))
        return {"x": inside(c, x - c.step_size * clipped(c, gradient(state.x)))}, {}

    return with_step(plan, energy, step)


@caught_by(CHAINS, STATES, GAUSSIANS, LARGE)
def clamp_before_the_noise(plan, energy):
    def step(state, c, draw):
        x = inside(c, state.x - c.step_size * clipped(c, gradient(state.x)))
        return {"x": perturb(x, c.noise, draw.normal(noise.Stream.LANGEVIN))}, {}

    return with_step(plan, energy, step)


@caught_by(CHAINS, STATES)
def a_product_multiplied_the_other_way(plan, energy):
    def step(state, c, draw):
        x = state.x - c.step_size * clipped(c, gradient(state.x))
        kick = (c.noise * 0.5) * (draw.normal(noise.Stream.LANGEVIN) * 3.0)
        return {"x": inside(c, x + kick / 1.5)}, {}

    return with_step(plan, energy, step)


@caught_by(CHAINS, STATES)
def contracted_into_fma(plan, energy):
    class Mutant(Segments):
        def __call__(self, segment, values):
            # A product of two float32 is exact in float64, which leaves fma's single rounding.
            wide = {
                index: values[index]
                if isinstance(values[index], float)
                else xp.astype(values[index], xp.float64)
                for index in segment.inputs
            }
            narrow = getattr(xp, plan.state_dtype)
            return [xp.astype(result, narrow) for result in super().__call__(segment, wide)]

    run_segment = Mutant(plan.transition(kind_of(energy)), plan.state_dtype)
    return ArrayLoop(plan, energy, energy.gradient, run_segment=run_segment)


@caught_by(CUTS)
def schedules_begin_anew_in_each_piece(plan, energy):
    class Mutant(Plan):
        def coefficients(self, start, stop):
            return super().coefficients(0, stop - start)

    return loop(Mutant(**vars(plan)), energy)


# Its noise


def with_noise(plan, energy, fill):
    return ArrayLoop(plan, energy, energy.gradient, fill)


@caught_by(NOISE, CHAINS, MOMENTS)
def noise_without_mean_zero(plan, energy):
    def fill(out, **key):
        noise.fill_normals(out, **key)
        out[...] = xp.abs(out)

    return with_noise(plan, energy, fill)


@caught_by(NOISE, CHAINS, PREFIX, ROWS)
def two_chains_swapped(plan, energy):
    def fill(out, **key):
        noise.fill_normals(out, **key)
        if out.shape[1] > 1:
            out[:, -2:, :] = xp.flip(out[:, -2:, :], axis=1)

    return with_noise(plan, energy, fill)


@caught_by(NOISE, CHAINS)
def coordinates_swapped(plan, energy):
    def fill(out, **key):
        noise.fill_normals(out, **key)
        out[...] = xp.flip(out, axis=2)

    return with_noise(plan, energy, fill)


@caught_by(NOISE, CHAINS)
def noise_of_another_stream(plan, energy):
    def fill(out, *, stream, **key):
        noise.fill_normals(out, stream=noise.Stream.INITIAL, **key)

    return with_noise(plan, energy, fill)


@caught_by(NOISE, CHAINS)
def normals_of_float64_made_in_float32(plan, energy):
    def fill(out, **key):
        noise.fill_normals(out, **key)
        out[...] = xp.astype(xp.astype(out, xp.float32), out.dtype)

    return with_noise(plan, energy, fill)


@caught_by(REPEAT, ROWS, RESUME)
def noise_that_never_returns(plan, energy):
    def fill(out, *, seed, **key):
        noise.fill_normals(out, seed=(seed + next(calls)) % 2**64, **key)

    return with_noise(plan, energy, fill)


calls = iter(range(2**62))


# Its loop


@caught_by(CHAINS, DIAGNOSTICS)
def variance_over_n_minus_1(plan, energy):
    class Mutant(ArrayLoop):
        def _record(self, x, reports, k, outputs):
            super()._record(x, reports, k, outputs)
            if outputs.variance is not None and x.shape[0] > 1:
                variance = xp.var(x, axis=0, correction=1)
                outputs.variance[k, ...] = xp.reshape(variance, plan.event_shape)

    return loop(plan, energy, Mutant)


@caught_by(CHAINS, STATES, DIAGNOSTICS)
def energies_off_by_a_step(plan, energy):
    before = None

    def gradient(x):
        nonlocal before
        before = energy(x)
        return energy.gradient(x)

    return ArrayLoop(plan, lambda x: before, gradient)


@caught_by(CHAINS, DIAGNOSTICS)
def energies_of_two_chains_swapped(plan, energy):
    class Mutant(ArrayLoop):
        def _record(self, x, reports, k, outputs):
            super()._record(x, reports, k, outputs)
            if outputs.energy is not None and x.shape[0] > 1:
                outputs.energy[k, -2:] = xp.flip(outputs.energy[k, -2:])

    return loop(plan, energy, Mutant)


@caught_by(CHAINS, DIAGNOSTICS)
def energies_averaged_over_coordinates(plan, energy):
    def mean(x):
        value = energy(x)
        return xp.mean(xp.reshape(value, (value.shape[0], -1)), axis=1)

    return ArrayLoop(plan, mean, energy.gradient)


@caught_by(CHAINS)
def energies_in_the_librarys_order(plan, energy):
    def summed(x):
        terms = energy.terms(x) if hasattr(energy, "terms") else energy(x)
        return xp.sum(xp.reshape(terms, (x.shape[0], -1)), axis=1)

    return ArrayLoop(plan, summed, energy.gradient)


@caught_by(GAUSSIANS)
def a_quadratic_form_in_the_librarys_order(plan, energy):
    def gradient(x):
        mean, precision = energy._parameters(x)
        return (x - mean) @ precision

    return ArrayLoop(plan, energy, gradient)


def with_moments(plan, energy, moments):
    class Mutant(ArrayLoop):
        def _record(self, x, reports, k, outputs):
            super()._record(x, reports, k, outputs)
            rows = xp.reshape(xp.astype(x, xp.float64), (-1, *plan.event_shape))
            mean, variance = moments(rows)
            outputs.mean[k, ...] = xp.astype(mean, x.dtype)
            outputs.variance[k, ...] = xp.astype(variance, x.dtype)

    return loop(plan, energy, Mutant)


@caught_by(CHAINS, STATES, GAUSSIANS)
def moments_in_the_librarys_order(plan, energy):
    return with_moments(plan, energy, lambda x: (xp.mean(x, axis=0), xp.var(x, axis=0)))


@caught_by(CHAINS, STATES, GAUSSIANS)
def moments_from_the_first_chain_on(plan, energy):
    return with_moments(plan, energy, lambda x: sums.moments(x, 0)[1:])


@caught_by(CUTS)
def x_written_to(plan, energy):
    class Mutant(ArrayLoop):
        def advance(self, state, start, stop, outputs):
            state["x"][...] = super().advance(state, start, stop, outputs)["x"]
            return state

    return loop(plan, energy, Mutant)


@caught_by(CUTS)
def each_piece_is_a_run_of_its_own(plan, energy):
    class Mutant(ArrayLoop):
        def advance(self, state, start, stop, outputs):
            self._plan = replace(plan, burn_in=max(0, plan.burn_in - start))
            return super().advance(state, 0, stop - start, outputs)

    return loop(plan, energy, Mutant)


def holds(backend, test):
    """Whether the backend passes a test of the suite; what fails otherwise is an error."""
    suite = type("Suite", (BackendConformance,), {"backend": backend})()
    method = getattr(suite, test)
    try:
        if not hasattr(method, "hypothesis"):
            method()
        else:
            EXAMPLES(given(**method.strategies)(method.hypothesis.inner_test))(suite)
    except (AssertionError, IndexError):  # the latter of one that keeps more than there is room for
        return False
    return True


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name, monkeypatch):
    prepare, tests = MUTANTS[name]
    mutant = StrictBackend()
    mutant.name = name
    mutant.prepare = prepare
    monkeypatch.setattr(registry, "_registered", registry._registered | {name: mutant})
    assert {test: holds(name, test) for test in tests} == dict.fromkeys(tests, False)
