"""Every kernel compiles for the cards of today, and its registers are known."""

import re

import numpy as np
import pytest

import isotherm
import isotherm.math as im
from isotherm_cupy.kernels import kernel_of
from isotherm_cupy.source import assemble
from tests.cupy.nvrtc import compiled

ARCHITECTURES = ["sm_80", "sm_90"]


@isotherm.formula
def walled(x):
    return im.where(abs(x) > 3.0, np.inf, x) + im.where(x > 5.0, -np.inf, x)


MIXTURE = isotherm.GaussianMixtureEnergy([[0.0, 1.0], [1.0, -1.0]], [1.0, 0.7])
ENERGIES = [
    (isotherm.HarmonicEnergy(), 5),
    (isotherm.DoubleWellEnergy(), 32),
    (isotherm.RastriginEnergy(), 3),
    (isotherm.RosenbrockEnergy(), 2),
    (isotherm.RosenbrockEnergy(), 10),
    (isotherm.AckleyEnergy(), 4),
    (MIXTURE, 2),
    (walled(), 1),
    (isotherm.GaussianEnergy(np.zeros(2), np.eye(2)), 2),
    (isotherm.GaussianEnergy(np.zeros(10), np.eye(10)), 10),
    (isotherm.GaussianEnergy(np.zeros(100), np.eye(100)), 100),
]


def source_of(energy, dim, dtype):
    plan = isotherm.make_plan(energy, dim=dim, n_samples=1000, dtype=dtype, backend="numpy")
    return kernel_of(plan, energy).source


def uses(log):
    """Registers and spilled bytes of each kernel, of what the assembler says."""
    pattern = re.compile(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers",
        re.DOTALL,
    )
    return {
        name: (int(registers), int(spilled)) for name, spilled, registers in pattern.findall(log)
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("energy", "dim"), ENERGIES, ids=lambda value: getattr(value, "name", value)
)
def test_chains_compile_without_spills(energy, dim, dtype, architecture, record_property):
    cubin, ptx, log = compiled(source_of(energy, dim, dtype), architecture)
    assert cubin.startswith(b"\x7fELF")
    for name, (registers, spilled) in uses(log).items():
        record_property(f"{name} registers", registers)
        assert (registers <= 255, spilled) == (True, 0), name
    assert set(uses(log)) == {"advance", "energies", "chain_moments", "node_moments"}
    own = ptx.decode() if isinstance(ptx, bytes) else ptx
    advance = own[own.index(".entry advance") :].partition(".entry energies")[0]
    if isinstance(energy, isotherm.GaussianEnergy) or energy.program(dim).is_exact:
        # Two to each root of the noise, and no other.
        assert advance.count("fma.rn") == 2 * advance.count("rsqrt.approx")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_array_loops_kernels_compile(dtype, architecture):
    constants = {"VARIES": 1, "CLAMPS": 1, "KEEPS": 0}
    _, _, log = compiled(assemble(dtype, "arrays.cu", constants=constants), architecture)
    assert {name: spilled for name, (_, spilled) in uses(log).items()} == {"fill": 0, "update": 0}
