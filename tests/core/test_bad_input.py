"""Whatever is wrong with the arguments, one sentence of ours says so."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isotherm
import isotherm.math as im
from isotherm import IsothermError
from isotherm._arithmetic.arrays import to_numpy

GOOD = {
    "dim": 2,
    "n_samples": 3,
    "n_steps": 4,
    "burn_in": 1,
    "thinning": 2,
    "seed": 0,
    "step_size": 0.01,
    "backend": "numpy",
    "return_diagnostics": True,
}

LARGE = np.arange(5000.0)  # its repr has several lines
NUMBERS = [0, -1, 1, 3, 2.5, -0.5, math.nan, math.inf, -math.inf, 1e300, 1e-300, 10**400, 2**70]
STRINGS = ["", "a", "0.1", ",", "f4,(", "two\nlines", b"a"]
KINDS = [None, True, 1j, (), [], {}, set(), object(), int]
ARRAYS = [
    LARGE,
    -LARGE,
    np.array(1.0),
    np.array([1, 2]),
    np.array([]),
    np.zeros((2, 0)),
    np.ones((2, 2, 2)),
    np.array([math.nan, 1.0]),
    np.array([1j, 2.0]),
    np.array(["a", "b"]),
    np.array([object(), None]),
    np.array([True, False]),
    np.zeros(2, dtype="f4,f4"),
    np.zeros(2, dtype="M8[s]"),
    np.ma.masked_array([1.0, 2.0], mask=[True, False]),
]
LISTS = [[1, 2], [[1], [1, 2]], ["a", 1], [None, 1], [10**400, 1], (1, 0), (None, None), [1e300, 1]]
FUNCTIONS = [lambda *_: None, lambda *_: "a", lambda *_: math.nan, lambda *_: [1, 2], lambda *_: -1]


class Energy:
    def __init__(self, value, gradient):
        self.value, self.slope = value, gradient

    def __call__(self, x):
        return self.value(x)

    def gradient(self, x):
        return self.slope(x)


OUTPUTS = [
    lambda x: x,
    lambda x: x[:, 0],
    lambda x: x[0],
    lambda x: x.sum(),
    lambda x: x[:, :1],
    lambda x: None,
    lambda x: 1.0,
    lambda x: x.tolist(),
    lambda x: x * math.nan,
    lambda x: x[None],
]
ENERGIES = st.one_of(
    st.builds(Energy, st.sampled_from(OUTPUTS), st.sampled_from(OUTPUTS)),
    st.sampled_from(
        [
            isotherm.GaussianEnergy([0.0], [[1.0]]),
            isotherm.GaussianEnergy([0.0, 0.0], np.eye(2)),
            isotherm.GaussianEnergy,
            isotherm.HarmonicEnergy,
            isotherm.HarmonicEnergy(k=[1.0, 2.0]),
            isotherm.RosenbrockEnergy,
            isotherm.formula(lambda x: x if x > 0 else -x),
            isotherm.formula(dim=5)(lambda x: x[7]),
        ]
    ),
)
ANYTHING = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(STRINGS),
    st.sampled_from(KINDS),
    st.sampled_from(ARRAYS),
    st.sampled_from(LISTS),
    st.sampled_from(FUNCTIONS),
    st.text(max_size=6),
    st.floats(),
    st.integers(-(2**65), 5),
)
OPTIONS = [
    *("x", "dim", "n_steps", "n_samples", "burn_in", "thinning", "seed"),
    *("return_trajectory", "return_diagnostics", "step_size", "noise_scale", "temperature"),
    *("decay", "clamp", "dtype", "device", "backend", "chain_offset", "step_offset"),
    "on_divergence",
]


@given(
    energy=st.one_of(st.just(isotherm.DoubleWellEnergy()), ENERGIES, ANYTHING),
    options=st.dictionaries(st.sampled_from(OPTIONS), ANYTHING, min_size=1, max_size=3),
)
def test_whatever_is_given_the_error_is_ours_and_of_one_line(energy, options):
    arguments = GOOD | options
    if options.get("x") is not None:
        arguments.pop("dim")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.DivergenceWarning)
        try:
            isotherm.sample_chain(energy, **arguments)
        except IsothermError as error:
            check_sentence(error)


def check_sentence(error):
    message = str(error)
    assert message
    assert "\n" not in message
    assert len(message) < 600
    assert isinstance(error, (ValueError, RuntimeError, ImportError))


REFUSED = {
    "n_steps": [-1, 2.0, math.nan, "4", True, None, 2**70, LARGE],
    "n_samples": [0, -1, 3.0, "3", True, 2**70],
    "burn_in": [-1, 1.0, None, 2**40],
    "thinning": [0, 5, 1.0, None],
    "dim": [0, -1, 2.0, "2", True, (), (2, 0), None, 2**40],
    "seed": [-1, 2**64, 1.0, "0", True, np.array([1, 2]), object()],
    "chain_offset": [-1, 2**56, 0.0],
    "step_offset": [-1, 2**33, 0.0],
    "step_size": [0, -0.1, math.nan, math.inf, "a", "0.1", 1j, 10**400, [0.1], LARGE],
    "noise_scale": [-1, math.nan, math.inf, "a", 1j, [1.0] * 4, [1.0] * 4 + [math.nan]],
    "temperature": [-1, math.nan, "a", [1.0] * 6],
    "decay": [-0.1, 1.0, math.nan, "0", None, True],
    "clamp": [(1, 0), (1, 1), (math.nan, 1), (1,), (1, 2, 3), 1, "12", (10**400, None), LARGE],
    "dtype": ["int32", int, "complex64", complex, "bogus", ",", "longdouble", object(), ""],
    "device": ["moon", "cuda:99", "", 3],
    "backend": ["nonexistent", "", 3, None.__class__, LARGE],
    "on_divergence": ["explode", None, True, LARGE],
    "return_trajectory": ["no", 1, None, LARGE],
    "return_diagnostics": ["no", 0, None],
    "x": [
        *(1.0, "a", [], {}, object(), [1.0, math.nan], [[1, 2], [3]], [1j, 2.0], ["a", "b"]),
        *(np.zeros((0, 2)), np.zeros((3, 0)), np.zeros((4, 2)), np.zeros(2, dtype=complex)),
        *(np.zeros(2, dtype=bool), np.array(["a", "b"]), np.array([math.inf, 0.0])),
    ],
}


@pytest.mark.parametrize("option", REFUSED)
def test_refused(option):
    for value in REFUSED[option]:
        arguments = GOOD | {option: value}
        if option == "x":
            arguments.pop("dim")
        with pytest.raises(IsothermError) as caught:  # when planned, before anything runs
            isotherm.make_plan(isotherm.DoubleWellEnergy(), **arguments)
        check_sentence(caught.value)


def nested(depth):
    x = 1.0
    for _ in range(depth):
        x = [x]
    return x


def holding_itself():
    x = []
    x += [x, x]
    return x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": None}, "give x, where the chains start, or dim"),
        ({"thinning": 9}, "thinning=9 is more than n_steps=4"),
        ({"x": np.zeros((5, 2))}, r"5 chains, but n_samples is 3"),
        ({"x": np.zeros((3, 4))}, r"x has shape \(3, 4\) but dim is 2"),
        ({"noise_scale": 1.0, "temperature": 1.0}, "not both"),
        ({"step_size": [0.1] * 5, "dim": 5}, "5 steps and 5 coordinates; for one a step give"),
        ({"step_size": [0.1] * 4}, r"each of the 5 steps \(burn_in \+ n_steps\)"),
        ({"step_size": lambda t: 1.0 - t}, "positive and finite at every step, not 0.0"),
        ({"backend": "nonexistent"}, "pip install isotherm-nonexistent, or take one .*numpy"),
        ({"backend": "../x\n"}, r"backend '../x\\n' is not installed; take one .*numpy"),
        ({"backend": "\ud800"}, r"backend '\\ud800' is not installed; take one"),
        ({"device": "moon"}, "device 'moon' does not exist"),
        ({"x": nested(2000)}, "x holds lists within lists, more than 64 deep; give an array"),
        ({"x": holding_itself()}, "more than 64 deep"),
        ({"step_size": holding_itself()}, "more than 64 deep"),
    ],
)
def test_messages_say_what_was_given_and_what_to_do(options, message):
    with pytest.raises(IsothermError, match=message):
        isotherm.make_plan(isotherm.DoubleWellEnergy(), **GOOD | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"n_samples": 2**45},
            r"the run needs .* TiB and cpu has .* available; .*run fewer chains$",
        ),
        (
            {"n_steps": 2**30, "n_samples": 2**20, "return_trajectory": True},
            r"store='run.zarr'\), keep less \(a larger thinning\), or run fewer chains$",
        ),
    ],
)
def test_what_does_not_fit_into_memory_is_refused(options, message):
    with pytest.raises(IsothermError, match=message):
        isotherm.sample_chain(isotherm.DoubleWellEnergy(), **GOOD | options)


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (None, "the energy must be callable"),
        (3.0, "the energy must be callable"),
        (isotherm.GaussianEnergy, "the class GaussianEnergy itself"),
        (lambda x: x.sum(axis=1), r"no method gradient\(x\)"),
        (isotherm.GaussianEnergy([0.0], [[1.0]]), "dim is 2 but the energy has dimension 1"),
        (isotherm.HarmonicEnergy(k=[1.0, 2.0]), "must return one number"),
    ],
)
def test_energies_that_cannot_be_sampled(energy, message):
    with pytest.raises(IsothermError, match=message) as caught:
        isotherm.make_plan(energy, **GOOD)
    check_sentence(caught.value)


MASKED = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[True, False], [False, False]])


def test_a_mask_is_not_lost_in_silence():
    well, options = isotherm.DoubleWellEnergy(), {"n_steps": 2, "backend": "numpy"}
    calls = [
        lambda: isotherm.make_plan(well, MASKED, **options),
        lambda: isotherm.make_plan(well, [MASKED[0], MASKED[1]], **options),
        lambda: isotherm.make_plan(well, dim=2, step_size=MASKED[0], **options),
        lambda: isotherm.make_plan(well, dim=2, noise_scale=MASKED[0], **options),
        lambda: isotherm.make_plan(well, dim=2, temperature=MASKED[0], **options),
        lambda: isotherm.GaussianEnergy(MASKED[0], np.eye(2)),
        lambda: isotherm.GaussianMixtureEnergy(MASKED),
        lambda: isotherm.HarmonicEnergy(k=MASKED[0, 0]),
        lambda: isotherm.check_gradient(well, MASKED),
        lambda: isotherm.make_plan(well, dim=2, frozen=MASKED[0] > 1.0, **options),
        lambda: isotherm.make_plan(well, dim=2, inverse_mass=MASKED[0], **options),
        lambda: isotherm.make_plan(well, dim=2, n_steps=np.ma.masked_array(2, True)),
        lambda: MASKED * well,
        lambda: well * MASKED[0],
        lambda: MASKED * isotherm.GaussianEnergy(np.zeros(2), np.eye(2)),
        lambda: well(MASKED),
        lambda: well.gradient(MASKED),
        lambda: isotherm.GaussianEnergy(np.zeros(2), np.eye(2))(MASKED),
        lambda: isotherm.virial(well, MASKED),
        lambda: isotherm.virial(well, np.ones((2, 2)), centre=MASKED[0]),
        lambda: isotherm.run(isotherm.make_plan(well, np.ones((2, 2)), **options), well, MASKED),
    ]
    for call in calls:
        with pytest.raises(isotherm.InputError, match="masked"):
            call()


HELD = SimpleNamespace(array=MASKED)  # an object whose attributes are not looked at before


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sum(x * HELD.array[0]),
        lambda x: np.sum(HELD.array[0] * x),
        lambda x: np.sum(HELD.array @ x),
        lambda x: np.sum(np.ma.add(x, 1.0)),
        lambda x: np.sum(np.where(HELD.array[0], x, 0.0)),
        lambda x: np.sum(np.stack([x, HELD.array[0]])),
        lambda x: np.sum(x[HELD.array[0] > 1.0]),
        lambda x: x[0] * HELD.array[0, 0] + x[1],
        lambda x: np.sum(x * MASKED[0]),
        lambda x: im.maximum(HELD.array[0], x)[0],
    ],
    ids=range(10),
)
def test_a_formula_does_not_lose_a_mask(function):
    with pytest.raises(isotherm.FormulaError, match="masked"):
        isotherm.formula(dim=2)(function)().program()


class Masking:
    """A user's energy one of whose functions returns a masked array."""

    def __init__(self, where):
        self.where = where

    def __call__(self, x):
        u = (x * x).sum(1)
        return np.ma.masked_array(np.asarray(u), np.asarray(u) > 0) if self.where == "U" else u

    def gradient(self, x):
        g = 2 * x
        return np.ma.masked_array(np.asarray(g), np.asarray(g) > 0) if self.where == "slope" else g


