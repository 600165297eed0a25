"""Calls as people write them, and what they are told."""

import subprocess
import sys

import numpy as np
import pytest

import isotherm
from isotherm import cli

WELL = isotherm.DoubleWellEnergy()
RUN = {"n_steps": 5, "seed": 0, "step_size": 0.01}


def test_one_image_is_one_chain(backend):
    x = np.zeros((1, 8, 8), np.float32)
    options = {"backend": backend, "dtype": "float32"} | RUN
    assert isotherm.sample_chain(WELL, x, dim=(1, 8, 8), **options).shape == (1, 1, 8, 8)
    several = isotherm.sample_chain(WELL, x, dim=(1, 8, 8), n_samples=3, **options)
    assert several.shape == (3, 1, 8, 8)
    assert isotherm.sample_chain(WELL, x, dim=(8, 8), **options).shape == (1, 8, 8)
    assert isotherm.sample_chain(WELL, x[0], dim=(8, 8), n_samples=2, **options).shape == (2, 8, 8)


def test_no_step_gives_the_start(backend):
    x = np.ones((4, 3), np.float32)
    options = {"n_steps": 0, "backend": backend, "seed": 0}
    samples, found = isotherm.sample_chain(WELL, x, return_diagnostics=True, **options)
    np.testing.assert_array_equal(np.asarray(samples), x)
    assert found.shape == (0, 3, 4, 3)
    samples = isotherm.sample_chain(WELL, x, return_trajectory=True, **options)
    assert samples.shape == (4, 0, 3)


def test_a_run_without_a_seed_can_be_repeated_from_its_info(backend):
    options = {"dim": 3, "n_samples": 4, "n_steps": 5, "backend": backend}
    samples, info = isotherm.sample_chain(WELL, return_info=True, **options)
    again = isotherm.sample_chain(WELL, seed=info.seed, **options)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(samples))


