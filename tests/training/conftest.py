"""One thread: networks so small that threads would wait for each other."""

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
