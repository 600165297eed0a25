"""The command, as a user runs it."""

import os
import sys
import warnings

import numpy as np
import pytest

import isotherm
from isotherm import cli
from tests import backends

SHORT = ["harmonic", "--n-samples", 5, "--n-steps", 4, "--step-size", 0.01]

MODEL = """
import numpy as np
import isotherm

@isotherm.formula(dim=2)
def ring(x, *, radius=2.0):
    r = np.sqrt(x[0] * x[0] + x[1] * x[1])
    return 10.0 * (r - radius) * (r - radius)
"""


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["isotherm", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code, *capsys.readouterr()


def test_backends_are_listed(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "backends")
    assert code == 0
    assert all(name in out for name in backends.names())


def test_samples_are_written_drawn_and_summed_up(monkeypatch, capsys, tmp_path):
    npz, png = tmp_path / "run.npz", tmp_path / "run.png"
    options = ["--n-samples", 20, "--n-steps", 10, "--step-size", 0.005, "--seed", 3]
    code, out, _ = run(
        monkeypatch, capsys, "sample", "double-well", "--dim", 2, "--backend",
        "numpy", "--parameter", "b=1.5", *options, "--out", npz, "--plot", png,
    )  # fmt: skip
    assert code == 0
    assert "standard deviation" in out
    assert "seed" in out
    expected = isotherm.sample_chain(
        isotherm.DoubleWellEnergy(b=1.5), dim=2, backend="numpy", n_samples=20, n_steps=10,
        step_size=0.005, seed=3,
    )  # fmt: skip
    with np.load(npz) as written:
        np.testing.assert_array_equal(written["samples"], expected)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"run.npz", "run.png"}


def test_steps_are_drawn_where_there_is_no_landscape(monkeypatch, capsys, tmp_path):
    png = tmp_path / "run.png"
    options = [*SHORT, "--dim", 3]
    code, _, _ = run(monkeypatch, capsys, "sample", *options, "--plot", png)
    assert code == 0
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("patience", "is_shown"), [(0.0, True), (3600.0, False)])
def test_a_bar_is_shown_on_long_runs(monkeypatch, capsys, patience, is_shown):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setattr(cli, "_PATIENCE", patience)
    options = [*SHORT, "--dim", 1]
    code, _, err = run(monkeypatch, capsys, "sample", *options)
    assert code == 0
    assert ("sampling" in err) == is_shown


def test_a_file_that_cannot_be_written_is_named(monkeypatch, capsys, tmp_path):
    options = [*SHORT, "--dim", 1]
    code, out, err = run(monkeypatch, capsys, "sample", *options, "--out", tmp_path / ("x" * 300))
    assert code == 1
    assert str(tmp_path) in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_what_is_no_plain_file_is_refused_and_let_be(monkeypatch, capsys, tmp_path, option):
    pipe, loop = tmp_path / "pipe.png", tmp_path / "loop.png"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path in (pipe, loop):
        code, _, err = run(monkeypatch, capsys, "sample", *SHORT, "--dim", 1, option, path)
        assert code == 2
        assert "name a plain file" in err
    assert pipe.is_fifo()
    assert loop.is_symlink()


