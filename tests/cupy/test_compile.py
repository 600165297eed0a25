"""Every kernel compiles for the cards of today, and its registers are known."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

import isotherm
import isotherm.math as im
from isotherm._transitions import catalogue
from isotherm._transitions.trace import Transition, gradient
from isotherm.backend import Kind, noise
from isotherm.testing import UsersEnergy
from isotherm_cupy import modules, nvrtc
from isotherm_cupy.kernels import kernel_of
from isotherm_cupy.nvrtc import compiled
from isotherm_cupy.segments import Segments
from isotherm_cupy.source import assemble
from isotherm_cupy.steps import has_trajectories
from tests.core import test_array_formulas as formulas
from tests.core import test_scan as recursions

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
    (isotherm.RosenbrockEnergy(), 32),
    (isotherm.AckleyEnergy(), 4),
    (MIXTURE, 2),
    (walled(), 1),
    (isotherm.GaussianEnergy(np.zeros(2), np.eye(2)), 2),
    (isotherm.GaussianEnergy(np.zeros(10), np.eye(10)), 10),
    (isotherm.GaussianEnergy(np.zeros(100), np.eye(100)), 100),
]

SAMPLERS = [
    {"sampler": "underdamped"},
    {"sampler": "mala"},
    {"sampler": "hmc"},
    {"sampler": "hmc", "friction": 0.5},
]
ENERGIES_OF_SAMPLERS = [
    (isotherm.DoubleWellEnergy(), 10),
    (isotherm.DoubleWellEnergy(), 100),
    (isotherm.DoubleWellEnergy(), 1024),
    (isotherm.RosenbrockEnergy(), 10),
    (isotherm.RosenbrockEnergy(), 32),
    (MIXTURE, 2),
    (isotherm.GaussianEnergy(np.zeros(10), np.eye(10)), 10),
    (isotherm.GaussianEnergy(np.zeros(100), np.eye(100)), 100),
]


def chosen(energy, dim, dtype, **options):
    options = {"step_size": 0.01, "backend": "numpy", "n_samples": 1000} | options
    plan = isotherm.make_plan(energy, dim=dim, dtype=dtype, **options)
    return kernel_of(plan, energy)


def source_of(energy, dim, dtype):
    return chosen(energy, dim, dtype).source


def uses(log):
    """Registers and spilled bytes of each kernel, of what the assembler says."""
    pattern = re.compile(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers",
        re.DOTALL,
    )
    return {
        name: (int(registers), int(spilled)) for name, spilled, registers in pattern.findall(log)
    }


def assert_nothing_is_flushed(ptx):
    """Subnormal numbers are numbers, but to the estimate with which the noise's root begins.

    CUDA's own exp and log have such estimates too, of numbers that are not small.
    """
    flushing = set(re.findall(r"[a-z][\w.]*\.ftz[\w.]*", ptx.decode()))
    assert flushing <= {"rsqrt.approx.ftz.f32"}
    assert all(".approx." in name for name in flushing)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("energy", "dim"), ENERGIES, ids=lambda value: getattr(value, "name", value)
)
def test_chains_compile_without_spills(energy, dim, dtype, architecture, record_property):
    code, ptx, log = compiled(source_of(energy, dim, dtype), architecture, "--ptxas-options=-v")
    assert code.startswith(b"\x7fELF")
    for name, (registers, spilled) in uses(log).items():
        record_property(f"{name} registers", registers)
        assert (registers <= 255, spilled) == (True, 0), name
    assert set(uses(log)) == {"advance", "energies", "chain_moments", "node_moments", "rounded"}
    assert_nothing_is_flushed(ptx)
    own = ptx.decode()
    advance = own[own.index(".entry advance") :].partition(".entry energies")[0]
    # Two to each root of the noise, and no other.
    assert advance.count("fma.rn") == 2 * advance.count("rsqrt.approx")


@pytest.mark.parametrize("energy", [isotherm.AckleyEnergy(), isotherm.RastriginEnergy()])
def test_steps_of_many_operations_are_not_unrolled(energy):
    """A multiprocessor keeps 128 KiB of a program, and to compile more of it takes long."""
    source = chosen(energy, 16, "float32", sampler="mala").source
    without = source.replace('extern "C" __global__ void advance', "static __device__ void unused")
    sizes = [len(compiled(text, "sm_90").loadable) for text in (source, without)]
    assert sizes[0] - sizes[1] < 2**17


@isotherm.formula(dim=(64, 64))
def phi4(x):
    return np.sum(2 * x**2 + 0.25 * x**4 - x * np.roll(x, 1, 0) - x * np.roll(x, 1, 1))


@isotherm.formula(dim=(13, 3))
def cluster(x):
    i, j = np.triu_indices(13, 1)
    s = 1.0 / np.sum((x[i] - x[j]) ** 2, axis=-1) ** 3
    return np.sum(4.0 * (s * s - s))


ARRAYS = {
    "lattice": phi4(),
    "cluster": cluster(),
    "logistic": formulas.logistic(*formulas.data(569, 31), dim=31),
    "hidden Markov": recursions.made(recursions.hidden_markov)(recursions.rows(200)),
    "factors": formulas.made(formulas.factors),
    "GARCH": recursions.made(recursions.garch)(recursions.rows(200)),
}


@pytest.mark.parametrize(
    ("dtype", "architecture", "sampler"),
    [("float32", "sm_80", "langevin"), ("float64", "sm_90", "hmc")],
)
@pytest.mark.parametrize("name", ARRAYS)
def test_loops_over_arrays_compile(name, dtype, architecture, sampler, record_property):
    found = chosen(ARRAYS[name], None, dtype, sampler=sampler, return_diagnostics=True)
    _, ptx, log = compiled(found.source, architecture, "--ptxas-options=-v")
    for kernel, (registers, spilled) in uses(log).items():
        record_property(f"{kernel} registers", registers)
        assert (registers <= 255, spilled) == (True, 0), kernel
    assert_nothing_is_flushed(ptx)
    assert ptx.decode().count("fma.rn") == 2 * ptx.decode().count("rsqrt.approx")
    assert b"ld.global.nc" not in ptx  # what a kernel writes is not read as if it never changed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", SAMPLERS, ids=lambda one: " ".join(map(str, one.values())))
@pytest.mark.parametrize(
    ("energy", "dim"), ENERGIES_OF_SAMPLERS, ids=lambda value: getattr(value, "name", value)
)
def test_every_samplers_steps_compile(energy, dim, options, dtype, record_property):
    found = chosen(energy, dim, dtype, **options | {"return_diagnostics": True})
    _, ptx, log = compiled(found.source, "sm_90", "--ptxas-options=-v")
    registers, spilled = uses(log)["advance"]
    record_property("advance registers", registers)
    most = 10 if dtype == "float64" else 20 if has_trajectories(found.request) else 32
    assert (registers <= 255, spilled == 0 or dim > most) == (True, True)
    if not has_trajectories(found.request):
        assert spilled <= 100  # a few numbers, of a state of 32 in float64
    assert registers * found.block <= 2**16  # which a block has at most
    assert_nothing_is_flushed(ptx)


@pytest.mark.parametrize(
    ("dtype", "n_samples", "lanes"),
    [("float32", 1000, 32), ("float32", 10_000, 8), ("float64", 10**6, 16)],
)
def test_lanes_of_a_chain_meet_in_registers(dtype, n_samples, lanes):
    options = {"sampler": "hmc", "friction": 0.5, "n_samples": n_samples}
    found = chosen(isotherm.DoubleWellEnergy(), 100, dtype, **options)
    assert found.threads == n_samples * lanes
    _, ptx, log = compiled(found.source, "sm_90", "--ptxas-options=-v")
    assert uses(log)["advance"][1] == 0
    advance = ptx.decode().partition(".entry advance")[2].partition(".entry energies")[0]
    assert advance.count("shfl.sync.bfly") == math.log2(lanes) * (1 if dtype == "float32" else 2)
    assert not re.search(r"\bbar(rier)?\.|\.shared", advance)


@pytest.mark.parametrize("sampler", ["mala", "hmc"])
@pytest.mark.parametrize(
    "energy", [isotherm.DoubleWellEnergy(), isotherm.RosenbrockEnergy()], ids=lambda one: one.name
)
def test_a_step_is_accepted_by_selects(energy, sampler):
    """Within the loop over steps, a branch skips a few moves, or a trajectory's loop; no work."""
    _, ptx, _ = compiled(chosen(energy, 10, "float32", sampler=sampler).source, "compute_90")
    lines = ptx.decode().partition(".entry advance")[2].partition(".entry ")[0].splitlines()
    labels = {line[:-1]: k for k, line in enumerate(lines) if line.startswith("$")}
    jumps = [
        (k, labels[jump[1]])
        for k, line in enumerate(lines)
        if (jump := re.search(r"\bbra\S*\s+(\S+);", line))
    ]
    end, start = max(((k, to) for k, to in jumps if to < k), key=lambda loop: loop[0] - loop[1])
    assert sum("selp" in line for line in lines[start:end]) >= 2
    for k, to in jumps:
        if start < k < to < end and not any(k < back < to and at < back for back, at in jumps):
            assert all(re.match(r"\s*(mov\b|\$|$)", line) for line in lines[k + 1 : to])


