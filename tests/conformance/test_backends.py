"""The conformance suite on every backend that can run here, and on a fifth one."""

from isotherm import registry
from isotherm.testing import BackendConformance
from tests import backends
from tests.conformance.strict import StrictBackend

registry.register(StrictBackend())

for name in [*backends.usable(), StrictBackend.name]:
    suite = f"Test{name.title().replace('_', '')}"
    globals()[suite] = type(suite, (BackendConformance,), {"backend": name})
