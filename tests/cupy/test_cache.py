"""What is kept of compiled kernels, and by what it is found; how it is kept is core's to prove."""

import pytest

from isotherm_cupy import nvrtc

KERNEL = 'extern "C" __global__ void kernel(float* x) { *x = %d; }'


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    return tmp_path / "isotherm"


@pytest.mark.parametrize(
    "change",
    [
        {"OPTIONS": (*nvrtc.OPTIONS, "--extra-device-vectorization")},
        {"_versions": lambda: ("another compiler",)},
    ],
    ids=["options", "versions"],
)
def test_code_is_kept_by_card_source_options_and_versions(folder, monkeypatch, change):
    codes = {nvrtc.machine_code(KERNEL % i, card) for i in (1, 2) for card in ("80", "90")}
    assert len(codes) == 4
    nvrtc.machine_code(KERNEL % 1, "80")
    assert len(list(folder.iterdir())) == 4
    for name, value in change.items():
        monkeypatch.setattr(nvrtc, name, value)
    nvrtc.machine_code(KERNEL % 1, "80")
    assert len(list(folder.iterdir())) == 5


def test_code_of_an_earlier_process_is_taken(folder, monkeypatch):
    code = nvrtc.machine_code(KERNEL % 1, "80")
    nvrtc._kept_in.cache_clear()
    with monkeypatch.context() as without:
        without.setattr(nvrtc, "compiled", None)
        assert nvrtc.machine_code(KERNEL % 1, "80") == code
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert nvrtc.machine_code(KERNEL % 1, "80") == code


def test_no_folder_is_no_error(folder, monkeypatch, caplog):
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "1")
    code = nvrtc.machine_code(KERNEL % 1, "80")
    assert not folder.exists()
    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY")
    folder.write_bytes(b"")
    assert nvrtc.machine_code(KERNEL % 1, "80") == code
    assert "set CUPY_CACHE_DIR to a folder of your own" in caplog.text