@pytest.mark.parametrize("where", ["U", "slope"])
def test_a_user_s_energy_does_not_lose_a_mask(where, backend):
    x = np.ones((3, 2), np.float32)
    options = {"n_steps": 2, "step_size": 0.1, "backend": backend}
    with pytest.raises(isotherm.InputError, match="masked"):
        isotherm.sample_chain(Masking(where), x, sampler="mala", **options)
    with pytest.raises(isotherm.InputError, match="masked"):
        isotherm.check_gradient(Masking(where), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda well: np.ones(2) * well, "a factor must be one number, not an array of shape"),
        (lambda well: well / np.ones(2), "a divisor must be one number, not an array of shape"),
        (lambda well: well / 0, "a divisor must not be 0"),
    ],
    ids=["factor", "divisor", "zero"],
)
def test_an_energy_is_scaled_by_one_number(make, message):
    with pytest.raises(isotherm.InputError, match=message):
        make(isotherm.DoubleWellEnergy())


def test_states_that_could_not_come_back_are_refused():
    pytest.importorskip("torch")
    options = {"backend": "torch", "dtype": "bfloat16"}
    with pytest.raises(isotherm.InputError, match="NumPy has no bfloat16, in which the states of"):
        isotherm.make_plan(isotherm.HarmonicEnergy(), np.ones((3, 2)), **options)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_an_array_like_any_other():
    x = np.ones((2, 2), np.float32)
    options = {"n_steps": 3, "backend": "numpy", "seed": 0}
    got = isotherm.sample_chain(isotherm.DoubleWellEnergy(), np.asmatrix(x), **options)
    expected = isotherm.sample_chain(isotherm.DoubleWellEnergy(), x, **options)
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("clamp", "message"),
    [
        ((math.inf, None), "leaves no finite number between its bounds"),
        ((None, -math.inf), "leaves no finite number between its bounds"),
        ((math.inf, math.inf), "bounds|low < high"),
        ((1e39, None), r"rounds to \(inf, None\) in float32"),
        ((None, -1e39), r"rounds to \(None, -inf\) in float32"),
        ((1.0, 1.0 + 1e-12), r"rounds to \(1.0, 1.0\) in float32"),
    ],
)
def test_a_clamp_that_leaves_no_room_is_refused(clamp, message):
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, clamp=clamp)


