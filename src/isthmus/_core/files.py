"""Files: atomic writes, JSON, digests, and decompression."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.errors import DataError


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


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: a reader gets either the old or the new content."""
    refuse_address(path)
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _errors_naming(path, path.parent):
        _write_atomically(path, content)


def is_disk_full(error: OSError) -> bool:
    """Return whether the disk is full or the user's quota is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _write_atomically(path: Path, content: bytes | memoryview) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, plain: Any) -> None:
    """Write plain values as JSON, atomically; NaN and infinity raise ValueError."""
    write_bytes(path, to_json(plain).encode())


def to_json(plain: Any) -> str:
    """Return plain values as indented JSON text."""
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` when the block ends without an error.

    When the block raises, or the process is killed in it, `path` is unchanged.
    """
    refuse_address(path)
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new-"))
    try:
        with _errors_naming(path, temporary):
            yield temporary
        temporary.chmod(0o777 & ~_umask())
        # A folder cannot be renamed over one that is not empty, so the old one is renamed
        # first; if the second rename fails, that is undone.
        backup = temporary.with_name(temporary.name.replace(".new-", ".old-"))
        if path.exists():
            path.rename(backup)
        try:
            temporary.rename(path)
        except BaseException:
            if backup.exists():
                backup.rename(path)
            raise
        shutil.rmtree(backup, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def _errors_naming(path: Path, within: Path) -> Iterator[None]:
    """Set the file name of an OSError to `path`, unless it names a file outside `within`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(str(error.filename)).is_relative_to(within):
            error.filename, error.filename2 = str(path), None
        raise


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise a DataError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def is_gzip(content: bytes) -> bool:
    """Return whether content is gzip, by its first two bytes."""
    return content[:2] == b"\x1f\x8b"


def gunzip(content: bytes, name: str | Path) -> bytes:
    """Return gzip content decompressed, and other content unchanged.

    Raises
    ------
    DataError
        When the archive is truncated or damaged; `name` is the file in the message.
    """
    if not is_gzip(content):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} is a damaged or incomplete gzip archive ({error}); fetch or copy it again"
        ) from error


def decompress(content: bytes, name: str | Path) -> bytes:
    """Undo gzip, bzip2, xz, Zstandard or a zip archive of one file, as the content begins.

    Raises
    ------
    DataError
        When the archive is damaged, or holds several files; `name` says which archive that is.
    """
    try:
        if content.startswith(b"BZh"):
            return bz2.decompress(content)
        if content.startswith(b"\xfd7zXZ"):
            return lzma.decompress(content)
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            import pyarrow as pa

            return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
        if content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [one for one in archive.infolist() if not one.is_dir()]
                if len(members) != 1:
                    raise DataError(
                        f"{name} is an archive of {len(members)} files, expected one; unpack it "
                        "and pass the file"
                    )
                return archive.read(members[0])
    except (OSError, EOFError, ValueError, RuntimeError) as error:
        raise _damaged(name, error) from error
    except (lzma.LZMAError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _damaged(name, error) from error
    return gunzip(content, name)


def _damaged(name: str | Path, error: Exception) -> DataError:
    return DataError(f"{name} is a damaged or incomplete archive ({error}); fetch or copy it again")
