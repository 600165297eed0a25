"""Convergence by ArviZ: what a run becomes there, and that its statistics are ArviZ's own."""

import os
import subprocess
import sys
import warnings

import array_api_strict
import numpy as np
import pytest
import xarray
from matplotlib import pyplot

import isotherm
from isotherm import InputError
from isotherm._arithmetic.arrays import FLOATING, move, namespace
from isotherm._backends.registry import load

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ before 1 speaks of ArviZ 1 once a day
    import arviz

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
RUN = {
    "dim": 2, "n_samples": 6, "n_steps": 200, "thinning": 2, "burn_in": 10, "step_size": 0.05,
    "seed": 2**64 - 1, "return_trajectory": True,
}  # fmt: skip

same = np.testing.assert_array_equal


def run(store=None, **options):
    plan = isotherm.make_plan(WELL, **{"backend": "numpy"} | RUN | options)
    return isotherm.run(plan, WELL, store=store)


@pytest.fixture(scope="module")
def result():
    return run(return_diagnostics=True)


def test_a_summary_is_what_arviz_calculates_by_hand(result):
    found = isotherm.summary(result, round_to="none")
    assert list(found.index) == ["x[0]", "x[1]"]
    for i in range(2):
        x = xarray.Dataset({"x": (("chain", "draw"), result.trajectory[..., i].astype(np.float64))})
        by_hand = {
            "mean": x.mean(),
            "mcse_mean": arviz.mcse(x, method="mean"),
            "ess_bulk": arviz.ess(x, method="bulk"),
            "ess_tail": arviz.ess(x, method="tail"),
            "r_hat": arviz.rhat(x, method="rank"),
        }
        for name, value in by_hand.items():
            assert found[name].iloc[i] == pytest.approx(float(value["x"]), rel=1e-12), name
        assert found["sd"].iloc[i] == pytest.approx(
            float(x["x"].std()), rel=2e-3
        )  # over n, or over n - 1


def test_arviz_does_not_speak_of_itself_on_a_users_first_day(tmp_path):
    program = """
import isotherm
options = {"dim": 1, "n_samples": 2, "n_steps": 20, "return_trajectory": True, "step_size": 0.1}
plan = isotherm.make_plan(isotherm.HarmonicEnergy(), backend="numpy", seed=0, **options)
print(len(isotherm.summary(isotherm.run(plan, isotherm.HarmonicEnergy()))))
"""
    fresh = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "MPLCONFIGDIR"), str(tmp_path))
    command = [sys.executable, "-W", "error::FutureWarning", "-c", program]
    ended = subprocess.run(
        command, check=False, env=os.environ | fresh, text=True, capture_output=True
    )
    assert (ended.stdout.strip(), ended.returncode) == ("1", 0), ended.stderr


def test_chains_that_do_not_mix_are_seen():
    apart = np.repeat([-3.0, 3.0], 3)[:, None] * np.ones((6, 2), dtype=np.float32)
    stuck = isotherm.HarmonicEnergy(k=1e-3)
    plan = isotherm.make_plan(
        stuck, apart, n_steps=200, step_size=1e-3, return_trajectory=True, seed=0, backend="numpy"
    )
    found = isotherm.summary(isotherm.run(plan, stuck, apart))
    assert (found["r_hat"] > 2).all()
    assert (found["ess_bulk"] < 20).all()
    mixed = isotherm.summary(np.random.default_rng(0).normal(size=(6, 200, 2)))
    assert (mixed["r_hat"] < 1.05).all()
    assert (mixed["ess_bulk"] > 600).all()


def test_statistics_are_taken_in_float64():
    # Added up in float32 these numbers have an sd of 0.0041.
    x = 1000 + 1e-3 * np.random.default_rng(0).normal(size=(30, 5000, 2))
    found = isotherm.summary(x.astype(np.float32), round_to="none")
    np.testing.assert_allclose(found["mean"], 1000, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["sd"], 1e-3, rtol=0.01)


def test_what_arviz_gets(result):
    data = isotherm.to_arviz(result)
    posterior, stats = data["posterior"], data["sample_stats"]
    assert posterior["x"].dims == ("chain", "draw", "x_dim_0")
    same(posterior["x"], result.trajectory)
    assert stats["energy"].dims == ("chain", "draw")
    same(stats["energy"], result.diagnostics.energy.T)
    for group in (posterior, stats):
        same(group["step"], np.arange(12, 211, 2))
        same(group["draw"], np.arange(100))
        same(group["chain"], np.arange(6))
        assert group.attrs["seed"] == 2**64 - 1
        assert group.attrs["backend"] == "numpy"


def test_a_store_is_read(result, tmp_path):
    stored = run(return_diagnostics=True, store=tmp_path / "run.zarr")
    expected = isotherm.to_arviz(result)
    for given in (stored, tmp_path / "run.zarr", str(tmp_path / "run.zarr")):
        data = isotherm.to_arviz(given)
        assert data["posterior"]["x"].equals(expected["posterior"]["x"])
        assert data["sample_stats"]["energy"].equals(expected["sample_stats"]["energy"])
        same(isotherm.summary(given), isotherm.summary(result))
    part = isotherm.open_run(tmp_path / "run.zarr").trajectory[:, ::10]
    same(isotherm.summary(part), isotherm.summary(result.trajectory[:, ::10]))


