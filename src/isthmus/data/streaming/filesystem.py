"""Where a stream's files lie: on this machine, or wherever fsspec reaches."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from isthmus._core import natural_order
from isthmus.data.streaming.chunks import HOW_TO_SKIP
from isthmus.errors import DataError, IsthmusError, ShardError, TooLargeError

#: What files of a stream are called.
PARQUET = (".parquet", ".pq")
SHARDS = (*PARQUET, ".npy")
#: What file systems call the time of a file: this machine's, S3's, and those of Google and others.
_MODIFIED = ("mtime", "ETag", "etag", "LastModified", "updated", "last_modified")


def natural_path_order(path: str) -> list[Any]:
    """Order paths folder by folder, numbers within their names by value.

    Examples
    --------
    >>> sorted(["a10/1.npy", "a2/10.npy", "a2/9.npy"], key=natural_path_order)
    ['a2/9.npy', 'a2/10.npy', 'a10/1.npy']
    """
    return [natural_order(Path(name)) for name in path.split("/")]


class FileStore:
    """A file system, and what its paths are called in errors.

    Parameters
    ----------
    source : str
        A path, an address such as s3://bucket/folder, or either with `*`, `?` or `[]`.

    Raises
    ------
    DataError
        When the address cannot be reached from here.
    """

    def __init__(self, source: str) -> None:
        from fsspec.core import url_to_fs  # only where a stream is read
        from fsspec.implementations.local import LocalFileSystem

        self.source = source
        address = source if "://" in source else os.fspath(Path(source).expanduser())
        try:
            self.fs, self.path = url_to_fs(address)
        except ImportError as error:
            raise DataError(
                f"cannot reach {source} ({error}); install the package named there, or copy the "
                "files to this machine"
            ) from error
        except (ValueError, OSError) as error:
            raise DataError(
                f"cannot reach {source} ({error}); see that the address is right"
            ) from error
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def shards(self) -> list[str]:
        """Return the files that the source names, `part2` before `part10`.

        Raises
        ------
        DataError
            When there are none, or they are not all of one kind.
        """
        with self._reaching(self.source):
            found = self._list()
        shards = [path for path in found if path.lower().endswith(SHARDS)]
        if not shards:
            raise DataError(
                f"{self.source} names no files that can be read chunk by chunk; expected files "
                f"that end in {', '.join(SHARDS)}; other tables are read one at a time, so join "
                "several into one file, or write each as .parquet"
            )
        if len({path.lower().endswith(PARQUET) for path in shards}) > 1:
            raise DataError(
                f"{self.source} holds .npy files beside .parquet files; name one kind, "
                f"such as {self.source.rstrip('/')}/*.parquet"
            )
        return shards

    def _list(self) -> list[str]:
        if has_pattern(self.path) and not self.fs.exists(self.path):
            found = self.fs.glob(self.path)
        elif self.fs.isdir(self.path):
            found = self.fs.ls(self.path, detail=False)
        else:
            found = [self.path] if self.fs.exists(self.path) else []
        # What begins so is written by engines beside their data, or half written.
        read = [str(path) for path in found if path.rsplit("/", 1)[-1][0] not in "._"]
        return sorted(read, key=natural_path_order)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file; what goes wrong in it becomes an error that names it.

        Raises
        ------
        ShardError
            When the file is damaged.
        DataError
            When it, or the store, is gone.
        """
        with self.watch(path), self.fs.open(path, "rb") as file:
            yield file

    @contextlib.contextmanager
    def watch(self, path: str) -> Iterator[None]:
        """Turn what goes wrong while a file is read into an error that names it."""
        try:
            with self._reaching(path):
                yield
        except (IsthmusError, Warning):
            raise
        except MemoryError as error:  # which is nothing wrong with the file
            raise TooLargeError(
                f"cannot read {path} ({_reason(error)}): it needs more memory than there is; "
                "write it in smaller row groups, or read fewer columns"
            ) from error
        except Exception as error:
            if not self._has(path):
                raise _unreachable(path, error) from error
            raise ShardError(
                f"cannot read {path}: {_reason(error)}; write the file again{HOW_TO_SKIP}"
            ) from error

    @contextlib.contextmanager
    def _reaching(self, path: str) -> Iterator[None]:
        """Tell what bars the way to a file, which may be well, from damage in it."""
        try:
            yield
        except Exception as error:
            of_client = not self.is_local and _of_client(error)
            if isinstance(error, _NO_WAY) or _too_many_files(error) or of_client:
                raise _unreachable(path, error) from error
            raise

    def size(self, path: str) -> int:
        """Return how many bytes a file has."""
        with self.watch(path):
            return int(self.fs.size(path))

    def stamp(self, path: str) -> dict[str, Any]:
        """Return what shows that a file was written anew: its size, and its time or tag."""
        with self.watch(path):
            facts = self.fs.info(path)
        modified = next((facts[name] for name in _MODIFIED if facts.get(name) is not None), None)
        plain = modified if isinstance(modified, int | float | None) else str(modified)
        return {"size": facts.get("size"), "modified": plain}

    def _has(self, path: str) -> bool:
        try:
            self.fs.invalidate_cache()  # or a list made before would answer
            return bool(self.fs.exists(path))
        except Exception:
            return False


#: What the reading of a file raises most when something is wrong in it.
_DAMAGE = (pa.ArrowException, OSError, EOFError, ValueError)
_NO_WAY = (FileNotFoundError, PermissionError, ConnectionError, TimeoutError)


def has_pattern(path: str) -> bool:
    """Return whether a path stands for several: whether it has `*`, `?` or `[`."""
    return any(mark in path for mark in "*?[")


def _unreachable(path: str, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be reached ({_reason(error)}); see that the folder or store is there and "
        "may be read, and run again, with resume (on the command line --resume) when something "
        "was written"
    )


def _too_many_files(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def _of_client(error: Exception) -> bool:
    """Return whether a store's client raised an error: one of its own, or the system's."""
    own = error.__class__.__module__ != "builtins"
    if isinstance(error, OSError):
        return own or error.errno is not None
    return own and not isinstance(error, _DAMAGE)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
