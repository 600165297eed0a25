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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--energy", "nothing"], "there is no energy 'nothing'"),
        (["--energy", "harmonic"], "give x, where the chains start, or dim"),
        (["--energy", "harmonic", "--dim", 2, "--backend", "foo"], "there is no backend 'foo'"),
        (["--energy", "harmonic", "--parameter", "k=x"], "JSON value"),
        (["--energy", "gaussian"], "mean"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, "sample", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err
