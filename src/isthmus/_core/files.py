"""Files and folders that are replaced as a whole; JSON and digests.

A new folder is written beside the one it replaces, as `.NAME.new-XXXXXXXX`, and the two exchange
their names in one step. Where the system cannot do that, the old one is renamed to
`.NAME.old-XXXXXXXX` first; a process killed before the second rename leaves no folder, and the
next one that reads or writes it renames the old one back.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import json
import logging
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from isthmus._core.locks import folder_lock, try_lock
from isthmus.errors import DataError, OutputError

log = logging.getLogger("isthmus")


def user_path(path: str | Path) -> Path:
    """Return a path given by a person, with `~` and `~name` replaced by the home folder."""
    return Path(path).expanduser()


def refuse_address(path: str | Path) -> None:
    """Check that an output path is not an address such as s3://bucket/out.

    Raises
    ------
    DataError
        When it is an address, also as a `Path`, which drops a slash.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise DataError(
            f"got the output {path}, expected a path of this machine or of a folder that it "
            "shares, as files are renamed into place, which stores cannot do; write there, and "
            "copy it to the store"
        )


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Check that an output can be written, before the work that it is the result of.

    Parameters
    ----------
    path : path
        Neither it nor the folders above it need exist.
    folder : bool, default=False
        Whether it is a folder, which `replaced_folder` will replace.

    Raises
    ------
    DataError
        When it is an address.
    OutputError
        When a folder above it is read-only or is no folder, when a folder is where the file
        should be, or a mount point, which cannot be replaced, where the folder should be.

    Examples
    --------
    >>> check_writable("/")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    isthmus.errors.OutputError: cannot write / (it is a folder, expected the name of a file); ...
    """
    refuse_address(path)
    target = user_path(path)
    target = target.resolve() if folder else target.absolute()
    above = next((one for one in target.parents if os.path.lexists(one)), target)
    if folder and target.is_mount():
        inside = user_path(path) / "NAME"
        reason = errno.EBUSY, f"it is a mount point, which cannot be replaced; write to {inside}"
    elif not folder and target.is_dir():
        reason = errno.EISDIR, "it is a folder, expected the name of a file"
    elif not above.is_dir():
        reason = errno.ENOTDIR, f"{above} is no folder"
    elif not os.access(above, os.W_OK):
        reason = errno.EACCES, f"{above} is read-only"
    else:
        return
    raise OutputError.of(path, OSError(*reason))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: a reader gets either the old or the new content.

    Raises
    ------
    OutputError
        When it cannot be written; the old one is unchanged.
    """
    _write(path, lambda file, _: file.write(content), memoryview(content).nbytes)


def write_by(path: Path, write: Callable[[Path], object], needed: int) -> None:
    """Write a file atomically by a function, which gets the path of an empty file to write to.

    Parameters
    ----------
    path : Path
    write : callable
    needed : int
        Bytes that it writes.

    Raises
    ------
    OutputError
        When it cannot be written; the old one is unchanged.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_by(Path(folder) / "a.txt", lambda file: file.write_text("abc"), 3)
    ...     (Path(folder) / "a.txt").read_text()
    'abc'
    """
    _write(path, lambda _, temporary: write(temporary), needed)


