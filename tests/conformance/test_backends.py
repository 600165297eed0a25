"""The conformance suite on every backend that can run here, and on a fifth one."""

from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings

from isotherm._backends import registry
from isotherm.testing import BackendConformance
from tests import backends
from tests.conformance.strict import StrictBackend

registry.register(StrictBackend())


class NumbaConformance(BackendConformance):
    @contextmanager
    def threads(self, count):
        import numba

        from isotherm_numba.limits import LIMITS

        before = numba.get_num_threads()
        with pytest.MonkeyPatch.context() as patch:
            # For less work than usual threads are not woken.
            patch.setattr(LIMITS, "worth_a_thread", 1)
            patch.setattr(LIMITS, "array_part", 500)
            numba.set_num_threads(count)
            yield
            numba.set_num_threads(before)


class NumpyConformance(NumbaConformance if "numba" in backends.names() else BackendConformance):
    """Its normals are Numba's where that is installed, and then its threads too."""

    dtypes = ("float32", "float64", "float16")


class TorchConformance(BackendConformance):
    dtypes = ("float32", "float64", "float16", "bfloat16")

    @contextmanager
    def threads(self, count):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        yield
        torch.set_num_threads(before)


class CupyConformance(BackendConformance):
    dtypes = ("float32", "float64", "float16")


SUITES = {
    "numpy": NumpyConformance,
    "numba": NumbaConformance,
    "torch": TorchConformance,
    "cupy": CupyConformance,
}

for name in [*backends.usable(), StrictBackend.name]:
    suite = f"Test{name.title().replace('_', '')}"
    globals()[suite] = type(suite, (SUITES.get(name, BackendConformance),), {"backend": name})

# That the array loop is right `TestNumpy` shows. On the standard's arrays, of which each operation
# takes a hundred times as long, a fifth of the examples shows that it asks for nothing else.
FEWER = settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.differing_executors],
)
for name, method in vars(BackendConformance).items():
    if hasattr(method, "strategies"):
        of_fewer = FEWER(given(**method.strategies)(method.hypothesis.inner_test))
        setattr(globals()["TestArrayApiStrict"], name, of_fewer)
