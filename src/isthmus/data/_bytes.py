"""Bytes in: read a file, undo gzip."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from isthmus.errors import DataError


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise a DataError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def is_gzip(content: bytes) -> bool:
    """Tell gzip by its first two bytes, whatever the file is called."""
    return content[:2] == b"\x1f\x8b"


def gunzip(content: bytes, name: str | Path) -> bytes:
    """Undo gzip where the content is gzip, otherwise return it as it is.

    Raises
    ------
    DataError
        When the archive is cut short or damaged; `name` says which file that is.
    """
    if not is_gzip(content):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} is a damaged or incomplete gzip archive ({error}); fetch or copy it again"
        ) from error
