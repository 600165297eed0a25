"""A plan runs with the energy, and from the start, for which it was made, and with no other."""

import dataclasses

import numpy as np
import pytest

import isotherm


def gaussian(dim):
    return isotherm.GaussianEnergy(np.zeros(dim), np.eye(dim))


def mixture(n, dim):
    return isotherm.GaussianMixtureEnergy(np.ones((n, dim)))


@isotherm.formula(dim=None)
def sum_of_squares(x, *, k=1.0):
    return k * sum(x * x)


@isotherm.formula(dim=None)
def sum_of_fourths(x, *, k=1.0):
    return k * sum(x**4)


class Users:
    def __call__(self, x):
        return (x * x).sum(1)

    def gradient(self, x):
        return 2.0 * x


class Others(Users):
    pass


PAIRS = {
    "fewer dimensions": (gaussian(2), gaussian(5)),
    "more dimensions": (gaussian(5), gaussian(2)),
    "another kind": (gaussian(2), isotherm.HarmonicEnergy()),
    "another formula": (sum_of_squares(), sum_of_fourths()),
    "other shapes": (mixture(2, 2), mixture(3, 2)),
    "another class": (Users(), Others()),
}


@pytest.mark.parametrize(("planned", "given"), PAIRS.values(), ids=PAIRS)
def test_another_energy_than_the_plans_is_refused(backend, planned, given):
    dim = getattr(planned, "dim", None) or 2
    plan = isotherm.make_plan(planned, dim=dim, n_samples=4, n_steps=3, backend=backend)
    with pytest.raises(isotherm.InputError, match=r"the plan was made for .*, not for "):
        isotherm.run(plan, given)


def test_other_values_of_the_parameters_are_the_same_plans():
    plan = isotherm.make_plan(sum_of_squares(k=1.0), dim=2, n_steps=3, seed=0)
    assert (isotherm.run(plan, sum_of_squares(k=2.0)).samples != 0).all()


def test_a_plan_whose_shape_was_replaced_is_refused(backend):
    plan = isotherm.make_plan(gaussian(2), n_samples=4, n_steps=3, backend=backend)
    with pytest.raises(isotherm.InputError, match="on states of shape"):
        isotherm.run(dataclasses.replace(plan, event_shape=(5,)), gaussian(2))


def test_a_schedule_that_is_too_short_is_not_read_beyond_its_end(backend):
    steps = [0.1] * 8
    plan = isotherm.make_plan(gaussian(2), n_samples=4, n_steps=8, step_size=steps, backend=backend)
    with pytest.raises(isotherm.InputError, match="the schedule has 8 steps"):
        isotherm.run(dataclasses.replace(plan, n_steps=12), gaussian(2))


def test_a_start_is_not_forgotten():
    energy, x = gaussian(2), np.full((4, 2), 7.0)
    plan = isotherm.make_plan(energy, x, n_steps=3, seed=0)
    assert "start          x, as given" in str(plan)
    with pytest.raises(isotherm.InputError, match=r"pass it to run as well: run\(plan, energy, x"):
        isotherm.run(plan, energy)
    assert isotherm.run(plan, energy, x).samples.min() > 6


def test_a_start_that_the_plan_knows_nothing_of_is_refused():
    energy = gaussian(2)
    plan = isotherm.make_plan(energy, n_samples=4, n_steps=3, seed=0)
    assert "start          N(0, I)" in str(plan)
    with pytest.raises(isotherm.InputError, match=r"leave out x, or make the plan with it"):
        isotherm.run(plan, energy, np.ones((4, 2)))


@pytest.mark.parametrize("bad", [np.full((4, 2), np.nan), np.full((4, 2), 1e300)])
def test_a_start_that_is_not_finite_is_refused_by_run(bad):
    energy = gaussian(2)
    plan = isotherm.make_plan(energy, np.ones((4, 2), np.float32), n_steps=3, seed=0)
    with pytest.raises(isotherm.InputError, match="chains must start from finite states"):
        isotherm.run(plan, energy, bad)


def test_workers_are_sent_no_other_energy(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    plan = isotherm.make_plan(gaussian(2), n_samples=4, n_steps=3)
    with ThreadPoolExecutor(1) as executor:
        monkeypatch.setattr(executor, "submit", None)  # nothing is sent
        with pytest.raises(isotherm.InputError, match="the plan was made for"):
            isotherm.run(plan, gaussian(5), executor=executor)
