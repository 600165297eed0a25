"""The tests of samplers find what may be wrong with one: mutants, each caught by name.

A mutant is one mistake in a sampler's step. All of them must fail the comparison of bits with the
reference; those that are no longer samplers of the law must fail a test of the law, too.
"""

from dataclasses import replace

import numpy as np
import pytest

import isotherm
from isotherm._arithmetic.noise import Stream
from isotherm._backends import registry
from isotherm._backends.array_loop import ArrayLoop
from isotherm._plans.plan import Plan
from isotherm._transitions import hamiltonian
from isotherm._transitions.catalogue import find, register
from isotherm._transitions.limits import ARGUMENTS
from isotherm._transitions.trace import (
    Draw,
    energy_error,
    evaluate,
    gradient,
    inverse_mass,
    mass_root,
    perturb,
    repeat,
    total,
    where,
)
from isotherm.testing import TransitionConformance
from tests.conformance.strict import StrictBackend
from tests.conformance.test_transitions import SAMPLERS
from tests.core import gaussian_law
from tests.samplers import laws

BITS = "test_every_kind_of_energy_and_mass_has_the_references_bits"
CUTS = "test_a_runner_gives_the_same_bits_however_it_is_cut"
LAW = "law"

MUTANTS = {}


def caught_by(sampler, *tests):
    """Register a mutant of a sampler's step with the tests that must fail on it."""

    def add(step):
        MUTANTS[step.__name__] = (sampler, step, tests)
        return step

    return add


# Underdamped Langevin dynamics


def baoab(state, c, draw, sign=1.0, is_half_kicked=True, order="baoab"):
    """The step of `isotherm._transitions.underdamped`, with places for mistakes."""
    p = state.momentum
    if is_half_kicked:
        p = p - sign * (c.half_step * state.gradient)
    x = state.x + c.half_step * inverse_mass(c, p)
    noise = mass_root(c, draw.normal(Stream.LANGEVIN))
    if order == "baoab":
        p = perturb(c.decay * p, c.kick, noise)
        x = x + c.half_step * inverse_mass(c, p)
    else:
        x = x + c.half_step * inverse_mass(c, p)
        p = perturb(c.decay * p, c.kick, noise)
    g = gradient(x)
    return {"x": x, "momentum": p - c.half_step * g, "gradient": g}, {}


@caught_by("underdamped", BITS, LAW)
def a_kick_of_the_wrong_sign(state, c, draw):
    return baoab(state, c, draw, sign=-1.0)


@caught_by("underdamped", BITS, LAW)
def a_half_kick_is_missing(state, c, draw):
    return baoab(state, c, draw, is_half_kicked=False)


@caught_by("underdamped", BITS, LAW)
def noise_after_both_drifts(state, c, draw):
    return baoab(state, c, draw, order="baaob")


@caught_by("underdamped", BITS, LAW)
def the_gradient_handed_on_is_the_old_one(state, c, draw):
    after, reports = baoab(state, c, draw)
    return after | {"gradient": state.gradient}, reports


@caught_by("underdamped", BITS, LAW)
def momentum_noise_scaled_by_the_inverse_mass(state, c, draw):
    p = state.momentum - c.half_step * state.gradient
    x = state.x + c.half_step * inverse_mass(c, p)
    p = perturb(c.decay * p, c.kick, inverse_mass(c, draw.normal(Stream.LANGEVIN)))
    x = x + c.half_step * inverse_mass(c, p)
    g = gradient(x)
    return {"x": x, "momentum": p - c.half_step * g, "gradient": g}, {}


@caught_by("underdamped", BITS, LAW)
def no_friction_on_the_momentum(state, c, draw):
    class Undamped:
        decay = 1.0

        def __getattr__(self, name):
            return getattr(c, name)

    return baoab(state, Undamped(), draw)


# Adjusted samplers


def decide(start, end, error, c, draw, accepts=None, given=None):
    """The end of `isotherm._transitions.hamiltonian`'s step, with places for mistakes."""
    given = draw.exponential() if given is None else given
    error = where(error < c.lowest, -error, error)
    is_accepted = error <= given if accepts is None else accepts(error, given)
    pairs = zip(("x", "gradient", "energy"), end, start, strict=True)
    after = {name: where(is_accepted, new, old) for name, new, old in pairs if new is not None}
    return after, {
        "energy_error": error,
        "accepted": where(is_accepted, 1.0, 0.0),
        "diverging": where(abs(error) <= c.divergence_threshold, 0.0, 1.0),
    }


def trajectory(state, c, draw):
    """Start, end, and what the kinetic energy gained."""
    start = state.point
    p = c.momentum_scale * mass_root(c, draw.normal(Stream.MOMENTUM))
    if c.variant.has_friction:
        return start, *hamiltonian._langevin(start, p, c, draw)
    end, q = hamiltonian.leapfrog(start, p, c)
    return start, end, hamiltonian._gained(c, p, q)


