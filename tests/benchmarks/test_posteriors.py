"""Posteriors as formulas: eight schools, whose data are sixteen numbers."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

pytest.importorskip("scipy")

from benchmarks.posteriors import check, posteriordb

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


def test_a_clone_of_posteriordb_is_read(tmp_path):
    rng = np.random.default_rng(0)
    iq, school = rng.normal(100.0, 15.0, size=40), np.arange(40) % 3 > 0
    raws = {
        ("kidiq-kidscore_interaction", "kidiq"): {
            "N": 40,
            "kid_score": (50 + 0.4 * iq + rng.normal(size=40)).tolist(),
            "mom_hs": school.astype(int).tolist(),
            "mom_iq": iq.tolist(),
        },
        ("hmm_example-hmm_example", "hmm_example"): {
            "N": 30, "K": 2, "y": rng.normal(5.0, 3.0, size=30).tolist(),
        },
        ("eight_schools-eight_schools_noncentered", "eight_schools"): {
            "J": 8, **check.EIGHT_SCHOOLS["data"],
        },
        ("unknown-model", "unknown"): {},
    }  # fmt: skip
    database = tmp_path / "posterior_database"
    (database / "posteriors").mkdir(parents=True)
    (database / "data/data").mkdir(parents=True)
    for (name, data_name), raw in raws.items():
        text = json.dumps({"name": name, "data_name": data_name})
        (database / f"posteriors/{name}.json").write_text(text, "utf-8")
        with ZipFile(database / f"data/data/{data_name}.json.zip", "w") as archive:
            archive.writestr(f"{data_name}.json", json.dumps(raw))
    found = posteriordb.targets(tmp_path)
    assert sorted(found) == sorted(name for name, _ in raws if name != "unknown-model")
    assert found["eight_schools-eight_schools_noncentered"] == check.EIGHT_SCHOOLS
    for target in found.values():
        gap, report = check.check(target)
        assert gap <= check.TOLERANCE
        assert report.is_correct, report
    # The regression's sufficient numbers are those of its rows.
    kidiq = raws["kidiq-kidscore_interaction", "kidiq"]
    data = found["kidiq-kidscore_interaction"]["data"]
    columns = np.column_stack([np.ones(40), school, iq, school * iq])
    R = np.zeros((4, 4))
    R[np.triu_indices(4)] = data["R"]
    b = np.array([50.0, 0.5, 0.4, 0.1])
    residual = np.array(kidiq["kid_score"]) - columns @ b
    given = data["rss"] + np.sum((R @ (b - data["beta_hat"])) ** 2)
    np.testing.assert_allclose(given, residual @ residual, rtol=1e-10)


def test_a_folder_that_is_no_clone_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"no clone of posteriordb.*git clone"):
        posteriordb.targets(tmp_path)
