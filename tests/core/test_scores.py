"""Energies with a gradient alone: scores."""

import numpy as np
import pytest

import isotherm
from isotherm import InputError

OPTIONS = {"n_samples": 300, "n_steps": 200, "step_size": 0.05, "seed": 1}


def normal(x, *, mean=0.0):
    return mean - x


class GradientAlone:
    def gradient(self, x):
        return x


@pytest.mark.parametrize("sampler", ["langevin", "underdamped"])
def test_a_score_gives_the_chain_of_its_energy(sampler, backend):
    expected = isotherm.sample_chain(
        isotherm.HarmonicEnergy(), dim=2, sampler=sampler, backend=backend, **OPTIONS
    )
    library = "torch" if backend == "torch" else "numpy"
    for energy in (isotherm.score(normal, dim=2, library=library), GradientAlone()):
        got = isotherm.sample_chain(energy, dim=2, sampler=sampler, backend=backend, **OPTIONS)
        np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_keywords_reach_the_score():
    got = isotherm.sample_chain(
        isotherm.score(normal, dim=2), model_kwargs={"mean": 3.0}, backend="numpy", **OPTIONS
    )
    assert abs(got.mean() - 3.0) < 0.2


@pytest.mark.parametrize(
    "options", [{"sampler": "mala", "step_size": 0.1}, {"return_diagnostics": True}]
)
def test_what_needs_a_value_is_refused(options):
    with pytest.raises(InputError, match=r"needs the energy's value.*a gradient alone"):
        isotherm.make_plan(isotherm.score(normal), dim=2, **options)


def test_a_score_is_a_function():
    with pytest.raises(InputError, match="a score is a function of x; got 3"):
        isotherm.score(3)
    with pytest.raises(InputError, match="a gradient but no energy to compare it with"):
        isotherm.check_gradient(GradientAlone(), dim=2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_network_s_score_is_asked_in_the_network_s_own_dtype(dtype):
    torch = pytest.importorskip("torch")
    network = torch.nn.Linear(2, 2).to(getattr(torch, dtype))
    seen = []

    def score(x, *, scale=1.0):
        seen.append(x.dtype)
        return scale * network(x)

    for energy in (isotherm.score(network), isotherm.score(score)):
        samples = isotherm.sample_chain(energy, torch.zeros(4, 2), n_steps=3, seed=0)
        assert samples.dtype == torch.float32
    isotherm.sample_chain(
        isotherm.score(score), torch.zeros(4, 2), n_steps=3, model_kwargs={"scale": 2.0}
    )
    assert set(seen) == {getattr(torch, dtype)}
