"""The CUDA step without a GPU: interpreted, bit for bit, and as compiled for two of them."""

import importlib.util
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

if sys.platform != "linux":
    pytest.skip("Triton is for Linux alone", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import isotherm
import isotherm_torch
from isotherm._backends.array_loop import ArrayLoop
from isotherm._backends.protocol import Outputs
from isotherm.backend import noise
from isotherm.testing import run_options
from isotherm_torch import kernel
from isotherm_torch.loop import TorchLoop

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
KEY = {"seed": 2**64 - 5, "stream": noise.Stream.MOMENTUM, "block": 7, "chain_offset": 2**33 - 40}


class Absent:
    """A GPU that kernels can be compiled for but not run on."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_device(self):
        return self.capability

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)


@pytest.fixture(params=[80, 90])
def compiled(request, monkeypatch):
    """What the steps launched in the test compile to."""
    kernels = []
    for function in (kernel._step, kernel._fill):

        def compile_only(*args, warmup, run=function.run, **options):
            kernels.append(run(*args, warmup=True, **options))

        monkeypatch.setattr(function, "run", compile_only)
    name = "_active" if hasattr(driver, "_active") else "active"  # since Triton 3.6, and before
    monkeypatch.setattr(driver, name, Absent(request.param))
    return kernels


def assert_each_is_rounded_by_itself(program):
    ptx = program.asm["ptx"]
    floating = re.findall(r"^\s+([a-z]\w+)([.\w]*)\.(?:f16|f16x2|f32|f64)\s", ptx, re.MULTILINE)
    arithmetic = [found for found in floating if found[0] not in ("setp", "selp")]
    assert {name for name, _ in arithmetic} >= {"add", "sub", "mul", "sqrt"}
    assert {how for _, how in arithmetic if not how.startswith(".rn")} == set()
    assert "fma" not in ptx
    # Before Triton 3.6 it was so asked for; no root's argument is subnormal.
    assert "ftz" not in ptx.replace("sqrt.rn.ftz.f32", "")


@pytest.mark.parametrize("dtype", kernel.DTYPES)
def test_every_operation_is_rounded_by_itself(compiled, dtype):
    plan = isotherm.make_plan(WELL, dim=3, n_samples=99, dtype=dtype, backend="torch", seed=1)
    step = kernel.FusedLangevin(plan)
    step.start(0, plan.n_total)
    x = torch.zeros(plan.shape, dtype=getattr(torch, dtype))
    step(x, x, 0)
    kernel.fill_normals(x[None].expand(4, -1, -1).contiguous(), **KEY)
    for program in compiled:
        assert_each_is_rounded_by_itself(program)
    assert len(compiled) == 2


def test_another_seed_compiles_nothing(compiled):
    for seed, n_samples in ((1, 10), (16, 10), (2**63, 10), (2**64 - 1, 10)):
        plan = isotherm.make_plan(
            WELL, dim=3, n_samples=n_samples, seed=seed, chain_offset=seed // 2**9, backend="torch"
        )
        step = kernel.FusedLangevin(plan)
        step.start(0, 1)
        step(torch.zeros(plan.shape), torch.zeros(plan.shape), 0)
        kernel.fill_normals(
            torch.empty(4, n_samples, 3), **KEY | {"seed": seed, "block": seed >> 40}
        )
    assert len(set(map(id, compiled))) == 2


@pytest.mark.parametrize("dtype", kernel.DTYPES)
def test_what_is_asked_first_is_what_is_launched(compiled, dtype):
    kernel._compiler_says.cache_clear()
    assert kernel.why_not(dtype) is None
    plan = isotherm.make_plan(WELL, dim=4, n_samples=4, dtype=dtype, backend="torch", seed=1)
    step, x = kernel.FusedLangevin(plan), torch.zeros(4, 4, dtype=getattr(torch, dtype))
    step.start(0, 1)
    step(x, x, 0)
    kernel.fill_normals(torch.empty(4, 4, 4, dtype=x.dtype), **KEY)
    assert compiled[:2] == compiled[2:]
    kernel.why_not(dtype)
    assert len(compiled) == 4


def test_a_compiler_that_refuses_the_step_is_a_reason_and_no_crash(compiled, monkeypatch):
    """Whatever it raises, and at any depth: Triton before 3.7 took no tuple as an argument."""

    def refuse(*args, **options):
        try:
            raise AttributeError("'float' object has no attribute 'type'")
        except AttributeError as error:
            raise NotImplementedError("at 3:36:\ndef _step(\n     ^") from error

    kernel._compiler_says.cache_clear()
    monkeypatch.setattr(kernel._step, "run", refuse)
    plan = replace(isotherm.make_plan(WELL, dim=2, backend="torch", seed=1), device="cuda:0")
    assert TorchLoop(plan, WELL).path == (
        f"array loop, no fused step (Triton {triton.__version__} cannot compile it: 'float' object "
        "has no attribute 'type')"
    )
    kernel._compiler_says.cache_clear()


@pytest.fixture(scope="module")
def interpreted():
    """The kernel's module once more, for Triton's interpreter, which runs on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        spec = importlib.util.spec_from_file_location("interpreted_kernel", kernel.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def check_bits(interpreted, x=None, **options):
    """Run a plan with the kernel and without; the states must have the same bits."""
    options = {"backend": "torch", "step_size": 0.01, "seed": 2**64 - 5} | options
    plan = isotherm.make_plan(WELL, x, **options)
    x = torch.linspace(-1, 1, plan.n_coordinates).expand(plan.n_samples, -1) if x is None else x
    x = x.reshape(plan.shape).to(getattr(torch, plan.state_dtype))
    loop = ArrayLoop(plan, WELL, WELL.gradient)
    expected = loop.advance({"x": x}, 0, plan.n_total, Outputs())["x"].numpy()
    fused = interpreted.FusedLangevin(plan)
    fused.start(0, plan.n_total)
    got = x.clone()
    for step in range(plan.n_total):
        got = fused(got, WELL.gradient(got.to(getattr(torch, plan.dtype))), step)
    got = got.numpy()
    number = ~np.isnan(expected)  # of NaN there are many bits
    np.testing.assert_array_equal(~np.isnan(got), number)
    bits = f"u{got.itemsize}"
    np.testing.assert_array_equal(got[number].view(bits), expected[number].view(bits))
    return got


@settings(max_examples=20)
@given(options=run_options())
def test_chains_have_the_references_bits(interpreted, options):
    check_bits(interpreted, **options)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize(
    ("n_samples", "dim", "chain_offset", "step_offset"),
    [(1, 1, 0, 0), (300, 7, 2**32 - 100, 2**33 - 9), (2, 1500, 2**56 - 2, 1)],
)
def test_every_place_in_the_stream(interpreted, dtype, n_samples, dim, chain_offset, step_offset):
    """Several programs, and counters that carry into the next word."""
    check_bits(
        interpreted, n_samples=n_samples, dim=dim, chain_offset=chain_offset,
        step_offset=step_offset, n_steps=8, dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (300, 7)])
def test_a_block_of_normals_has_the_streams_bits(interpreted, dtype, shape):
    out = torch.empty(noise.steps_per_block(dtype), *shape, dtype=getattr(torch, dtype))
    expected = np.empty(out.shape, dtype)
    interpreted.fill_normals(out, **KEY)
    noise.fill_normals(expected, **KEY)
    assert out.numpy().tobytes() == expected.tobytes()
    if shape[1] > 1:
        part = torch.empty(out.shape[0], 2, 300, 7, dtype=out.dtype)[:, 0, :, 3:]
        interpreted.fill_normals(part, **KEY, coordinate_offset=3)
        assert torch.equal(part, out[:, :, 3:])


@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
def test_signed_zeros_infinity_and_nan(interpreted, noise_scale):
    values = [0.0, -0.0, 1e-45, -1e-39, 3e-12, -1e12, 3e38]
    x = torch.tensor(values).expand(5, -1)
    options = {"n_steps": 2, "noise_scale": noise_scale}
    with np.errstate(all="ignore"):
        for clamp in (None, (-1.0, None), (None, 1.0)):
            state = check_bits(interpreted, x, clamp=clamp, **options)
    assert np.isnan(state).any()


def test_states_and_gradients_in_any_layout(interpreted):
    x = torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    check_bits(interpreted, x.to(memory_format=torch.channels_last), n_steps=3)


def test_a_triton_that_cannot_be_imported_is_a_reason_and_no_crash(monkeypatch):
    monkeypatch.delattr(isotherm_torch, "kernel")
    monkeypatch.setitem(sys.modules, "isotherm_torch.kernel", None)
    plan = replace(isotherm.make_plan(WELL, dim=2, backend="torch", seed=1), device="cuda:0")
    assert "no fused step (Triton cannot be imported: " in TorchLoop(plan, WELL).path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # whose state is float32
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_path_says_why_the_kernel_is_not_used(dtype):
    assert kernel.why_not("bfloat16") == "it has no bfloat16"
    reason = "0 active drivers"
    plan = isotherm.make_plan(WELL, dim=2, dtype=dtype, backend="torch", seed=1)
    assert "no fused step" not in TorchLoop(plan, WELL).path
    plan, module = replace(plan, device="cuda:0"), torch.nn.Linear(2, 1)
    assert TorchLoop(plan, WELL).path.startswith(f"array loop, no fused step ({reason}")
    assert TorchLoop(plan, module).path.startswith(f"array loop, autograd, no fused step ({reason}")
