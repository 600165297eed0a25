"""The command, as a user runs it."""

import sys

import numpy as np
import pytest

import isotherm
from isotherm import cli


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["isotherm", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code, *capsys.readouterr()


def test_backends_are_listed(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "backends")
    assert code == 0
    assert all(name in out for name in ("numpy", "numba", "torch", "cupy"))


def test_samples_are_written_drawn_and_summed_up(monkeypatch, capsys, tmp_path):
    npz, png = tmp_path / "run.npz", tmp_path / "run.png"
    options = ["--n-samples", 20, "--n-steps", 10, "--step-size", 0.005, "--seed", 3]
    code, out, _ = run(
        monkeypatch, capsys, "sample", "--energy", "double-well", "--dim", 2, "--backend",
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
    options = ["--energy", "harmonic", "--dim", 3, "--n-samples", 5, "--n-steps", 4]
    code, _, _ = run(monkeypatch, capsys, "sample", *options, "--plot", png)
    assert code == 0
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("patience", "is_shown"), [(0.0, True), (3600.0, False)])
def test_a_bar_is_shown_on_long_runs(monkeypatch, capsys, patience, is_shown):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setattr(cli, "_PATIENCE", patience)
    options = ["--energy", "harmonic", "--dim", 1, "--n-samples", 5, "--n-steps", 4]
    code, _, err = run(monkeypatch, capsys, "sample", *options)
    assert code == 0
    assert ("sampling" in err) == is_shown


def test_a_file_that_cannot_be_written_is_named(monkeypatch, capsys, tmp_path):
    options = ["--energy", "harmonic", "--dim", 1, "--n-samples", 5, "--n-steps", 4]
    code, out, err = run(monkeypatch, capsys, "sample", *options, "--out", tmp_path / ("x" * 300))
    assert code == 1
    assert str(tmp_path) in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--energy", "nothing"], "there is no energy 'nothing'"),
        (["--energy", "harmonic"], "give x, where the chains start, or dim"),
        (
            ["--energy", "harmonic", "--dim", 2, "--backend", "foo"],
            "backend 'foo' is not installed",
        ),
        (["--energy", "harmonic", "--parameter", "k=x"], "JSON value"),
        (["--energy", "gaussian"], "mean"),
        (["--energy", "harmonic", "--dim", 1, "--out", "no/such/run.npz"], "does not exist"),
        (
            ["--energy", "harmonic", "--dim", 1, "--plot", "no/such/run.png"],
            "does not exist",
        ),
        (["--energy", "harmonic", "--dim", 0], "dim must be an integer of at least 1"),
        (["--energy", "harmonic", "--dim", 1, "--step-size", "nan"], "step_size must be positive"),
        (["--energy", "harmonic", "--dim", 1, "--noise-scale", 1, "--temperature", 1], "not both"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, "sample", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err
