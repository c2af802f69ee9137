"""Locks of the operating system, which are released when the process ends or is killed."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isthmus.errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger("isthmus")

#: How long a writer waits for another one, in seconds.
WAIT_SECONDS = 120.0
_POLL_SECONDS, _QUIET_SECONDS = 0.02, 1.0
#: The locks that each thread holds, by path: its process, and whether there are locks.
_held = threading.local()


def try_lock(handle: int) -> bool:
    """Lock an open file without waiting.

    Parameters
    ----------
    handle : int
        Its file descriptor.

    Returns
    -------
    bool
        False when another process or thread holds it.

    Raises
    ------
    OSError
        When the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def folder_lock(path: Path, wait: float = WAIT_SECONDS) -> Iterator[bool]:
    """Be the only one that writes a folder, until the block ends; a thread may take it again.

    The lock is a file beside the folder, `.NAME.lock`, which is deleted with it. The folder need
    not exist. Whoever has to wait for more than a second says so, through `logging`.

    Parameters
    ----------
    path : Path
        Links in it are followed, so that a folder has one lock by whatever path it is reached.
    wait : float
        Seconds to wait at most.

    Yields
    ------
    bool
        False where the file system has no locks: another writer is then not kept out.

    Raises
    ------
    OutputError
        When another one still holds it after that time, or no file can be written there.
    """
    file = path.resolve()
    file = file.with_name(f".{file.name}.lock")
    held: dict[Path, tuple[int, bool]] = _held.__dict__.setdefault("locks", {})
    if file in held and held[file][0] == os.getpid():  # a fork has its parent's entries
        yield held[file][1]
        return
    handle = _acquire(file, path, wait)
    held[file] = (os.getpid(), handle is not None)
    try:
        yield handle is not None
    finally:
        del held[file]
        if handle is not None:
            _release(file, handle)


def _acquire(file: Path, path: Path, wait: float) -> int | None:
    """Return the descriptor of the locked file; None where there are no locks."""
    began, said = time.monotonic(), False
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise OutputError.of(path, error) from error
        try:
            locked = try_lock(handle)
        except OSError as error:
            os.close(handle)
            with suppress(OSError):
                file.unlink()
            log.warning(
                "the file system of %s has no locks (%s): do not let two processes write it",
                path,
                error.strerror,
            )
            return None
        if locked and _is_at(handle, file):
            return handle
        os.close(handle)  # held by another, or deleted by the one that held it before
        waited = time.monotonic() - began
        if waited > wait:
            raise OutputError(
                f"{path} is still being written by another process after {wait:g} s, so nothing "
                "was written; wait for it to end, and run again"
            )
        if waited > _QUIET_SECONDS and not said:
            said = True
            log.warning("waiting for another process that writes %s, %g s at most", path, wait)
        if not locked:
            time.sleep(_POLL_SECONDS)


def _is_at(handle: int, file: Path) -> bool:
    """Return whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:
        return False


def _release(file: Path, handle: int) -> None:
    if sys.platform == "win32":  # which deletes no open file
        os.close(handle)
        with suppress(OSError):
            file.unlink()
    else:
        # Before it is unlocked: whoever waits for this file then finds that it is no longer there.
        with suppress(OSError):
            file.unlink()
        os.close(handle)
