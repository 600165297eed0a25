"""Recursions over rows: what plain loops say, however many rows there are, on every backend."""

import numpy as np
import pytest

import isotherm
from isotherm import FormulaError
from isotherm import math as im
from isotherm.backend import ArrayProgram, Program

RNG = np.random.default_rng(0)
STATES = 0.5 * RNG.normal(size=(4, 5))


def by_hand(step, carry, rows):
    """The same as `isotherm.math.scan`, unrolled."""
    left = []
    for row in zip(*rows, strict=True) if isinstance(rows, tuple) else rows:
        carry, output = step(carry, row)
        left.append(output)
    if isinstance(left[0], tuple):
        return carry, tuple(np.stack(one) for one in zip(*left, strict=True))
    return carry, None if left[0] is None else np.stack(left)


def garch(x, y, scan):
    """Bollerslev, J. Econometrics 31, 1986: σ²[t] = ω + α y[t-1]² + β σ²[t-1]."""
    omega, alpha, beta = im.exp(x[0]), im.expit(x[1]), im.expit(x[2])

    def step(variance, now):
        return omega + alpha * now * now + beta * variance, variance

    _, variance = scan(step, im.exp(x[3]), y)
    return 0.5 * np.sum(np.log(variance) + y * y / variance) + 0.5 * np.sum(x * x)


def hidden_markov(x, y, scan):
    """The forward algorithm of three states (Rabiner, Proc. IEEE 77, 1989)."""
    stays, leaves = im.log_expit(x[3]), im.log_expit(-x[3]) - np.log(2.0)
    moves = np.where(np.eye(3) > 0.5, stays, leaves)
    emission = -0.5 * (y[:, None] - x[:3]) ** 2

    def step(weights, row):
        return im.logsumexp(weights[:, None] + moves, axis=0) + row, None

    weights, _ = scan(step, np.zeros(3), emission)
    return 0.5 * np.sum(x * x) - im.logsumexp(weights)


def several(x, y, scan):
    """A tuple is handed on, of a number and a vector; rows are data and made from x."""
    high = x[2] > 0.0

    def step(carry, row):
        total, pair = carry
        now, moved = row
        total = im.where(high, total + now * pair[0], total - np.sin(pair[1]))
        pair = np.stack([im.tanh(pair[1] + moved), 0.5 * pair[0] * x[0]])
        return (total, pair), (total, pair)

    (total, pair), (totals, pairs) = scan(step, (0.0, x[3:]), (y, y * x[1]))
    return total**2 + np.sum(pair) + np.sum(np.cos(totals)) + np.sum(pairs * pairs * y[:, None])


def made(function, scan=im.scan):
    return isotherm.formula(dim=5)(lambda x, *, y: function(x, y, scan))


def rows(n):
    return np.random.default_rng(1).normal(size=n)


@pytest.mark.parametrize("function", [garch, hidden_markov, several])
@pytest.mark.parametrize("n", [2, 30])
def test_it_is_a_loop(function, n):
    y = rows(n)
    energy, unrolled = made(function)(y), made(function, by_hand)(y)
    np.testing.assert_allclose(energy(STATES), unrolled(STATES), rtol=1e-13)
    np.testing.assert_allclose(
        energy.gradient(STATES), unrolled.gradient(STATES), rtol=1e-11, atol=1e-13
    )
    assert isotherm.check_gradient(energy, STATES).is_correct


def test_many_rows_are_no_longer_program():
    programs = [made(hidden_markov)(rows(n)).program() for n in (200, 400)]
    assert all(isinstance(program, ArrayProgram) for program in programs)
    assert len({len(program.instructions) for program in programs}) == 1
    assert isinstance(made(garch)(rows(2)).program(), Program)


@pytest.mark.host_build
def test_equal_bits(backend):
    energy = made(several)(rows(24))
    assert isinstance(energy.program(), ArrayProgram)
    results = [
        isotherm.sample_chain(
            energy, n_samples=19, n_steps=3, step_size=1e-3, seed=3, backend=name,
            return_diagnostics=True,
        )
        for name in (backend, "numpy")
    ]  # fmt: skip
    (got, found), (expected, other) = results
    np.testing.assert_array_equal(np.asarray(got), expected)
    np.testing.assert_array_equal(np.asarray(found.energy), other.energy)


def test_numbers_are_taken_row_by_row():
    x = STATES[0]
    for function in (garch, several):
        expected = function(x, rows(6), by_hand)
        np.testing.assert_allclose(function(x, rows(6), im.scan), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: im.scan(lambda c, r: c + r, x[0], x)[0], r"returns a pair, \(carry, output\)"),
        (lambda x: im.scan(lambda c, r: (x, r), x[0], x)[0], r"\(\) and \(5,\); give init"),
        (lambda x: im.scan(lambda c, r: (c, r), x[0], (x, x[1:]))[0], r"shapes \(5,\), \(4,\)"),
        (lambda x: im.scan(lambda c, r: (c, r), x[0], x[0])[0], r"not of shapes \(\)"),
        (lambda x: im.scan(lambda c, r: (c, r), (), x)[1][0], "give init a number"),
        (lambda x: im.scan(lambda c, r: (c if c > 0 else r, c), x[0], x)[0], "branch on a value"),
    ],
)
def test_what_a_scan_cannot_do(function, message):
    with pytest.raises(FormulaError, match=message):
        isotherm.formula(dim=5)(function)().program()


def test_a_symbol_of_a_step_stays_in_it():
    kept = []

    def energy(x):
        im.scan(lambda c, r: (kept.append(c) or c * r, None), x[0], x)
        return x[0] * kept[-1]

    with pytest.raises(FormulaError, match="where it would mean another value"):
        isotherm.formula(dim=5)(energy)().program()
