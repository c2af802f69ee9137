"""Folders replaced as a whole: kills at every step, two writers, file systems without locks."""

import errno
import fcntl
import logging
import os
import subprocess
import sys
import threading

import pytest

from isthmus._core import copy_files, folder_lock, recover_folder, replaced_folder, write_bytes
from isthmus.errors import OutputError

DIED = 77
#: Replaces a folder, and dies just before the nth step that changes what is on the disk.
DYING = """
import importlib, os, shutil, sys
from pathlib import Path
folders = importlib.import_module("isthmus._core.files")
step, exchanges = int(sys.argv[1]), sys.argv[2] == "True"

def watch(owner, name):
    call = getattr(owner, name)
    def counted(*arguments, **options):
        global step
        step -= 1
        if not step:
            os._exit(77)
        return call(*arguments, **options)
    setattr(owner, name, counted)

watch(os, "rename"), watch(os, "replace"), watch(shutil, "rmtree"), watch(os, "unlink")
if exchanges:
    watch(folders, "exchange")
else:
    folders.exchange = lambda *_: False
with folders.replaced_folder(Path("press")) as folder:
    for name in ("a", "b"):
        (folder / name).write_text("new")
"""
LOCKING = """
import os, sys
from pathlib import Path
from isthmus._core import folder_lock
with folder_lock(Path("press")):
    os._exit(77)
"""


