"""The page on training: its programs run as they stand, and give what they say."""

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

PAGE = Path(__file__).parents[2] / "docs/training.md"


def test_the_pages_programs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for block in blocks:
        exec(compile(block, "training.md", "exec"), names)
    assert len(blocks) == 6
    energy, data = names["energy"], names["data"]
    noise = 3.0 * (2.0 * torch.rand(1000, 2) - 1.0)
    with torch.no_grad():
        assert energy(data).mean() < energy(noise).mean() - 1.0
    assert names["labels"].bincount().min() > 10
    assert torch.equal(names["samples"], names["resumed"])
    assert abs(names["samples"].std() - 1.0) < 0.1
    y, theta = names["y"], names["theta"]
    assert abs(theta.mean() - y.mean()) < 0.02
    # The variance that the page gives, of N = 1000 and batches of 50, whose own is v.
    v = 1000.0**2 * y.var() / 50
    expected = (2 + 1e-5 * v) / (1000 * (2 - 1e-5 * 1000))
    assert abs(theta.var() / expected - 1.0) < 0.25
    assert names["weights"]["weight"].shape == (100, 1, 2)
