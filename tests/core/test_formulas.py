"""Tracing: what a formula becomes, and what is refused with the user's line."""

import linecache
import math
import pickle
from functools import partial

import numpy as np
import pytest

import isotherm
from isotherm import FormulaError, InputError
from isotherm import math as im


@isotherm.formula
def quartic(x, *, strength=1.0):
    return strength * x**4


@isotherm.formula(dim=2)
def ring(x, *, radius=2.0):
    r = np.sqrt(x[0] * x[0] + x[1] * x[1])
    return 10.0 * (r - radius) * (r - radius)


@isotherm.formula
def monomial(x, *, order: int = 2, scale=1.0):
    return scale * x**order


def operations(program):
    return [i.op for i in program.instructions if i.op not in ("const", "coordinate", "parameter")]


def test_text_of_an_elementwise_program():
    assert str(isotherm.DoubleWellEnergy().program()) == (
        "DoubleWellEnergy(x, barrier_height, b), of each coordinate\n"
        "  v3 = x * x\n"
        "  v4 = b * b\n"
        "  v5 = v3 - v4\n"
        "  v6 = v5 * v5\n"
        "  v7 = barrier_height * v6\n"
        "  v9 = barrier_height * 2.0\n"
        "  v10 = v9 * 2.0\n"
        "  v11 = v5 * x\n"
        "  v12 = v10 * v11\n"
        "  energy = v7\n"
        "  gradient = v12"
    )


def test_text_of_a_program_of_a_state():
    energy = isotherm.formula(dim=2)(lambda x: im.where(x[0] > x[1], -x[0], im.exp(x[1])))()
    assert str(energy.program()) == (
        "<lambda>(x), of a chain in 2 dimensions\n"
        "  v2 = x[0] > x[1]\n"
        "  v3 = -x[0]\n"
        "  v4 = exp(x[1])\n"
        "  v5 = where(v2, v3, v4)\n"
        "  v8 = where(v2, 1.0, 0.0)\n"
        "  v9 = where(v2, 0.0, 1.0)\n"
        "  v10 = v9 * v4\n"
        "  v11 = -v8\n"
        "  energy = v5\n"
        "  gradient[0] = v11\n"
        "  gradient[1] = v10"
    )


def test_equal_subexpressions_are_computed_once():
    energy = isotherm.formula(lambda x: im.exp(x * x) + im.exp(x * x) * im.sin(x * x))()
    made = operations(energy.program())
    assert made.count("exp") == 1
    assert made.count("sin") == 1
    instructions = energy.program().instructions
    assert len(set(instructions)) == len(instructions)


def test_what_nothing_needs_is_left_out():
    def wasteful(x):
        im.exp(im.sin(x))
        return x

    assert operations(isotherm.formula(wasteful)().program()) == []


def test_operations_on_constants_are_done_when_traced():
    program = isotherm.formula(lambda x: (im.sqrt(4.0) + np.cos(0.0)) * x)().program()
    assert operations(program) == ["mul"]
    assert 3.0 in [i.value for i in program.instructions if i.op == "const"]


def test_numpy_and_isotherm_functions_trace_to_the_same_program():
    def with_numpy(x):
        return np.sqrt(np.exp(x) + np.abs(x)) - np.where(x > 1.0, np.tanh(x), np.log(np.cos(x)))

    def with_isotherm(x):
        return im.sqrt(im.exp(x) + abs(x)) - im.where(x > 1.0, im.tanh(x), im.log(im.cos(x)))

    programs = [isotherm.formula(f)().program() for f in (with_numpy, with_isotherm)]
    assert programs[0].digest == programs[1].digest


def test_numpy_works_on_the_coordinates_of_a_state():
    energy = isotherm.formula(dim=3)(lambda x, *, m: np.sum(np.exp(x * m)) + x @ x)(m=[1, 2, 3])
    x = np.random.default_rng(0).normal(size=(4, 3))
    m = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(energy(x), np.exp(x * m).sum(axis=1) + (x * x).sum(axis=1))
    np.testing.assert_allclose(energy.gradient(x), m * np.exp(x * m) + 2 * x)


def test_changing_a_parameter_reuses_the_program():
    assert quartic(strength=1.0).program() is quartic(strength=2.0).program()
    assert monomial(order=4, scale=3.0).program() is monomial(order=4).program()
    assert monomial(order=4).program().digest != monomial(order=3).program().digest


