"""What is kept of compiled kernels: taken only where it is whole, and only from an own folder."""

import os
import stat
import sys

import pytest

from isotherm_cupy import cache, nvrtc

if sys.platform == "win32":
    pytest.skip("Windows keeps others out by other means", allow_module_level=True)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cupy"))
    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    cache._checked.cache_clear()
    yield tmp_path / "cupy" / "isotherm"
    cache._checked.cache_clear()


def keep(key="key", content=b"code", made=None):
    def make():
        if made is not None:
            made.append(key)
        return content

    return cache.kept(cache.cache_folder(), key, make)


def test_what_was_made_is_taken_from_the_folder(folder):
    made = []
    assert [keep(made=made) for _ in range(3)] == [b"code"] * 3
    assert [keep("other", b"", made) for _ in range(2)] == [b"", b""]
    assert made == ["key", "other"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b"\0"),
        lambda file: file.write_bytes(b"\x7fELF" + os.urandom(1000)),
        lambda file: file.write_bytes(file.read_bytes()[:32] + b"evil"),
        lambda file: file.chmod(0o666),
        lambda file: file.unlink(),
    ],
    ids=["empty", "truncated", "longer", "garbage", "changed", "anybody's", "gone"],
)
def test_what_is_not_whole_or_not_only_ones_own_is_made_anew(folder, spoil):
    keep()
    (file,) = folder.iterdir()
    spoil(file)
    made = []
    assert keep(made=made) == b"code"
    assert made == ["key"]
    assert keep(made=made) == b"code"
    assert made == ["key"]


def test_a_file_of_another_key_or_place_is_not_taken(folder, tmp_path):
    keep("key", b"one")
    keep("other", b"two")
    one, two = sorted(folder.iterdir(), key=lambda file: file.read_bytes()[32:])
    two.write_bytes(one.read_bytes())
    assert keep("other", b"two") == b"two"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(one.read_bytes())
    one.unlink()
    one.symlink_to(elsewhere)
    made = []
    keep("key", b"one", made)
    assert made == ["key"]
    assert not one.is_symlink()


@pytest.mark.parametrize(
    "plant",
    [
        lambda folder, other: folder.mkdir(mode=0o700) or folder.chmod(0o777),
        lambda folder, other: other.mkdir() or folder.symlink_to(other),
        lambda folder, other: folder.write_bytes(b""),
    ],
    ids=["others can write", "a link", "a file"],
)
def test_a_folder_that_others_may_have_made_is_not_used(folder, plant, tmp_path, caplog):
    folder.parent.mkdir()
    plant(folder, tmp_path / "other")
    assert cache.cache_folder() is None
    assert "set CUPY_CACHE_DIR to a folder of your own" in caplog.text
    assert keep() == b"code"
    assert len(caplog.records) == 1


def test_another_users_folder_is_not_used(folder, monkeypatch, caplog):
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert cache.cache_folder() is None
    assert "others can write to it" in caplog.text


def test_no_folder_is_no_error(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file"))
    assert cache.cache_folder() is None
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "1")
    assert cache.cache_folder() is None
    assert not (tmp_path / "isotherm").exists()


def test_a_full_disk_is_no_error(folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    assert cache.cache_folder() == folder
    monkeypatch.setattr(os, "replace", full)
    assert keep() == b"code"
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"OPTIONS": (*nvrtc.OPTIONS, "--extra-device-vectorization")},
        {"_versions": lambda: ("another compiler",)},
    ],
    ids=["options", "versions"],
)
def test_code_is_kept_by_card_source_options_and_versions(folder, monkeypatch, change):
    kernel = 'extern "C" __global__ void kernel(float* x) { *x = %d; }'
    codes = {nvrtc.machine_code(kernel % i, card) for i in (1, 2) for card in ("80", "90")}
    assert len(codes) == 4
    nvrtc.machine_code(kernel % 1, "80")
    assert len(list(folder.iterdir())) == 4
    for name, value in change.items():
        monkeypatch.setattr(nvrtc, name, value)
    nvrtc.machine_code(kernel % 1, "80")
    assert len(list(folder.iterdir())) == 5
