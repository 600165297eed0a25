"""A formula is what it reads: a change of it is seen, by old and by new energies."""

import decimal
import functools
import os
import pickle
import sys
import types

import numpy as np
import pytest

import isotherm
from isotherm import FormulaError
from isotherm._programs.reads import what_is_read

STIFFNESS = 1.0
CENTRE = np.array([0.0])
SETTINGS = {"stiffness": [1.0]}
module = types.ModuleType("settings_of_a_user")
module.stiffness = 1.0


class Settings:
    stiffness = 1.0


class Inherited(Settings):
    pass


class Meta(type):
    @property
    def stiffness(cls):
        return STIFFNESS


class Answering(metaclass=Meta):
    pass


class Making:
    def __init__(self):
        self.stiffness = STIFFNESS


def helper(x):
    return STIFFNESS * x


def of_a_global(x):
    return 0.5 * STIFFNESS * x * x


def of_a_helper(x):
    return 0.5 * x * helper(x)


def of_a_module(x):
    return 0.5 * module.stiffness * x * x


def of_a_class(x):
    return 0.5 * Settings.stiffness * x * x


def of_a_container(x):
    return 0.5 * SETTINGS["stiffness"][0] * x * x


def of_an_inner_function(x):
    return (lambda y: 0.5 * STIFFNESS * y * y)(x)


def of_an_inherited_attribute(x):
    return 0.5 * Inherited.stiffness * x * x


def of_a_metaclass(x):
    return 0.5 * Answering.stiffness * x * x


def of_what_is_made(x):
    return 0.5 * Making().stiffness * x * x


def of_an_attribute_of_a_function(x):
    return 0.5 * helper.stiffness * x * x


def asked(owner, x):
    return owner.stiffness * x


def of_what_is_handed_on(x):
    return 0.5 * asked(module, x) * x


def of_the_environment(x):
    return 0.5 * float(os.environ["STIFFNESS_OF_A_TEST"]) * x * x


def of_an_environment_asked(x):
    return 0.5 * float(asks_environment("STIFFNESS_OF_A_TEST")) * x * x


def of_the_state_of_the_interpreter(x):
    return 0.5 * (sys.getrecursionlimit() - 5000) * x * x


def of_the_state_of_decimals(x):
    return 0.5 * (decimal.getcontext().prec - 20) * x * x


def of_a_method(x):
    return 0.5 * take("stiffness")[0] * x * x


def of_a_ufunc_of_ones_own(x):
    return 0.5 * float(ufunc(1.0)) * x * x


def of_anything(x):
    return 0.5 * globals()["STIFFNESS"] * x * x


take = SETTINGS.get
ufunc = np.frompyfunc(lambda x: STIFFNESS * x, 1, 1)
asks_environment = os.environ.get
MASKED = np.ma.array(np.ones(9), mask=np.arange(9) > 0)


def set_everywhere(value):
    globals()["STIFFNESS"] = value
    os.environ["STIFFNESS_OF_A_TEST"] = str(value)
    sys.setrecursionlimit(5000 + int(value))
    decimal.getcontext().prec = 20 + int(value)
    helper.stiffness = module.stiffness = Settings.stiffness = SETTINGS["stiffness"][0] = value


@pytest.fixture(autouse=True)
def _as_it_was():
    depth, digits = sys.getrecursionlimit(), decimal.getcontext().prec
    yield
    set_everywhere(1.0)
    del os.environ["STIFFNESS_OF_A_TEST"]
    sys.setrecursionlimit(depth)
    decimal.getcontext().prec = digits
    CENTRE[0] = 0.0