def test_a_link_is_written_through_and_nobody_guesses_the_file_before(
    monkeypatch, capsys, tmp_path
):
    target, link, planted = (tmp_path / name for name in ("real.npz", "run.npz", "run.npz.part"))
    target.touch()
    link.symlink_to(target)
    planted.symlink_to(tmp_path / "elsewhere")
    code, _, _ = run(monkeypatch, capsys, "sample", *SHORT, "--dim", 1, "--out", link)
    assert code == 0
    assert link.is_symlink()
    assert np.load(target)["samples"].shape[1] == 1
    assert planted.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no energy 'nothing'"),
        (["no/such.py:ring"], "there is no file"),
        (["harmonic", "--dim", 1, "--sampler", "none"], "sampler must be one of"),
        (["harmonic", "--dim", 1, "--step-size", 1, "--friction", 1], "takes no friction"),
        (["harmonic", "--step-size", 1], "give x, where the chains start, or dim"),
        (["harmonic", "--dim", 2, "--backend", "foo"], "backend 'foo' is not installed"),
        (["harmonic", "--parameter", "k=x"], "JSON value"),
        (["gaussian"], "mean"),
        (["harmonic", "--dim", 1, "--out", "no/such/run.npz"], "does not exist"),
        (
            ["harmonic", "--dim", 1, "--plot", "no/such/run.png"],
            "does not exist",
        ),
        (["harmonic", "--dim", 0], "dim must be an integer of at least 1"),
        (["harmonic", "--dim", 1, "--step-size", "nan"], "step_size must be"),
        (["harmonic", "--dim", 1, "--noise-scale", 1, "--temperature", 1], "not both"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, "sample", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


def test_an_energy_of_ones_own_is_warmed_up_stored_gone_on_with_and_drawn(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "model.py").write_text(MODEL)
    ring = ["model.py:ring", "--parameter", "radius=1.5"]
    short = ["--n-samples", 8, "--n-steps", 40, "--backend", "numpy", "--seed", 3]
    warm = ["--sampler", "hmc", "--warm-up", 40, "--store", "run.zarr", "--n-leapfrog", 3]
    code, out, err = run(monkeypatch, capsys, "sample", *ring, *short, *warm)
    assert code == 0, err
    assert "step size" in out
    code, _, err = run(monkeypatch, capsys, "resume", "run.zarr", *ring, "--n-steps", 10)
    assert code == 0, err
    stored = isotherm.open_run("run.zarr")
    assert stored.trajectory.shape == (8, 50, 2)

    # It is what the same arguments give in Python.
    from model import ring as energy

    sampler = isotherm.HamiltonianMonteCarlo(
        energy(radius=1.5), step_size=1.0, n_leapfrog=3, backend="numpy"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isotherm.WarmUpWarning)
        tuning = isotherm.warm_up(sampler, n_warmup=40, seed=3)
    samples = isotherm.sample_chain(
        energy(radius=1.5), tuning.x, sampler="hmc", n_samples=8, n_steps=50, seed=3,
        backend="numpy", **{**tuning.arguments, "n_leapfrog": 3},
    )  # fmt: skip
    np.testing.assert_array_equal(stored.samples, samples)

    code, out, err = run(monkeypatch, capsys, "summary", "run.zarr")
    assert (code, err) == (0, "")  # also of ArviZ, where it is imported
    assert "r_hat" in out
    assert "x[1]" in out
    for picture in (["--out", "steps.png"], [*ring, "--out", "paths.png", "--n-chains", 2]):
        code, _, err = run(monkeypatch, capsys, "plot", "run.zarr", *picture)
        assert code == 0, err
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("steps.png", "paths.png"))

    code, _, err = run(monkeypatch, capsys, "resume", "run.zarr", ring[0], "--n-steps", 1)
    assert code == 2
    assert "pass the energy that the run had" in err.replace("\n", " ")
    code, _, err = run(monkeypatch, capsys, "sample", "model.py")
    assert code == 2
    assert "more than one energy; name the energy as model.py:NAME, of ring" in err


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    carry_out = isotherm.run

    def interrupted(plan, energy, *_, **__):
        raise isotherm.RunInterrupted("stopped", carry_out(plan, energy))

    monkeypatch.setattr(isotherm, "run", interrupted)
    code, _, err = run(monkeypatch, capsys, "sample", *SHORT, "--dim", 1)
    assert code == 130
    assert "isotherm resume" in err


@pytest.mark.parametrize("command", ["sample", "resume", "summary", "plot"])
def test_help_shows_an_example(monkeypatch, capsys, command):
    code, out, _ = run(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert f"For example: isotherm {command}" in out
    assert ("extra arviz" in out) == (command == "summary")  # what is in brackets is not shown


def test_energies_are_completed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    assert cli._completed("m") == ["model.py:"]
    assert cli._completed("ras") == ["rastrigin"]