@pytest.fixture
def press(tmp_path, monkeypatch):
    """A folder of two files, in the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "press"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("old")
    return folder


@pytest.fixture(params=[True, False], ids=["exchanged", "renamed"])
def exchanges(request, monkeypatch):
    """Whether the system can exchange two names in one step."""
    if not request.param:
        monkeypatch.setattr("isthmus._core.files.exchange", lambda *_: False)
    return request.param


@pytest.fixture
def said():
    """An event that is set by the first message of isthmus, and the messages."""
    event, messages = threading.Event(), []

    class Handler(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())
            event.set()

    handler = Handler()
    logging.getLogger("isthmus").addHandler(handler)
    yield event, messages
    logging.getLogger("isthmus").removeHandler(handler)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.read_text() for path in folder.iterdir()}


def test_a_process_killed_at_any_step_loses_nothing_and_leaves_nothing_for_long(
    press, tmp_path, exchanges
):
    steps = 0
    while True:
        line = [sys.executable, "-c", DYING, str(steps + 1), str(exchanges)]
        status = subprocess.run(line, check=False).returncode
        recover_folder(press)
        assert names(press) == ["a", "b"]
        assert len(contents(press)) == 1
        if status != DIED:
            break
        steps += 1
        with replaced_folder(press) as folder:
            for name in ("a", "b"):
                (folder / name).write_text("old")
        assert names(tmp_path) == ["press"]
    assert status == 0
    assert steps == (5 if exchanges else 7)
    assert contents(press) == {"new"}


def test_what_is_restored_is_said(press, tmp_path, said):
    press.rename(tmp_path / ".press.old-abcd1234")
    recover_folder(press)
    assert contents(press) == {"old"}
    assert said[1] == [f"restored {press}: a process was killed while it replaced it"]
    recover_folder(tmp_path / "other")
    assert names(tmp_path) == ["press"]


def test_a_folder_is_restored_before_it_is_replaced(press, tmp_path):
    press.rename(tmp_path / ".press.old-abcd1234")
    with pytest.raises(ValueError), replaced_folder(press):
        raise ValueError
    assert contents(press) == {"old"}
    assert names(tmp_path) == ["press"]


def test_a_lock_is_released_when_its_process_is_killed(press, tmp_path):
    assert subprocess.run([sys.executable, "-c", LOCKING], check=False).returncode == DIED
    assert names(tmp_path) == [".press.lock", "press"]
    with folder_lock(press, wait=0) as held:
        assert held
    assert names(tmp_path) == ["press"]


def test_a_second_writer_is_refused_by_name_after_the_time_stated(press):
    refused = []

    def write():
        try:
            with folder_lock(press, wait=0):
                pass
        except OutputError as error:
            refused.append(str(error))

    with folder_lock(press), folder_lock(press, wait=0):  # its own thread may take it again
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert refused == [
        f"{press} is still being written by another process after 0 s, so nothing was written; "
        "wait for it to end, and run again"
    ]


def test_a_second_writer_says_for_what_it_waits_and_writes_after_the_first(
    press, tmp_path, said, monkeypatch
):
    monkeypatch.setattr("isthmus._core.locks._QUIET_SECONDS", -1)
    event, messages = said
    (tmp_path / "link").symlink_to(press)

    def write():
        with replaced_folder(tmp_path / "link") as folder:
            (folder / "a").write_text((press / "a").read_text() + " second")

    thread = threading.Thread(target=write)
    with replaced_folder(press) as folder:
        thread.start()
        assert event.wait(60)
        (folder / "a").write_text("first")
    thread.join()
    assert contents(press) == {"first second"}
    place = tmp_path / "link"
    assert messages == [f"waiting for another process that writes {place}, 120 s at most"]
    assert names(tmp_path) == ["link", "press"]


def test_writers_at_once_lose_nothing(press, tmp_path):
    (press / "a").write_text("0")

    def count():
        for _ in range(25):
            with folder_lock(press):
                n = int((press / "a").read_text())
                with replaced_folder(press) as folder:
                    (folder / "a").write_text(str(n + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (press / "a").read_text() == "100"
    assert names(tmp_path) == ["press"]


def test_without_locks_a_folder_is_replaced_and_what_others_write_is_left(
    press, tmp_path, said, monkeypatch
):
    def no_locks(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("isthmus._core.locks.try_lock", no_locks)
    (tmp_path / ".press.new-abcd1234").mkdir()
    with replaced_folder(press) as folder:
        (folder / "a").write_text("new")
    assert contents(press) == {"new"}
    assert names(tmp_path) == [".press.new-abcd1234", "press"]
    [message] = said[1]
    assert "has no locks (No locks available): do not let two processes write it" in message


@pytest.mark.parametrize("call", [1, 2])
def test_a_folder_that_fails_its_check_stays(press, tmp_path, exchanges, call):
    seen = []

    def check(folder):
        seen.append(contents(folder))
        if len(seen) == call:
            raise ValueError("changed")

    with pytest.raises(ValueError, match="changed"), replaced_folder(press, check) as folder:
        (folder / "a").write_text("new")
    assert seen == [{"old"}] * call  # just before, and just after it was moved away
    assert contents(press) == {"old"}
    assert names(tmp_path) == ["press"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot write .*press .*file is no folder"),
        replaced_folder(tmp_path / "file" / "press"),
    ):
        pass


def test_files_of_killed_processes_are_deleted_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus._core.files._tidied", set())
    dead, alive = tmp_path / ".x.json.isthmus-abcd1234", tmp_path / ".y.isthmus-abcd1234"
    for path in (dead, alive, tmp_path / ".x.settings", tmp_path / ".x.isthmus-notes.md"):
        path.write_text("")
    handle = os.open(alive, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    write_bytes(tmp_path / "x.json", b"")
    os.close(handle)
    kept = [alive.name, ".x.isthmus-notes.md", ".x.settings", "x.json"]
    assert names(tmp_path) == sorted(kept)


def test_no_file_is_lost_when_another_process_takes_it_for_a_leftover(tmp_path, monkeypatch):
    taken = []

    def late(handle):
        if not taken:  # another process sees the file before it is locked
            taken.extend(tmp_path.glob(".x.*"))
            taken[0].unlink()
        return True

    monkeypatch.setattr("isthmus._core.files.try_lock", late)
    write_bytes(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"
    assert names(tmp_path) == ["x"]


def test_an_error_of_writing_says_what_stands_and_what_to_do():
    full = OSError(errno.ENOSPC, "No space left on device")
    error = OutputError.of("press", full, 12_345_678)
    assert str(error) == (
        "no space left for press (No space left on device; 12.3 MB needed); what was there before "
        "is unchanged: free some space, and run again"
    )
    assert (error.errno, error.filename, error.needed) == (errno.ENOSPC, "press", 12_345_678)
    # Named anew by whoever writes the whole, with the size.
    assert "no space left for all (No space left on device; 12.3 MB needed)" in str(
        OutputError.of("all", error)
    )
    denied = OutputError.of("press", PermissionError(errno.EACCES, "Permission denied", "x"))
    assert str(denied).startswith("cannot write press (Permission denied); what was there")


@pytest.mark.parametrize("links", [True, False])
def test_files_that_stay_are_linked_or_copied(press, tmp_path, monkeypatch, links):
    def no_links(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (press / "deep").mkdir()
    (press / "deep" / "c").write_text("old")
    copy_files(press, tmp_path / "other", ["a", "deep/c"])
    assert names(tmp_path / "other") == ["a", "deep"]
    for name in ("a", "deep/c"):
        assert (tmp_path / "other" / name).read_text() == "old"
        assert (tmp_path / "other" / name).samefile(press / name) == links


def test_no_space_for_files_that_stay_says_how_much_they_need(press, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match=f"no space left for {press} .*6 bytes needed"),
        replaced_folder(press) as folder,
    ):
        copy_files(press, folder, ["a", "b"])
    assert contents(press) == {"old"}
    assert names(tmp_path) == ["press"]