FUNCTIONS = [
    of_a_global,
    of_a_helper,
    of_a_module,
    of_a_class,
    of_a_container,
    of_an_inner_function,
    of_an_inherited_attribute,
    of_a_metaclass,
    of_what_is_made,
    of_an_attribute_of_a_function,
    of_what_is_handed_on,
    of_the_environment,
    of_an_environment_asked,
    of_the_state_of_the_interpreter,
    of_the_state_of_decimals,
    of_a_method,
    of_a_ufunc_of_ones_own,
    of_anything,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_change_is_seen(function):
    made = isotherm.formula(function)
    old = made()
    x = np.array([[2.0]])
    for value in (1.0, 4.0, 1.0, 9.0):
        set_everywhere(value)
        for energy in (old, made()):
            assert energy(x).tolist() == [2.0 * value]
            assert energy.gradient(x).tolist() == [[2.0 * value]]


def test_a_change_is_seen_at_every_plan(backend):
    @isotherm.formula(dim=1)
    def shifted(x):
        return 50.0 * (x[0] - CENTRE[0]) ** 2

    energy = shifted()
    for centre in (0.0, 5.0):
        CENTRE[0] = centre  # in place
        state = isotherm.sample_chain(
            energy, n_samples=20, n_steps=300, step_size=0.002, seed=0, backend=backend
        )
        assert abs(float(state.mean()) - centre) < 0.2


def test_closures_and_partial_functions_are_seen():
    stiffness, scale = 1.0, np.ones(1)
    scaled = functools.partial(np.multiply, scale)

    @isotherm.formula(dim=1)
    def energy(x):
        return stiffness * x[0] * scaled(x[0])[0]

    x = np.ones((1, 1))
    assert energy()(x).tolist() == [1.0]
    stiffness = 3.0
    assert energy()(x).tolist() == [3.0]
    scale[0] = 2.0
    assert energy()(x).tolist() == [6.0]


class Spring:
    def __init__(self):
        self.stiffness, self.centre = 1.0, np.zeros(1)

    def energy(self, x, *, power: int = 2):
        return self.stiffness * np.sum((x - self.centre) ** power)

    def __call__(self, x):
        return self.energy(x)  # the line of an object


def scaled_sum(scale, x, *, shift=1.0, k):
    return scale[0] * k * np.sum((x - shift) ** 2)


def doubled(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return 2.0 * function(*args, **kwargs)

    return call


def test_methods_and_objects_are_what_they_hold():
    spring, x = Spring(), np.full((1, 3), 2.0)
    method, called = isotherm.formula(dim=3)(spring.energy), isotherm.formula(dim=3)(spring)
    assert (method.__name__, called.__name__) == ("energy", "Spring")
    energies = [method(), called(), method(power=2)]
    assert [energy(x).tolist() for energy in energies] == [[12.0]] * 3
    spring.centre[0], spring.stiffness = 1.0, 5.0
    for energy in energies:
        assert energy(x).tolist() == [15.0]
        assert energy.gradient(x).tolist() == [[10.0] * 3]
        assert pickle.loads(pickle.dumps(energy))(x).tolist() == [15.0]
    spring.centre = np.zeros(2)
    with pytest.raises(FormulaError, match=r"do not go together \(in formula __call__, line \d+"):
        called().program()


def test_partial_and_decorated_functions():
    scale, x = np.array([3.0]), np.full((1, 2), 2.0)
    made = isotherm.formula(dim=2)(functools.partial(scaled_sum, scale, shift=0.0))
    assert made(k=3.0)(x).tolist() == [72.0]
    assert made(k=3.0, shift=1.0)(x).tolist() == [18.0]  # what is bound is a default
    assert made(k=3.0).program() is made(k=2.0).program()
    scale[0] = 1.0
    assert pickle.loads(pickle.dumps(made(k=3.0)))(x).tolist() == [24.0]
    twice = isotherm.formula(dim=2)(doubled(lambda x, *, k=1.0, m: k * m * np.sum(x * x)))
    assert twice(m=2.0)(x).tolist() == [32.0]
    assert twice(0.5, m=2.0)(x).tolist() == [16.0]


@pytest.mark.parametrize("read", [np.load, lambda file: np.array(float(file.read_text()))])
def test_a_file_is_read_each_time(tmp_path, read):
    def write(value):
        if read is np.load:
            np.save(file, np.array(value))
        else:
            file.write_text(str(value))

    file = tmp_path / "stiffness.npy"
    energy = isotherm.formula(lambda x: float(read(file)) * x)()
    for value in (1.0, 3.0):
        write(value)
        assert energy(np.ones((1, 1))).tolist() == [value]


def test_an_array_with_a_mask_is_refused():
    energy = isotherm.formula(dim=9)(lambda x: np.sum(MASKED * x))()  # the line
    with pytest.raises(FormulaError, match=r"is a masked array.*fill it.*the line"):
        energy.program()


def test_an_object_that_cannot_be_compared_is_read_each_time():
    settings = types.SimpleNamespace(stiffness=1.0)
    energy = isotherm.formula(lambda x: settings.stiffness * x)()
    assert energy(np.ones((1, 1))).tolist() == [1.0]
    settings.stiffness = 2.0
    assert energy(np.ones((1, 1))).tolist() == [2.0]


def test_equal_programs_are_one():
    first, second = (isotherm.formula(of_a_global)().program() for _ in range(2))
    assert first is second
    assert isotherm.formula(of_anything)().program() is isotherm.formula(of_anything)().program()


def test_functions_of_arrays_are_what_they_are():
    """Else every energy with a sum in it would be traced again for every run."""
    assert what_is_read(lambda x: np.sum(np.roll(x, 1) * np.logaddexp(x, 0.0))) is not None
    assert what_is_read(lambda x: np.sum(x) * np.loadtxt("a")) is None


def test_a_run_has_the_energy_of_its_start():
    energy = isotherm.formula(of_a_global)()
    fixed = energy.fixed((1,))
    set_everywhere(4.0)
    x = np.array([[2.0]])
    assert fixed(x).tolist() == [2.0]
    assert pickle.loads(pickle.dumps(fixed))(x).tolist() == [2.0]  # in a worker, too
    assert energy(x).tolist() == [8.0]


@pytest.mark.parametrize("rng", [np.random.default_rng(0), np.random])
def test_random_numbers_are_refused(rng):
    energy = isotherm.formula(lambda x: x * rng.normal())()  # the line
    with pytest.raises(FormulaError, match=r"cannot draw random numbers.*as a parameter.*the line"):
        energy.program()
