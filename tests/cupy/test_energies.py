"""Users' own energies in CUDA C++."""

import numpy as np
import pytest

import isotherm
from isotherm._arithmetic.arrays import to_numpy
from isotherm._backends import registry
from isotherm_cupy import CudaEnergy, kernels
from isotherm_cupy.nvrtc import CompileError, compiled
from isotherm_cupy.source import assemble
from tests.cupy.host import BUILDS, compile_for_host

ENERGY = """
    real total = 0;
    for (int i = 0; i < dim; ++i) {
        const real a = fabs(x[i] - centre[i]);
        total += a > width ? width * (a - width / 2) : a * a / 2;
    }
    return total;
"""
GRADIENT = """
    for (int i = 0; i < dim; ++i) {
        const real a = x[i] - centre[i];
        out[i] = a > width ? width : a < -width ? -width : a;
    }
"""


class HostEnergy(CudaEnergy):
    """A `CudaEnergy` of NumPy arrays, built by the host's compiler."""

    library = "numpy"
    _compile = staticmethod(compile_for_host)


KINDS = {"cupy_on_host": HostEnergy, "cupy": CudaEnergy}


def huber(kind=HostEnergy, dim=3, **bodies):
    bodies = {"energy": ENERGY, "gradient": GRADIENT} | bodies
    return kind(**bodies, parameters={"centre": np.linspace(0, 1, dim), "width": 0.75}, dim=dim)


class ArrayHuber:
    """The same in NumPy."""

    def __init__(self, dim):
        self.centre = np.linspace(0, 1, dim)

    def __call__(self, x):
        a = np.abs(x - self.centre.astype(x.dtype))
        terms = np.where(a > 0.75, 0.75 * (a - 0.375), a * a / 2)
        return np.cumsum(terms, axis=1, dtype=x.dtype)[:, -1]

    def gradient(self, x):
        return np.clip(x - self.centre.astype(x.dtype), -0.75, 0.75)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("dim", "path"),
    [(3, "fused CUDA functions"), (kernels._WHOLE_STATE + 1, "array loop")],
)
def test_cuda_functions_are_stepped_as_the_same_energy_on_arrays_is(build, dim, path, dtype):
    options = {
        "n_samples": 50, "n_steps": 21, "thinning": 4, "step_size": 0.1, "seed": 2, "dtype": dtype,
        "clamp": (-1.5, None), "return_trajectory": True, "return_diagnostics": True, "dim": dim,
    }  # fmt: skip
    results = []
    for energy, backend in ((huber(KINDS[build], dim), build), (ArrayHuber(dim), "numpy")):
        plan = isotherm.make_plan(energy, backend=backend, **options)
        results.append(isotherm.run(plan, energy))
    got, expected = results
    assert got.info.path.startswith(path)
    assert to_numpy(got.trajectory).tobytes() == expected.trajectory.tobytes()
    assert to_numpy(got.diagnostics.energy).tobytes() == expected.diagnostics.energy.tobytes()


def test_cuda_functions_can_be_called_on_arrays():
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_array_equal(huber()(x), ArrayHuber(3)(x))
    np.testing.assert_array_equal(huber().gradient(x[::2]), ArrayHuber(3).gradient(x[::2]))
    assert isotherm.check_gradient(huber(), x).is_correct
    wrong = huber(gradient=GRADIENT.replace("-width : a", "-width : -a"))
    assert not isotherm.check_gradient(wrong, x).is_correct


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cuda_functions_compile(dtype, architecture):
    energy = huber(CudaEnergy)
    plan = isotherm.make_plan(energy, n_samples=9, dtype=dtype, backend="cupy_on_host")
    compiled(kernels.kernel_of(plan, energy).source, architecture)
    constants = {"DIM": 3}
    parts = (energy.source(), "energies.cu", "gradients.cu")
    compiled(assemble(dtype, *parts, constants=constants), architecture)


def test_what_the_compiler_refuses_is_shown_with_the_users_own_line():
    energy = huber(
        CudaEnergy, gradient="\n    for (int i = 0; i < dim; ++i)\n        out[i] = y[i];"
    )
    plan = isotherm.make_plan(energy, n_samples=9, backend="cupy_on_host")
    with pytest.raises(CompileError) as caught:
        compiled(kernels.kernel_of(plan, energy).source, "sm_90")
    message = str(energy.explained(str(caught.value)))
    assert message.startswith("CudaEnergy: gradient, line 3: out[i] = y[i]; (identifier")
    with pytest.raises(isotherm.InputError, match=r"gradient, line 3: out\[i\] = y\[i\]; \("):
        huber(gradient=energy._bodies["gradient"]).gradient(np.ones((2, 3)))


@pytest.mark.parametrize("name", ["x", "real", "not a name", "1st", 3])
def test_names_that_mean_something_else_are_refused(name):
    with pytest.raises(isotherm.InputError, match="cannot be a parameter's name"):
        CudaEnergy("return 0;", "", parameters={name: 1.0})


def test_cuda_functions_take_cupy_arrays_of_two_dtypes_and_their_dimension():
    with pytest.raises(isotherm.InputError, match="takes arrays of cupy, float32 or float64"):
        huber(CudaEnergy)(np.ones((2, 3)))
    with pytest.raises(isotherm.InputError, match=r"shape \(2, 4\) but the energy has dimension 3"):
        huber()(np.ones((2, 4)))
    plan = isotherm.make_plan(ArrayHuber(3), dim=3, dtype="float16", backend="numpy")
    assert "float32 and float64" in registry.load("cupy").supports(plan, huber(CudaEnergy))
