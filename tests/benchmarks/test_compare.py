"""The comparison with other programs, on tiny sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import backends

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_comparison_measures_and_reports(tmp_path):
    command = [sys.executable, BENCHMARKS / "compare.py", "--quick", "--out", tmp_path]
    subprocess.run(command, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "compare.json", "compare.md", "scaling.png"
    }  # fmt: skip
    result = json.loads((tmp_path / "compare.json").read_text("utf-8"))
    page = (tmp_path / "compare.md").read_text("utf-8")
    double_well = result["times"]["main"]["double well"]["seconds"]
    for name, about in result["programs"].items():
        if "missing" in about:
            assert f"| {name} | missing: {about['missing']} |" in page
        else:
            assert len(double_well[name]) == result["rounds"]
    ours = {f"isotherm {name}" for name in {"numpy", "numba", "torch"} & set(backends.usable())}
    assert ours <= double_well.keys()
    assert "NumPy loop" in double_well


def test_programs_that_do_other_work_are_not_compared(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from compare import check_same_work
    from workloads import MAIN

    check_same_work(MAIN[1], {"one": 1.0, "another": 1.01, "a third": 0.99})
    with pytest.raises(SystemExit, match="the mean square of a third's samples"):
        check_same_work(MAIN[1], {"one": 1.0, "another": 1.01, "a third": 1.5})
