"""CUDA's kernels without a GPU: interpreted, bit for bit, and as compiled for two of them."""

import itertools
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
import isotherm.math as im
import isotherm_torch
from isotherm._backends.array_loop import ArrayLoop, columns_of, matvec
from isotherm._backends.protocol import Outputs
from isotherm._transitions.trace import Transition, gradient, perturb, total, where
from isotherm.backend import Segment, Segments, Space, kind_of, noise
from isotherm.testing import run_options
from isotherm_torch import kernel
from isotherm_torch.blocks import coefficients_in_memory
from isotherm_torch.loop import TorchLoop
from tests.torch import ptx, stand_in

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
SAMPLERS = {
    "langevin": {"sampler": "langevin", "clamp": (-1.0, 2.0)},
    "langevin of a mass": {"sampler": "langevin", "inverse_mass": [1.0, 2.0, 0.5]},
    "underdamped": {
        "sampler": "underdamped", "n_steps": 5, "noise_scale": np.array([1.0, 0.5, 0.0, 0.0, 0.0])
    },
    "underdamped of temperatures": {
        "sampler": "underdamped", "decay": 0.1, "temperature": np.linspace(0.0, 2.0, 5)[:, None]
    },
    "mala": {"sampler": "mala"},
    "mala of temperatures": {"sampler": "mala", "temperature": np.linspace(0.5, 2.0, 5)[:, None]},
    "limited mala": {
        "sampler": "mala", "bounds": (-1.0, 0.75), "gradient_clip": 1.5,
        "gradient_clip_norm": 2.0,
    },
    "hmc": {"sampler": "hmc", "n_leapfrog": 3, "step_size": 0.4},
    "malt": {"sampler": "hmc", "n_leapfrog": 5, "friction": 0.5, "step_size": 0.4},
}  # fmt: skip
KEY = {"seed": 2**64 - 5, "stream": noise.Stream.MOMENTUM, "block": 7, "chain_offset": 2**33 - 40}
ACCEPT_KEY = {"seed": 2**64 - 5, "block": 7, "chain_offset": 2**33 - 40}


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
    """What the kernels launched in the test compile to."""
    kernels, run = [], triton.runtime.jit.JITFunction.run

    def compile_only(function, *args, warmup, **options):
        kernels.append(run(function, *args, warmup=True, **options))

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", compile_only)
    name = "_active" if hasattr(driver, "_active") else "active"  # since Triton 3.6, and before
    monkeypatch.setattr(driver, name, Absent(request.param))
    return kernels


@pytest.fixture
def carried_out(monkeypatch):
    """What the kernels launched in the test compile to is run, on the CPU."""
    run = triton.runtime.jit.JITFunction.run

    def compile_and_run(function, *args, grid, warmup, **options):
        made = run(function, *args, grid=grid, warmup=True, **options)
        if not warmup:
            constant = {path[0] for path in made.src.constants}
            given = [one for k, one in enumerate(args) if k not in constant]
            ptx.launch(made.asm["ptx"], grid[0], given)
        return made

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", compile_and_run)
    name = "_active" if hasattr(driver, "_active") else "active"
    monkeypatch.setattr(driver, name, Absent(90))


def assert_each_is_rounded_by_itself(program):
    # Before Triton 3.6 it was so asked for; no root's argument is subnormal.
    ptx = program.asm["ptx"].replace("sqrt.rn.ftz.f32", "sqrt.rn.f32")
    floating = re.findall(r"^\s+([a-z]\w+)([.\w]*)\.(?:f16|f16x2|f32|f64)\s", ptx, re.MULTILINE)
    exact = {"setp", "selp", "abs", "neg", "min", "max"}
    rounded = {how for name, how in floating if name not in exact}
    assert rounded <= {".rn", ".rmi.f64", ".rmi.ftz.f32"}  # ... and floor
    assert "fma" not in ptx
    assert "ftz" not in ptx.replace("cvt.rmi.ftz.f32.f32", "")  # floor's, which is corrected


def plan_of(**options):
    defaults = {"dim": 3, "n_samples": 5, "seed": 2**64 - 5, "backend": "torch", "step_size": 0.1}
    return isotherm.make_plan(WELL, **defaults | options)