@pytest.mark.parametrize("sampler", ["langevin", "mala"])
def test_steps_at_a_temperature_a_chain_compile(sampler):
    ladder = np.linspace(0.5, 2.0, 1000)[:, None]
    for energy, dim in ENERGIES_OF_SAMPLERS[:2]:
        found = chosen(energy, dim, "float32", sampler=sampler, temperature=ladder, decay=0.01)
        _, ptx, log = compiled(found.source, "sm_90", "--ptxas-options=-v")
        assert uses(log)["advance"][1] == 0
        assert_nothing_is_flushed(ptx)


def noisy_step(state, c, draw):
    """A user's, whose normals of three streams are more than a block's shared memory holds."""
    streams = noise.Stream.LANGEVIN, noise.Stream.MOMENTUM, noise.Stream.INITIAL
    z = [draw.normal(stream) for stream in streams]
    x = state.x - c.step_size * (gradient(state.x) + z[0] * z[1] * z[2])
    return {"x": x}, {}


def test_a_step_of_many_normals_has_the_memory_for_them(monkeypatch):
    transition = Transition("noisy", noisy_step, lambda given: {"step_size": given.step_size})
    monkeypatch.setattr(catalogue, "_transitions", {**catalogue._transitions, "noisy": transition})
    energy = isotherm.RosenbrockEnergy()
    plan = isotherm.make_plan(energy, dim=32, step_size=0.01, dtype="float32", backend="numpy")
    compiled(kernel_of(replace(plan, sampler="noisy"), energy).source, "sm_90")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_array_loops_kernels_compile(dtype, architecture):
    source = assemble(dtype, "fill.cu")
    _, ptx, log = compiled(source, architecture, "--ptxas-options=-v")
    assert_nothing_is_flushed(ptx)
    spilled = {name: spilled for name, (_, spilled) in uses(log).items()}
    assert spilled == {"fill": 0, "exponentials": 0}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", SAMPLERS, ids=lambda one: " ".join(map(str, one.values())))
