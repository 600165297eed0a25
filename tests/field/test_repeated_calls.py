"""Calls in a loop: what one call made ready serves the next, and is never another call's."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import isotherm
from isotherm._planning import make_plan
from isotherm._runs import checks
from isotherm._runs.prepared import Prepared

same = np.testing.assert_array_equal

X = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(4, 3)
SAMPLERS = [
    isotherm.LangevinDynamics,
    isotherm.UnderdampedLangevin,
    isotherm.MALA,
    isotherm.HamiltonianMonteCarlo,
]


class Spring:
    """An object with array methods, whose stiffness may be changed between calls."""

    def __init__(self):
        self.k = 1.0
        self.inside = None

    def __call__(self, x):
        return 0.5 * self.k * (x * x).sum(-1)

    def gradient(self, x):
        if self.inside is not None:
            self.inside()
        return self.k * x


@pytest.fixture
def preparations(monkeypatch):
    """The seeds of the plans for which a runner was made."""
    seeds, take = [], Prepared.take

    class Counting:
        def __init__(self, backend):
            self.backend = backend

        def prepare(self, plan, energy):
            seeds.append(plan.seed)
            return self.backend.prepare(plan, energy)

    monkeypatch.setattr(
        Prepared, "take", lambda self, backend, *given: take(self, Counting(backend), *given)
    )
    return seeds


@pytest.mark.parametrize("make", SAMPLERS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "energy", [Spring(), isotherm.DoubleWellEnergy()], ids=["object", "formula"]
)
def test_calls_give_what_fresh_samplers_give(energy, make, backend):
    one = make(energy, step_size=0.01, backend=backend)
    for seed, start in ((3, X), (3, X), (4, X), (3, X + 1)):
        options = {"x": start, "n_steps": 5, "seed": seed, "return_trajectory": True}
        fresh = make(energy, step_size=0.01, backend=backend).sample_chain(**options)
        same(np.asarray(one.sample_chain(**options)), np.asarray(fresh))


def test_a_loop_of_calls_prepares_once(preparations):
    one = isotherm.LangevinDynamics(Spring(), backend="numpy")
    for seed in range(5):
        one.sample_chain(x=X, n_steps=2, seed=seed)
    assert preparations == [0]
    one.sample_chain(x=X, n_steps=3, seed=5)
    one.step_size = 0.5
    one.sample_chain(x=X, n_steps=3, seed=6)
    one.energy_function = Spring()
    one.sample_chain(x=X, n_steps=3, seed=7)
    one.sample_chain(x=X.astype(np.float64), n_steps=3, seed=8)
    one.sample_chain(x=X, n_steps=3, seed=9)
    assert preparations == [0, 5, 6, 7, 8, 9]


@isotherm.formula
def spring(x, *, k=1.0):
    return POWER * k * x * x


POWER = 0.5


def test_a_loop_of_calls_of_a_formula_prepares_once_until_what_it_reads_changes(
    preparations, monkeypatch
):
    one = isotherm.LangevinDynamics(spring(), backend="numpy", step_size=0.1)
    for seed in range(3):
        before = one.sample_chain(x=X, n_steps=2, seed=0 if seed else 1)
    assert preparations == [1]
    monkeypatch.setitem(globals(), "POWER", 5.0)
    after = one.sample_chain(x=X, n_steps=2, seed=0)
    assert preparations == [1, 0]
    fresh = isotherm.LangevinDynamics(spring(), backend="numpy", step_size=0.1)
    same(after, fresh.sample_chain(x=X, n_steps=2, seed=0))
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("energy", [Spring(), spring()], ids=["object", "formula"])
def test_a_loop_of_calls_plans_once_and_looks_at_each_start_once(energy, monkeypatch):
    plans, starts = [], []

    def planned(plan):
        plans.append(plan)
        return validate(plan)

    def looked_at(x, *given, **named):
        starts.append(x)
        return check(x, *given, **named)

    validate, check = make_plan.validate_plan, make_plan.check_start
    monkeypatch.setattr(make_plan, "validate_plan", planned)
    for module in (make_plan, checks):
        monkeypatch.setattr(module, "check_start", looked_at)
    one = isotherm.LangevinDynamics(energy, backend="numpy", step_size=0.1)
    for seed in range(4):
        one.sample_chain(x=X + seed, n_steps=2, seed=seed)
    assert len(plans) == 1
    assert len(starts) == 4
    with pytest.raises(isotherm.InputError, match="x holds NaN"):
        one.sample_chain(x=X * np.nan, n_steps=2)


def test_draws_of_a_buffer_prepare_once(preparations):
    one = isotherm.LangevinDynamics(Spring(), backend="numpy", step_size=0.1)
    buffer = isotherm.ChainBuffer(one, capacity=16, shape=3, seed=0)
    for _ in range(3):
        buffer.draw(4, n_steps=2)
    assert len(preparations) == 1


@pytest.mark.parametrize("make", SAMPLERS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "energy", [Spring(), isotherm.DoubleWellEnergy()], ids=["object", "formula"]
)
def test_a_runner_serves_other_chains_of_the_stream(energy, make, backend):
    one = make(energy, step_size=0.01, backend=backend)
    for offset in (0, 3, 2**40 + 1):
        options = {"x": X, "n_steps": 5, "seed": 3, "chain_offset": offset}
        options |= {"return_trajectory": True, "return_diagnostics": True}
        fresh = make(energy, step_size=0.01, backend=backend).sample_chain(**options)
        for got, expected in zip(one.sample_chain(**options), fresh, strict=True):
            same(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize("make", SAMPLERS, ids=lambda one: one.name)
def test_how_many_blocks_of_noise_are_made_at_a_time_does_not_matter(make, backend, limits):
    def sampled():
        one = make(Spring(), step_size=0.1, backend=backend)
        return np.asarray(one.sample_chain(x=X, n_steps=37, seed=0, step_offset=2))

    expected = sampled()
    for size in (1, 100, 2**20):
        limits(normals_in_cache=size)
        same(sampled(), expected)


@pytest.mark.parametrize(
    "change", [{"k": 2.0}, {"gradient": lambda x: 5.0 * x}], ids=["number", "gradient"]
)
def test_what_an_object_is_now_counts(change, backend):
    one = isotherm.LangevinDynamics(Spring(), backend=backend, step_size=0.1)
    before = one.sample_chain(x=X, n_steps=2, seed=0)
    vars(one.energy_function).update(change)
    fresh = isotherm.LangevinDynamics(one.energy_function, backend=backend, step_size=0.1)
    after = one.sample_chain(x=X, n_steps=2, seed=0)
    same(after, fresh.sample_chain(x=X, n_steps=2, seed=0))
    assert not np.array_equal(after, before)


def test_a_run_within_a_run_and_threads_have_runners_of_their_own():
    energy = Spring()
    one = isotherm.LangevinDynamics(energy, backend="numpy", step_size=0.1)
    expected = {seed: one.sample_chain(x=X, n_steps=8, seed=seed) for seed in range(8)}

    def within():
        energy.inside = None
        same(one.sample_chain(x=X, n_steps=8, seed=1), expected[1])

    energy.inside = within
    same(one.sample_chain(x=X, n_steps=8, seed=0), expected[0])
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda seed: one.sample_chain(x=X, n_steps=8, seed=seed), range(8))
        for seed, samples in enumerate(made):
            same(samples, expected[seed])


def test_an_error_in_a_run_leaves_nothing_behind():
    energy = Spring()
    one = isotherm.LangevinDynamics(energy, backend="numpy", step_size=0.1)
    expected = one.sample_chain(x=X, n_steps=8, seed=0)
    calls = iter(range(100))

    def fail():
        if next(calls) == 3:
            raise ArithmeticError

    energy.inside = fail
    with pytest.raises(ArithmeticError):
        one.sample_chain(x=X, n_steps=8, seed=0)
    energy.inside = None
    same(one.sample_chain(x=X, n_steps=8, seed=0), expected)


def test_copies_and_pickles_of_samplers_take_no_runner_along():
    one = isotherm.LangevinDynamics(isotherm.DoubleWellEnergy(), backend="numpy", step_size=0.1)
    expected = one.sample_chain(x=X, n_steps=3, seed=0)
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
        same(other.sample_chain(x=X, n_steps=3, seed=0), expected)
    assert len(pickle.dumps(Prepared())) < 200


@pytest.mark.parametrize(
    ("sampler", "name", "value"),
    [
        (isotherm.LangevinDynamics, "clamp", (-0.1, 0.1)),
        (isotherm.LangevinDynamics, "decay", 0.5),
        (isotherm.LangevinDynamics, "noise_scale", 0.1),
        (isotherm.UnderdampedLangevin, "friction", 50.0),
        (isotherm.UnderdampedLangevin, "bounds", (-0.5, 0.5)),
        (isotherm.MALA, "inverse_mass", 0.01),
        (isotherm.MALA, "gradient_clip", 0.01),
        (isotherm.HamiltonianMonteCarlo, "n_leapfrog", 5),
        (isotherm.HamiltonianMonteCarlo, "jitter", 0.0),
    ],
)
def test_what_is_set_on_a_sampler_acts_at_the_next_run(sampler, name, value):
    energy, options = isotherm.DoubleWellEnergy(), {"step_size": 0.05, "backend": "numpy"}
    run = {"x": np.full((3, 2), 0.3), "n_steps": 5, "seed": 0, "on_divergence": "ignore"}
    made = sampler(energy, **options)
    before = made.sample_chain(**run)
    setattr(made, name, value)
    after = made.sample_chain(**run)
    np.testing.assert_array_equal(
        after, sampler(energy, **options, **{name: value}).sample_chain(**run)
    )
    assert not np.array_equal(after, before)
    setattr(made, name, "much")
    with pytest.raises(isotherm.InputError, match=name):
        made.sample_chain(**run)
