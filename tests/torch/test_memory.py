"""A thousand calls in a row grow nothing."""

import gc
import os
import sys
from pathlib import Path

import pytest
import torch

import isotherm


def live_objects() -> int:
    """How many objects, tensors among them, Python keeps track of."""
    gc.collect()
    return len(gc.get_objects())


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells its memory in /proc")
@pytest.mark.parametrize("kind", ["module", "built-in"])
def test_a_thousand_calls_grow_no_memory(kind):
    n_calls, state = 1000, torch.zeros(64, 256)  # 64 KiB
    module = torch.nn.Linear(256, 1)

    def call():
        energy = module if kind == "module" else isotherm.DoubleWellEnergy(b=torch.tensor(1.5))
        isotherm.sample_chain(
            energy, state, n_steps=4, return_trajectory=True, return_diagnostics=True,
            backend="torch",
        )  # fmt: skip

    for _ in range(20):  # caches fill
        call()
    objects, resident = live_objects(), resident_bytes()
    for _ in range(n_calls):
        call()
    # Half an object, and a quarter of a state, for each call.
    assert live_objects() - objects < n_calls / 2
    assert resident_bytes() - resident < n_calls * state.nbytes / 4