def test_the_array_loops_segments_compile(dtype, options):
    options = {"dim": 3, "n_samples": 2, "step_size": 0.1, "inverse_mass": [1, 2, 3]} | options
    plan = isotherm.make_plan(UsersEnergy(1.0), dtype=dtype, backend="numpy", **options)
    sources = []
    Segments(plan.transition(Kind.VALUE), dtype, np, sources.append)
    _, ptx, log = compiled(*sources, "sm_90", "--ptxas-options=-v")
    assert_nothing_is_flushed(ptx)
    assert b"fma.rn" not in ptx
    assert {spilled for _, spilled in uses(log).values()} == {0}


def test_a_card_gets_what_these_tests_compile(monkeypatch):
    """Not what CuPy's own way of compiling makes of it, which flushes subnormal numbers."""
    import cupy

    class Card:
        compute_capability = "90"

    class Loaded:
        def load(self, code):
            loaded.append(code)

        def get_function(self, name):
            functions.append(name)
            return lambda grid, block, arguments: launched.append((grid, block, arguments))

    loaded, functions, launched = [], [], []
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "1")
    monkeypatch.setattr(cupy.cuda, "Device", Card)
    monkeypatch.setattr(cupy.cuda, "Module", Loaded)
    source = source_of(isotherm.DoubleWellEnergy(), 2, "float32")
    module = modules.DeviceModule(source)
    assert loaded == [compiled(source, "sm_90").loadable]
    for _ in range(2):
        module.launch("advance", 300, [1], 128)
    assert functions == ["advance"]
    assert launched == [((3,), (128,), (1,))] * 2


def test_each_card_has_a_module_of_its_own(monkeypatch):
    import cupy

    made = []
    monkeypatch.setattr(modules, "DeviceModule", lambda source: made.append(source) or object())
    modules._loaded.cache_clear()
    found = []
    for device in (0, 1, 0):
        monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda device=device: device)
        found.append(modules.compile_for_device("source"))
    modules._loaded.cache_clear()
    assert made == ["source", "source"]
    assert found[0] is found[2]
    assert found[0] is not found[1]


def test_a_card_newer_than_the_compiler_gets_ptx():
    known = (75, 80, 86, 90)
    assert nvrtc.architecture_of("86", known) == "sm_86"
    assert nvrtc.architecture_of("120", known) == "compute_90"
    assert nvrtc.architecture_of("89", known) == "compute_86"
    code = compiled(source_of(isotherm.DoubleWellEnergy(), 2, "float32"), "compute_80")
    assert code.loadable == code.ptx
    assert b".target sm_80" in code.ptx


def test_the_compilers_build_is_known():
    """What was compiled by another build of the same version is not taken for this one's."""
    assert any("V12." in line or "V13." in line for line in nvrtc._versions())
