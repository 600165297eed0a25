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


RNG = np.random.default_rng(0)


def drawn(*names, **kept):
    """Forty rows of positive numbers, of which those that are kept are others."""
    return {"N": 40, **{name: RNG.uniform(0.5, 3.0, size=40) for name in names}, **kept}


FLAGS = np.arange(40) % 3 > 0
KIDIQ = drawn("kid_score", mom_hs=FLAGS.astype(int), mom_iq=RNG.normal(100.0, 15.0, size=40))
VOTERS = drawn(
    "partyid7", "real_ideo", "race_adj", "educ1", "gender", "income",
    age_discrete=np.arange(40) % 4 + 1,
)  # fmt: skip
LAKE = drawn("x", "y", pmualpha=9.3, psalpha=100, pmubeta=0, psbeta=0.03)
PEOPLE = drawn("earn", height=RNG.normal(66.0, 4.0, size=40), male=FLAGS)
SHRUBS = drawn("weight", "diam1", "diam2", "canopy_height", "total_height", "density", group=FLAGS)
RAW = {
    "arma": {"T": 20, "y": RNG.normal(size=20)},
    "bball_drive_event_1": {"K": 2, "u": [0.1, 0.2], "v": [0.3, 0.4], "alpha": [[4, 2], [2, 4]],
                            "tau": 0.1, "rho": 0.2, "N": 2},
    "earnings": PEOPLE,
    "eight_schools": {"J": 8, **check.EIGHT_SCHOOLS["data"]},
    "gp_pois_regr": {"N": 11, "x": np.arange(-10, 11, 2), "k": np.arange(11) % 4},
    "hmm_example": {"N": 30, "K": 2, "y": RNG.normal(5.0, 3.0, size=30)},
    "hudson_lynx_hare": {"N": 2, "ts": [1, 2], "y_init": [30, 4], "y": [[47.2, 6.1], [70.2, 9.8]]},
    "kidiq": KIDIQ,
    "kidiq_with_mom_work": KIDIQ | {"mom_work": np.arange(40) % 4},
    "kilpisjarvi_mod": LAKE,
    "mesquite": SHRUBS,
    **{f"nes{year}": VOTERS for year in (1972, 1980, 1992, 1996)},
    "sblrc": {"N": 40, "D": 2, "X": RNG.normal(size=(40, 2)), "y": RNG.normal(size=40)},
}  # fmt: skip
AREA, HEIGHT, DENSITY = (
    SHRUBS["diam1"] * SHRUBS["diam2"],
    SHRUBS["canopy_height"],
    SHRUBS["density"],
)
Z = (PEOPLE["height"] - PEOPLE["height"].mean()) / np.std(PEOPLE["height"], ddof=1)
SCHOOL, IQ = KIDIQ["mom_hs"], KIDIQ["mom_iq"]
U, V = ((one - one.mean()) / (2.0 * np.std(one, ddof=1)) for one in (SCHOOL, IQ))
AGE = VOTERS["age_discrete"]
VOTE = [
    1.0, VOTERS["real_ideo"], VOTERS["race_adj"], AGE == 2, AGE == 3, AGE == 4,
    VOTERS["educ1"], VOTERS["gender"], VOTERS["income"],
]  # fmt: skip
#: Of each regression its columns, as their authors tell them, and its response.
COLUMNS = {
    "earnings-logearn_height": ([1.0, PEOPLE["height"]], np.log(PEOPLE["earn"])),
    "earnings-logearn_height_male": (
        [1.0, PEOPLE["height"], FLAGS], np.log(PEOPLE["earn"]),
    ),
    "earnings-logearn_interaction_z": ([1.0, Z, FLAGS, Z * FLAGS], np.log(PEOPLE["earn"])),
    "kidiq-kidscore_interaction": ([1.0, SCHOOL, IQ, SCHOOL * IQ], KIDIQ["kid_score"]),
    "kidiq-kidscore_momiq": ([1.0, IQ], KIDIQ["kid_score"]),
    "kidiq_with_mom_work-kidscore_interaction_c2": (
        [1.0, SCHOOL - 0.5, IQ - 100.0, (SCHOOL - 0.5) * (IQ - 100.0)], KIDIQ["kid_score"],
    ),
    "kidiq_with_mom_work-kidscore_interaction_z": ([1.0, U, V, U * V], KIDIQ["kid_score"]),
    "kilpisjarvi_mod-kilpisjarvi": ([1.0, LAKE["x"]], LAKE["y"]),
    "mesquite-logmesquite": (
        [1.0, *(np.log(SHRUBS[n]) for n in ("diam1", "diam2", "canopy_height", "total_height")),
         np.log(DENSITY), FLAGS], np.log(SHRUBS["weight"]),
    ),
    "mesquite-logmesquite_logvas": (
        [1.0, np.log(AREA * HEIGHT), np.log(AREA), np.log(SHRUBS["diam1"] / SHRUBS["diam2"]),
         np.log(SHRUBS["total_height"]), np.log(DENSITY), FLAGS], np.log(SHRUBS["weight"]),
    ),
    "mesquite-logmesquite_logvolume": ([1.0, np.log(AREA * HEIGHT)], np.log(SHRUBS["weight"])),
    **{f"nes{year}-nes": (VOTE, VOTERS["partyid7"]) for year in (1972, 1980, 1992, 1996)},
    "sblrc-blr": (list(RAW["sblrc"]["X"].T), RAW["sblrc"]["y"]),
}  # fmt: skip


