"""Annealed Langevin dynamics against the exact scores of a blurred mixture."""

import numpy as np
import pytest

import isotherm
from isotherm import InputError

MEANS = np.array([[-4.0, 0.0], [4.0, 1.0]])
WEIGHTS = np.array([0.2, 0.8])
SCALE = 0.3
SIGMAS = np.geomspace(8.0, 0.05, 12)


def blurred_score(x, sigma):
    """∇ log of the mixture's density after N(0, σ²) was added; on arrays of NumPy and of torch."""
    means = getattr(x, "new_tensor", np.asarray)(MEANS)
    variance = SCALE**2 + sigma**2
    toward = means[None] - x[:, None, :]
    logs = -0.5 * (toward**2).sum(-1) / variance + getattr(x, "new_tensor", np.asarray)(
        np.log(WEIGHTS)
    )
    weights = np.exp(logs) if isinstance(x, np.ndarray) else logs.exp()
    weights = weights / weights.sum(1)[:, None]
    return (weights[:, :, None] * toward).sum(1) / variance


@isotherm.formula(dim=2)
def blurred(x, *, means, log_weights, scale=SCALE, sigma=1.0):
    variance = scale * scale + sigma * sigma
    a = -0.5 * np.sum((x - means[0]) * (x - means[0])) / variance + log_weights[0]
    b = -0.5 * np.sum((x - means[1]) * (x - means[1])) / variance + log_weights[1]
    return -isotherm.math.logaddexp(a, b)


FORMULA = blurred(means=MEANS, log_weights=np.log(WEIGHTS))
STRENGTHS = np.geomspace(2.0, 0.5, 12)
SCORE = isotherm.score(blurred_score, dim=2)
SHORT = {"n_samples": 6, "n_steps_each": 10, "step_size": 1e-2, "seed": 5, "dtype": "float32"}


def test_mode_weights_and_moments_of_a_mixture():
    n = 3000
    samples = isotherm.annealed(
        FORMULA, SIGMAS, n_samples=n, n_steps_each=40, step_size=1e-3, seed=0, backend="numpy"
    )
    is_right = samples[:, 0] > 0.0
    assert abs(is_right.mean() - 0.8) < 4 * (0.16 / n) ** 0.5 + 0.02
    for mode, rows in enumerate((samples[~is_right], samples[is_right])):
        deviation = (SCALE**2 + SIGMAS[-1] ** 2) ** 0.5
        np.testing.assert_allclose(rows.mean(0), MEANS[mode], atol=5 * deviation / len(rows) ** 0.5)
        np.testing.assert_allclose(rows.var(0), deviation**2, rtol=0.2)
    # Without annealing the weights are those of the start, N(0, I), not the mixture's.
    plain = isotherm.sample_chain(
        FORMULA, dim=2, n_samples=n, n_steps=480, step_size=1e-3, seed=0, backend="numpy"
    )
    assert abs((plain[:, 0] > 0.0).mean() - 0.8) > 0.15


def test_a_formula_and_a_score_give_one_chain(backend):
    options = {"backend": backend, "condition": "k", "dim": 2} | SHORT
    got = isotherm.annealed(isotherm.HarmonicEnergy(), STRENGTHS, **options)
    library = "torch" if backend == "torch" else "numpy"
    score = isotherm.score(lambda x, k: -k * x, library=library)
    other = isotherm.annealed(score, STRENGTHS, **options)
    np.testing.assert_allclose(np.asarray(got), np.asarray(other), rtol=1e-3, atol=1e-4)
    same = isotherm.annealed(isotherm.HarmonicEnergy(), STRENGTHS, **options | {"backend": "numpy"})
    np.testing.assert_array_equal(np.asarray(got), same)


@pytest.mark.parametrize("cuts", [(1,), (13, 30, 31), (119,)])
def test_it_goes_on_in_mid_level_with_the_same_bits(cuts, backend):
    energy, options = isotherm.HarmonicEnergy(), {"backend": backend, "condition": "k"} | SHORT
    whole = isotherm.annealed(energy, STRENGTHS, dim=2, **options)
    x, first = None, 0
    for last in (*cuts, 120):
        x = isotherm.annealed(
            energy, STRENGTHS, x, 2, step_offset=first, n_steps=last - first, **options
        )
        first = last
    np.testing.assert_array_equal(np.asarray(x), np.asarray(whole))
    start = np.ones((6, 2), np.float32)
    both = isotherm.annealed(energy, STRENGTHS, start, **options)
    rest = options | {"n_samples": 3, "chain_offset": 3}
    half = isotherm.annealed(energy, STRENGTHS, start[:3], **rest)
    np.testing.assert_array_equal(np.asarray(half), np.asarray(both)[3:])


def test_levels_share_a_seed_and_no_noise():
    """A score of 0 leaves the noise: increments of one level are none of another's."""
    sigmas, ends = [2.0, 2.0, 1.0, 1.0], [np.zeros((5, 3))]
    still = isotherm.score(lambda x, sigma: 0.0 * x)
    for level in range(4):
        ends.append(
            isotherm.annealed(
                still, sigmas, ends[-1], n_steps_each=8, step_size=0.5, seed=1,
                step_offset=8 * level, n_steps=8,
            )
        )  # fmt: skip
    normal = np.diff(ends, axis=0) / np.array([4.0, 4.0, 1.0, 1.0])[:, None, None] ** 0.5
    gaps = np.abs(normal[:, None] - normal[None]).min(axis=(2, 3))
    assert gaps[np.triu_indices(4, 1)].min() > 1e-3
    # The step size is as the square of σ: the variance of 8 steps of 2η is 16η.
    assert abs((normal**2).mean() - 8.0) < 8.0 * 4 * (2 / 60) ** 0.5
    seeds = np.random.default_rng(0)
    options = {"n_steps_each": 3, "step_size": 0.5}
    one, two = (isotherm.annealed(still, sigmas, ends[0], seed=seeds, **options) for _ in range(2))
    assert not np.array_equal(one, two)


