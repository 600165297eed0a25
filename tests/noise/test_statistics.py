"""The stream's numbers are independent standard normals, as far as statistics can tell.

The seeds are fixed, so a test passes always or never. Each is laid out so that a perfect generator
would fail it with probability `ALPHA` or less if the seed were drawn at random (sums of a hundred
thousand numbers and more are taken as normal); where a test makes many comparisons, they share
that between them (Bonferroni).
"""

import numpy as np
import pytest
from scipy import stats

from isotherm._arithmetic.noise import Stream, fill_normals, steps_per_block

ALPHA = 1e-5
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def draw(n_steps, n_chains, n_coordinates, dtype="float32", seed=2024, stream=Stream.LANGEVIN):
    """Normals of shape (n_steps, n_chains, n_coordinates)."""
    size = steps_per_block(dtype)
    out = np.empty((n_steps, n_chains, n_coordinates), dtype)
    for block in range(n_steps // size):
        fill_normals(out[block * size :][:size], seed=seed, stream=stream, block=block)
    return out


def z_score(x, y):
    """The sum of products of independent standardized numbers, which is standard normal."""
    x, y = (np.asarray(v, np.float64).ravel() for v in (x, y))
    return x @ y / np.sqrt(x.size)


def standardized_square(x):
    """Of mean 0 and variance 1 if x is a standard normal; finds dependence without correlation."""
    return (np.square(x, dtype=np.float64) - 1) / np.sqrt(2)


def dependence(pairs):
    """The largest of the z-scores of named pairs of arrays, and of their squares; with its name."""
    scores = {}
    for name, (x, y) in pairs.items():
        scores[name] = z_score(x, y)
        scores[f"squares, {name}"] = z_score(standardized_square(x), standardized_square(y))
    worst = max(scores, key=lambda name: abs(scores[name]))
    return abs(scores[worst]), worst, len(scores)


def assert_independent(pairs):
    score, name, count = dependence(pairs)
    assert 2 * count * stats.norm.sf(score) > ALPHA, f"{name}: {score:.1f} standard deviations"


def shifted(x, y, lag):
    """x and y on the steps where x at step t meets y at step t + lag."""
    return (x[: len(x) - lag], y[lag:]) if lag >= 0 else (x[-lag:], y[: len(y) + lag])


@DTYPES
@pytest.mark.parametrize("stream", Stream)
def test_distribution(dtype, stream):
    # Two hundred thousand of them; of several shapes, as one axis could hide another.
    for shape in ((8, 5_000, 5), (8, 25_000, 1), (8, 1, 25_000), (2_000, 2, 50)):
        values = draw(*shape, dtype=dtype, stream=stream)
        assert stats.kstest(values.ravel(), stats.norm.cdf).pvalue > ALPHA / 4


@DTYPES
def test_every_step_of_a_block_is_normal(dtype):
    # Cosines and sines, first and second pairs.
    size = steps_per_block(dtype)
    for values in draw(size, 20_000, 10, dtype=dtype):
        assert stats.kstest(values.ravel(), stats.norm.cdf).pvalue > ALPHA / size


@DTYPES
def test_tails(dtype):
    values = draw(32, 50_000, 5, dtype=dtype)
    for threshold in (3.0, 4.0, 4.5):
        for count in ((values > threshold).sum(), (values < -threshold).sum()):
            test = stats.binomtest(int(count), values.size, stats.norm.sf(threshold))
            assert test.pvalue > ALPHA / 6


@DTYPES
def test_moments(dtype):
    values = draw(32, 50_000, 5, dtype=dtype).astype(np.float64)
    # Means of 1, of He_2, He_3 and He_4: orthogonal, with variances k! (Hermite polynomials).
    n_moments = 4
    for k in range(1, n_moments + 1):
        hermite = np.polynomial.hermite_e.hermeval(values, [0.0] * k + [1.0])
        score = hermite.sum() / np.sqrt(values.size * float(np.prod(range(1, k + 1))))
        assert 2 * n_moments * stats.norm.sf(abs(score)) > ALPHA


@DTYPES
def test_neighbours_are_independent(dtype):
    values = draw(64, 2_000, 8, dtype=dtype)
    assert_independent(
        {f"steps {lag} apart": (values[lag:], values[:-lag]) for lag in (*range(1, 9), 16, 32)}
        | {f"chains {lag} apart": (values[:, lag:], values[:, :-lag]) for lag in (1, 2, 4, 256)}
        | {f"coordinates {lag} apart": (values[..., lag:], values[..., :-lag]) for lag in (1, 2, 4)}
        | {
            f"chain {i}, coordinate {j} and the reverse": (values[:, i, j], values[:, j, i])
            for i in range(8)
            for j in range(i)
        }
    )


@DTYPES
@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63])
def test_neighbouring_seeds_share_no_noise(dtype, seed):
    # A stream keyed by seed + step would give seed + 1 the noise of seed, one step earlier.
    size = steps_per_block(dtype)
    one = draw(64, 2_000, 4, dtype=dtype, seed=seed)
    for other_seed in (seed + 1, seed ^ 2**32):
        other = draw(64, 2_000, 4, dtype=dtype, seed=other_seed)
        assert_independent(
            {f"lag {lag}": shifted(one, other, lag) for lag in range(-2 * size, 2 * size + 1)}
            | {
                "next chain": (one[:, 1:], other[:, :-1]),
                "previous chain": (one[:, :-1], other[:, 1:]),
                "next coordinate": (one[..., 1:], other[..., :-1]),
                "previous coordinate": (one[..., :-1], other[..., 1:]),
            }
        )


def test_streams_share_no_noise():
    drawn = {stream: draw(32, 2_000, 4, stream=stream) for stream in Stream}
    assert_independent(
        {f"{a.name}, {b.name}": (drawn[a], drawn[b]) for a in Stream for b in Stream if a < b}
    )


def test_the_measure_of_dependence_sees_shared_noise():
    values = draw(16, 500, 4)
    signs = np.where(np.arange(500) % 2 == 0, 1, -1)[:, None]
    for shared in (values, values * signs, 0.1 * values + np.sqrt(0.99) * draw(16, 500, 4, seed=1)):
        score, _, count = dependence({"itself": (values, shared)})
        assert 2 * count * stats.norm.sf(score) < ALPHA
