"""What the backend says where there is a GPU, and where there is none; on which device it runs."""

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import isotherm
from isotherm._arithmetic import arrays
from isotherm._backends import registry
from isotherm.testing import UsersEnergy
from isotherm_cupy import backend, nvrtc, torch_energy
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
    pytest.importorskip("google_crc32c")  # of the store
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


@pytest.fixture
def a_card(monkeypatch):
    """One that is told of, and not used."""
    import cupy

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 1)
    for cached in (backend._status, nvrtc.why_not):
        cached.cache_clear()
    yield
    for cached in (backend._status, nvrtc.why_not):
        cached.cache_clear()


def test_a_card_can_be_used_where_kernels_can_be_compiled(a_card):
    assert BACKEND.status().reason is None
    assert BACKEND.status().devices == ("cuda:0",)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("nvrtc", "NVRTC cannot be used (CuPy failed to load libnvrtc.so); "),
        ("headers", "CuPy does not find CUDA's headers ("),
    ],
)
def test_what_cannot_compile_says_so_before_the_first_kernel(a_card, monkeypatch, missing, reason):
    """So that torch's chains go on as torch's, and do not fail at their first kernel."""
    from cupy._core import core
    from cupy.cuda import nvrtc

    def fail(*arguments):
        raise RuntimeError("CuPy failed to load libnvrtc.so")

    if missing == "nvrtc":
        monkeypatch.setattr(nvrtc, "createProgram", fail)
    else:
        monkeypatch.setattr(core, "assemble_cupy_compiler_options", lambda options: options)
    found = BACKEND.status()
    assert found.reason.startswith(reason)
    assert "; pip install --upgrade 'cupy-cuda" in found.reason  # CuPy 13 has no such extra
    assert "\n" not in found.reason
    assert found.devices == ()


def test_rocm_is_a_reason(a_card, monkeypatch):
    import cupy

    monkeypatch.setattr(cupy.cuda.runtime, "is_hip", True)
    assert "ROCm" in BACKEND.status().reason


class OnAStream(OnDevices):
    """The same with a queue, which follows that of another library."""

    def on_stream_of(self, library):
        self.devices.used.append(("follows", library))
        return self.devices.on("stream")


def test_a_run_of_another_librarys_arrays_is_queued_where_that_queues(monkeypatch):
    devices = Devices()
    monkeypatch.setitem(sys.modules, "devices", devices)
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry.register(OnAStream(devices))
    options = {"dim": 3, "n_steps": 2, "seed": 1, "backend": "devices"}
    isotherm.sample_chain(isotherm.HarmonicEnergy(), **options)
    assert ("follows", "devices") not in devices.used
    devices.used.clear()
    isotherm.sample_chain(isotherm.HarmonicEnergy(), np.zeros(3), **options)
    assert devices.used[0] == ("follows", "numpy")
    assert {current for name, current in devices.used[1:]} == {"stream"}


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [(0, "default 1"), (1, "default 1"), (2, "default 1"), (77, "external 77 on 1")],
)
def test_torch_works_on_cupys_stream(monkeypatch, pointer, expected):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: f"default {device}")
    monkeypatch.setattr(
        torch.cuda, "ExternalStream", lambda pointer, device: f"external {pointer} on {device}"
    )
    assert torch_energy.torch_stream(pointer, 1) == expected


@pytest.mark.parametrize(("pointer", "expected"), [(0, 1), (77, 77)])
def test_cupy_works_on_torchs_stream(monkeypatch, pointer, expected):
    """CuPy takes 0 for each thread's own default stream where it is told to use these."""
    import cupy

    torch = pytest.importorskip("torch")
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 1)
    current = SimpleNamespace(cuda_stream=pointer)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: {1: current}[device])
    assert BACKEND.on_stream_of("torch").ptr == expected
    assert isinstance(BACKEND.on_stream_of("numpy"), nullcontext)


class OnACard(np.ndarray):
    """An array that can only be worked on where its device is the current one."""

    @property
    def device(self):
        return Card(self)


class Card:
    id = 0
    entered: ClassVar = []

    def __init__(self, array):
        self.array = array

    def __enter__(self):
        self.entered.append(self.id)

    def __exit__(self, *error):
        pass


def test_a_start_is_looked_at_on_its_own_card(monkeypatch):
    """Whatever the device to which it is moved then."""
    x = np.ones((2, 3), np.float32).view(OnACard)
    monkeypatch.setattr(arrays.compat, "is_cupy_array", lambda x: isinstance(x, OnACard))
    # NumPy's subclasses are taken as what they are a view of; this one stands for CuPy's arrays.
    monkeypatch.setattr("isotherm._planning.make_plan.as_state", lambda x: x)
    isotherm.make_plan(isotherm.HarmonicEnergy(), x, backend=HostBackend.name, device="cpu")
    assert Card.entered == [0]