def test_a_samplers_own_seed():
    sampler = isotherm.LangevinDynamics(WELL, seed=3, backend="numpy")
    first, second = (sampler.sample_chain(dim=2) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(sampler.sample_chain(dim=2, seed=4), first)
    sampler = isotherm.LangevinDynamics(WELL, seed=np.random.default_rng(3), backend="numpy")
    assert not np.array_equal(sampler.sample_chain(dim=2), sampler.sample_chain(dim=2))


def test_constructors_check_at_once():
    refused = {"step_size": -0.1, "noise_scale": -1.0, "temperature": -1.0, "seed": -1}
    for wrong in ({name: value} for name, value in refused.items()):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            isotherm.LangevinDynamics(WELL, **wrong)
    assert isotherm.LangevinDynamics(WELL).noise_scale == 1.0
    assert isotherm.LangevinDynamics(WELL, temperature=4.0).noise_scale == 2.0


def test_a_typo_is_answered_by_what_was_meant():
    sampler = isotherm.LangevinDynamics(WELL)
    for function, typo, sentence in [
        (isotherm.sample_chain, "stepsize", "sample_chain() has no argument 'stepsize'; did you"),
        (isotherm.sample_chain, "n_chains", "did you mean n_samples?"),
        (isotherm.make_plan, "lr", "make_plan() has no argument 'lr'; did you mean step_size?"),
        (isotherm.LangevinDynamics, "clmp", "LangevinDynamics() has no argument 'clmp'; did you"),
    ]:
        with pytest.raises(TypeError) as caught:
            function(WELL, **{typo: 1})
        assert sentence in str(caught.value)
        assert isinstance(caught.value, isotherm.IsothermError)
    with pytest.raises(TypeError, match="did you mean n_steps"):
        sampler.sample_chain(nsteps=3)
    with pytest.raises(isotherm.BackendNotFoundError, match="'numpi'; did you mean 'numpy'"):
        isotherm.make_plan(WELL, dim=2, backend="numpi")


@pytest.mark.parametrize("every", [1, 7, 30])
def test_callbacks_come_as_often_as_asked_for_and_see_the_chains(every, backend):
    seen = []

    def callback(progress):
        seen.append((progress.n_steps, np.asarray(progress.samples), progress.energies))
        np.testing.assert_allclose(
            np.asarray(progress.mean), np.asarray(progress.samples).mean(0), atol=1e-6
        )
        np.testing.assert_allclose(
            np.asarray(progress.variance), np.asarray(progress.samples).var(0), atol=1e-6
        )

    options = {"dim": 3, "n_samples": 4, "seed": 0, "step_size": 0.01, "backend": backend}
    options |= {"return_trajectory": True, "return_diagnostics": True, "n_steps": 25}
    trajectory, found = isotherm.sample_chain(
        WELL, callback=callback, callback_every=every, **options
    )
    assert [n for n, _, _ in seen] == [n for n in range(1, 26) if n % every == 0 or n == 25]
    for n, states, energies in seen:
        np.testing.assert_array_equal(states, np.asarray(trajectory)[:, n - 1])
        np.testing.assert_array_equal(np.asarray(energies), np.asarray(found.energy)[n - 1])


def test_a_callback_may_write_to_what_it_is_given():
    def spoil(progress):
        progress.samples[...] = 9.0

    options = {"dim": 3, "backend": "numpy"} | RUN
    spoilt = isotherm.sample_chain(WELL, callback=spoil, callback_every=1, **options)
    np.testing.assert_array_equal(spoilt, isotherm.sample_chain(WELL, **options))


def test_how_often_without_what_is_refused():
    with pytest.raises(isotherm.InputError, match="give both"):
        isotherm.sample_chain(WELL, dim=1, callback_every=3)


def test_a_plot_without_matplotlib_is_one_sentence():
    program = (
        "import sys; sys.modules['matplotlib.figure'] = None\n"
        "import isotherm\n"
        "try:\n    from isotherm import plot\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install 'isotherm[plot]'" in done.stdout
    assert done.stdout.startswith("ExtraNotInstalledError")


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["isotherm", "sample", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code, *capsys.readouterr()


def test_a_command_without_a_sample_left_says_so(monkeypatch, capsys):
    options = ["double-well", "--dim", 2, "--n-samples", 5, "--backend", "numpy"]
    code, out, err = command(monkeypatch, capsys, *options, "--step-size", 100, "--seed", 0)
    assert code == 1
    assert "5 of 5 chains left the finite numbers" in err
    assert "nan" in out
    code, _, err = command(monkeypatch, capsys, *options, "--step-size", 0.001)
    assert (code, err.strip()) == (0, "")


def test_a_folder_is_no_file_to_write_to(monkeypatch, capsys, tmp_path):
    options = ["harmonic", "--dim", 2, "--backend", "numpy"]
    for option in ("--out", "--plot"):
        code, _, err = command(monkeypatch, capsys, *options, option, tmp_path)
        assert code == 2
        assert "is a folder; name a file in it" in err.replace("\n", " ")


def test_arrays_of_jax_come_back_as_such():
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.zeros((4, 3))
    samples, found = isotherm.sample_chain(WELL, x, return_diagnostics=True, **RUN)
    same = isotherm.sample_chain(WELL, np.zeros((4, 3), np.float32), **RUN)
    assert isinstance(samples, type(x))
    assert isinstance(found.energy, type(x))
    np.testing.assert_array_equal(np.asarray(samples), same)


def test_a_table_keeps_its_dtype_as_arrays_do():
    class Table:  # as pandas.DataFrame is
        def __array__(self, dtype=None, copy=None):
            return np.zeros((4, 2), dtype or np.float64)

    options = {"n_steps": 2, "seed": 1, "backend": "numpy"}
    x = isotherm.sample_chain(isotherm.HarmonicEnergy(), Table(), **options)
    assert x.dtype == np.float64
