"""Energies as people write them: what they are handed, how often, and what they may return."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import isotherm
from isotherm._backends.watch import Watch

RUN = {"n_steps": 6, "step_size": 0.1, "seed": 1}


class Quadratic:
    """U = ½ x², by hand; counts its calls."""

    def __init__(self):
        self.n_gradients = self.n_values = 0

    def __call__(self, x):
        self.n_values += 1
        return 0.5 * (x**2).sum(-1)

    def gradient(self, x):
        self.n_gradients += 1
        return x * 1.0


def sample(energy, x=None, **options):
    return isotherm.sample_chain(energy, x, **RUN | options)


def autograd_energy(x):
    return 0.5 * (x**2).sum(-1)


def expected(**options):
    return sample(Quadratic(), dim=3, n_samples=4, **options)


class Writes(Quadratic):
    def __call__(self, x):
        value = super().__call__(x)
        x[...] = 7.0
        return value

    def gradient(self, x):
        slope = super().gradient(x)
        x[...] = 7.0
        return slope


class Keeps(Quadratic):
    def __init__(self):
        super().__init__()
        self.states = []

    def gradient(self, x):
        self.states.append(x)
        return x


def test_an_energy_that_writes_to_its_argument_harms_nothing(backend):
    start = np.full((4, 3), 0.5, np.float32)
    x = start.copy()
    written = sample(Writes(), x, backend=backend, return_diagnostics=True)
    clean = sample(Quadratic(), start, backend=backend, return_diagnostics=True)
    np.testing.assert_array_equal(x, start)
    np.testing.assert_array_equal(written[0], clean[0])
    np.testing.assert_array_equal(written[1].energy, clean[1].energy)


def test_a_tensor_is_not_written_to_either():
    torch = pytest.importorskip("torch")

    def projecting(x):
        with torch.no_grad():
            x.clamp_(-1.0, 1.0)
        return autograd_energy(x)

    x = torch.full((4, 3), 0.5)
    for energy in (Writes(), projecting):
        sample(energy, x)
        assert torch.equal(x, torch.full((4, 3), 0.5))


def test_states_that_an_energy_keeps_stay_as_they_were(backend):
    keeps = Keeps()
    trajectory = np.asarray(
        sample(keeps, np.zeros((4, 3), np.float32), backend=backend, return_trajectory=True)
    )
    for k, state in enumerate(keeps.states[1:]):
        np.testing.assert_array_equal(np.asarray(state), trajectory[:, k])


def test_no_call_is_made_that_no_step_needs(backend):
    energy = Quadratic()
    sample(energy, dim=3, n_samples=4, backend=backend)
    assert (energy.n_gradients, energy.n_values) == (RUN["n_steps"], 0)


ADJUSTED_OR_NOT = [
    {"sampler": "underdamped"},
    {"sampler": "mala"},
    {"sampler": "hmc", "n_leapfrog": 1, "jitter": 0.0},
]


@pytest.mark.parametrize("options", ADJUSTED_OR_NOT, ids=lambda options: options["sampler"])
def test_a_gradient_that_is_kept_is_asked_for_once_more_however_a_run_is_cut(options, backend):
    energy = Quadratic()
    sample(energy, dim=3, n_samples=4, backend=backend, **options | {"n_steps": 30})
    assert energy.n_gradients == 31  # the start's, and one a step


def test_what_a_callback_changes_of_an_energy_holds_from_the_next_step(backend):
    class Spring(Quadratic):
        stiffness = 1.0

        def __call__(self, x):
            return self.stiffness * super().__call__(x)

        def gradient(self, x):
            return self.stiffness * super().gradient(x)

    def change(progress):
        energy.stiffness = 9.0

    run = {"dim": 3, "n_samples": 4, "sampler": "mala", "backend": backend, "step_size": 0.2}
    energy = Spring()
    changed = sample(energy, **run | {"n_steps": 8}, callback=change, callback_every=4)
    energy = Spring()
    middle = sample(energy, **run | {"n_steps": 4})
    energy.stiffness = 9.0
    after = sample(energy, middle, **run | {"dim": None, "n_steps": 4}, step_offset=4)
    np.testing.assert_array_equal(np.asarray(changed), np.asarray(after))


def test_autograd_calls_once_a_step_and_batches_do_not_run_dry():
    torch = pytest.importorskip("torch")
    batches = iter(range(RUN["n_steps"]))

    def energy(x):
        next(batches)
        return autograd_energy(x)

    sample(energy, torch.zeros(4, 3))
    assert next(batches, None) is None


@pytest.mark.parametrize("looked_at_together", [1, 2**14])
@pytest.mark.parametrize("bad", [1, 5, 37, 150])
def test_the_first_bad_step_of_an_energy_that_changes(backend, bad, looked_at_together, limits):
    limits(normals_in_cache=looked_at_together)

    class Minibatch(Quadratic):
        def gradient(self, x):
            slope = super().gradient(x)
            return slope * float("nan") if self.n_gradients == bad else slope

    energy = Minibatch()
    with pytest.warns(isotherm.DivergenceWarning, match=f"the first at step {bad} of 200"):
        sample(energy, dim=2, n_samples=3, n_steps=200, backend=backend)
    assert energy.n_gradients == 200


def test_the_first_bad_step_of_an_energy_that_changes_by_autograd():
    torch = pytest.importorskip("torch")
    calls = []

    def energy(x):
        calls.append(1)
        return autograd_energy(x) * (float("nan") if len(calls) == 37 else 1.0)

    with pytest.warns(isotherm.DivergenceWarning, match="the first at step 37 of 200"):
        sample(energy, torch.zeros(3, 2), n_steps=200)
    assert len(calls) == 200


def test_a_watch_that_waits_for_no_device_finds_the_same_step():
    here, there = Watch("cpu"), Watch("cuda:0")
    for step, scale in enumerate([1.0, 1e30, float("inf"), float("nan")], start=1):
        for watch in (here, there):
            watch.note(np.full((4, 3), scale, np.float32), step, None, step - 1)
    assert here.first() == there.first() == 3
    for energies, step in ((float("nan"), 4), (1.0, None)):
        for watch in (Watch("cpu"), Watch("cuda:0")):
            watch.note(np.ones((4, 3)), 5, np.full(4, energies), 4)
            assert watch.first() == step


OUTSIDE = {"x": np.full((50, 1), 0.5, np.float32), "step_size": 0.3, "n_steps": 50}


@isotherm.formula
def exponential(x):
    return x - isotherm.math.log(x)


class Exponential:
    def __call__(self, x):
        return (x - np.log(x)).sum(-1)

    def gradient(self, x):
        return 1.0 - 1.0 / x


@pytest.mark.parametrize("wants_diagnostics", [True, False])
def test_chains_outside_of_the_support_are_told_where_energies_are_at_hand(
    backend, wants_diagnostics
):
    options = OUTSIDE | {"backend": backend, "return_diagnostics": wants_diagnostics}
    with pytest.warns(isotherm.DivergenceWarning, match="where the energy is NaN"):
        sample(exponential(), **options)
    with pytest.raises(isotherm.DivergenceError, match="outside of its support"):
        sample(exponential(), **options, on_divergence="raise")


def test_an_own_gradients_energies_are_at_hand_in_diagnostics():
    options = OUTSIDE | {"backend": "numpy", "return_diagnostics": True}
    with pytest.warns(isotherm.DivergenceWarning, match="where the energy is NaN") as caught:
        _, found = sample(Exponential(), **options)
    first = int(np.flatnonzero(np.isnan(found.energy).any(axis=1))[0]) + 1
    assert f"seen first at step {first} of 50" in str(caught[0].message)


def test_autograds_energies_are_at_hand_at_every_step():
    torch = pytest.importorskip("torch")

    def energy(x):
        return (x - torch.log(x)).sum(-1)

    x = torch.from_numpy(OUTSIDE["x"].copy())
    with pytest.warns(isotherm.DivergenceWarning, match="where the energy is NaN"):
        sample(energy, **OUTSIDE | {"x": x})


# What may be returned, and what it means.

OUTPUTS = {
    "(n,)": lambda u, x: u,
    "(n, 1)": lambda u, x: u[:, None],
    "(n, 1, 1, 1)": lambda u, x: u[:, None, None, None],
    "terms": lambda u, x: 0.5 * x**2,
    "patches": lambda u, x: (0.25 * x**2)[:, None, None, :] * 2.0,
}


@pytest.mark.parametrize("n_samples", [1, 4])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("squeezes", [True, False])
def test_outputs_of_many_shapes_are_one_energy_a_chain(n_samples, output, squeezes, backend):
    class Energy(Quadratic):
        def __call__(self, x):
            value = OUTPUTS[output](super().__call__(x), x)
            return value.squeeze() if squeezes else value

    if squeezes and n_samples > 1 and output == "patches":
        pytest.skip("its shape is that of terms, which it is")
    options = {"dim": 3, "n_samples": n_samples, "backend": backend, "return_diagnostics": True}
    plain, same = sample(Quadratic(), **options), sample(Energy(), **options)
    np.testing.assert_allclose(same[1].energy, plain[1].energy, rtol=1e-5)
    if backend == "torch":
        energy = Energy()
        auto, found = sample(energy.__call__, **options)
        np.testing.assert_allclose(auto, plain[0], rtol=1e-5)
        np.testing.assert_allclose(found.energy, plain[1].energy, rtol=1e-5)


def test_shares_have_two_chains_at_least():
    torch = pytest.importorskip("torch")
    seen = []

    def energy(x):
        seen.append(len(x))
        return autograd_energy(x)[:, None].squeeze()

    for n in (1, 2, 64, 127):
        seen.clear()
        with ThreadPoolExecutor(1) as executor:
            samples = sample(energy, torch.zeros(n, 2), executor=executor)
        assert samples.shape == (n, 2)
        assert min(seen) >= min(n, 2)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda u, x: u.sum(), r"shape \(\) .* one energy a chain, .* isotherm.vectorize"),
        (lambda u, x: u[:, None] + u, r"what \(n, 1\) and \(n,\) broadcast to"),
        (lambda u, x: x[:, :2], r"shape \(4, 2\)"),
        (lambda u, x: None, "returned NoneType"),
    ],
)
def test_outputs_that_are_no_energies_are_refused_before_the_first_step(output, message):
    torch = pytest.importorskip("torch")

    def energy(x):
        return output(autograd_energy(x), x)

    with pytest.raises(isotherm.InputError, match=message):
        sample(energy, torch.zeros(4, 3))


def test_a_broadcasting_slip_is_found_where_its_shape_is_that_of_x():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(4, 1)
    x = torch.randn(4, 4)
    with pytest.raises(isotherm.InputError, match="first row depends on other chains"):
        sample(lambda x: net(x) + autograd_energy(x), x)


def test_a_score_that_is_given_as_an_energy_is_told_once():
    torch = pytest.importorskip("torch")
    score = torch.nn.Linear(3, 3)
    with pytest.warns(isotherm.EnergyWarning, match="score or a force") as caught:
        sample(score, torch.zeros(4, 3))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(lambda x: x**2, torch.zeros(4, 3))  # terms of single coordinates
        sample(lambda x: score(x).sum(1), torch.zeros(4, 3))


# Gradients.


class ByAutograd(Quadratic):
    def gradient(self, x):
        import torch

        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(autograd_energy(x).sum(), x)[0]


class ByBackward(Quadratic):
    def gradient(self, x):
        x.requires_grad_(True)
        autograd_energy(x).sum().backward()
        return x.grad


class ForceNorm:
    """½ |∇f|² with f = ½ x²: the same energy again."""

    def __init__(self, sets_requires_grad):
        self.sets_requires_grad = sets_requires_grad

    def __call__(self, x):
        import torch

        if self.sets_requires_grad:
            x.requires_grad_(True)
        (slope,) = torch.autograd.grad(0.5 * (x**2).sum(), x, create_graph=True)
        return 0.5 * (slope**2).sum(-1)


@pytest.mark.parametrize("energy", [ByAutograd(), ByBackward(), ForceNorm(True), ForceNorm(False)])
@pytest.mark.parametrize("mode", ["enable_grad", "no_grad", "inference_mode"])
@pytest.mark.parametrize("wants_diagnostics", [True, False])
def test_energies_may_differentiate_inside(energy, mode, wants_diagnostics):
    torch = pytest.importorskip("torch")
    options = {"n_samples": 4, "dim": 3, "return_diagnostics": wants_diagnostics}
    with getattr(torch, mode)():
        found = sample(energy, **options, backend="torch")
        plain = sample(Quadratic(), **options, backend="torch")
    for mine, other in zip(*(r if wants_diagnostics else [r] for r in (found, plain)), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(other), rtol=1e-5, atol=1e-6)


def test_gradients_of_other_libraries_and_dtypes_are_converted(backend):
    torch = pytest.importorskip("torch")
    conversions = [torch.from_numpy, lambda x: x.astype(np.float64)]
    if backend == "torch":
        conversions = [torch.Tensor.numpy, torch.Tensor.double, lambda x: x.requires_grad_() * 1.0]
    for convert in conversions:
        energy = Quadratic()
        energy.gradient = convert
        samples = sample(energy, dim=3, n_samples=4, backend=backend)
        assert samples.dtype == expected(backend=backend).dtype
        np.testing.assert_array_equal(samples, expected(backend=backend))


def test_gradients_that_are_no_numbers_are_refused():
    for slope in (lambda x: x.tolist(), lambda x: x > 0, lambda x: x * 1j, lambda x: x[0]):
        energy = Quadratic()
        energy.gradient = slope
        with pytest.raises(isotherm.InputError, match=r"energy.gradient\(x\) returned"):
            sample(energy, dim=3, n_samples=4, backend="numpy")


def test_gradients_of_jax_for_arrays_of_numpy():
    jax = pytest.importorskip("jax")

    class Energy:
        def __call__(self, x):
            return jax.vmap(autograd_energy)(x)

        def gradient(self, x):
            return jax.vmap(jax.grad(autograd_energy))(x)

    samples = sample(Energy(), dim=3, n_samples=4, backend="numpy")
    np.testing.assert_allclose(samples, expected(backend="numpy"), rtol=1e-6)


def test_an_error_of_the_energy_tells_what_it_was_called_with():
    class Broken(Quadratic):
        def gradient(self, x):
            raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs") as caught:
        sample(Broken(), dim=3, n_samples=4, backend="numpy")
    assert caught.value.__notes__ == [
        "the energy was called with x of shape (4, 3), float32, on cpu"
    ]
