"""What all tests share: the backends that they run on, and how hard hypothesis searches.

A test with an argument ``backend`` runs once for every backend that can be used here; where it is
marked ``host_build``, also for the CUDA source built for the host. The folder that has a backend's
name is left out where that backend is not installed.
"""

import signal
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

from tests import backends

# The suite takes about ten minutes on two cores. The first example of a kernel compiles it, so
# there is no deadline. A failure in CI must be the same failure at the desk, hence derandomize.
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True)
# About an hour of two cores. With 10 and with 40 examples the tests of conformance, core and noise
# took 49 and 94 seconds of one core (AMD EPYC), so that an example of every test costs 1.5 seconds;
# the other folders hardly grow. What does not depend on the examples is some twelve minutes.
settings.register_profile("thorough", max_examples=4000, deadline=None, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="search with forty times the examples, other ones in every run; takes about an hour",
    )


def pytest_configure(config: pytest.Config) -> None:
    backends.names()
    # A shell that starts the tests in the background has them ignore Ctrl-C, which some send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("thorough" if config.getoption("--thorough") else "ci")


def pytest_report_header(config: pytest.Config) -> list[str]:
    reasons = [f"  {name} cannot be used here: {why}" for name, why in backends.unusable().items()]
    return [f"backends: {', '.join(backends.names())}", *reasons]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    folders = {Path(__file__).parent / name for name in ("numba", "torch", "cupy")}
    missing = collection_path in folders and collection_path.name not in backends.names()
    return True if missing else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        more = list(metafunc.definition.iter_markers("host_build")) and backends.host_builds()
        metafunc.parametrize("backend", [*backends.usable(), *more], scope="session")


@pytest.fixture
def limits(monkeypatch):
    """A function that sets some of the limits of core and of the backends, for one test."""
    packages = [f"isotherm_{name}.limits" for name in ("numba", "cupy") if name in backends.names()]
    known = [import_module(name).LIMITS for name in ("isotherm._limits", *packages)]

    def set_to(**numbers):
        for name, number in numbers.items():
            owners = [one for one in known if hasattr(one, name)]
            assert owners, name
            for owner in owners:
                monkeypatch.setattr(owner, name, number)

    return set_to
