"""Folders that are replaced as a whole, and what a killed process leaves of that.

A new folder is written beside the one it replaces, as `.NAME.new-XXXXXXXX`, and the two exchange
their names in one step. Where the system cannot do that, the old one is renamed to
`.NAME.old-XXXXXXXX` first; a process killed before the second rename leaves no folder, and the
next one that reads or writes it renames the old one back.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus._core.files import errors_naming, refuse_address, umask, user_path
from isthmus._core.locks import folder_lock
from isthmus.errors import OutputError

log = logging.getLogger("isthmus")


@contextmanager
def replaced_folder(path: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` when the block ends without an error.

    When the block raises, or the process is killed in it, `path` is unchanged. No other process
    that replaces the folder in this way does so within the block. Where `path` is a link, the
    folder that it leads to is replaced.

    Parameters
    ----------
    path : Path
    check : function, optional
        Called with the folder to be replaced just before and just after that; when it raises,
        the folder stays.

    Raises
    ------
    OutputError
        When it cannot be written, or another process writes it for too long.
    """
    refuse_address(path)
    shown, path = path, user_path(path).resolve()
    with errors_naming(shown):
        path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(user_path(shown)) as is_locked:
        if is_locked:
            _restore(path)
            _delete_leftovers(path)
        with errors_naming(shown):
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new-"))
        try:
            with errors_naming(shown, temporary):
                yield temporary
                temporary.chmod(0o777 & ~umask())
            if check is not None:
                check(path)
            with errors_naming(shown):
                _put_in_place(temporary, path, check)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Rename the folder back that a process left under another name when it was killed.

    Nothing is done where `path` exists.

    Raises
    ------
    OutputError
        When it cannot be renamed.
    """
    path = user_path(path).resolve()
    if os.path.lexists(path) or not _leftovers(path, "old"):
        return
    with folder_lock(path):
        _restore(path)


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Give files of one folder to another too, by hard links where that is possible.

    For files that are only ever replaced, never written in place. A link takes no time and no
    space, and what it leads to is safely on the disk already.

    Raises
    ------
    OutputError
        When there is no space for them.
    """
    names = list(names)
    size = sum((source / name).stat().st_size for name in names)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target / name, follow_symlinks=False)
        except (OSError, NotImplementedError):  # another file system or owner, or no such links
            _copy_file(source / name, target / name, size)


def _copy_file(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as read:
        try:
            with target.open("wb") as written:
                shutil.copyfileobj(read, written, 2**20)
                written.flush()
                os.fsync(written.fileno())
        except OSError as error:
            raise OutputError.of(target, error, size) from error


def _put_in_place(new: Path, path: Path, check: Callable[[Path], None] | None) -> None:
    if not os.path.lexists(path):
        new.rename(path)
        return
    if exchange(new, path):
        try:
            if check is not None:
                check(new)
        except BaseException:
            exchange(new, path)  # which has just worked
            raise
        return
    old = new.with_name(new.name.replace(".new-", ".old-"))
    path.rename(old)
    try:
        if check is not None:
            check(old)
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Let two files or folders exchange their names in one step.

    Returns
    -------
    bool
        False where the operating system or the file system cannot do that, and nothing was done.
    """
    function = _exchange_function()
    return function is not None and function(os.fsencode(first), os.fsencode(second)) == 0


@functools.cache
def _exchange_function() -> Callable[[bytes, bytes], int] | None:
    here, swap = -100, 2  # AT_FDCWD; RENAME_EXCHANGE, which is RENAME_SWAP of macOS
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return lambda first, second: int(library.renamex_np(first, second, swap))
        if sys.platform == "linux":
            rename = library.renameat2
            return lambda first, second: int(rename(here, first, here, second, swap))
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        pass
    return None


def _restore(path: Path) -> None:
    """Rename the newest old folder back where there is none; the lock is held."""
    found = _leftovers(path, "old")
    if os.path.lexists(path) or not found:
        return
    newest = max(found, key=lambda one: one.stat().st_mtime_ns)
    try:
        newest.rename(path)
    except OSError as error:
        raise OutputError(
            f"{path} was being replaced when the process that did it was killed, and cannot be "
            f"restored ({error.strerror or error}); rename {newest} to {path.name}"
        ) from error
    log.warning("restored %s: a process was killed while it replaced it", path)


def _delete_leftovers(path: Path) -> None:
    """Delete what killed processes left; the lock is held, so no other one is at work."""
    for found in _leftovers(path, "old|new"):
        shutil.rmtree(found, ignore_errors=True)


def _leftovers(path: Path, kinds: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.({kinds})-[a-z0-9_]{{8}}")
    try:
        return [one for one in path.parent.iterdir() if pattern.fullmatch(one.name)]
    except OSError:
        return []
