"""The page on clusters: its programs run as they stand, but for the cards."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/clusters.md"


@pytest.mark.parametrize("number", [0, 1])
def test_the_pages_programs_run(tmp_path, number):
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[number]
    assert "__main__" in program
    program = program.replace('"cupy"', '"numpy"').replace("1_000_000", "1000")
    program = program.replace("max_workers=4", "max_workers=2").replace("10_000", "1000")
    program = program.replace("N_CARDS = 4", "N_CARDS = 2")
    (tmp_path / "sample.py").write_text(program, "utf-8")
    subprocess.run([sys.executable, "-W", "error", tmp_path / "sample.py"], check=True)
