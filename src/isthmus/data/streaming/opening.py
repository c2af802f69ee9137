"""Opening a stream: which sources are streamed, and which reader reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.data.catalog import find_entry
from isthmus.data.formats import FOUR_FILES, find_idx
from isthmus.data.streaming.chunks import FileRange, Reader, SkippedChunk
from isthmus.data.streaming.filesystem import PARQUET, FileStore
from isthmus.data.streaming.npy_files import NumpyReader
from isthmus.data.streaming.parquet import ParquetReader
from isthmus.data.streaming.stream import Stream
from isthmus.data.streaming.window_reader import WindowReader
from isthmus.data.windows import WindowOptions
from isthmus.errors import DataError, ShardError

_ENDINGS = (".parquet", ".pq", ".npy")


def is_streamed(source: Any, lazy: bool) -> bool:
    """Return whether a source is read chunk by chunk.

    That holds for patterns, addresses other than web pages, folders of Parquet or `.npy` files,
    and any source with `lazy=True`.

    Raises
    ------
    DataError
        When `lazy` is asked for and the source cannot be read so.
    """
    path = _path(source)
    if path is None:
        if lazy:
            raise DataError(
                "got lazy=True, which is for files and folders, and the source is none; "
                "leave it out"
            )
        return False
    if "://" in str(source):
        return lazy or not str(source).startswith(("http://", "https://", "ftp://"))
    if path.is_dir():
        return lazy or (_holds_shards(path) and not _holds_others(path))
    if not path.exists():
        return any(mark in str(source) for mark in "*?[")
    if lazy and not path.name.lower().endswith(_ENDINGS):
        raise DataError(
            f"got lazy=True, and {path} cannot be read chunk by chunk; expected .parquet, .npy or "
            "a folder of these or of images; leave it out"
        )
    return lazy


def open_streamed(
    source: Any,
    *,
    label: str | None,
    columns: Sequence[str] | None,
    drop: Sequence[str],
    keys: Sequence[str],
    kind: str,
    cutting: WindowOptions,
    resize: tuple[int, int] | None,
    on_bad_shard: str,
) -> Stream:
    """Open a source for which `is_streamed` is true."""
    path = _path(source)
    if path is not None and "://" not in str(source) and path.is_dir() and not _holds_shards(path):
        if cutting.given:
            given_names = ", ".join(f"{name}=" for name in cutting.given)
            raise DataError(f"got {given_names} for {source}, which holds images; leave it out")
        return open_image_folder(path, resize, on_bad_shard)
    if resize is not None:
        raise DataError(f"got resize={resize}, which is for folders of images; leave it out")
    return open_stream(
        os.fspath(source),
        label=label,
        columns=columns,
        drop=drop,
        keys=keys,
        kind=kind,
        cutting=cutting,
        on_bad_shard=on_bad_shard,
    )


def are_tables(source: Any) -> bool:
    """Return whether a source for which `is_streamed` is true is Parquet files."""
    path = _path(source)
    if path is not None and "://" not in str(source) and path.is_dir() and not _holds_shards(path):
        return False
    return FileStore(os.fspath(source)).shards()[0].lower().endswith(PARQUET)


def _path(source: Any) -> Path | None:
    if not isinstance(source, str | os.PathLike) or (
        isinstance(source, str) and find_entry(source) is not None
    ):
        return None
    return Path(source).expanduser()


def _holds_shards(folder: Path) -> bool:
    return any(
        entry.name.lower().endswith(_ENDINGS) and entry.name[0] not in "._" and entry.is_file()
        for entry in _entries(folder)
    )


def _holds_others(folder: Path) -> bool:
    """Return whether a folder holds images or IDX files, which `load` reads into memory."""
    # Pillow, which only images need, is imported with their formats.
    from isthmus.data.formats import SUFFIXES

    if any(entry.name.lower().endswith(SUFFIXES) for entry in _entries(folder)):
        return True
    for inner in _entries(folder):
        if inner.is_dir() and any(e.name.lower().endswith(SUFFIXES) for e in _entries(inner)):
            return True
    return any(find_idx(folder, name) is not None for name in FOUR_FILES)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def open_stream(
    source: str,
    *,
    label: str | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    keys: Sequence[str] = (),
    kind: str = "auto",
    cutting: WindowOptions | None = None,
    on_bad_shard: str = "fail",
) -> Stream:
    """Open Parquet or `.npy` files.

    Parameters
    ----------
    source : str
        A folder, a pattern such as `events/*.parquet`, one file, or an address that fsspec
        knows, such as `s3://bucket/events`.
    label, columns, drop, keys, kind, on_bad_shard
        As for `isthmus.load`.
    cutting : WindowOptions, optional
        How tables are cut into windows, with kind "series".

    Raises
    ------
    DataError
        When there are no such files, they cannot be reached, hold no rows, or, unless they are
        to be skipped, one is damaged or unlike the first.
    """
    if on_bad_shard not in ("fail", "skip"):
        raise DataError(f"got on_bad_shard={on_bad_shard!r}, expected 'fail' or 'skip'")
    cutting = WindowOptions() if cutting is None else cutting
    store = FileStore(source)
    files = store.shards()
    reader: Reader
    if files[0].lower().endswith(PARQUET):
        if kind == "series":
            if columns is not None:
                raise DataError(
                    f"got columns={list(columns)!r}, and the channels of windows are named with "
                    f"channels={list(columns)!r}"
                )
            reader = WindowReader(store, cutting, label, keys, drop)
        elif kind not in ("auto", "table"):
            raise DataError(
                f"got kind={kind!r}, and {source} holds tables, which are read row by row; leave "
                "kind out (kind='series' cuts them into windows)"
            )
        else:
            reader = ParquetReader(store, columns, label, keys, drop)
    else:
        given = {"label": label, "columns": columns, "keys": keys or None, "drop": drop or None}
        named = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        if named:
            raise DataError(
                f"{named[0]} names columns of a table, and {source} holds arrays; leave it out"
            )
        if cutting.given:
            given_names = ", ".join(f"{name}=" for name in cutting.given)
            raise DataError(
                f"got {given_names}, which cuts long tables in Parquet files, and {source} holds "
                "arrays; leave it out for windows of shape (n, t, c)"
            )
        reader = NumpyReader(store, kind)
    return _open(source, reader, files, on_bad_shard)


def open_image_folder(
    folder: Path, resize: tuple[int, int] | None = None, on_bad_shard: str = "fail"
) -> Stream:
    """Open a folder of images (see `isthmus.data.formats.images.load_image_folder`)."""
    from isthmus.data.streaming.image_folder import ImageReader

    reader = ImageReader(folder, resize)
    return _open(str(folder), reader, reader.sources(), on_bad_shard)


def _open(name: str, reader: Reader, files: Sequence[str], on_bad_shard: str) -> Stream:
    file_ranges: list[FileRange] = []
    skipped: list[SkippedChunk] = []
    for file in files:
        try:
            file_ranges += reader.lay_out(file)
        except ShardError as error:
            if on_bad_shard == "fail":
                raise
            skipped.append(SkippedChunk.because(file, None, error))
    if isinstance(reader, WindowReader):
        reader.warn_of_unused(name)
    if not file_ranges:
        reasons = f": {skipped[0].reason}" if skipped else ""
        raise DataError(
            f"{name} holds no rows in {len(files)} files; expected at least one{reasons}"
        )
    return Stream(name, reader, file_ranges, skipped, on_bad_shard)
