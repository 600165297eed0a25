"""What a user writes is checked by mypy and by pyright, where a misspelt keyword fails."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

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
    "tuple[Any, Diagnostics]",
    "HamiltonianMonteCarlo",
    "tuple[Any, Diagnostics, Info]",
)
MISSPELT = (
    "isotherm.sample_chain(well, dim=3, stepsize=0.01)",
    "isotherm.make_plan(well, dim=3, burnin=2)",
    "isotherm.LangevinDynamics(well, noise=1.0)",
    "isotherm.MALA(well, step_size=0.1).sample_chain(dim=3, n_step=5)",
    "isotherm.sample_chain(well, dim=3, on_divergence='shout')",
    "isotherm.make_plan(well, dim=3, on_divergence='shout')",
)

# In none of these is anything that a user of Isotherm calls; all of torch takes mypy 15 s.
CONFIG = """
[mypy]
strict = True
[mypy-torch.*,dask.*,distributed.*,xarray.*,matplotlib.*,zarr.*]
follow_imports = skip
"""


def said_by_mypy(path):
    """The errors' lines, and the types that are revealed, in mypy's strict mode."""
    if find_spec("mypy") is None:
        pytest.fail("mypy is not installed; nox -s tests installs it")
    cache = str(path.parent / "cache")
    config = path.parent / "mypy.ini"
    config.write_text(CONFIG, encoding="utf-8")
    options = ["--config-file", str(config), "--cache-dir", cache]
    command = [sys.executable, "-m", "mypy", *options, str(path)]
    said = subprocess.run(command, check=False, capture_output=True, text=True, cwd=path.parent)
    lines = said.stdout.splitlines()
    errors = [int(line.split(":")[1]) for line in lines if ": error:" in line]
    return errors, [line for line in lines if "Revealed type" in line]


def said_by_pyright(path):
    """The same of pyright."""
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed; nox -s tests installs it")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    said = subprocess.run(
        [*command, str(path)], check=False, capture_output=True, text=True, cwd=path.parent
    )
    found = json.loads(said.stdout)["generalDiagnostics"]
    errors = [one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error"]
    return errors, [one["message"] for one in found if one["message"].startswith("Type of")]


@pytest.mark.parametrize("said_by", [said_by_mypy, said_by_pyright])
def test_a_program_and_its_mistakes(said_by, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(GOOD + "\n".join(MISSPELT) + "\n", encoding="utf-8")
    errors, revealed = said_by(path)
    first = GOOD.count("\n") + 1
    assert set(errors) == set(range(first, first + len(MISSPELT)))
    for line, expected in zip(revealed, REVEALED, strict=True):
        assert re.sub(r"isotherm\.[\w.]+\.", "", line.split('"')[-2]) == expected
