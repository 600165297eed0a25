"""Formulas on arrays: NumPy's words for them, unrolled and as loops, on every backend."""

from types import FunctionType

import numpy as np
import pytest

import isotherm
from isotherm import FormulaError, InputError
from isotherm import math as im
from isotherm.backend import ArrayProgram, Program

WEIGHTS = np.linspace(0.5, 2.0, 24).reshape(4, 6)
FLAGS = np.arange(24).reshape(4, 6) % 3 == 0
PICK = np.array([[3, 0], [1, 1]])
DESIGN = np.random.default_rng(1).normal(size=(9, 6))


def slices(x):
    return np.sum(x[1:, ::2] * x[:-1, 1::2]) + np.sum(x[::-1] * x)


def index_arrays(x):
    return np.sum(x[PICK] ** 2) + np.sum(x[[0, 3, 3], [1, 2, 2]] ** 3) + x[2, -1] * x[-1, 2]


def masks(x):
    return np.sum(np.where(FLAGS, x * x, im.softplus(x))) + np.sum(x[FLAGS] ** 4)


def rolls(x):
    return np.sum((np.roll(x, 1, 0) - x) ** 2 + np.roll(x, (1, 2), (0, 1)) * x)


def axes(x):
    return np.sum(np.exp(np.sum(x, axis=1)) * np.sum(x * x, axis=1)) + np.sum(x.sum(0) ** 2)


def broadcasting(x):
    rows = x[:, None, :] - x[None, :, :]
    return np.sum(np.cos(rows) * WEIGHTS) + np.sum(x - x.mean(axis=0, keepdims=True) ** 2)


def comparisons(x):
    return np.sum(np.where(x[:, :1] > x, x * x, 2.0 * x * x)) + np.sum(np.maximum(x, 0.3) ** 2)


def products(x):
    return np.prod(1.0 + 0.1 * x) + np.sum(np.prod(x, axis=1)) + np.sum(np.prod(x[:, :5], 0))


def extremes(x):
    return np.max(x) ** 2 + np.sum(np.min(x, axis=0) * np.max(x, axis=0)) + x[:, :5].max(1).sum()


def cumulative(x):
    return np.sum(np.cumsum(x, axis=1) ** 2) + np.sum(np.cumsum(x) * x.ravel())


def differences(x):
    return np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.diff(x, n=2) ** 4)


def matrices(x):
    return np.sum((DESIGN @ x.T) ** 2) + np.sum(x @ DESIGN.T) + np.sum((x @ x.T) ** 2)


def vectors(x):
    return x[0] @ x[1] + np.sum((DESIGN @ x[2]) ** 2) + np.sum((x[3] @ DESIGN.T) ** 3)


def norms(x):
    lengths = np.linalg.norm(x, axis=1)
    return np.sum((lengths - 1.0) ** 2) + np.linalg.norm(x.ravel()) + np.linalg.norm(x[0], 1)


def joined(x):
    stacked = np.stack([x[0], x[1] * x[2], WEIGHTS[0]])
    together = np.concatenate([x[:2], 2.0 * x[3:]])
    return np.sum(stacked**2) + np.sum(together**3) + np.sum(np.array([x[0, 0], 2.0, x[1, 1]]) ** 2)


def placed(x):
    square = np.reshape(x, (3, 8))[:, :3]
    return np.sum(np.pad(x, 1) ** 2) + np.sum(np.triu(square) ** 2) + np.trace(square @ square)


def statistics(x):
    return np.var(x) + np.sum(np.std(x, axis=0)) + np.sum(np.mean(x, axis=1) ** 2)


def functions(x):
    return np.sum(np.logaddexp(x, 0.5) + np.arctan2(x, 1.5) + np.sin(3 * x) * np.tanh(x)) + np.sum(
        np.clip(x, -1, 1) ** 2 + np.hypot(x, 1.0) + x % 0.7
    )


def softmax(x):
    return np.sum(im.logsumexp(x, axis=1)) + im.logsumexp(x[0]) - np.sum(x * WEIGHTS)