@pytest.mark.parametrize(
    ("runs_on", "dtype", "low"),
    [("numpy", "float16", 2049.0), ("torch", "float16", 2049.0), ("torch", "bfloat16", 257.0)],
)
def test_half_precision_stays_within_a_clamp(runs_on, dtype, low):
    if runs_on == "torch":
        pytest.importorskip("isotherm_torch")
    options = {"dim": 2, "n_steps": 3, "n_samples": 4, "backend": runs_on, "dtype": dtype}
    for clamp, sign in (((low, 5000.0), 1.0), ((-5000.0, -low), -1.0)):
        x = isotherm.sample_chain(isotherm.HarmonicEnergy(), **options, clamp=clamp)
        assert (sign * to_numpy(x).astype(np.float64) >= low).all()


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_a_gradient_of_integers_is_refused(dtype):
    class Rounding(Masking):
        def gradient(self, x):
            return (2 * x).astype(dtype)

    with pytest.raises(isotherm.InputError, match=rf"{dtype}; they must be real floating-point"):
        isotherm.sample_chain(Rounding(""), np.ones((3, 2)), n_steps=2, backend="numpy")


@pytest.mark.parametrize("clamp", [(-math.inf, math.inf), (0.0, math.inf), (-1e39, 1e39)])
def test_a_side_without_a_bound_may_be_said_in_numbers(clamp, backend):
    energy, options = isotherm.HarmonicEnergy(), {"dim": 2, "n_steps": 3, "n_samples": 4}
    x = isotherm.sample_chain(energy, **options, clamp=clamp, backend=backend)
    assert np.isfinite(np.asarray(x)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 1e-50}, "step_size is 1e-50, which rounds to 0 in float32"),
        ({"step_size": 1e39}, "which rounds to inf in float32"),
        ({"step_size": [0.1, 1e-60, 0.1]}, "step_size is 1e-60 at step 2, which rounds to 0"),
        ({"step_size": 0.1, "decay": 0.01, "n_steps": 20_000}, "(less decay, fewer steps|to 0)"),
    ],
)
def test_a_step_size_that_the_dtype_cannot_hold_is_refused(options, message):
    options = {"n_steps": 3, "dtype": "float32"} | options
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, **options)
    if "decay" not in options and options["step_size"] != 1e39:
        isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, **options | {"dtype": "float64"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_scale": 1e-50}, "noise_scale is 1e-50, which rounds to 0 in float32"),
        (
            {"noise_scale": [1.0, 1e39, 1.0]},
            "is 1e[+]39 at step 2, which rounds to inf",
        ),
        ({"temperature": 1e-100}, "noise_scale is 1e-50, which rounds to 0 in float32"),
        ({"noise_scale": 1e-50, "dtype": "float16"}, "rounds to 0 in float32"),
        ({"noise_scale": 1e-25, "sampler": "mala"}, "divided by its square, which float32 cannot"),
        ({"noise_scale": 1e30, "sampler": "hmc"}, "divided by its square, which float32 cannot"),
        ({"inverse_mass": [1.0, 1e-50]}, "inverse_mass is 1e-50, which rounds to 0 in float32"),
        (
            {"inverse_mass": [[1e39, 0.0], [0.0, 1.0]]},
            "inverse_mass is 1e[+]39, which",
        ),
        ({"friction": 1e-9, "sampler": "underdamped"}, "friction·step_size is 1e-10, by which"),
        ({"friction": [1.0, 1e-9, 0.0], "sampler": "hmc"}, "friction·step_size is 1e-10, by which"),
        (
            {"divergence_threshold": 1e39, "sampler": "hmc"},
            "divergence_threshold is 1e[+]39",
        ),
        ({"clamp": (-1e5, 1.0), "dtype": "float16"}, r"rounds to \(-inf, 1.0\) in float16"),
        ({"clamp": (None, 3.4e38), "dtype": "bfloat16"}, "rounds to .*inf.* in bfloat16"),
        ({"clamp": (2048.5, 2049.5), "dtype": "float16"}, "no number of float16 is within clamp"),
        (
            {"noise_scale": 1e-36, "step_size": 1e-20},
            "1e-36 and step_size 1e-20 make noise of size 0",
        ),
        (
            {"noise_scale": [1.0, 1.0, 1e-36], "step_size": [0.1, 0.1, 1e-20]},
            "1e-36 and step_size 1e-20 make noise of size 0",
        ),
        ({"noise_scale": 1e30, "step_size": 1e20}, "step_size 1e[+]20 make noise of size inf"),
        (
            {"noise_scale": 1e-44, "step_size": 1e-4, "sampler": "underdamped"},
            "make noise of size 0",
        ),
        (
            {"inverse_mass": [1.0, 1e-30], "step_size": 1e-20},
            "step_size·inverse_mass is 1e-50",
        ),
    ],
    ids=str,
)
def test_a_number_that_the_dtype_cannot_hold_is_refused(options, message):
    options = {"n_steps": 3, "step_size": 0.1, "dtype": "float32"} | options
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, **options)
    isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, **options | {"dtype": "float64"})