def test_a_digest_tells_programs_apart():
    others = [lambda x: x * x, lambda x: x * x * x, lambda x: x - 1.0, lambda x: x - 2.0]
    digests = {isotherm.formula(f)().program().digest for f in others}
    assert len(digests) == len(others)
    again = isotherm.formula(lambda x: x * x)().program().digest
    assert again in digests


def test_an_integer_parameter_may_be_an_exponent_or_a_count():
    assert monomial(order=3)(np.array([[2.0, 1.0]])).tolist() == [9.0]
    with pytest.raises(InputError, match="order must be an int"):
        monomial(order=2.5)


def test_parameters_may_be_arrays():
    @isotherm.formula(dim=None)
    def weighted(x, *, weights, offset=0.0):
        return sum(w * c * c for w, c in zip(weights[1], x, strict=True)) + offset

    energy = weighted(weights=[[9.0, 9.0], [2.0, 3.0]], offset=np.float32(0.5))
    assert energy(np.array([[1.0, 2.0]])).tolist() == [14.5]
    assert energy.gradient(np.array([[1.0, 2.0]])).tolist() == [[4.0, 12.0]]
    assert energy.program(dim=2).parameters[2] == "weights[1,0]"


def test_the_users_array_is_not_kept():
    strength = np.array(2.0)
    energy = quartic(strength=strength)
    strength[...] = 5.0
    assert energy(np.ones((1, 1))).tolist() == [2.0]


@pytest.mark.parametrize(
    "energy",
    [
        quartic(strength=3.0),
        ring(radius=1.5),
        monomial(order=3),
        isotherm.DoubleWellEnergy(b=1.5),
        isotherm.AckleyEnergy(),
        isotherm.GaussianEnergy([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]),
        isotherm.GaussianMixtureEnergy([[0.0, 1.0], [2.0, 3.0]], [1.0, 2.0], [0.3, 0.7]),
    ],
    ids=lambda energy: energy.name,
)
def test_energies_are_pickled(energy):
    x = np.random.default_rng(0).normal(size=(3, 2))
    expected = energy(x), energy.gradient(x)  # before: what is bound to a device is left behind
    copy = pickle.loads(pickle.dumps(energy))
    np.testing.assert_array_equal(copy(x), expected[0])
    np.testing.assert_array_equal(copy.gradient(x), expected[1])
    assert repr(copy) == repr(energy)


def branching(x):
    if x > 0:  # the line of branching
        return x
    return -x


def unknown_function(x):
    return np.gcd(x, x)  # the line of unknown_function


def math_function(x):
    return math.exp(x)  # the line of math_function


def indexing(x):
    return x[0]  # the line of indexing


def unpacking(x):
    a, b = x  # the line of unpacking
    return a + b


def comparison_as_number(x):
    return (x > 0.0) + (x < 1.0)  # the line of comparison_as_number


def number_as_comparison(x):
    return im.where(x, 1.0, x)  # the line of number_as_comparison


def a_string(x):
    return x + "1"  # the line of a_string


def in_a_helper(x):
    return helper(x)


def helper(x):
    return x + bool(x < 1.0)  # the line of in_a_helper


@pytest.mark.parametrize(
    ("function", "problem", "remedy"),
    [
        (branching, "cannot branch", r"isotherm\.math\.where"),
        (unknown_function, r"np\.gcd is not known", "elementwise functions.* are"),
        (math_function, "not known while a formula is traced", r"isotherm\.math\.exp"),
        (indexing, "one number, not a sequence", r"@isotherm\.formula\(dim=\.\.\.\)"),
        (unpacking, "one number, not a sequence", r"@isotherm\.formula\(dim=\.\.\.\)"),
        (comparison_as_number, "a comparison is the condition", r"isotherm\.math\.where"),
        (number_as_comparison, "needs a comparison", "for example x > 0"),
        (a_string, "cannot calculate with '1'", "use numbers, parameters and x"),
        (in_a_helper, "cannot branch", r"isotherm\.math\.where"),
    ],
)
def test_what_a_formula_cannot_do_is_refused_with_its_line(function, problem, remedy):
    with pytest.raises(FormulaError, match=problem) as caught:
        isotherm.formula(function)().program()
    message = str(caught.value)
    assert "\n" not in message
    assert f"# the line of {function.__name__}" in message
    assert f"formula {function.__name__}, line " in message
    with pytest.raises(FormulaError, match=remedy):  # refused when planned, not when run
        isotherm.make_plan(isotherm.formula(function), dim=2, backend="numpy")


