"""A training run that was killed, and one that was not."""

import signal
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from tests.training import loop  # noqa: E402


@pytest.mark.parametrize("sampler", ["LangevinDynamics", "UnderdampedLangevin"])
def test_a_run_that_is_gone_on_with_has_the_bits_of_one_that_was_not_stopped(sampler, tmp_path):
    whole = loop.train(tmp_path / "whole", 12, sampler=sampler)
    loop.train(tmp_path / "cut", 6, sampler=sampler)  # the last checkpoint is that of step 4
    cut = loop.train(tmp_path / "cut", 12, sampler=sampler)
    assert all(map(torch.equal, whole, cut))
    assert whole[-1].max() > 5


def test_a_run_that_is_killed_in_mid_draw_goes_on_with_the_same_bits(tmp_path):
    command = [sys.executable, "-m", loop.__name__, tmp_path / "killed", "12", "9"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed")["step"] == 8
    killed = loop.train(tmp_path / "killed", 12)
    assert all(map(torch.equal, killed, loop.train(tmp_path / "whole", 12)))
