"""Atomic writes of files and folders, also when writing fails."""

import errno
import hashlib
import json
import math
import os
import stat
from pathlib import Path

import pytest

from isthmus._core import (
    check_writable,
    file_digest,
    refuse_address,
    replaced_folder,
    to_json,
    write_bytes,
    write_json,
)
from isthmus.errors import DataError, OutputError, is_disk_full


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


# The three moments at which a disk can be full or a file system refuse.
@pytest.fixture(params=["write", "flush", "rename"])
def broken_disk(request, monkeypatch):
    if request.param == "write":

        class Full:
            def __init__(self, handle, mode):
                self.handle = handle

            def __enter__(self):
                return self

            def __exit__(self, *_):
                os.close(self.handle)

            def write(self, content):
                os.write(self.handle, content[: len(content) // 2])
                fail()

        monkeypatch.setattr(os, "fdopen", Full)
    elif request.param == "flush":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
        monkeypatch.setattr(os, "replace", fail)


def test_a_failed_write_leaves_the_old_file(tmp_path, broken_disk):
    file = tmp_path / "weights"
    file.write_bytes(b"old")

    with pytest.raises(OSError, match="No space left") as raised:
        write_bytes(file, b"the new content")

    # The target, not the temporary file.
    assert raised.value.filename == str(file)
    assert is_disk_full(raised.value)
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["weights"]


def test_a_failed_write_leaves_no_file(tmp_path, broken_disk):
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "weights", b"the new content")

    assert names(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    (tmp_path / "weights").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "weights", b"new")

    assert (tmp_path / "weights").read_bytes() == b"old"
    assert names(tmp_path) == ["weights"]


def test_a_write_replaces_the_file_and_creates_its_folder(tmp_path):
    file = tmp_path / "not" / "yet" / "there"

    write_bytes(file, b"first")
    write_bytes(file, b"second")

    assert file.read_bytes() == b"second"
    assert names(file.parent) == ["there"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_and_folders_have_the_permissions_of_the_umask(tmp_path, mask):
    # tempfile creates them for the owner only; bundles are often shared.
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"")
        with replaced_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def test_json_reads_back_as_it_was(tmp_path):
    plain = {"name": "Zürich", "values": [1, 2.5, None, True], "tiny": 5e-324}

    write_json(tmp_path / "facts.json", plain)

    text = (tmp_path / "facts.json").read_text(encoding="utf-8")
    assert json.loads(text) == plain
    assert "Zürich" in text
    assert text == to_json(plain)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_refuses_nan_and_infinity(tmp_path, number):
    write_json(tmp_path / "facts.json", {"loss": 1.0})

    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "facts.json", {"loss": [number]})

    assert json.loads((tmp_path / "facts.json").read_text()) == {"loss": 1.0}


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "press"
    target.mkdir()
    (target / "old").write_text("old")

    with replaced_folder(target) as folder:
        (folder / "new").write_text("new")
        assert names(target) == ["old"]

    assert names(target) == ["new"]
    assert names(tmp_path) == ["press"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_stays_when_the_block_raises(tmp_path, error):
    target = tmp_path / "press"
    target.mkdir()
    (target / "old").write_text("old")

    with pytest.raises(error), replaced_folder(target) as folder:
        (folder / "half").write_text("half")
        raise error

    assert names(target) == ["old"]
    assert names(tmp_path) == ["press"]


def test_a_new_folder_does_not_appear_when_the_block_raises(tmp_path):
    with pytest.raises(ValueError), replaced_folder(tmp_path / "deep" / "press"):
        raise ValueError

    assert names(tmp_path / "deep") == []


@pytest.mark.parametrize("nth", [1, 2])
def test_a_folder_stays_when_a_rename_fails(tmp_path, monkeypatch, nth):
    target = tmp_path / "press"
    target.mkdir()
    (target / "old").write_text("old")
    monkeypatch.setattr("isthmus._core.files.exchange", lambda *_: False)
    rename, calls = Path.rename, []

    def failing(path, other):
        calls.append(path)
        if len(calls) == nth:
            fail()
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="No space left"), replaced_folder(target) as folder:
        (folder / "new").write_text("new")

    assert names(target) == ["old"]
    assert names(tmp_path) == ["press"]


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)

    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_an_error_names_the_target_folder_unless_it_is_about_another_file(tmp_path):
    target = tmp_path / "press"
    with pytest.raises(OSError, match="full") as raised, replaced_folder(target) as folder:
        raise OSError(errno.ENOSPC, "full", str(folder / "weights"))
    assert raised.value.filename == str(target)
    with pytest.raises(OSError, match="gone") as raised, replaced_folder(target):
        raise OSError(errno.ENOENT, "gone", str(tmp_path / "data.csv"))
    assert raised.value.filename == str(tmp_path / "data.csv")


@pytest.mark.parametrize(
    "path", ["s3://bucket/out", Path("s3://bucket/out"), "gs://b", "file:///x"]
)
def test_addresses_are_refused(path):
    with pytest.raises(DataError, match="expected a path of this machine"):
        refuse_address(path)


@pytest.mark.parametrize("path", ["out", "/tmp/out", "C:/out", "C:\\out", "a/s3:/b", "12:30/out"])
def test_paths_are_no_addresses(path):
    refuse_address(path)


@pytest.mark.parametrize("folder", [True, False])
def test_what_cannot_be_an_output_is_known_before_the_work(tmp_path, folder):
    (tmp_path / "file").write_text("", encoding="utf-8")
    check_writable(tmp_path / "press" / "out", folder=folder)
    check_writable(tmp_path if folder else tmp_path / "file", folder=folder)
    for path in ("/", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match="cannot write"):
            check_writable(path, folder=folder)
