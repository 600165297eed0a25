"""The examples and the README's Python, as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("example", "pictures"),
    [
        ("demo", {"gaussian.png", "mixture.png"}),
        ("landscape_trajectories", {"trajectories.png"}),
        ("burn_in_and_thinning", {"burn_in.png"}),
        ("numpy_pipeline", set()),
    ],
)
def test_an_example_runs_and_draws(example, pictures, tmp_path):
    command = [sys.executable, ROOT / f"examples/{example}.py", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == pictures


def test_the_readmes_python_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "(250, 100, 2) (100, 3, 250, 2)" in out
    assert "gradient[1]" in out
    assert names["samples"].shape == (1000, 2)