def _write(path: Path, write: Callable[[BinaryIO, Path], object], needed: int) -> None:
    """Write a file atomically by a function, which gets the open file and its path."""
    refuse_address(path)
    path = user_path(path)
    with errors_naming(path, needed=needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_leftovers(path.parent)
        _write_atomically(path, write)


def _write_atomically(path: Path, write: Callable[[BinaryIO, Path], object]) -> None:
    handle, temporary = _locked_temporary(path)
    # The lock lasts until both are closed.
    held = os.dup(handle)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file, Path(temporary))
            file.flush()
            os.fsync(file.fileno())
        if os.name == "nt":  # which renames no open file
            os.close(held)
        Path(temporary).chmod(0o666 & ~umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        if os.name != "nt":
            os.close(held)


def _locked_temporary(path: Path) -> tuple[int, str]:
    """Create the file to write; no other process takes it for what a killed one left."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{_MARK}")
        try:
            mine = os.name == "nt" or (try_lock(handle) and os.fstat(handle).st_nlink > 0)
        except OSError:  # no locks on this file system, where nobody deletes such files
            mine = True
        if mine:
            return handle, name
        os.close(handle)  # another process saw it before it was locked, and deletes it


#: Begins the last part of the name of a file that is being written.
_MARK = "isthmus-"
_LEFTOVER = re.compile(rf"\..+\.{_MARK}[a-z0-9_]{{8}}")
#: Folders in which this process has looked for files that a killed one left.
_tidied: set[Path] = set()


def _delete_leftovers(folder: Path) -> None:
    """Delete files that killed processes were writing, once in a process and folder."""
    folder = folder.resolve()
    if folder in _tidied or os.name == "nt":  # there no open file is deleted
        return
    _tidied.add(folder)
    with suppress(OSError):
        for file in folder.iterdir():
            if _LEFTOVER.fullmatch(file.name):
                _delete_unless_locked(file)


def _delete_unless_locked(file: Path) -> None:
    with suppress(OSError):
        handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if try_lock(handle):
                file.unlink()
        finally:
            os.close(handle)


def write_json(path: Path, plain: Any) -> None:
    """Write plain values as JSON, atomically; NaN and infinity raise ValueError."""
    write_bytes(path, to_json(plain).encode())


def to_json(plain: Any) -> str:
    """Return plain values as indented JSON text."""
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def errors_naming(
    path: Path, within: Path | None = None, needed: int | None = None
) -> Iterator[None]:
    """Turn an OSError of the operating system into an OutputError for `path`.

    Parameters
    ----------
    path : Path
    within : Path, optional
        An error that names a file outside this folder is raised as it is.
    needed : int, optional
        Bytes that are written within the block, where that is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a lock that another process holds
            raise
        if within and error.filename and not Path(str(error.filename)).is_relative_to(within):
            raise
        raise OutputError.of(path, error, needed) from error


def from_json(text: str | bytes) -> Any:
    """Return the plain values of JSON text, read strictly.

    Raises
    ------
    ValueError
        When it is no JSON in UTF-8, is nested too deeply, has a key twice in one object, or a
        number that is not finite.

    Examples
    --------
    >>> from_json('{"rate": 0.05}')
    {'rate': 0.05}
    >>> from_json('{"rate": 0.05, "rate": 0.5}')
    Traceback (most recent call last):
        ...
    ValueError: the key 'rate' is there twice
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return json.loads(
            text, parse_constant=_not_finite, parse_float=_finite, object_pairs_hook=_object
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _not_finite(digits)


def _not_finite(word: str) -> float:
    raise ValueError(f"{word} is no finite number")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def umask() -> int:
    """Return the permissions that new files and folders do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise a DataError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


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
    check_writable(path, folder=True)
    shown, path = path, user_path(path).resolve()
    with errors_naming(shown):
        path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(user_path(shown)) as is_locked:
        if is_locked:
            _restore(path)
            _delete_folders_left(path)
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


def _delete_folders_left(path: Path) -> None:
    """Delete what killed processes left; the lock is held, so no other one is at work."""
    for found in _leftovers(path, "old|new"):
        shutil.rmtree(found, ignore_errors=True)


def _leftovers(path: Path, kinds: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.({kinds})-[a-z0-9_]{{8}}")
    try:
        return [one for one in path.parent.iterdir() if pattern.fullmatch(one.name)]
    except OSError:
        return []


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Order names with their numbers by value; the name itself settles 1.png and 01.png.

    Examples
    --------
    >>> sorted([Path("part10.csv"), Path("part2.csv")], key=natural_order)[0].name
    'part2.csv'
    """
    parts = re.split(r"(\d+)", path.name.lower())
    key = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]
    return key, path.name