def loops(x):
    total = 0.0
    for row in x:
        for a in row:
            total = total + a * a
    return total + x[1, 2] * x[2, 1]


def wholly_linear(x):
    return np.sum(3.0 * x)


def outer(x):
    return np.sum(np.outer(x[0], x[1]) ** 2) + np.sum(np.tile(x[0], 2) * np.repeat(x[1], 2))


def by_vectors(x):
    inner = np.inner(x, x[:2]) + np.inner(x[:, 0], x[:, 1])
    return np.sum((x @ x[0]) * WEIGHTS[:, 0]) + np.sum(inner**2) + np.vdot(x, WEIGHTS)


def factors(x):
    L = np.linalg.cholesky(x @ x.T + 9.0 * np.eye(4))
    P = im.cholesky(DESIGN[:4] @ DESIGN[:4].T)
    solved = [im.solve_triangular(L, x), im.solve_triangular(P, x, transposed=True)]
    solved += [im.solve_triangular(L, WEIGHTS, transposed=True), L @ x[:, :1] * P]
    vector = im.solve_triangular(L, x[:, 0])
    far = np.exp(0.01 * np.sum(im.solve_triangular(P, vector, transposed=True)))
    return np.sum(np.log(np.diagonal(L))) + far + sum(np.sum(one**2) for one in solved)


def far_from_products(x):
    return np.exp(0.01 * np.sum(DESIGN @ x.T)) + np.sum(x[::2]) ** 3


def summed_by_letters(x):
    pairs = np.einsum("ik,jk->ij", x, x) + np.einsum("ij,jk", DESIGN[:4], DESIGN[:6, :4])
    last = np.einsum("ii,i->i", pairs, x[:, 0]) + np.einsum("i,jk,j->", x[0], x[:, :2], x[:, 1])
    return np.sum(last**2) + np.tensordot(x, WEIGHTS) + np.sum(np.tensordot(x, x, (0, [0])) ** 2)


def put_together(x):
    left, right = np.split(x, 2, axis=1)
    a, b = np.meshgrid(x[0], x[1, :3])
    longer = np.append(np.diff(x, axis=0, prepend=1.0), x[:1], axis=0)
    vectors = np.cross(left, right)
    flat = np.full_like(x, 2.0) * np.copy(x) + x.astype(float).round()
    return np.sum(vectors**2) + np.sum(a * b) + np.sum(longer**2) + np.sum(flat * x)


def sequences(x):
    row = x[0]
    smooth = [np.convolve(row, WEIGHTS[0, :3], mode) for mode in ("full", "same", "valid")]
    line = np.interp(x, np.linspace(-1.5, 1.5, 5), WEIGHTS[0, :5]) + np.polyval([1.0, 2.0], x)
    chosen = np.select([x < -1.0, x < 1.0], [x, x * x], 2.0 * x)
    whole = np.average(x, axis=1, weights=WEIGHTS[1]) + np.ptp(x, axis=1) + np.average(x)
    by_x = np.average(WEIGHTS[0], weights=row) + np.sum(np.diff(WEIGHTS[0], prepend=row[0]) ** 2)
    by_x = by_x + np.sum(np.clip(WEIGHTS[0], row[0], row[1]))
    return sum(np.sum(s * s) for s in smooth) + np.sum(line * chosen) + np.sum(whole**2) + by_x


def truths(x):
    is_far = np.any(x > 1.5, axis=1) | ~np.all(np.isfinite(x), axis=1)
    rows = np.where(is_far, 2.0, 1.0) * np.sum((x > 0) * x**2, axis=1)
    return np.sum(rows) + np.count_nonzero(x > 0.5) + np.sum(np.cumprod(1.0 + 0.1 * x, axis=0))


def in_place(x):
    centred, other = x**1, x[0] * 1.0
    alias = centred
    centred -= np.mean(x, axis=0)
    alias *= WEIGHTS
    other /= 2.0
    energy = np.sum(centred * x) + np.sum(other**2)
    energy += np.sum(x)
    return energy


