"""The transitions' suite on every backend that can run here, and on a fifth one."""

from isotherm._backends import registry
from isotherm.testing import TransitionConformance
from isotherm.testing.transitions import ENERGIES, MASSES
from tests import backends
from tests.conformance.strict import StrictBackend
from tests.conformance.test_backends import SUITES
from tests.transitions import SAMPLERS

registry.register(StrictBackend())

for name in [*backends.usable(), StrictBackend.name]:
    for sampler, options in SAMPLERS.items():
        suite = f"Test{sampler.title()}On{name.title().replace('_', '')}"
        given = {
            "backend": name,
            "sampler": "hmc" if sampler == "malt" else sampler,
            "options": options,
        }
        if name == StrictBackend.name:
            given["n_long"] = 20  # its checks take a millisecond an operation
        if name == "numpy":
            given["n_long"] = 100  # it differs from the reference in its source of noise alone
        if name == "numba":  # each of these compiles a kernel, which tests/numba needs too
            given["energies"] = {kind: ENERGIES[kind] for kind in ("terms", "mixture")}
            given["masses"] = {mass: MASSES[mass] for mass in ("unit", "matrix")}
        if name in SUITES:
            given["threads"] = SUITES[name].threads
        globals()[suite] = type(suite, (TransitionConformance,), given)