@pytest.mark.parametrize(
    ("energy", "dtype", "message"),
    [
        (
            isotherm.HarmonicEnergy(k=1e-50),
            "float32",
            "HarmonicEnergy: k is 1e-50, which",
        ),
        (
            isotherm.HarmonicEnergy(k=1e5),
            "float16",
            "k is 100000.0, which rounds to inf",
        ),
        (
            1e-50 * isotherm.HarmonicEnergy(),
            "float32",
            "the factor 1e-50 is 1e-50, which",
        ),
        (
            isotherm.GaussianEnergy([0.0, 1e39], np.eye(2)),
            "float32",
            "mean is 1e[+]39",
        ),
        (
            isotherm.GaussianEnergy([0.0, 0.0], 1e-40 * np.eye(2)),
            "float32",
            "precision .* inf in",
        ),
        (
            isotherm.GaussianEnergy([0.0, 0.0], 1e60 * np.eye(2)),
            "float32",
            "precision .* to 0",
        ),
    ],
    ids=range(6),
)
def test_an_energy_whose_numbers_the_dtype_cannot_hold_is_refused(energy, dtype, message):
    plan = isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, dtype=dtype)
    with pytest.raises(isotherm.InputError, match=message):
        isotherm.make_plan(energy, dim=2, dtype=dtype)
    if energy.name == "HarmonicEnergy":  # a plan serves energies with any numbers
        with pytest.raises(isotherm.InputError, match=message):
            isotherm.run(plan, energy)
    isotherm.make_plan(energy, dim=2, dtype="float64")


def test_small_elements_among_others_are_no_loss():
    cov = np.array([[1.0, 1e-60], [1e-60, 1.0]])
    isotherm.make_plan(isotherm.GaussianEnergy([0.0, 0.0], cov), dtype="float32")


class _SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def test_an_error_that_cannot_say_what_it_is_is_still_told():
    @isotherm.formula
    def fails(x):
        raise _SpeechlessError

    with pytest.raises(isotherm.FormulaError, match=r"whose text cannot be had \(in formula fails"):
        fails().program()

    class Fails:
        def __call__(self, x):
            raise _SpeechlessError

        gradient = __call__

    with pytest.raises(_SpeechlessError):
        isotherm.sample_chain(Fails(), dim=2, n_steps=3, backend="numpy")
