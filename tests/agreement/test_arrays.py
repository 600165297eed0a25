"""Arrays come back in the kind in which they went in, and are never written to."""

import array_api_compat as compat
import numpy as np
import pytest

import isotherm
from isotherm._arithmetic.arrays import device_name, dtype_name, library_of, move, to_numpy
from isotherm._backends import registry
from tests import backends

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
START = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
RUN = {"n_steps": 5, "step_size": 0.05, "seed": 8, "return_trajectory": True}


def place(backend):
    found = registry.load(backend)
    return found.library, found.resolve_device(None)


def array(backend, values, dtype="float32"):
    """The values as an array of the backend's library, on its device."""
    library, device = place(backend)
    return move(values.copy(), library, dtype, device)


@pytest.fixture(scope="module")
def expected():
    return isotherm.sample_chain(WELL, START, backend="numpy", **RUN)


@pytest.mark.parametrize("asked", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_the_backends_library(backend, dtype, asked):
    x = array(backend, START, dtype)
    states, diagnostics = isotherm.sample_chain(
        WELL, x, backend=backend if asked else None, return_diagnostics=True, **RUN
    )
    parts = (states, diagnostics.mean, diagnostics.variance, diagnostics.energy, diagnostics[0])
    for part in parts:
        assert (library_of(part), device_name(part)) == place(backend)
        assert dtype_name(part.dtype) == dtype
    reference = isotherm.sample_chain(WELL, START.astype(dtype), backend="numpy", **RUN)
    np.testing.assert_array_equal(to_numpy(states), reference)
    np.testing.assert_array_equal(to_numpy(x), START.astype(dtype))


def test_numpy_arrays_come_back_as_numpy_arrays(backend, expected):
    states, diagnostics = isotherm.sample_chain(
        WELL, START, backend=backend, return_diagnostics=True, **RUN
    )
    for part in (states, diagnostics.mean, diagnostics.variance, diagnostics.energy):
        assert isinstance(part, np.ndarray)
    np.testing.assert_array_equal(states, expected)


def test_without_x_arrays_are_the_backends(backend):
    states = isotherm.sample_chain(WELL, dim=3, backend=backend, **RUN)
    assert (library_of(states), device_name(states)) == place(backend)
    assert dtype_name(states.dtype) == "float32"


def test_parameters_decide_where_nothing_else_does(backend):
    library, device = place(backend)
    energy = isotherm.DoubleWellEnergy(b=array(backend, np.array(1.0), "float64"))
    states = isotherm.sample_chain(energy, dim=3, **RUN)
    assert (library_of(states), device_name(states)) == (library, device)
    assert dtype_name(states.dtype) == "float64"


def where(backend, library):
    """How a run is asked for that moves a library's arrays from where the backend cannot run."""
    _, device = place(library)  # a library has a backend of its name
    return (
        {} if device in registry.load(backend).status().devices else {"device": place(backend)[1]}
    )


LIBRARIES = sorted({registry.load(name).library for name in backends.usable()})


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_of_another_library_come_back_as_they_went_in(backend, library, expected):
    x = move(START.copy(), library, "float32", place(library)[1])
    states, diagnostics = isotherm.sample_chain(
        WELL, x, backend=backend, return_diagnostics=True, **where(backend, library), **RUN
    )
    for part in (states, diagnostics.mean, diagnostics.variance, diagnostics.energy):
        assert library_of(part) == library
    np.testing.assert_array_equal(to_numpy(states), expected)
    np.testing.assert_array_equal(to_numpy(x), START)


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_are_moved_to_another_device_only_where_that_is_named(backend, library):
    if where(backend, library) and place(library)[1] != "cpu":  # from where they go anywhere
        x = move(START.copy(), library, "float32", place(library)[1])
        with pytest.raises(isotherm.InputError, match="name the device to move them to"):
            isotherm.sample_chain(WELL, x, backend=backend, **RUN)


def zero_stride(x):
    return compat.array_namespace(x).broadcast_to(x[0, ...], x.shape)


UNUSUAL = {
    "strided": lambda x: x[::2],
    "transposed": lambda x: x.T,
    "one row": lambda x: x[:1],
    "one state": lambda x: x[0],
    "zero-stride": zero_stride,
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", UNUSUAL)
def test_views_are_right_and_not_written_to(backend, library, kind):
    whole = move(START.copy(), library, "float32", place(library)[1])
    x = UNUSUAL[kind](whole)
    states = isotherm.sample_chain(WELL, x, backend=backend, **where(backend, library), **RUN)
    same = np.ascontiguousarray(UNUSUAL[kind](START))
    np.testing.assert_array_equal(
        to_numpy(states), isotherm.sample_chain(WELL, same, backend="numpy", **RUN)
    )
    np.testing.assert_array_equal(to_numpy(whole), START)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


UNUSUAL_NUMPY = {
    "read-only": read_only,
    "column-major": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "big-endian": lambda x: x.astype(">f4"),
    "unaligned": lambda x: np.frombuffer(b"0" + x.tobytes(), "f4", offset=1).reshape(x.shape),
}


@pytest.mark.parametrize("kind", UNUSUAL_NUMPY)
def test_unusual_numpy_arrays(backend, kind, expected):
    x = UNUSUAL_NUMPY[kind](START)
    before = x.tobytes()
    states = isotherm.sample_chain(WELL, x, backend=backend, **RUN)
    np.testing.assert_array_equal(states, expected)
    assert x.tobytes() == before


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integer_arrays(backend, library, dtype):
    values = np.arange(6).reshape(2, 3) % 3
    x = move(values, library, dtype, place(library)[1])
    states = isotherm.sample_chain(WELL, x, backend=backend, **where(backend, library), **RUN)
    floats = isotherm.sample_chain(WELL, values.astype(np.float32), backend="numpy", **RUN)
    np.testing.assert_array_equal(to_numpy(states), floats)
    assert dtype_name(x.dtype) == dtype
    np.testing.assert_array_equal(to_numpy(x), values)


@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
@pytest.mark.parametrize("wanted", ["float32", "float64"])
def test_a_dtype_that_is_asked_for(backend, given, wanted):
    x = START.astype(given)
    states = isotherm.sample_chain(WELL, x, backend=backend, dtype=wanted, **RUN)
    assert states.dtype == wanted
    converted = isotherm.sample_chain(WELL, x.astype(wanted), backend="numpy", **RUN)
    np.testing.assert_array_equal(states, converted)
    np.testing.assert_array_equal(x, START.astype(given))


@pytest.mark.parametrize("x", [START.astype(complex), START > 0, START.astype("S3"), START[:0]])
def test_what_is_no_state_is_refused(backend, x):
    with pytest.raises(isotherm.InputError, match=r"^x has "):
        isotherm.sample_chain(WELL, x, backend=backend, **RUN)


@pytest.mark.parametrize("name", backends.names())
def test_a_backend_runs_or_says_why_not(name):
    reason = registry.load(name).status().reason
    if reason is None:
        assert isotherm.sample_chain(WELL, dim=2, n_samples=3, backend=name).shape == (3, 2)
    else:
        with pytest.raises(isotherm.BackendError, match=f"backend '{name}' cannot be") as caught:
            isotherm.sample_chain(WELL, dim=2, n_samples=3, backend=name)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", backends.names())
def test_a_device_that_does_not_exist_is_refused(name):
    with pytest.raises(isotherm.IsothermError) as caught:
        isotherm.sample_chain(WELL, dim=2, backend=name, device="cuda:99")
    assert "\n" not in str(caught.value)