FORMULAS = [
    slices, index_arrays, masks, rolls, axes, broadcasting, comparisons, products, extremes,
    cumulative, differences, matrices, vectors, norms, joined, placed, statistics, functions,
    softmax, loops, wholly_linear, outer, by_vectors, factors, far_from_products,
    summed_by_letters, put_together, sequences, truths, in_place,
]  # fmt: skip
STATES = np.random.default_rng(0).normal(size=(5, 4, 6))


@pytest.fixture(params=["unrolled", "loops"])
def form(request, limits):
    size = 10**9 if request.param == "unrolled" else -1
    limits(unrolled_numbers=size, unrolled_each=0)
    return Program if request.param == "unrolled" else ArrayProgram


def made(function):
    """The energy of a function that nobody has traced."""

    def energy(x):
        return function(x)

    return isotherm.formula(dim=(4, 6))(energy)()


def numbers(function, x):
    """What NumPy itself says; `isotherm.math` has no functions of arrays' axes."""
    if function is softmax:
        e = np.exp(x).sum(axis=1)
        return np.log(e).sum() + np.log(np.exp(x[0]).sum()) - np.sum(x * WEIGHTS)
    return function(x)


@pytest.mark.parametrize("function", FORMULAS, ids=lambda f: f.__name__)
def test_values_and_slopes(function, form):
    energy = made(function)
    assert isinstance(energy.program(), form)
    np.testing.assert_allclose(energy(STATES), [numbers(function, x) for x in STATES], rtol=1e-12)
    report = isotherm.check_gradient(energy, STATES)
    assert report.is_correct, report


@pytest.mark.host_build
@pytest.mark.parametrize(
    ("dtype", "formulas", "is_exact"),
    [
        ("float32", [index_arrays, rolls, extremes, cumulative, factors], True),
        (
            "float64",
            [broadcasting, matrices, softmax, far_from_products],
            False,
        ),  # products are a library's
    ],
    ids=["exact", "rounded"],
)
def test_backends_agree(dtype, formulas, is_exact, backend, limits):
    limits(unrolled_numbers=-1, unrolled_each=0)
    energy = sum([*map(made, formulas), 8.0 * isotherm.HarmonicEnergy()])
    assert isinstance(energy.program(), ArrayProgram)
    results = [
        isotherm.sample_chain(
            energy, n_samples=21, n_steps=6, step_size=1e-3, seed=3, dtype=dtype, backend=name,
            return_diagnostics=True,
        )
        for name in (backend, "numpy")
    ]  # fmt: skip
    (got, found), (expected, other) = results
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(np.asarray(got), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.asarray(found.energy), other.energy, rtol=tolerance)
    if is_exact:
        np.testing.assert_array_equal(np.asarray(got), expected)


def test_of_a_matrix_its_factor_reads_a_triangle_is_made(limits):
    limits(unrolled_numbers=-1, unrolled_each=0)
    squares = np.subtract.outer(np.arange(7.0), np.arange(7.0)) ** 2

    def process(x):
        K = np.exp(-squares * np.exp(x[0])) + np.exp(x[1]) * np.eye(7)
        L = np.linalg.cholesky(K)
        return np.sum((L @ x[2:]) ** 2) + np.sum(np.log(np.diagonal(L)))

    def used_again(x):
        K = np.exp(-squares * np.exp(x[0]))
        return np.sum(np.linalg.cholesky(K + np.eye(7)) ** 2) + np.sum(K[0] * x[1])

    def sizes(energy):
        program = energy.program()
        return {shape for one, shape in zip(program.instructions, program.shapes, strict=True)
                if one.op == "exp" and shape}  # fmt: skip

    states = np.random.default_rng(0).normal(size=(3, 9))
    for function, made_of in ((process, {(28,)}), (used_again, {(34,)})):
        energy = isotherm.formula(dim=9)(function)()
        assert sizes(energy) == made_of
        np.testing.assert_allclose(energy(states), list(map(function, states)), rtol=1e-12)
        assert isotherm.check_gradient(energy, states).is_correct


