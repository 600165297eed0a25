"""Compiled code on disk: found again where it is whole and the user's own, and nowhere else."""

import errno
import logging
import os
import tempfile

import pytest

from isotherm.backend import CompiledCache

CODE = b"machine code " * 100


@pytest.fixture
def cache(tmp_path):
    kept = CompiledCache(tmp_path / "cache", "SOME_CACHE_DIR")
    kept.keep("key", CODE)
    kept.keep("other", CODE[::-1])
    return kept


def file_of(cache, key="key"):
    return cache._path(cache.folder, key)


def test_what_is_kept_is_found_in_a_folder_of_ones_own(cache, tmp_path):
    assert cache.find("key") == CODE
    assert cache.find("none") is None
    assert CompiledCache(tmp_path / "cache", "SOME_CACHE_DIR").find("other") == CODE[::-1]
    assert cache.folder.stat().st_mode & 0o777 == 0o700


DAMAGE = {
    "cut off": lambda data: data[:-1],
    "only a start": lambda data: data[:7],
    "empty": lambda data: b"",
    "garbage": lambda data: os.urandom(len(data)),
    "one bit": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_not_found_and_is_replaced(cache, damage):
    file = file_of(cache)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.find("key") is None
    cache.keep("key", CODE)
    assert cache.find("key") == CODE


def test_a_file_under_the_name_of_another_is_not_found(cache):
    os.replace(file_of(cache, "other"), file_of(cache))
    assert cache.find("key") is None


def test_a_link_a_folder_and_a_pipe_are_not_read(cache, tmp_path):
    file = file_of(cache)
    whole = tmp_path / "elsewhere"
    file.rename(whole)
    for make in (lambda: file.symlink_to(whole), file.mkdir, lambda: os.mkfifo(file)):
        make()
        assert cache.find("key") is None
        file.rmdir() if file.is_dir() else file.unlink()


def test_a_file_that_others_can_write_to_is_not_read(cache):
    file_of(cache).chmod(0o620)
    assert cache.find("key") is None


def test_a_file_of_another_user_is_not_read(cache, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: file_of(cache).stat().st_uid + 1)
    assert cache.find("key") is None


def planted(tmp_path, how, monkeypatch):
    folder = tmp_path / "planted"
    if how == "a link":
        (tmp_path / "theirs").mkdir()
        folder.symlink_to(tmp_path / "theirs")
    elif how == "a file":
        folder.write_text("")
    elif how == "another user's":
        folder.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    return folder


@pytest.mark.parametrize("how", ["a link", "a file", "another user's"])
def test_a_folder_that_is_not_ones_own_is_not_used_and_that_is_said(
    how, tmp_path, monkeypatch, caplog
):
    cache = CompiledCache(planted(tmp_path, how, monkeypatch), "SOME_CACHE_DIR")
    for _ in range(2):
        cache.keep("key", CODE)
        assert cache.find("key") is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "set SOME_CACHE_DIR to a folder of your own" in record.getMessage()
    assert not list(tmp_path.glob("theirs/*"))


def test_a_folder_of_ones_own_is_closed_to_others(cache, tmp_path, caplog):
    cache.folder.chmod(0o777)
    again = CompiledCache(tmp_path / "cache", "SOME_CACHE_DIR")
    assert again.find("key") == CODE
    assert again.folder.stat().st_mode & 0o777 == 0o700
    assert not caplog.records


def test_a_full_disk_is_no_obstacle(cache, monkeypatch, caplog):
    class Full:
        def __init__(self, descriptor, mode):
            os.close(descriptor)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", Full)
        for _ in range(2):
            cache.keep("new", CODE)
    assert len(caplog.records) == 1
    assert "(No space left on device)" in caplog.text
    assert cache.find("new") is None
    assert len(list(cache.folder.iterdir())) == 2


def test_nothing_is_left_behind_by_an_interrupt(cache, monkeypatch):
    def interrupt(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.keep("new", CODE)
    assert not [file for file in cache.folder.iterdir() if file.name.startswith(tempfile.template)]