def test_it_is_written_and_read_by_arviz(result, tmp_path):
    isotherm.to_arviz(result).to_netcdf(tmp_path / "run.nc")
    read = arviz.from_netcdf(tmp_path / "run.nc")
    same(read["posterior"]["x"], result.trajectory)
    assert int(read["posterior"].attrs["seed"]) == 2**64 - 1
    if hasattr(read, "close"):
        read.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ArviZ calls what Matplotlib gives up
def test_it_is_drawn(result):
    pyplot.switch_backend("Agg")
    data = isotherm.to_arviz(result)
    # Version 1 calls its first plot of paths otherwise.
    draw = getattr(arviz, "plot_trace_dist", arviz.plot_trace)
    draw(data)
    drawn = pyplot.gcf()
    drawn.canvas.draw()
    lines = [line for axes in drawn.axes for line in axes.lines]
    assert any(np.array_equal(line.get_ydata(), result.trajectory[0, :, 0]) for line in lines)
    pyplot.close("all")


def test_events_of_several_axes():
    x = np.random.default_rng(0).normal(size=(3, 50, 2, 2))
    assert list(isotherm.summary(x).index) == ["x[0, 0]", "x[0, 1]", "x[1, 0]", "x[1, 1]"]


def test_arrays_of_any_library(backend):
    library, device = load(backend).library, load(backend).resolve_device(None)
    x = np.random.default_rng(0).integers(-99, 99, size=(3, 50, 2)) / 64  # exact in any dtype
    expected = isotherm.summary(x, round_to="none")
    dtypes = [dtype for dtype in FLOATING if hasattr(namespace(library), dtype)]
    assert {"float16", "float32", "float64"} <= {*dtypes}
    for dtype in dtypes:
        given = move(x.astype(np.float32), library, dtype, device)
        same(isotherm.summary(given, round_to="none"), expected)


def test_a_library_of_the_standard_alone():
    x = np.random.default_rng(0).normal(size=(3, 50, 2))
    same(isotherm.summary(array_api_strict.asarray(x)), isotherm.summary(x))


def test_a_trajectory_with_names_keeps_them():
    x = np.random.default_rng(0).normal(size=(50, 3, 2)).astype(np.float32)
    named = xarray.DataArray(
        x, dims=("draw", "chain", "axis"), coords={"axis": ["a", "b"], "chain": [7, 8, 9]}
    )
    found = isotherm.summary(named.chunk({"draw": 10}), round_to="none")
    assert list(found.index) == ["x[a]", "x[b]"]
    in_order = np.ascontiguousarray(x.transpose(1, 0, 2))
    np.testing.assert_allclose(found, isotherm.summary(in_order, round_to="none"), rtol=1e-12)
    same(isotherm.to_arviz(named)["posterior"]["chain"], [7, 8, 9])


def test_one_chain_has_no_r_hat_and_an_infinite_coordinate_no_statistic():
    x = np.random.default_rng(0).normal(size=(1, 50, 2))
    alone = isotherm.summary(x)
    assert alone["r_hat"].isna().all()
    assert (alone["ess_bulk"] > 10).all()
    x = np.random.default_rng(0).normal(size=(3, 50, 2))
    x[1, 7, 0] = np.nan
    broken = isotherm.summary(x)
    assert broken.loc["x[0]", ["mean", "sd", "ess_bulk", "ess_tail", "r_hat"]].isna().all()
    assert broken.loc["x[1]"].notna().all()


def test_final_states_have_no_statistics():
    only_final = run(return_trajectory=False)
    for given in (only_final, only_final.samples):
        for function in (isotherm.summary, isotherm.to_arviz):
            with pytest.raises(InputError, match="run with return_trajectory=True"):
                function(given)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "wrong"}, "arviz.summary cannot take kind='wrong': .*all.*stats.*diagnostics"),
        ({"kind": "stats", "var_names": ["y"]}, r"kind='stats', var_names=\['y'\]: "),
    ],
)
def test_a_wrong_value_of_an_option_is_refused(result, options, said):
    with pytest.raises(InputError, match=said):
        isotherm.summary(result, **options)


def test_what_has_no_summary():
    with pytest.raises(InputError, match="3 kept states a chain are too few"):
        isotherm.summary(run(n_steps=6))
    assert isotherm.to_arviz(run(n_steps=6))["posterior"].sizes["draw"] == 3
    with pytest.raises(InputError, match="not tuple"):
        isotherm.summary((np.zeros((2, 5, 1)), None))


def test_without_arviz_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    for function in (isotherm.summary, isotherm.to_arviz):
        with pytest.raises(
            isotherm.ExtraNotInstalledError, match=r"pip install 'isotherm\[arviz\]'"
        ):
            function(np.zeros((2, 5, 1)))