def segments_of(plan, module=kernel):
    return module.Segments(plan.transition(kind_of(WELL)), plan.state_dtype)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_operation_is_rounded_by_itself(compiled, sampler, dtype):
    segments = segments_of(plan_of(**SAMPLERS[sampler], dtype=dtype))
    assert segments.why_not() is None
    assert len(compiled) == len(segments._kernels) > 0
    normals = torch.empty(noise.steps_per_block(dtype), 99, 3, dtype=getattr(torch, dtype))
    kernel.fill_normals(normals, **KEY)
    kernel.exponentials(normals[0], **ACCEPT_KEY)
    first = torch.zeros((), dtype=torch.int64)
    kernel.fill_normals(normals, first_step=first, **KEY)
    kernel.exponentials(normals[0], first_step=first, **ACCEPT_KEY)
    for program in compiled:
        assert_each_is_rounded_by_itself(program)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 16), (16, 1)])
def test_one_chain_and_one_coordinate_compile(compiled, dtype, shape):
    """A number that is 1 is no tensor to the compiler."""
    dtype = getattr(torch, dtype)
    for first in (None, torch.zeros((), dtype=torch.int64)):
        kernel.fill_normals(torch.empty(4, *shape, dtype=dtype), first_step=first, **KEY)
        kernel.exponentials(torch.empty(shape, dtype=dtype), first_step=first, **ACCEPT_KEY)
    columns = torch.zeros(shape[1], shape[1], dtype=dtype)
    kernel.matvec(columns, torch.zeros(shape, dtype=dtype))
    for program in compiled:
        assert_each_is_rounded_by_itself(program)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (200, 7)])
def test_compiled_noise_has_the_streams_bits(carried_out, dtype, shape):
    out = torch.empty(noise.steps_per_block(dtype), *shape, dtype=getattr(torch, dtype))
    expected = np.empty(out.shape, dtype)
    noise.fill_normals(expected, **KEY)
    drawn = noise.exponentials(np.empty(shape, dtype), **ACCEPT_KEY)
    for first in (None, 3):  # blocks before these
        step = None if first is None else torch.tensor(first * len(out) + 1)
        kernel.fill_normals(out, first_step=step, **KEY | {"block": 7 - (first or 0)})
        assert out.numpy().tobytes() == expected.tobytes()
        step = None if first is None else torch.tensor(4 * first + 1)
        key = ACCEPT_KEY | {"block": 7 - (first or 0)}
        for ours, theirs in zip(
            kernel.exponentials(out[0], first_step=step, **key), drawn, strict=True
        ):
            assert ours.numpy().tobytes() == theirs.tobytes()