def adjusted(state, c, draw, **mistake):
    start, end, kinetic = trajectory(state, c, draw)
    error = c.inverse_temperature * energy_error(start, end, kinetic)
    return decide(start, end, error, c, draw, **mistake)


@caught_by("mala", BITS, LAW)
def every_proposal_is_accepted(state, c, draw):
    return adjusted(state, c, draw, accepts=lambda error, e: error <= e + 1e30)


@caught_by("hmc", BITS, LAW)
def the_decision_is_turned_round(state, c, draw):
    return adjusted(state, c, draw, accepts=lambda error, e: -error <= e)


@caught_by("mala", BITS, LAW)
def a_step_is_accepted_only_downhill(state, c, draw):
    return adjusted(state, c, draw, accepts=lambda error, e: error < 0.0 * e)


@caught_by("mala", BITS, LAW)
def the_decision_reuses_the_momentums_noise(state, c, draw):
    start = state.point
    z = draw.normal(Stream.MOMENTUM)
    p = c.momentum_scale * mass_root(c, z)
    end, q = hamiltonian.leapfrog(start, p, c)
    error = c.inverse_temperature * energy_error(start, end, hamiltonian._gained(c, p, q))
    # Half the square of a chain's normals: an exponential in two dimensions, were it another's.
    return decide(start, end, error, c, draw, given=total(0.5 * z * z))


@caught_by("hmc", BITS, LAW)
def temperature_left_out_of_the_decision(state, c, draw):
    start, end, kinetic = trajectory(state, c, draw)
    return decide(start, end, energy_error(start, end, kinetic), c, draw)


@caught_by("hmc", BITS, LAW)
def kinetic_energy_left_out(state, c, draw):
    start, end, kinetic = trajectory(state, c, draw)
    error = c.inverse_temperature * energy_error(start, end, 0.0 * kinetic)
    return decide(start, end, error, c, draw)


@caught_by("hmc", BITS, LAW)
def momenta_not_scaled_by_the_temperature(state, c, draw):
    start = state.point
    p = mass_root(c, draw.normal(Stream.MOMENTUM))
    end, q = hamiltonian.leapfrog(start, p, c)
    error = c.inverse_temperature * energy_error(start, end, hamiltonian._gained(c, p, q))
    return decide(start, end, error, c, draw)


def substeps(start, p, c, first, last):
    """The leapfrog with other first and last kicks."""

    def substep(_, x, p):
        x = x + c.step_size * inverse_mass(c, p)
        return x, p - c.step_size * gradient(x)

    x, q = repeat(c.n_before_last, substep, start.x, p - first * start.gradient)
    end = evaluate(x + c.step_size * inverse_mass(c, q))
    return end, q - last * end.gradient


def kicked(state, c, draw, first, last):
    start = state.point
    p = c.momentum_scale * mass_root(c, draw.normal(Stream.MOMENTUM))
    end, q = substeps(start, p, c, first, last)
    error = c.inverse_temperature * energy_error(start, end, hamiltonian._gained(c, p, q))
    return decide(start, end, error, c, draw)


@caught_by("hmc", BITS, LAW)
def the_last_half_kick_is_missing(state, c, draw):
    return kicked(state, c, draw, c.half_step, 0.0)


@caught_by("hmc", BITS, LAW)
def the_first_kick_is_a_whole_one(state, c, draw):
    return kicked(state, c, draw, c.step_size, c.half_step)


@caught_by("mala", BITS, LAW)
def the_gradient_after_a_rejection_is_the_proposals(state, c, draw):
    start, end, kinetic = trajectory(state, c, draw)
    error = c.inverse_temperature * energy_error(start, end, kinetic)
    after, reports = decide(start, end, error, c, draw)
    return after | {"gradient": end.gradient}, reports


@caught_by("mala", BITS, LAW)
def the_gradient_is_not_updated(state, c, draw):
    after, reports = adjusted(state, c, draw)
    return after | {"gradient": state.gradient}, reports


@caught_by("mala", BITS, LAW)
def the_energy_is_not_updated(state, c, draw):
    after, reports = adjusted(state, c, draw)
    if state.point.energy is not None:
        after = after | {"energy": state.energy}
    return after, reports


@caught_by("hmc", BITS)
def a_sum_of_totals_for_a_total_of_sums(state, c, draw):
    start, end, kinetic = trajectory(state, c, draw)
    work = energy_error(start, end, 0.0 * kinetic)
    return decide(start, end, c.inverse_temperature * (work + total(kinetic)), c, draw)


@caught_by("mala", BITS)
def two_half_kicks_where_one_kick_stands(state, c, draw):
    start = state.point
    p = c.momentum_scale * mass_root(c, draw.normal(Stream.MOMENTUM))
    q = p - c.half_step * start.gradient
    end = evaluate(start.x + c.step_size * inverse_mass(c, q))
    q = q - (0.25 * c.step_size) * end.gradient - (0.25 * c.step_size) * end.gradient
    error = c.inverse_temperature * energy_error(start, end, hamiltonian._gained(c, p, q))
    return decide(start, end, error, c, draw)


