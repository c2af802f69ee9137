"""Reading of files that may be damaged or hostile: errors of ours, and bounds on what they hold."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from isthmus.errors import DataError, IsthmusError, TooLargeError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

#: Environment variable with the bytes that a compressed file may hold, and its default.
MAX_BYTES, _DEFAULT_MAX_BYTES = "ISTHMUS_MAX_BYTES", 512 * 2**20
#: A file may hold so many times its own size, where that is more.
_MAX_RATIO = 100
#: Bytes that are decompressed at a time.
_WINDOW = 2**20
#: What a decompressor of xz may allocate at least: the strongest preset takes 65 MiB.
_XZ_MEMORY = 2**27
_READ_AGAIN = "the file is damaged: write or copy it again"


@contextmanager
def reading(
    name: str | os.PathLike[str],
    error: Callable[[str], Exception] = DataError,
    fix: str = _READ_AGAIN,
) -> Iterator[None]:
    """Turn whatever a library raises while something is read into an error of ours that names it.

    Errors of ours and warnings pass as they are; so does what stops the program.

    Parameters
    ----------
    name : str or Path
        What is read: a file, or a place in one.
    error : callable
        A class of `isthmus.errors`, or what makes an error of a message.
    fix : str
        What to do where it is damaged.

    Examples
    --------
    >>> with reading("line 3 of queue.jsonl"):
    ...     int("three")
    Traceback (most recent call last):
        ...
    isthmus.errors.DataError: cannot read line 3 of queue.jsonl (invalid literal for int() with base 10: 'three'); the file is damaged: write or copy it again
    """  # noqa: E501
    try:
        yield
    except (IsthmusError, Warning):
        raise
    except MemoryError as cause:
        # A class of errors is chosen by its callers; of data in memory it is its own.
        is_data = isinstance(error, type) and issubclass(error, DataError)
        made: Callable[[str], Exception] = TooLargeError if is_data else error
        reason = f"{reason_of(cause)}: it needs more memory than there is"
        raise made(f"cannot read {name} ({reason}); read a smaller one, or {fix}") from cause
    except OSError as cause:
        if cause.errno is not None:
            fix = "see that it is there and may be read"
        raise error(f"cannot read {name} ({cause.strerror or reason_of(cause)}); {fix}") from cause
    except Exception as cause:
        raise error(f"cannot read {name} ({reason_of(cause)}); {fix}") from cause


def reason_of(error: BaseException) -> str:
    """Return the first 200 characters of an error's text in one line, or what kind it is.

    Examples
    --------
    >>> reason_of(KeyError("epoch")), reason_of(MemoryError())
    ("KeyError: 'epoch'", 'MemoryError')
    """
    text = " ".join(str(error).split())[:200]
    # The text of these is no sentence.
    if not text or isinstance(error, LookupError | AttributeError | TypeError):
        return f"{type(error).__name__}{': ' if text else ''}{text}"
    return text


def largest_content(file_bytes: int) -> int:
    """Return how many bytes a file of this size may hold when it is decompressed or decoded.

    That is 100 times its own size, and at least what the environment variable `ISTHMUS_MAX_BYTES`
    states, by default 512 MiB.

    Raises
    ------
    DataError
        When the variable holds something else than a whole number of bytes.

    Examples
    --------
    >>> largest_content(1000), largest_content(10**8)
    (536870912, 10000000000)
    """
    stated = os.environ.get(MAX_BYTES, "")
    if stated and not (stated.isascii() and stated.isdecimal()):
        raise DataError(
            f"got {MAX_BYTES}={stated!r} in the environment, expected a whole number of bytes, "
            f"such as {_DEFAULT_MAX_BYTES}"
        )
    return max(int(stated or _DEFAULT_MAX_BYTES), _MAX_RATIO * file_bytes)


def check_content(n_bytes: int, file_bytes: int, name: str | Path) -> None:
    """Check what a file states that it holds, before memory is allocated for it.

    Raises
    ------
    TooLargeError
        When it is more than `largest_content`.
    """
    if n_bytes > largest_content(file_bytes):
        raise _too_large(f"{n_bytes:,} bytes or more", file_bytes, name)


def check_archive(path: Path) -> None:
    """Check what a zip archive, such as an Excel file, states that it holds."""
    with zipfile.ZipFile(path) as archive:
        check_content(sum(one.file_size for one in archive.infolist()), path.stat().st_size, path)


def _too_large(got: str, file_bytes: int, name: str | Path) -> TooLargeError:
    limit = largest_content(file_bytes)
    return TooLargeError(
        f"{name} has {file_bytes:,} bytes and would hold {got} in memory, expected at most "
        f"{limit:,}; where that is meant, set the environment variable {MAX_BYTES} to as many "
        "bytes",
        request_fix="send fewer instances in one request",
    )


def is_gzip(content: bytes) -> bool:
    """Return whether content is gzip, by its first two bytes."""
    return content[:2] == b"\x1f\x8b"


def gunzip(content: bytes, name: str | Path) -> bytes:
    """Return gzip content decompressed, and other content unchanged.

    Raises
    ------
    DataError
        When the archive is truncated or damaged, or holds more than `largest_content`; `name` is
        the file in the message.
    """
    if not is_gzip(content):
        return content
    with _archive(name, "gzip archive"):
        return _inflate(lambda: zlib.decompressobj(31), content, name)


def decompress(content: bytes, name: str | Path) -> bytes:
    """Undo gzip, bzip2, xz, Zstandard or a zip archive of one file, as the content begins.

    Raises
    ------
    DataError
        When the archive is damaged, holds several files, or more than `largest_content`; `name`
        says which archive that is.
    """
    with _archive(name, "archive"):
        if content.startswith(b"BZh"):
            return _inflate(bz2.BZ2Decompressor, content, name)
        if content.startswith(b"\xfd7zXZ"):
            most = max(largest_content(len(content)), _XZ_MEMORY)
            return _inflate(lambda: lzma.LZMADecompressor(memlimit=most), content, name)
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            import pyarrow as pa

            with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as file:
                return _read_bounded(file, len(content), name)
        if content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [one for one in archive.infolist() if not one.is_dir()]
                if len(members) != 1:
                    raise DataError(
                        f"{name} is an archive of {len(members)} files, expected one; unpack it "
                        "and pass the file"
                    )
                check_content(members[0].file_size, len(content), name)
                with archive.open(members[0]) as member:
                    return _read_bounded(member, len(content), name)
    return gunzip(content, name)


@contextmanager
def _archive(name: str | Path, kind: str) -> Iterator[None]:
    """Name what is damaged; libraries raise errors of many kinds."""
    try:
        yield
    except IsthmusError:
        raise
    except MemoryError as error:
        raise TooLargeError(
            f"{name} holds more than there is memory for; read a smaller file"
        ) from error
    except Exception as error:
        raise DataError(
            f"{name} is a damaged or incomplete {kind} ({reason_of(error)}); fetch or copy it again"
        ) from error


def _inflate(make: Callable[[], Any], content: bytes, name: str | Path) -> bytes:
    """Decompress streams that follow each other, up to `largest_content`."""
    most = largest_content(len(content))
    parts: list[bytes] = []
    size, at, stream = 0, 0, None
    while at < len(content):
        begins, window = stream is None, content[at : at + _WINDOW]
        stream = stream or make()
        try:
            parts.append(stream.decompress(window, most - size + 1))
        except (OSError, lzma.LZMAError):
            if begins and parts:  # what follows is no stream; zlib's error is another
                return b"".join(parts)
            raise
        size += len(parts[-1])
        if size > most:
            raise _too_large(f"more than {most:,} bytes", len(content), name)
        # As less came out than was allowed, the window went in whole, or up to the stream's end.
        at += len(window) - len(stream.unused_data)
        if stream.eof:
            stream = None
            while content[at : at + 1] == b"\0":  # padding
                at += 1
    if stream is not None:
        raise EOFError("it ends before its end is marked")
    return b"".join(parts)


def _read_bounded(file: IO[bytes], file_bytes: int, name: str | Path) -> bytes:
    most, content = largest_content(file_bytes), bytearray()
    while part := file.read(2**24):
        content += part
        if len(content) > most:
            raise _too_large(f"more than {most:,} bytes", file_bytes, name)
    return bytes(content)


def parquet_file(source: Any, **options: Any) -> pq.ParquetFile:
    """Open a Parquet file, whose pages are compared with their checksums where it has these.

    All files of Parquet are opened here.

    Parameters
    ----------
    source : path, binary file or pyarrow buffer
    **options
        Of `pyarrow.parquet.ParquetFile`.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, page_checksum_verification=True, **options)


def read_parquet(path: str | Path, columns: list[str] | None = None) -> Any:
    """Return the pyarrow Table of a Parquet file in memory.

    Raises
    ------
    DataError
        When the file is damaged, or would hold more than `largest_content`.
    """
    with reading(f"{path} as Parquet", fix="write it again"):
        file_bytes = Path(path).stat().st_size
        with parquet_file(path) as file:
            check_content(decoded_bytes(file), file_bytes, path)
            return file.read(columns=columns)


def decoded_bytes(file: pq.ParquetFile) -> int:
    """Return how many bytes the values of a Parquet file take at least, by its footer."""
    footer = file.metadata
    widths = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}
    # A repeated value takes no space in the file.
    columns = (footer.schema.column(at) for at in range(footer.num_columns))
    row = sum(widths.get(column.physical_type, 8) for column in columns)
    groups = (footer.row_group(at) for at in range(footer.num_row_groups))
    return max(footer.num_rows * row, sum(group.total_byte_size for group in groups))
