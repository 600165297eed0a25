"""The face is typed: what a user writes is checked by mypy, and a misspelt keyword fails."""

import importlib.util
import subprocess
import sys

import pytest

GOOD = """
import isotherm

well = isotherm.DoubleWellEnergy(barrier_height=2.0)
samples = isotherm.sample_chain(well, dim=3, n_samples=10, step_size=0.01, seed=0)
both = isotherm.sample_chain(well, dim=3, sampler="hmc", step_size=0.1, return_diagnostics=True)
reveal_type(both)
sampler = isotherm.HamiltonianMonteCarlo(well, step_size=0.1, n_leapfrog=5).to("cpu")
reveal_type(sampler)
all_three = sampler.sample_chain(dim=3, return_diagnostics=True, return_info=True)
reveal_type(all_three)
rate: float | None = all_three[2].acceptance_rate
plan: isotherm.Plan = isotherm.make_plan(well, dim=2, sampler="underdamped", step_size=0.1)
result: isotherm.Result = isotherm.run(plan, well)
"""
REVEALED = (
    "tuple[Any, isotherm._results.diagnostics.Diagnostics]",
    "isotherm._samplers.metropolis.HamiltonianMonteCarlo",
    "tuple[Any, isotherm._results.diagnostics.Diagnostics, isotherm._results.result.Info]",
)
MISSPELT = (
    "isotherm.sample_chain(well, dim=3, stepsize=0.01)",
    "isotherm.make_plan(well, dim=3, burnin=2)",
    "isotherm.LangevinDynamics(well, noise=1.0)",
    "isotherm.MALA(well, step_size=0.1).sample_chain(dim=3, n_step=5)",
    "isotherm.sample_chain(well, dim=3, on_divergence='shout')",
    "isotherm.make_plan(well, dim=3, on_divergence='shout')",
)


def checked(source, tmp_path):
    """What mypy says of a program, in strict mode."""
    if importlib.util.find_spec("mypy") is None:
        pytest.fail("mypy is not installed; nox -s tests installs it")
    path = tmp_path / "program.py"
    path.write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(path)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    return ended.stdout


def test_a_program_and_its_mistakes(tmp_path):
    source = GOOD + "\n".join(MISSPELT) + "\n"
    said = checked(source, tmp_path).splitlines()
    first = GOOD.count("\n") + 1
    errors = {int(line.split(":")[1]) for line in said if ": error:" in line}
    assert errors == set(range(first, first + len(MISSPELT))), said
    revealed = [line.partition('"')[2].rstrip('"') for line in said if "Revealed type" in line]
    assert revealed == list(REVEALED)