def test_it_is_a_loop_of_runs_over_levels():
    sigmas = [3.0, 1.0, 0.5]
    x = isotherm.sample_chain(SCORE, n_samples=4, n_steps=0, seed=2, model_kwargs={"sigma": 1.0})
    x = 3.0 * x
    for level, sigma in enumerate(sigmas):
        x = isotherm.sample_chain(
            SCORE, x, n_steps=5, step_size=0.01 * (sigma / 0.5) ** 2, seed=2,
            step_offset=5 * level, model_kwargs={"sigma": sigma},
        )  # fmt: skip
    got = isotherm.annealed(SCORE, sigmas, n_samples=4, n_steps_each=5, step_size=0.01, seed=2)
    np.testing.assert_array_equal(got, x)


def test_a_module_is_told_by_the_name_that_it_has():
    torch = pytest.importorskip("torch")
    seen = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, x, level, offset):
            seen.append(level)
            return 0.5 * self.scale * ((x - offset) ** 2).sum(1) / (1.0 + level**2)

    samples = isotherm.annealed(
        Net(), (4, 2.0, 1.0), dim=3, n_samples=5, n_steps_each=2, condition="level",
        model_kwargs={"offset": torch.ones(5, 1)},
    )  # fmt: skip
    assert samples.shape == (5, 3)
    assert seen == [4.0, 4.0, 2.0, 2.0, 1.0, 1.0]
    assert {type(level) for level in seen} == {float}


def test_parameters_of_a_sum_are_replaced_in_all_its_parts():
    @isotherm.formula
    def well(x, *, sigma=1.0, depth=2.0):
        return depth * x * x / sigma

    total = well(depth=1.0) + 0.5 * well(depth=3.0)
    x = np.ones((1, 2))
    assert total.with_parameters({"sigma": 4.0})(x)[0] == total(x)[0] / 4.0
    assert total(x)[0] == 5.0
    with pytest.raises(InputError, match=r"has no parameter 'sigma' of shape \(2,\); it has sigma"):
        well().with_parameters({"sigma": [1.0, 2.0]})


def test_what_cannot_be_annealed_is_refused():
    for wrong, sentence in [
        ({"sigmas": 1.0}, "sigmas must be a sequence of numbers, not 1.0"),
        ({"sigmas": []}, "sigmas must be a sequence of numbers"),
        ({"sigmas": ["a"]}, "sigmas must be a sequence of numbers"),
        ({"sigmas": [1.0, 2.0]}, "the greatest first and none greater than the one before"),
        ({"sigmas": [1.0, 0.0]}, "sigmas must be positive and finite"),
        ({"sigmas": [np.inf, 1.0]}, "sigmas must be positive and finite"),
        ({"n_steps_each": 0}, "n_steps_each must be an integer of at least 1"),
        ({"step_size": 0.0}, "step_size is that of the last level, a positive number"),
        ({"step_size": [1.0]}, "step_size is that of the last level"),
        ({"step_offset": 3}, "step_offset is the number of steps behind x; give both"),
        ({"step_offset": 3, "x": np.zeros((2, 2)), "seed": None}, "give seed with step_offset"),
        ({"n_steps": 21}, "2 levels of 10 steps end with step 20, and step_offset=0 with"),
        ({"step_offset": 30, "x": np.zeros((2, 2))}, "goes beyond it"),
        ({"condition": "noise"}, "blurred has no parameter 'noise' of shape"),
        ({"model_kwargs": {"sigma": 1.0}}, "is told the level as 'sigma'; leave it out of model_"),
        ({"energy": SCORE, "condition": "noise"}, "the score does not take these model_kwargs"),
        ({"energy": isotherm.GaussianEnergy([0.0], [[1.0]])}, "cannot be told sigma; give a form"),
    ]:
        options = {"energy": FORMULA, "sigmas": [2.0, 1.0], "n_steps_each": 10, "seed": 1} | wrong
        with pytest.raises(InputError, match=sentence):
            isotherm.annealed(**options)
    with pytest.raises(TypeError, match="did you mean sigmas"):
        isotherm.annealed(FORMULA, sigma=[1.0])


def test_half_precision_goes_on_in_mid_level_with_the_same_bits():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 2).bfloat16()
    score = isotherm.score(lambda x, sigma: net(x) / sigma, dim=2, library="torch")
    options = {"n_samples": 20, "n_steps_each": 6, "step_size": 0.01, "seed": 0} | {
        "dtype": "bfloat16"
    }
    whole = isotherm.annealed(score, [3.0, 1.0], **options)
    half = isotherm.annealed(score, [3.0, 1.0], n_steps=8, **options)
    rest = isotherm.annealed(score, [3.0, 1.0], half, step_offset=8, **options)
    assert (whole.dtype, half.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(whole, rest)
