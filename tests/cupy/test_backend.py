"""What the backend says where there is a GPU, and where there is none; on which device it runs."""

import os
import subprocess
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import pytest

import isotherm
from isotherm._backends import registry
from isotherm.testing import UsersEnergy
from tests.cupy.host import HostBackend

BACKEND = registry.load("cupy")


def test_it_runs_where_it_says_it_can_and_says_why_where_it_cannot():
    energy = isotherm.DoubleWellEnergy()
    options = {"dim": 3, "n_samples": 10, "n_steps": 20, "seed": 1}
    status = BACKEND.status()
    assert "cupy" in status.versions
    if status.reason is None:
        samples = isotherm.sample_chain(energy, backend="cupy", **options)
        expected = isotherm.sample_chain(energy, backend="numpy", **options)
        assert np.array_equal(samples.get(), expected)
    else:
        assert status.devices == ()
        with pytest.raises(isotherm.BackendError, match="backend 'cupy' cannot be used here: "):
            isotherm.sample_chain(energy, backend="cupy", **options)


def test_what_cupy_cannot_do_is_said():
    plan = isotherm.make_plan(isotherm.HarmonicEnergy(), dim=2, backend="numpy")
    assert BACKEND.supports(plan, isotherm.HarmonicEnergy()) is None
    assert "does not differentiate" in BACKEND.supports(plan, lambda x: x)


class Devices(ModuleType):
    """NumPy as a library that, like CuPy, allocates on the current device."""

    def __init__(self):
        super().__init__("devices")
        self.current = "other"
        self.used = []

    def __getattr__(self, name):
        if name in ("empty", "asarray"):
            self.used.append((name, self.current))
        return getattr(np, name)

    @contextmanager
    def on(self, device):
        before, self.current = self.current, device
        try:
            yield
        finally:
            self.current = before


class OnDevices(HostBackend):
    """The host's build on a library of devices, which it notes the use of."""

    name = library = "devices"

    def __init__(self, devices):
        self.on_device = devices.on
        self.devices = devices

    def prepare(self, plan, energy):
        self.devices.used.append(("prepare", self.devices.current))
        runner = super().prepare(plan, energy)
        advance = runner.advance

        def noted(*arguments):
            self.devices.used.append(("advance", self.devices.current))
            return advance(*arguments)

        runner.advance = noted
        return runner


class Noted(UsersEnergy):
    def __init__(self, devices):
        super().__init__(1.0)
        self.devices = devices

    def gradient(self, x):
        self.devices.used.append(("gradient", self.devices.current))
        return super().gradient(x)


def test_a_run_takes_place_on_its_device_and_leaves_the_callers_current(monkeypatch, tmp_path):
    devices = Devices()
    monkeypatch.setitem(sys.modules, "devices", devices)
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry.register(OnDevices(devices))
    energy = Noted(devices)
    options = {"dim": 3, "n_samples": 5, "n_steps": 8, "seed": 1, "return_diagnostics": True}

    isotherm.sample_chain(energy, backend="devices", **options)
    assert dict(devices.used).keys() == {"empty", "asarray", "gradient", "prepare", "advance"}
    isotherm.sample_chain(energy, backend="devices", store=tmp_path / "run", **options)
    isotherm.resume(tmp_path / "run", energy, n_steps=4)
    monkeypatch.setattr(Noted, "gradient", lambda self, x: x[0])
    with pytest.raises(isotherm.InputError, match="gradient"):
        isotherm.sample_chain(energy, backend="devices", **options)
    assert {current for _, current in devices.used} == {"cpu"}
    assert devices.current == "other"


def test_a_cupy_that_cannot_be_imported_is_a_reason_and_no_crash():
    program = (
        "import isotherm\n"
        "print(isotherm._backends.registry.load('cupy').status().reason)\n"
        "print(isotherm.sample_chain(isotherm.HarmonicEnergy(), dim=1, backend='numpy').shape)"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"CUPY_CACHE_DIR": os.devnull + "/none"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    reason, shape = process.stdout.splitlines()
    assert reason.startswith("CuPy cannot be imported (")
    assert shape == "(1, 1)"