@isotherm.formula(dim=None)
def logistic(w, *, X, y):
    z = X @ w
    return np.sum(np.logaddexp(0.0, z) - y * z) + 0.5 * np.sum(w * w)


def data(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)), (rng.uniform(size=rows) < 0.5).astype(float)


@pytest.mark.host_build
def test_data_are_parameters(backend):
    X, y = data(90, 5)
    energy = logistic(X, y)
    w = np.random.default_rng(1).normal(size=(4, 5))
    z = w @ X.T
    expected = (np.logaddexp(0, z) - y * z).sum(1) + 0.5 * (w * w).sum(1)
    np.testing.assert_allclose(energy(w), expected, rtol=1e-13)
    assert isinstance(energy.program(5), ArrayProgram)
    other = logistic(*data(90, 5, seed=1))
    assert other.program(5) is energy.program(5)
    assert isotherm.check_gradient(energy, w).is_correct
    got, reference = (
        isotherm.sample_chain(energy, x=w, n_steps=50, step_size=0.01, seed=2, backend=name)
        for name in (backend, "numpy")
    )
    np.testing.assert_allclose(np.asarray(got), reference, rtol=1e-10)


def test_a_shape_that_does_not_fit_is_refused_with_the_line():
    X, y = data(90, 5)
    with pytest.raises(FormulaError, match=r"5 is not 4.*line \d+: z = X @ w"):
        logistic(X, y).program(4)
    assert logistic(X, y, dim=5).program().dim == 5


def test_energies_add_and_scale():
    X, y = data(90, 5)
    prior = isotherm.GaussianEnergy(np.zeros(5), np.diag(np.arange(1.0, 6.0)))
    x = np.random.default_rng(1).normal(size=(4, 5))
    likelihood = logistic(X, y)
    for total in (likelihood + prior, prior + likelihood, sum([likelihood, prior])):
        np.testing.assert_allclose(total(x), likelihood(x) + prior(x), rtol=1e-13)
        slope = likelihood.gradient(x) + prior.gradient(x)
        np.testing.assert_allclose(total.gradient(x), slope, rtol=1e-12)
    scaled = 0.5 * likelihood - isotherm.HarmonicEnergy(k=3.0) / 2.0
    expected = 0.5 * likelihood(x) - 0.75 * (x * x).sum(axis=1)
    np.testing.assert_allclose(scaled(x), expected, rtol=1e-12)
    again = 0.25 * likelihood - isotherm.HarmonicEnergy(k=3.0) / 2.0
    assert again.program(5).digest == scaled.program(5).digest
    both = isotherm.HarmonicEnergy() + isotherm.DoubleWellEnergy()
    assert both.is_elementwise
    assert both(x).shape == (4,)


def test_energies_that_do_not_add_are_refused():
    with pytest.raises(InputError, match=r"HarmonicEnergy \+ 3.0: energies that are formulas add"):
        isotherm.HarmonicEnergy() + 3.0
    with pytest.raises(InputError, match="of one state"):
        made(rolls) + isotherm.GaussianEnergy(np.zeros(2), np.eye(2))


def symbol_index(x):
    return x[x[0] > 0.0]  # the line


def setting(x):
    x[0] = 1.0  # the line


def shapes(x):
    return np.sum(x * x[:, :5])  # the line


def solving(x):
    return np.linalg.solve(x[:, :4], x[:, 4])[0]  # the line


def sorting(x):
    return np.sum(np.sort(x))  # the line


def three_axes(x):
    return np.sum(x[None] @ x.T)  # the line


def changed_in_place(x):
    doubled = 2.0 * x
    half = doubled[:2]
    half += 1.0  # the line
    return np.sum(doubled)