@pytest.mark.parametrize("returned", [None, 1.0, "energy", [1.0, 2.0]])
def test_a_formula_must_return_its_energy(returned):
    with pytest.raises(FormulaError, match="must return its energy"):
        isotherm.formula(lambda x: returned)().program()


def test_a_comparison_is_no_energy():
    with pytest.raises(FormulaError, match="must return its energy"):
        isotherm.formula(lambda x: x > 0.0)().program()


def test_a_state_is_no_energy():
    with pytest.raises(FormulaError, match="must return its energy"):
        isotherm.formula(dim=2)(lambda x: x * x)().program()


@pytest.mark.parametrize("dim", [0, -1, 1.5, "2", True])
def test_the_dimension_of_a_formula_is_checked(dim):
    with pytest.raises(InputError, match="dim must be a positive integer or None"):
        isotherm.formula(dim=dim)(lambda x: x[0])


@pytest.mark.parametrize(
    "function",
    [3, np.cos, np.sum, int, partial(max, 1.0), lambda: 1.0, partial(lambda *x: x[0]), "x * x"],
)
def test_a_formula_is_made_of_a_function_of_x(function):
    with pytest.raises(InputError, match=r"a function in Python.*def f\(x\): return"):
        isotherm.formula(function)


async def later(x):
    return x * x


def one_by_one(x):
    yield x * x


class Spring:
    def energy(self, x):
        return x * x


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (isotherm.formula(dim=3), r"given its function.*formula\(f, dim=3\)\(\.\.\.\)"),
        (isotherm.formula(), r"given its function.*formula\(f\)\(\.\.\.\)"),
        (lambda: isotherm.formula(later), r"which later\(x\), with yield or async, does not"),
        (lambda: isotherm.formula(one_by_one), r"which one_by_one\(x\), with yield or async"),
        (lambda: isotherm.formula(Spring.energy), r"isotherm\.formula\(model\.energy\)"),
        (lambda: isotherm.formula(quartic), "is a formula already"),
        (lambda: isotherm.formula(quartic()), r"quartic\(strength=1.0\) is a formula already"),
        (lambda: isotherm.formula(Spring), "a function in Python.*not <class"),
        (
            lambda: isotherm.formula(dim=2.0),
            "dim must be a positive integer",
        ),  # before any function
    ],
)
def test_what_is_decorated_is_a_plain_function(made, said):
    with pytest.raises(InputError, match=said):
        made()
    assert isotherm.formula(Spring().energy)()(np.ones((1, 2))) == [2.0]


def test_brackets_without_a_dim_change_nothing():
    def spring(x, *, k=1.0):
        return k * x * x

    programs = [made().program() for made in (isotherm.formula(spring), isotherm.formula()(spring))]
    assert programs[0] is programs[1]
    assert isotherm.formula(lambda x: (x * x).sum(), dim=None)().program(3).dim == 3


@pytest.mark.parametrize("name", ["self", "x", "out", "dim", "function", "energy", "v0", "float"])
def test_a_parameter_may_have_any_name(name):
    scope = {}
    exec(f"def spring(y, *, {name}=1.0): return {name} * y * y", scope)
    energy = isotherm.formula(scope["spring"])(**{name: 2.0})
    assert energy(np.ones((1, 2))) == [4.0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x, *, device=1.0: device * x,
        lambda x, *numbers: x,
        lambda x, **numbers: x,
        lambda x, k, /: k * x,
    ],
    ids=["device", "list", "dictionary", "position"],
)
def test_parameters_that_cannot_be_given_by_their_names_are_refused(function):
    with pytest.raises(isotherm.InputError, match="give each parameter a name of its own"):
        isotherm.formula(function)


