"""The examples and the README's Python, as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs

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
    "poisson_regression": ({"poisson.png"}, ["--steps", "20"]),
    "robust_regression": ({"robust.png"}, ["--steps", "20"]),
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
    printed = programs.run(source, tmp_path, tmp_path, *options, is_right=True)
    assert {path.name for path in tmp_path.iterdir()} == pictures
    # What a comment beside a print says is what is printed.
    said = re.findall(r"^ *print\(.*\)  # (.*)$", source.read_text("utf-8"), re.MULTILINE)
    assert [line for line in printed.splitlines() if line in said] == said


def test_every_example_is_run_and_has_a_title_for_the_gallery():
    sources = {path.stem: path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py")}
    below = {"numpy_pipeline", "score_two_moons", "train_digits", "train_energy_model"}
    assert sources.keys() - EXAMPLES.keys() == below
    for name, source in sources.items():
        title, line, *_ = source.removeprefix('"""').splitlines()
        assert line == "=" * len(title), f"{name} begins with a title, underlined with ="


def test_a_pipeline_of_numpy_imports_no_torch():
    subprocess.run([sys.executable, ROOT / "examples/numpy_pipeline.py"], check=True)


def trained(example, picture, folder, *options):
    """What an example that trains something says, in its small form."""
    pytest.importorskip("sklearn")
    printed = programs.run(ROOT / f"examples/{example}.py", folder, folder, *options)
    assert [path.name for path in folder.iterdir()] == [picture]
    return printed


def numbers(pattern, text):
    return [float(one) for one in re.search(pattern, text).groups()]


def test_chains_that_go_on_train_an_energy_and_short_ones_do_not(tmp_path):
    said = trained("train_energy_model", "two_moons.png", tmp_path, "--steps", "100")
    after = {}
    for name in ("persistent", "short"):
        (gap,) = numbers(rf"{name}: U\(noise\) - U\(held-out data\) = (\S+)", said)
        assert gap > 1.0
        pattern = rf"{name}: .* ([\d.]+) at the start, ([\d.]+) in training, ([\d.]+) after"
        start, drawn, after[name] = numbers(pattern, said)
        assert drawn < 0.7 * start
    assert after["persistent"] < 0.7 * start
    assert after["short"] > 1.5 * after["persistent"]


@pytest.mark.parametrize(("sampler", "n_steps"), [("langevin", "50"), ("mala", "40")])
def test_digits_get_lower_energies_than_noise(sampler, n_steps, tmp_path):
    options = ["--steps", n_steps, "--sampler", sampler]
    said = trained("train_digits", "digits.png", tmp_path, *options)
    real, noise = numbers(r"held out: U\(digits\) = (\S+), U\(noise\) = (\S+)", said)
    assert real < noise - 10.0
    (below,) = numbers(r"below noise in ([\d.]+)% of pairs", said)
    assert below > 95.0
    assert ("accepted" in said) == (sampler == "mala")


def test_annealed_chains_know_the_shares_of_the_moons_and_those_of_one_level_do_not(tmp_path):
    said = trained("score_two_moons", "score_moons.png", tmp_path, "--steps", "500")
    found = {
        name: numbers(rf"{name}: ([\d.]+)% in the upper moon, energy distance ([\d.-]+)", said)
        for name in ("held-out data", "annealed", "last level alone")
    }
    (upper, floor), (annealed, near), (alone, far) = found.values()
    assert upper == 80.0
    assert floor < 0.001
    assert abs(annealed - upper) < 8.0 < 15.0 < abs(alone - upper)
    assert near < 0.2 * far


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
