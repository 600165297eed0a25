"""The host's build sees what only a card would show: threads that race, memory that is nobody's."""

import numpy as np
import pytest

import isotherm
from isotherm.backend import Outputs
from isotherm_cupy import kernels, source, steps
from isotherm_cupy.chains import FusedChains
from tests.cupy.host import HostBackend, HostModule, compile_for_host

FAULTS = {
    "threads race for shared memory": "row[t] = x[t]; __syncthreads(); row[t] = row[t ^ 1];",
    "threads race for out[0]": "row[t] = x[t]; __syncthreads(); out[0] = row[t];",
    "blocks race for out[0]": "row[t] = x[t]; out[t] = row[t];",
    "what no array holds is touched": "row[t] = x[t]; out[4 * t + (int)blockIdx.x] = row[t];",
    "shared memory is read before it is written": "out[t + 2 * (int)blockIdx.x] = row[t];",
    "memory[2] is read before it is written": "out[t + 2 * (int)blockIdx.x] = memory[t + 2];",
    "threads of a block wait at different places": """\
if (t) __syncthreads(); else { row[0] = x[0];
__syncthreads(); }""",
    "threads of a block wait": "if (t) return; row[t] = 0; __syncthreads(); row[t] = 1;",
    "lanes of a warp wait at different places": "if (t) out[t] = __shfl_xor_sync(~0u, x[t], 1);",
    "lanes of a warp wait": """\
if (t) __syncthreads(); else row[0] = __shfl_xor_sync(~0u, x[t], 1);""",
    "a shuffle does not name all lanes": "row[t] = __shfl_xor_sync(3u, x[t], 1);",
    "several numbers begin at an odd place": "*(double*)(memory + 2 * t + 1) = x[t];",
    "": """\
row[t] = x[t];
__syncthreads();
memory[t + 2 * (int)blockIdx.x] = row[t ^ 1];
__syncthreads();
out[t + 2 * (int)blockIdx.x] = memory[(t ^ 1) + 2 * (int)blockIdx.x];
row[t] = __shfl_xor_sync(~0u, __shfl_xor_sync(~0u, x[t], 1), 1);""",
}
KERNELS = "".join(
    f"""
extern "C" __global__ void fault{i}(const REAL* x, REAL* out, REAL* memory) {{
    __shared__ REAL row[2];
    const int t = (int)threadIdx.x;
    {body}
}}
"""
    for i, body in enumerate(FAULTS.values())
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_threads_is_seen(fault):
    module = compile_for_host(source.assemble("float32", KERNELS))
    given = [np.zeros(2, "float32"), np.zeros(4, "float32"), np.zeros(4, "float32")]
    number = list(FAULTS).index(fault)
    if not fault:
        module.launch(f"fault{number}", 4, given, 2)
        return
    with pytest.raises(AssertionError) as caught:
        module.launch(f"fault{number}", 4, given, 2)
    assert str(caught.value).startswith(f"fault{number}: {fault}")


@pytest.mark.parametrize(
    ("where", "right", "wrong"),
    [
        ("block", "__syncthreads();", ""),
        ("block", " % 2] + own", " % 1] + own"),
        ("team", "if constexpr (TEAM > 1) __syncthreads();", ""),
        ("team", "meet();\n    if constexpr (DIM > 1)", "if constexpr (DIM > 1)"),
    ],
)
def test_a_step_whose_threads_do_not_wait_is_seen(where, right, wrong, monkeypatch):
    energy = isotherm.GaussianEnergy(np.zeros(3), np.eye(3))
    if where == "team":
        energy = isotherm.DoubleWellEnergy()
        monkeypatch.setattr(kernels, "_layout_of", lambda *given: steps.TEAM)
        monkeypatch.setattr(kernels, "_team_of", lambda *given: (4, 2))
    plan = isotherm.make_plan(
        energy, dim=3, n_samples=5, n_steps=2, step_size=0.1, sampler="mala", dtype="float32",
        backend=HostBackend.name,
    )  # fmt: skip
    text = kernels.kernel_of(plan, energy).source
    assert right in text
    mutant = HostModule(text.replace(right, wrong))
    runner = FusedChains(plan, kernels.kernel_of(plan, energy), np, lambda source: mutant)
    with pytest.raises(AssertionError, match=r"race for|read before"):
        runner.advance({"x": np.zeros((5, 3), "float32")}, 0, 2, Outputs())
