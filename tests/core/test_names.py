"""Whatever something is called: its name is shown, and is no code, no path and no format."""

import dataclasses
import os
import subprocess
import sys

import pytest

import isotherm
from isotherm.backend import plain_name, printable

NAMES = {
    "code": "u in float32.\nraise SystemExit('planted')\n#",
    "path": "../../../planted",
    "absolute": "/planted",
    "braces": "{x} {0!r} %s %(a)s",
    "markup": "[red]x[/red]",
    "quotes": "\"\"\"''' \\",
    "comment": "*/ #error planted\n//",
    "NUL": "a\0b",
    "surrogate": "a\ud800b",
    "letters": "Büchner größe 能量",
    "long": "u" * 3000,
    "nothing": "",
    "no text": ["a", "list"],
}


class Users:
    def __init__(self, name):
        self.name = name

    def __call__(self, x):
        return (x * x).sum(1)

    def gradient(self, x):
        return 2.0 * x


def energies(name):
    """Energies of every kind, which are called so."""

    def u(x, *, k=1.0):
        return k * (x * x)

    gaussian = isotherm.GaussianEnergy([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    mixture = isotherm.GaussianMixtureEnergy([[0.0, 0.0], [1.0, 1.0]])
    vars(gaussian)["name"] = vars(mixture)["name"] = name  # past the check that it stays
    yield from (gaussian, mixture, Users(name))
    if isinstance(name, str):
        u.__name__ = u.__qualname__ = name
        yield isotherm.formula(u)()
        if "\0" not in name and "\ud800" not in name:  # which Python allows no class
            yield type(name, (Users,), {})("u")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_does_nothing(name, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for energy in energies(name):
        plan = isotherm.make_plan(energy, dim=2, n_steps=3, n_samples=4, seed=0, backend=backend)
        result = isotherm.run(plan, energy)
        assert result.samples.shape == (4, 2)
        plainly = dataclasses.replace(plan, energy="u")
        assert len(str(plan).splitlines()) == len(str(plainly).splitlines())
        assert len(plan.energy) <= 80
        assert plan.energy.isprintable()
        if isinstance(energy, isotherm.backend.FormulaEnergy):
            assert len(str(energy.program(2)).splitlines()[0]) < 300
        if not isinstance(energy, Users):
            assert repr(energy).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_store_holds_any_name(name, tmp_path):
    for i, energy in enumerate(energies(name)):
        store = tmp_path / str(i)
        isotherm.sample_chain(energy, dim=2, n_steps=3, n_samples=4, store=store)
        assert isotherm.open_run(store).info.n_steps == 3


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_for_source_are_words(name):
    assert set(plain_name(name)) <= set(
        "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    )
    assert len(plain_name(name)) <= 40
    assert printable("Büchner") == "Büchner"


def test_letters_are_no_obstacle_where_the_locale_has_only_ascii(backend):
    program = (
        "import isotherm\n"
        "def u(x): return x * x\n"
        "u.__name__ = 'gr\\xf6\\xdfe'\n"
        "isotherm.sample_chain(isotherm.formula(u), dim=2, n_steps=3, backend='%s')\n"
    )
    env = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", program % backend], env=env, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