def check_matrix(made, dtype, shape):
    """The kernel of a module has the array loop's bits."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(shape[1], shape[1]))
    x = torch.from_numpy(rng.normal(size=shape).astype(dtype))
    got = made.matvec(columns_of(matrix, x), x)
    assert got.numpy().tobytes() == matvec(matrix, x.numpy()).tobytes()


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (150, 7)])
def test_a_compiled_matrix_has_the_array_loops_bits(carried_out, dtype, shape):
    check_matrix(kernel, dtype, shape)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_compiled_steps_have_the_array_loops_bits(carried_out, sampler, dtype):
    check_bits(
        kernel, **{"n_samples": 5, "dim": 3, "dtype": dtype, "n_steps": 2} | SAMPLERS[sampler]
    )


def test_compiled_steps_keep_subnormal_numbers(carried_out):
    x = torch.tensor([0.0, -0.0, 1e-45, -1e-39, 3e-12, -1e12, 3e38]).expand(5, -1)
    check_bits(kernel, x, n_steps=2, noise_scale=0.0, clamp=(-1.0, None))


def run_once(segments, numbers, in_memory=None, dtype=torch.float32):
    """Each segment, with these numbers of the step."""
    for segment in segments._kernels:
        values = {}
        for index in segment.inputs:
            if index in segments._in_memory:
                values[index] = next(in_memory)
            else:
                is_number = segments._spaces[index] == Space.STEP
                values[index] = next(numbers) if is_number else torch.zeros(16, 3, dtype=dtype)
        segments(segment, values)


def test_another_step_and_another_seed_compile_nothing(compiled):
    segments = segments_of(plan_of(sampler="underdamped"))
    for numbers in ([1.0], [0.5, 1e-30, 0.0], [-2.0, 3.0]):
        run_once(segments, itertools.cycle(numbers))
    n_segments = len(segments._kernels)
    assert len(set(map(id, compiled))) == n_segments
    for seed in (1, 16, 2**63, 2**64 - 1):
        kernel.fill_normals(torch.empty(4, 10, 3), **KEY | {"seed": seed, "block": seed >> 40})
    assert len(set(map(id, compiled))) == n_segments + 1


@pytest.mark.parametrize("dtype", kernel.DTYPES)
def test_coefficients_in_memory_compile_nothing_wherever_they_are(compiled, dtype):
    plan = plan_of(sampler="underdamped", dtype=dtype, step_size=[0.1, 0.2], n_steps=2)
    program = plan.transition(kind_of(WELL))
    segments = kernel.Segments(program, plan.state_dtype, coefficients_in_memory(plan, program))
    assert segments.why_not() is None
    n_segments = len(compiled)
    assert n_segments == len(segments._kernels)
    numbers = torch.zeros(8, dtype=getattr(torch, dtype))
    assert len({number.data_ptr() % 16 for number in numbers}) > 1
    run_once(segments, itertools.cycle([0.5]), itertools.cycle(numbers), getattr(torch, dtype))
    assert len(set(map(id, compiled))) == n_segments
    for one in compiled:
        assert_each_is_rounded_by_itself(one)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
def test_what_is_asked_first_is_what_is_launched(compiled, dtype):
    kernel._compiler_says.cache_clear()
    assert kernel.why_not(dtype) is None
    normals = torch.empty(noise.steps_per_block(dtype), 16, 4, dtype=getattr(torch, dtype))
    kernel.fill_normals(normals, **KEY)
    kernel.exponentials(normals[0], **ACCEPT_KEY)
    assert compiled[:2] == compiled[2:]
    kernel.why_not(dtype)
    assert len(compiled) == 4
    matrix = segments_of(plan_of(dtype=dtype, inverse_mass=np.eye(3)))
    assert matrix.why_not() is None
    rows = torch.zeros(4, 4, dtype=getattr(torch, dtype))
    kernel.matvec(rows, rows)
    assert compiled[-1] is compiled[4]
    del compiled[4:]
    segments = segments_of(plan_of(dtype=dtype))
    assert segments.why_not() is None
    (segment,) = segments._kernels
    rows = torch.zeros(4, 4, dtype=getattr(torch, dtype))
    is_number = [segments._spaces[index] == Space.STEP for index in segment.inputs]
    values = [1.0 if number else rows for number in is_number]
    segments(segment, dict(zip(segment.inputs, values, strict=True)))
    assert compiled[4] is compiled[5]


@pytest.mark.parametrize("refused", ["_fill", "segment0"])
def test_a_compiler_that_refuses_is_a_reason_and_no_crash(compiled, monkeypatch, refused):
    """Whatever it raises, and at any depth: Triton before 3.7 took no tuple as an argument."""
    run = triton.runtime.jit.JITFunction.run

    def refuse(function, *args, **options):
        if function.__name__ != refused:
            return run(function, *args, **options)
        try:
            raise AttributeError("'float' object has no attribute 'type'")
        except AttributeError as error:
            raise NotImplementedError("at 3:36:\ndef _fill(\n     ^") from error

    kernel._compiler_says.cache_clear()
    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", refuse)
    plan = replace(plan_of(), device="cuda:0")
    assert TorchLoop(plan, WELL).path == (
        f"array loop, no fused step (Triton {triton.__version__} cannot compile it: 'float' object "
        "has no attribute 'type')"
    )
    kernel._compiler_says.cache_clear()


@pytest.fixture(scope="module")
def interpreted():
    with stand_in.interpreted(kernel) as module:
        yield module


def check_bits(interpreted, x=None, **options):
    """Run a plan with the kernel and without; the states must have the same bits."""
    options = {"backend": "torch", "step_size": 0.01, "seed": 2**64 - 5} | options
    plan = isotherm.make_plan(WELL, x, **options)
    x = torch.linspace(-1, 1, plan.n_coordinates).expand(plan.n_samples, -1) if x is None else x
    state = {"x": x.reshape(plan.shape).to(getattr(torch, plan.state_dtype))}
    if "momentum" in plan.transition(kind_of(WELL)).carried:
        state["momentum"] = torch.ones_like(state["x"]) / 3
    with np.errstate(all="ignore"):  # a lane without a number divides 0 by 0
        expected, got = (
            ArrayLoop(plan, WELL, WELL.gradient, run_segment=run_segment)
            .advance(state, 0, plan.n_total, Outputs())["x"]
            .numpy()
            for run_segment in (None, segments_of(plan, interpreted))
        )
    number = ~np.isnan(expected)  # of NaN there are many bits
    np.testing.assert_array_equal(~np.isnan(got), number)
    bits = f"u{got.itemsize}"
    np.testing.assert_array_equal(got[number].view(bits), expected[number].view(bits))
    return got


@settings(max_examples=20)
@given(options=run_options())
def test_chains_have_the_references_bits(interpreted, options):
    check_bits(interpreted, **options)


@pytest.mark.parametrize("dtype", [*kernel.DTYPES, "float16", "bfloat16"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_samplers_steps_have_the_array_loops_bits(interpreted, sampler, dtype):
    for n_samples, dim in ((1, 1), (300, 7)):
        options = SAMPLERS[sampler]
        if "inverse_mass" in options:
            options = options | {"inverse_mass": np.linspace(0.5, 2.0, dim)}
        if "temperature" in options:
            ladder = np.resize(options["temperature"], (n_samples, 1))
            options = options | {"temperature": ladder}
        options = {"n_samples": n_samples, "dim": dim, "dtype": dtype, "n_steps": 5} | options
        check_bits(interpreted, **options)


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (300, 7)])
def test_blocks_of_normals_have_the_streams_bits(interpreted, dtype, shape):
    out = torch.empty(2 * noise.steps_per_block(dtype), *shape, dtype=getattr(torch, dtype))
    expected = np.empty(out.shape, dtype)
    interpreted.fill_normals(out, **KEY)
    noise.fill_normals(expected, **KEY)
    assert out.numpy().tobytes() == expected.tobytes()
    if shape[1] > 1:
        part = torch.empty(out.shape[0], 2, 300, 7, dtype=out.dtype)[:, 0, :, 3:]
        interpreted.fill_normals(part, **KEY, coordinate_offset=3)
        assert torch.equal(part, out[:, :, 3:])


def users_step(state, c, draw):
    """What no built-in sampler does: divisions, roots, functions."""
    x, z = state.x, draw.normal(noise.Stream.LANGEVIN)
    y = im.sqrt(abs(x)) / (0.1 + abs(z)) - im.maximum(x, z) * im.minimum(-x, c.step_size)
    y = total(y) + where(y != y, 0.1, where(x >= z, -y, 1.0 / y))
    return {"x": perturb(gradient(y), c.noise, y) + im.exp(y)}, {}


@pytest.mark.parametrize("dtype", kernel.DTYPES)
def test_a_users_own_steps_have_the_array_loops_bits(interpreted, compiled, dtype):
    program = Transition("users", users_step, dict).program()
    segments, others = interpreted.Segments(program, dtype), Segments(program, dtype)
    assert kernel.Segments(program, dtype).why_not() is None
    for one in compiled:
        assert_each_is_rounded_by_itself(one)
    all_segments = [one for one in program.statements if isinstance(one, Segment)]
    assert 0 < len(segments._kernels) < len(all_segments)  # Triton's exp is not ours
    rng = np.random.default_rng(0)
    for segment in all_segments:
        shapes = {Space.STATE: (300, 7), Space.CHAIN: (300, 1)}
        values = {
            index: torch.from_numpy(rng.normal(size=shapes[space]).astype(dtype))
            if (space := program.spaces[index]) in shapes
            else float(np.array(0.1, dtype))
            for index in segment.inputs
        }
        with np.errstate(all="ignore"):  # beyond the end of an array
            results = segments(segment, values)
        for got, expected in zip(results, others(segment, values), strict=True):
            assert got.numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("n", [1, 3000])
def test_numbers_for_accepting_have_the_streams_bits(interpreted, dtype, n):
    key = ACCEPT_KEY | {"n_blocks": 2}
    got = interpreted.exponentials(torch.empty(n, 2, dtype=getattr(torch, dtype)), **key)
    expected = noise.exponentials(np.empty((n, 2), dtype), **key)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.numpy().tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", kernel.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (300, 7)])
def test_a_matrix_times_rows_has_the_array_loops_bits(interpreted, dtype, shape):
    check_matrix(interpreted, dtype, shape)


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
