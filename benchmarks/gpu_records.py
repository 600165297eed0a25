"""A plugin of pytest: a line of the session's records for each test, as it ends."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

#: Characters of an error, and of a traceback: of a suite that fails as a whole each test has one.
MOST_TOLD = 2000


_failed: set[str] = set()  # the tests of this process


@pytest.hookimpl
def pytest_runtest_logreport(report: Any) -> None:
    """The test itself, and what fails before and after it. A process of xdist's tells the first."""
    was_told = report.nodeid in _failed
    if report.failed:
        _failed.add(report.nodeid)
    if "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.passed):
        return
    if was_told:  # its first error is the one to be told; then its process may have ended
        return
    found: dict[str, Any] = {"part": os.environ["PART"], "name": report.nodeid}
    found["ok"] = None if report.skipped else report.passed
    found["seconds"] = round(getattr(report, "duration", 0.0), 2)
    if report.skipped:
        found["why"] = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else "")
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        found["error"] = getattr(crash, "message", str(report.longrepr)[-500:])[:MOST_TOLD]
        found["traceback"] = report.longreprtext[-MOST_TOLD:]
    with open(os.environ["RECORDS"], "ab", buffering=0) as file:
        file.write(f"\n{json.dumps(found, ensure_ascii=False)}\n".encode(errors="backslashreplace"))


@pytest.hookimpl
def pytest_runtest_logfinish(nodeid: str) -> None:
    """End a process of xdist's whose card answers no more: xdist starts another in its place."""
    if "PYTEST_XDIST_WORKER" in os.environ and nodeid in _failed and _is_lost():
        os._exit(3)


def _is_lost() -> bool:
    """Whether an error, as an access beyond the card's memory, has ended all use of the card."""
    if "cupy" not in sys.modules:
        return False
    try:
        sys.modules["cupy"].cuda.runtime.deviceSynchronize()
    except Exception as error:
        return not any(name in str(error) for name in ("InsufficientDriver", "NoDevice"))
    return False


@pytest.hookimpl
def pytest_collectreport(report: Any) -> None:
    """A file that cannot be imported."""
    if report.failed:
        pytest_runtest_logreport(report)