def accumulated(x):
    total = np.zeros(6)
    total += x[0]  # the line
    return np.sum(total)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (changed_in_place, "cannot be changed in place.*write a = a"),
        (accumulated, "made of numbers cannot hold.*write a = a"),
        (symbol_index, "an index must be known"),
        (setting, "cannot be set; make a new array"),
        (shapes, r"shapes \(4, 6\) and \(4, 5\) do not go together"),
        (solving, r"no pivots.*L = np.linalg.cholesky\(A\)"),
        (lambda x: np.linalg.cholesky(x)[0, 0], "of one square matrix, not of shape"),  # the line
        (lambda x: im.solve_triangular(x, x)[0, 0], "a square matrix and a vector"),  # the line
        (sorting, "order of values is not known.*np.max"),
        (three_axes, "vectors and matrices"),
        (lambda x: x, r"it returned an array of shape \(4, 6\)"),  # the line
        (lambda x: x[7, 0], "out of bounds"),  # the line
    ],
)
def test_what_a_formula_on_arrays_cannot_do(function, message):
    with pytest.raises(FormulaError, match=message) as caught:
        isotherm.formula(dim=(4, 6))(function)().program()
    assert "# the line" in str(caught.value)


def test_a_value_kept_from_another_call_is_refused():
    kept = {}

    @isotherm.formula(dim=None)
    def energy(x):
        return sum(x * x) + kept.setdefault("first", x[0])

    energy().program(2)
    with pytest.raises(FormulaError, match="of an earlier call was kept"):
        energy().program(3)


def test_the_state_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"has dimension \(4, 6\)"):
        made(rolls)(np.ones((2, 6, 4)))
    with pytest.raises(InputError, match="dimension"):
        isotherm.make_plan(made(rolls), dim=24)
    assert isotherm.make_plan(made(rolls)).event_shape == (4, 6)


def counts(x):
    return np.sum(x > 0)


def share(x):
    return np.mean(x[:3] > 0.5) + 2.0 * np.max(x < 0.0, axis=0)


def most(x):
    return np.where(np.sum(x > 0) >= 2, 0.0, 5.0)


def running(x):
    return np.sum(np.cumsum(x > 0) * np.arange(1.0, 7.0)) + np.prod(x > -1)


def placed(x):
    there = np.roll(x > 0.0, 1)
    return np.sum(np.where(there & ~(x < 0.5), x, 0.0)) + np.dot(there, np.arange(6.0))


def logical(x):
    return np.sum(np.where(np.logical_or(x > 1.0, np.array([True] + [False] * 5)), x, 0.0))


@pytest.mark.parametrize("function", [counts, share, most, running, placed, logical])
def test_comparisons_count_as_numpy_counts_them(function, monkeypatch):
    x = np.random.default_rng(0).standard_normal((5, 6))
    expected = [function(row) for row in x]
    for is_unrolled in (True, False):
        if not is_unrolled:
            monkeypatch.setattr("isotherm._programs.trace.is_small", lambda *args: False)
            function = FunctionType(function.__code__, function.__globals__, function.__name__)
        energy = isotherm.formula(dim=6)(function)() + isotherm.formula(dim=6)(square)()
        np.testing.assert_allclose(energy(x) - (x * x).sum(axis=1), expected, atol=1e-12)


def square(x):
    return np.sum(x * x)


def chosen_by_counts(x):
    return most(x) * np.sum(x * x) + np.sum(np.where(np.roll(x > 0.0, 1), x, 0.0))


@pytest.mark.host_build
def test_counts_are_the_same_on_every_backend(backend, monkeypatch):
    monkeypatch.setattr("isotherm._programs.trace.is_small", lambda *args: False)
    function = FunctionType(chosen_by_counts.__code__, globals(), "chosen")
    energy = isotherm.formula(dim=6)(function)()
    got, expected = (
        isotherm.sample_chain(energy, n_samples=9, n_steps=3, step_size=0.1, seed=0, backend=name)
        for name in (backend, "numpy")
    )
    np.testing.assert_array_equal(np.asarray(got), expected)


def no_rows(w, *, X, y):
    z = X @ w
    c = np.concatenate([np.cumsum(z), z[:0]])
    carry, left = im.scan(lambda total, row: (total + row * w[0], total), 0.0, y)
    return np.sum(np.logaddexp(0.0, z) - y * z) + np.prod(c) + carry + sum(w * w) + np.sum(left)


