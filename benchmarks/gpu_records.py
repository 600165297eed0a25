"""A plugin of pytest: a line of the session's records for each test, as it ends."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

#: Characters of an error, and of a traceback: of a suite that fails as a whole each test has one.
MOST_TOLD = 2000


@pytest.hookimpl
def pytest_runtest_logreport(report: Any) -> None:
    """The test itself, and what fails before and after it. A process of xdist's tells the first."""
    if "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.passed):
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
def pytest_collectreport(report: Any) -> None:
    """A file that cannot be imported."""
    if report.failed:
        pytest_runtest_logreport(report)