@caught_by("malt", BITS)
def substeps_share_their_noise(state, c, draw):
    class Shared(Draw):
        def substep_normal(self, pass_):
            return self.normal(Stream.SUBSTEP)

    return adjusted(state, c, Shared(draw._builder))


@caught_by("malt", BITS, LAW)
def energy_lost_to_friction_counts_as_an_error(state, c, draw):
    start = state.point
    p = c.momentum_scale * mass_root(c, draw.normal(Stream.MOMENTUM))

    def substep(number, x, g, q):
        q = q - c.half_step * g
        x = x + c.step_size * inverse_mass(c, q)
        g = gradient(x)
        q = q - c.half_step * g
        return x, g, c.decay * q + c.kick * mass_root(c, draw.substep_normal(number))

    x, g, q = repeat(c.n_before_last, substep, start.x, start.gradient, p)
    q = q - c.half_step * g
    end = evaluate(x + c.step_size * inverse_mass(c, q))
    q = q - c.half_step * end.gradient
    error = c.inverse_temperature * energy_error(start, end, hamiltonian._gained(c, p, q))
    return decide(start, end, error, c, draw)


class Mutant(StrictBackend):
    """The array loop on NumPy arrays, with a mutant in the place of its sampler."""

    library = "numpy"

    def __init__(self, transition):
        self.name = transition.name
        self.transition = transition

    def prepare(self, plan, energy):
        transition = self.transition

        class Mutated(Plan):
            def transition(self, kind):
                return transition.program(self.variant(kind))

        return ArrayLoop(Mutated(**vars(plan)), energy, energy.gradient)


def has_bits(test, sampler, transition, monkeypatch):
    known = registry._registered | {transition.name: Mutant(transition)}
    monkeypatch.setattr(registry, "_registered", known)
    name = "hmc" if sampler == "malt" else sampler
    given = {"backend": transition.name, "sampler": name, "options": SAMPLERS[sampler]}
    suite = type("Suite", (TransitionConformance,), given)()
    try:
        getattr(suite, test)()
    except AssertionError:
        return False
    return True


def has_law(sampler, transition):
    """Whether chains keep a law, by the tests of `test_metropolis` and `test_underdamped`."""
    register(transition)
    own = {
        "underdamped": {"step_size": 0.4, "friction": 1.0, "inverse_mass": [0.4, 1.7]},
        "mala": {"step_size": 0.1},
        "hmc": {"step_size": 0.3, "n_leapfrog": 6, "jitter": 1.0},
        "malt": {"step_size": 0.3, "n_leapfrog": 6, "jitter": 1.0, "friction": 1.0},
    }[sampler]
    options = {"sampler": transition.name, "on_divergence": "ignore", "n_steps": 20, **own}
    if sampler == "underdamped":
        law = replace(laws.LAWS["gaussian"], energy=isotherm.HarmonicEnergy(k=4.0))
        x = np.random.default_rng(0).normal(size=(10_000, 2)) * law.noise_scale / 2
        samples = isotherm.sample_chain(
            law.energy, x, seed=1, noise_scale=law.noise_scale, backend="numpy", **options
        )
        limit = law.noise_scale**2 / 4 * np.eye(2)
        checks = [lambda: gaussian_law.check(samples, np.zeros(2), limit)]
    else:
        # A double well, which tells of stale energies; and another temperature.
        well = laws.LAWS["double well"]
        gaussian = laws.gaussian(noise_scale=0.5)
        checks = [
            lambda law=law, more=more: law.check(laws.kept(law, **options | more)[0])
            for law, more in (
                (well, {}),
                (gaussian, {"step_size": 1.2 if sampler == "hmc" else 1.0}),
            )
        ]
    try:
        for check in checks:
            check()
    except (AssertionError, np.linalg.LinAlgError):
        return False
    return True


def copied(original, name, step):
    """A sampler's copy with another step, which keeps no limits."""
    arguments = {
        one: default for one, default in original.arguments.items() if one not in ARGUMENTS
    }
    return replace(original, name=name, function=step, arguments=arguments, _programs={})


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name, monkeypatch):
    sampler, step, tests = MUTANTS[name]
    original = find("hmc" if sampler == "malt" else sampler)
    mutant = copied(original, name, step)
    found = {
        test: has_law(sampler, mutant)
        if test == LAW
        else has_bits(test, sampler, mutant, monkeypatch)
        for test in tests
    }
    assert found == dict.fromkeys(tests, False)


@pytest.mark.parametrize("sampler", ["underdamped", "mala", "hmc", "malt"])
def test_the_original_is_not(sampler, monkeypatch):
    step = {"underdamped": baoab}.get(sampler, adjusted)
    original = find("hmc" if sampler == "malt" else sampler)
    copy = copied(original, f"copy of {sampler}", step)
    assert has_bits(BITS, sampler, copy, monkeypatch)
    assert has_law(sampler, copy)
