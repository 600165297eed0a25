"""The examples and the README's Python, as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


# Each with the pictures that it draws, and options that make it small.
EXAMPLES = {
    "burn_in_and_thinning": ({"burn_in.png"}, []),
    "cluster_of_workers": ({"cluster.png"}, []),
    "demo": ({"gaussian.png", "mixture.png", "trajectories.png"}, []),
    "eight_schools": ({"effects.png", "ranks.png"}, ["--chains", "16"]),
    "killed_and_resumed": ({"killed.png"}, []),
    "landscape_trajectories": ({"trajectories.png"}, []),
    "lattice_phi4": ({"phi4.png"}, ["--size", "16", "--steps", "100"]),
    "lennard_jones_cluster": ({"cluster.png"}, ["--steps", "200"]),
    "logistic_regression": ({"regression.png"}, ["--steps", "20"]),
    "numpy_pipeline": (set(), []),
    "tempering_rastrigin": ({"tempering.png"}, ["--steps", "5000"]),
    "torch_custom_energy": ({"custom_energy.png"}, []),
    "torch_gaussian_10d": ({"diagnostics.png"}, []),
    "torch_gaussian_2d": ({"gaussian_2d.png"}, []),
    "underdamped_double_well": ({"crossings.png"}, ["--steps", "4000"]),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_draws_and_finds_what_it_says(example, tmp_path):
    if example == "logistic_regression":
        pytest.importorskip("sklearn")
    source = ROOT / f"examples/{example}.py"
    pictures, options = EXAMPLES[example]
    process = subprocess.run(
        [sys.executable, source, tmp_path, *options], check=True, capture_output=True, text=True
    )
    assert {path.name for path in tmp_path.iterdir()} == pictures
    # What a comment beside a print says is what is printed.
    said = re.findall(r"^ *print\(.*\)  # (.*)$", source.read_text("utf-8"), re.MULTILINE)
    assert [line for line in process.stdout.splitlines() if line in said] == said


def test_every_example_is_run_and_has_a_title_for_the_gallery():
    sources = {path.stem: path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py")}
    trained = {"train_energy_model"}
    assert sources.keys() - EXAMPLES.keys() == trained
    for name, source in sources.items():
        title, line, *_ = source.removeprefix('"""').splitlines()
        assert line == "=" * len(title), f"{name} begins with a title, underlined with ="


def test_training_an_energy_brings_samples_to_the_data(tmp_path):
    command = [sys.executable, ROOT / "examples/train_energy_model.py", tmp_path, "--steps", "100"]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    assert [path.name for path in tmp_path.iterdir()] == ["two_moons.png"]
    found = re.search(r"distance to the data: ([\d.]+), at the start ([\d.]+)", process.stdout)
    trained, start = map(float, found.groups())
    assert trained < 0.7 * start


def test_the_readmes_python_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "(250, 100, 2) (100, 3, 250, 2)" in out
    assert "gradient[1]" in out
    assert "('chain', 'draw', 'x_dim_0') (100, 300, 2)" in out
    assert re.search(r"^x\[0\] .*\n^x\[1\] ", out, re.MULTILINE)  # the table of a summary
    assert names["samples"].shape == (1000, 10)
    assert "(1000, 200, 2)" in out