def test_the_dimension_of_a_program():
    assert ring().program().dim == 2
    with pytest.raises(InputError, match="ring has dimension 2, not 3"):
        ring().program(dim=3)
    with pytest.raises(InputError, match="takes any dimension; say which"):
        isotherm.AckleyEnergy().program()
    assert len(isotherm.AckleyEnergy().program(dim=4).gradient) == 4
    assert quartic().program(dim=7) is quartic().program()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "must be finite"),
        (math.inf, "must be finite"),
        ("one", "must be a number or an array of numbers"),
        (None, "must be a number or an array of numbers"),
        (1j, "must be a number or an array of numbers"),
        (10**400, "must be a number or an array of numbers"),
        ([[1.0], [1.0, 2.0]], "must be a number or an array of numbers"),
    ],
)
def test_parameters_are_checked(value, message):
    with pytest.raises(InputError, match=f"quartic: strength {message}"):
        quartic(strength=value)


def test_a_table_of_other_things_is_named_and_its_truths_are_numbers():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"age": [31.0, 52.0], "sex": ["m", "f"], "is_ill": [True, False]})
    with pytest.raises(InputError, match="strength is a DataFrame of other things"):
        quartic(strength=table)
    truths = (table.is_ill, table.is_ill.to_numpy(), [True, False])
    for given in truths:
        assert quartic(strength=given).parameters["strength"].tolist() == [1.0, 0.0]


def test_an_array_in_a_formula_of_one_coordinate_says_what_to_write():
    with pytest.raises(isotherm.FormulaError, match=r"@isotherm.formula\(dim=...\) and np.sum"):
        quartic(strength=[1.0, 2.0]).program()


def test_a_long_line_of_a_formula_is_cut():
    scope = {}
    text = f"def long(x): return float(x) + {' + '.join(['1.0'] * 200)}"
    exec(compile(text, "long_line.py", "exec"), scope)
    linecache.cache["long_line.py"] = (len(text), None, [text], "long_line.py")
    with pytest.raises(isotherm.FormulaError, match=r"line 1: def long.*…\)$") as told:
        isotherm.formula(scope["long"])().program()
    assert len(str(told.value)) < 400


def test_unknown_and_missing_parameters_are_named():
    with pytest.raises(InputError, match=r"quartic.*unexpected keyword argument 'power'"):
        quartic(power=3)
    with pytest.raises(InputError, match="missing a required argument: 'k'"):
        isotherm.formula(lambda x, *, k: k * x)()


@pytest.mark.parametrize("x", [[[1.0]], 1.0, np.array([[1]]), np.array(1.0), np.array([["a"]])])
def test_states_that_are_no_arrays_of_floats_are_refused(x):
    with pytest.raises(InputError, match="quartic"):
        quartic()(x)
    with pytest.raises(InputError, match="ring"):
        ring().gradient(x)


@pytest.mark.parametrize("keeps", ["an operand", "the result", "inside an array"])
def test_a_symbol_of_an_earlier_call_is_refused(keeps):
    saved = {}

    def leaks(x, *, k=1.0):
        kept = saved.setdefault("r", k * x[0])
        if keeps == "the result":
            return kept
        if keeps == "inside an array":
            return sum(x * np.array([kept] * len(x)))
        return sum(x * x) + kept

    energy = isotherm.formula(dim=None)(leaks)()
    energy.program(2)
    with pytest.raises(isotherm.FormulaError, match=r"an earlier call|one number made from x"):
        energy.program(3)


def test_a_formula_called_with_states_says_what_to_call():
    @isotherm.formula(dim=2)
    def ring(x):
        return (x * x).sum()

    with pytest.raises(InputError, match=r"called with states, ring\(\)\(x\): too many"):
        ring(np.ones((3, 2)))
    assert ring()(np.ones((3, 2))).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("dim", [(), 2, (2, 2), None])
def test_states_do_not_pass_for_a_parameter(dim):
    def spring(x, k=1.0, *, centre=0.0):
        return (k * (x - centre) * (x - centre)).sum() if dim != () else k * x * x

    family, states = (
        isotherm.formula(spring, dim=dim),
        np.ones((3, 2, 2) if dim == (2, 2) else (3, 2)),
    )
    with pytest.raises(InputError, match=r"k got an array of shape .* spring\(\)\(x\), or give"):
        family(states)
    assert family(2.0)(states).shape == (3,)
    if dim != ():
        assert family(k=states[:1])(states).shape == (3,)  # by its name it is what was meant
        assert family(states[0])(states).shape == (3,)


def test_a_dim_may_be_given_with_the_function():
    assert isotherm.formula(lambda x: (x * x).sum(), dim=3)().dim == 3
