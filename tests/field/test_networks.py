"""Networks as people have them: what is theirs is not read, and what they hold tells the place."""

import functools

import numpy as np
import pytest

import isotherm

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        self.inner = torch.nn.Linear(3, 1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.inner(x)


class Plain:
    """An energy of arrays of any library, with attributes of its own."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __call__(self, x):
        return 0.5 * (x**2).sum(-1)

    def gradient(self, x):
        return x * 1.0


class Analytic(torch.nn.Module):
    """Without parameters; its buffer tells its dtype."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(3, dtype=dtype))

    def forward(self, x):
        return 0.5 * ((x - self.mean) ** 2).sum(1)


def sample(energy, x=None, **options):
    if x is None:
        options |= {"dim": 3, "n_samples": 4}
    return isotherm.sample_chain(energy, x, n_steps=3, seed=0, **options)


@pytest.mark.parametrize("dim", [64, -1, (3,), 3, "all"])
@pytest.mark.parametrize("make", [Net, Plain])
@pytest.mark.parametrize("x", [None, torch.zeros(4, 3)])
def test_an_attribute_dim_is_not_the_states(make, dim, x):
    assert sample(make(dim=dim), x).shape == (4, 3)


@pytest.mark.parametrize(
    "attributes",
    [
        {"device": torch.device("cpu")},
        {"device": "meta"},
        {"dtype": torch.float64},
        {"dtype": np.float64},
        {"dtype": np.dtype("f8")},
        {"library": "jax"},
        {"name": 3},
        {"parameters": [1.0]},
        {"kind": "terms"},
    ],
)
def test_other_attributes_are_not_read_either(attributes, backend):
    samples = sample(Plain(**attributes), backend=backend)
    assert str(samples.dtype).endswith("float32")


module = Net().double()


@pytest.mark.parametrize(
    ("energy", "dtype"),
    [
        (Analytic(), torch.float64),
        (Analytic(torch.float32), torch.float32),
        (functools.partial(module), torch.float64),
        (module.forward, torch.float64),
        (lambda x: module(x)[:, 0], torch.float64),
        (lambda x: torch.exp(x).sum(1), torch.float32),
        (Plain(__call__=module).__dict__["__call__"], torch.float64),
    ],
    ids=["buffer", "float32 buffer", "partial", "method", "lambda", "functions", "attribute"],
)
def test_what_calculates_with_torch_is_torchs(energy, dtype):
    samples = sample(energy)
    assert isinstance(samples, torch.Tensor)
    assert samples.dtype == dtype


def test_the_default_dtype_governs_where_nothing_else_says():
    def energy(x):
        return (x @ torch.ones(3, 3)).square().sum(1)

    torch.set_default_dtype(torch.float64)
    try:
        assert sample(energy, backend="torch").dtype == torch.float64
        assert sample(energy).dtype == torch.float64
        formula = sample(isotherm.HarmonicEnergy(), backend="torch")
    finally:
        torch.set_default_dtype(torch.float32)
    assert formula.dtype == torch.float32  # the same chain, whatever runs it


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("start", [torch.float32, torch.float64])
def test_a_network_sees_its_own_dtype_and_the_state_keeps_the_starts(dtype, start):
    seen = []

    class Seeing(Net):
        def forward(self, x):
            seen.append(x.dtype)
            return super().forward(x)

    samples, found = sample(
        Seeing().to(dtype), torch.zeros(4, 3, dtype=start), return_diagnostics=True
    )
    assert samples.dtype == found.energy.dtype == start
    assert {*seen} == {dtype}


@pytest.mark.parametrize("x", [np.zeros((4, 3)), [[0.0] * 3] * 4, np.zeros((4, 3), np.float32)])
def test_arrays_of_numpy_go_to_a_network_and_come_back(x):
    samples, info = sample(Net(), x, return_info=True)
    assert info.backend == "torch"
    assert isinstance(samples, np.ndarray)
    assert samples.dtype == getattr(x, "dtype", np.float32)


def test_a_list_of_tensors_is_a_tensor():
    samples = sample(Net(), [torch.zeros(3)] * 4)
    assert isinstance(samples, torch.Tensor)
    assert samples.shape == (4, 3)


def test_labels_of_the_wrong_length_are_named():
    def energy(x, label):
        return 0.5 * ((x - label[:, None]) ** 2).sum(1)

    message = r"model_kwargs\['label'\] has shape \(5,\) and there are 4 chains"
    with pytest.raises(isotherm.InputError, match=message):
        sample(energy, torch.zeros(4, 3), model_kwargs={"label": torch.zeros(5)})


def test_keywords_reach_an_own_gradient_too(backend):
    class Shifted:
        def __call__(self, x, shift):
            return 0.5 * ((x - shift) ** 2).sum(-1)

        def gradient(self, x, shift):
            return x - shift

    options = {"noise_scale": 0.0, "step_size": 1.0, "return_diagnostics": True}
    samples, found = sample(Shifted(), model_kwargs={"shift": 2.0}, backend=backend, **options)
    assert (np.asarray(samples) == 2.0).all()
    assert (np.asarray(found.energy)[-1] == 0.0).all()
    with pytest.raises(isotherm.InputError, match="does not take these model_kwargs"):
        sample(Shifted(), model_kwargs={"shft": 2.0}, backend=backend)


def test_an_energy_of_one_state_is_mapped_over_the_chains(backend):
    class Spring:
        def __call__(self, x):
            return 0.5 * (x**2).sum()

        def gradient(self, x):
            return x

    options = {"backend": backend, "return_diagnostics": True}
    samples, found = sample(isotherm.vectorize(Spring()), **options)
    same, others = sample(Plain(), **options)
    np.testing.assert_array_equal(np.asarray(samples), np.asarray(same))
    np.testing.assert_allclose(np.asarray(found.energy), np.asarray(others.energy), rtol=1e-6)
    with pytest.raises(isotherm.InputError, match="takes the states of all chains already"):
        isotherm.vectorize(isotherm.HarmonicEnergy())


def test_an_energy_of_one_state_is_differentiated():
    energy = isotherm.vectorize(lambda x: 0.5 * (x**2).sum())
    x = torch.ones(4, 3)
    torch.testing.assert_close(sample(energy, x), sample(Plain(), x))
