"""Posteriors as formulas: eight schools, whose data are sixteen numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")

from benchmarks.posteriors import check

ROOT = Path(__file__).parents[2]


def test_eight_schools_is_right():
    (target,) = check.targets(None).values()
    gap, report = check.check(target)
    assert gap <= check.TOLERANCE
    assert report.is_correct, report


def test_the_program_says_where_data_are_missing(tmp_path):
    command = [sys.executable, "-m", "benchmarks.posteriors.check", "--targets", tmp_path]
    process = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert "give --targets the folder with targets.json" in process.stderr
