"""Which backend is taken where the user names none: what the installed ones declare decides."""

import pytest

import isotherm
from isotherm._backends import registry
from tests.conformance.strict import StrictBackend

WELL = isotherm.DoubleWellEnergy()


class Declaring(StrictBackend):
    """A backend of NumPy's arrays that has a kernel for everything."""

    def __init__(self, name, **declared):
        self.name = name
        self.library = "numpy"
        vars(self).update(declared)

    def has_kernel(self, plan, energy):
        return True


@pytest.fixture
def declare(monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    yield lambda *arguments, **declared: registry.register(Declaring(*arguments, **declared))
    registry.forget()


def chosen(**options):
    return isotherm.make_plan(WELL, dim=2, step_size=0.1, **options).backend


def test_the_kernel_of_the_highest_priority_is_taken(declare):
    declare("high", kernels_for=("numpy",), priority=8)
    declare("higher", kernels_for=("numpy",), priority=9)
    assert chosen() == "higher"
    declare("highest", kernels_for=("other",), priority=10)
    declare("elsewhere", kernels_for=("numpy",), device_kinds=("moon",), priority=10)
    assert chosen() == "higher"
    assert chosen(backend="numpy") == "numpy"


def test_a_device_is_of_the_backend_that_declares_it(declare):
    with pytest.raises(isotherm.BackendNotFoundError, match="device 'moon:1' does not exist"):
        chosen(device="moon:1")
    declare("lander", device_kinds=("moon",), resolve_device=str)
    declare("rover", device_kinds=("moon",), resolve_device=str, priority=1)
    assert chosen(device="moon:1") == "rover"


def test_arrays_of_a_library_without_a_backend(monkeypatch):
    assert registry.first_for("foreign", "cpu").name == "numpy"
    with pytest.raises(isotherm.BackendNotFoundError, match="pip install isotherm-foreign"):
        registry.first_for("foreign", "cuda:0")
    monkeypatch.setattr(registry, "_entry_points", dict)
    registry.forget()
    try:  # which would not be differentiated
        with pytest.raises(isotherm.BackendNotFoundError, match="pip install isotherm-torch"):
            registry.first_for("torch", "cpu")
        with pytest.raises(isotherm.BackendNotFoundError, match="pip install isotherm-numba"):
            chosen(backend="numba")
    finally:
        registry.forget()