def test_a_clone_of_posteriordb_is_read(tmp_path):
    database = tmp_path / "posterior_database"
    (database / "posteriors").mkdir(parents=True)
    (database / "data/data").mkdir(parents=True)
    for name in (*posteriordb.NAMES, "arma-unknown_model"):
        data_name = name.partition("-")[0]
        text = json.dumps({"name": name, "data_name": data_name})
        (database / f"posteriors/{name}.json").write_text(text, "utf-8")
        raw = json.dumps({k: np.asarray(v).tolist() for k, v in RAW[data_name].items()})
        with ZipFile(database / f"data/data/{data_name}.json.zip", "w") as archive:
            archive.writestr(f"{data_name}.json", raw)
    found = posteriordb.targets(tmp_path)
    assert sorted(found) == sorted(posteriordb.NAMES)
    assert found["eight_schools-eight_schools_noncentered"] == check.EIGHT_SCHOOLS
    for name in ("hmm_example-hmm_example", "sblrc-blr", "gp_pois_regr-gp_pois_regr"):
        gap, report = check.check(found[name])
        assert gap <= check.TOLERANCE
        assert report.is_correct, report
    for name, target in found.items():
        data = target["data"]
        if target["family"] != "regression":
            raw = RAW[name.partition("-")[0]] | {"substeps": data.get("substeps")}
            for key, value in data.items():
                np.testing.assert_array_equal(value, raw[key])
            continue
        # The sufficient numbers are those of the rows.
        columns, response = COLUMNS.pop(name)
        p = len(columns)
        columns = np.stack(np.broadcast_arrays(*columns, np.ones(40))[:p], axis=1).astype(float)
        R, b = np.zeros((p, p)), np.array(data["beta_hat"]) + RNG.normal(size=p)
        R[np.triu_indices(p)] = data["R"]
        residual = response - columns @ b
        given = data["rss"] + np.sum((R @ (b - data["beta_hat"])) ** 2)
        np.testing.assert_allclose(given, residual @ residual, rtol=1e-9, err_msg=name)
        assert target["dim"] == p + 1
    assert not COLUMNS


def test_a_folder_that_is_no_clone_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"no clone of posteriordb.*git clone"):
        posteriordb.targets(tmp_path)


def test_nutpies_program_of_one_chain_is_the_energy():
    pytest.importorskip("numba")
    from benchmarks.posteriors import formulas, samplers
    from benchmarks.posteriors.targets import Target

    data = {"x": np.linspace(-10.0, 10.0, 11), "k": np.arange(11) % 5}
    energy, x = formulas.FAMILIES["gp_pois_regr"](data), np.linspace(-0.5, 0.5, 13)
    slopes = np.empty(13)
    value = samplers._printed(Target("", "gp_pois_regr", data, energy, 13))(x, slopes)
    np.testing.assert_array_equal(value, energy(x[None])[0])
    np.testing.assert_array_equal(slopes, energy.gradient(x[None])[0])
