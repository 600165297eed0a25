"""The page on writing a backend: its code runs as it stands."""

import re
from pathlib import Path

from isotherm._backends import registry

ROOT = Path(__file__).parents[2]


def test_the_pages_python_runs_and_its_backend_passes(monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    page = (ROOT / "docs/new_backend.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # The suite runs on the file, and so on the page.
    assert blocks[0] == (ROOT / "tests/conformance/strict.py").read_text("utf-8")
    names = {}
    for block in blocks:
        exec(compile(block, "new_backend.md", "exec"), names)
    for suite in ("TestStrict", "TestMore"):
        names[suite]().test_a_gaussian_has_its_exact_moments_at_every_step()