@pytest.mark.parametrize("is_unrolled", [True, False])
def test_data_of_no_rows_add_nothing(is_unrolled, monkeypatch):
    if not is_unrolled:
        monkeypatch.setattr("isotherm._programs.trace.is_small", lambda *args: False)
    function = FunctionType(no_rows.__code__, globals())
    function.__kwdefaults__ = None
    energy = isotherm.formula(dim=3)(function)(X=np.empty((0, 3)), y=np.empty(0))
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(energy(x), 1.0 + (x * x).sum(axis=1))
    np.testing.assert_array_equal(energy.gradient(x), 2.0 * x)
    nothing = isotherm.formula(dim=3)(lambda x, *, A: np.sum(A @ x) + np.sum(x * x))
    np.testing.assert_array_equal(nothing(A=np.empty((0, 3))).gradient(x), 2.0 * x)


def test_data_that_are_truths_choose():
    @isotherm.formula(dim=2)
    def censored(x, *, y, is_censored):
        z = y - x[0]
        return np.sum(np.where(is_censored, -im.log_expit(z), z * z)) + np.sum(~is_censored) * x[1]

    y, is_censored = np.array([0.5, 1.0, 2.0]), np.array([True, False, True])
    energy = censored(y=y, is_censored=is_censored)
    x = np.array([[0.3, 2.0]])
    expected = -np.sum(im.log_expit(y[::2] - 0.3)) + 0.7**2 + 2.0
    np.testing.assert_allclose(energy(x), [expected], rtol=1e-13)
    other = energy.with_parameters({"is_censored": ~is_censored})
    assert other.program(2) is energy.program(2)
    assert other(x) != energy(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, a: np.einsum("i,ij", x, x), "np.einsum: 'i,ij' does not go with shapes"),
        (lambda x, a: np.einsum("...i,...i", x, x), "np.einsum in a formula is written with"),
        (lambda x, a: np.cross(x, x), "vectors of 3 numbers"),
        (lambda x, a: np.round(x, 2)[0], "rounds to whole numbers"),
        (lambda x, a: x[0] // 2.0, "// is not known.*np.floor"),
        (lambda x, a: x.argpartition(1), "np.argpartition is not known in a formula"),
        (lambda x, a: np.diff(x, step=2)[0], "np.diff in a formula: got an unexpected keyword"),
        (lambda x, a: np.zeros(2).__setitem__(0, x[0]), "made of numbers cannot hold"),
        (lambda x, a: np.logaddexp.reduce(x), r"np.logaddexp.reduce\(...\) is not known"),
        (lambda x, a: np.add(x, x, where=True), r"np.add\(..., where=\) is not known"),
        (lambda x, a: np.sum(x[a]), "an index must be known.*annotated int"),
        (lambda x, a: np.sum(np.ones(2)[a] * x), "read.* from outside, as a global or a closure"),
        (lambda x, a: np.max(x[:0]), "np.max and np.min of no elements"),
        (lambda x, a: np.mean(x[:0]), "np.mean of no elements"),
        (lambda x, a: im.scan(lambda c, r: (c + r[1], None), x[0], (a,))[0], "a tuple of 1"),
    ],
)
def test_what_does_not_go_is_told_in_a_sentence(function, message):
    with pytest.raises(FormulaError, match=message):
        isotherm.formula(dim=2)(function)(np.array([0, 1])).program()


@pytest.mark.parametrize("is_unrolled", [True, False])
def test_zero_times_what_has_no_value_has_none(is_unrolled, limits):
    limits(unrolled_numbers=10**9 if is_unrolled else -1, unrolled_each=0)
    energy = isotherm.formula(dim=2)(lambda x: np.sum(0.0 * np.log(x)) + np.sum(x * x))()
    x = np.array([[1.0, 2.0], [-1.0, 2.0], [0.0, 3.0]])
    np.testing.assert_array_equal(energy(x), [5.0, np.nan, np.nan])
    np.testing.assert_array_equal(energy.gradient(x), 2.0 * x)  # nothing flows through a zero
