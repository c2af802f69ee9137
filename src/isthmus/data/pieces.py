"""Which sources are read piece by piece, and who opens them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.data.catalogue import find_entry
from isthmus.data.idx_files import FOUR_FILES, find_idx
from isthmus.data.long_table import Cutting
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data.stream import Stream

_ENDINGS = (".parquet", ".pq", ".npy")


def read_in_pieces(source: Any, lazy: bool) -> bool:
    """Return whether a source is one that is read piece by piece.

    So are patterns, addresses but those of web pages, folders of Parquet or `.npy` files, and
    what is asked for with `lazy`.

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
            f"got lazy=True, and {path} cannot be read piece by piece; expected .parquet, .npy or "
            "a folder of these or of images; leave it out"
        )
    return lazy


def open_pieces(
    source: Any,
    *,
    label: str | None,
    columns: Sequence[str] | None,
    keys: Sequence[str],
    kind: str,
    cutting: Cutting,
    resize: tuple[int, int] | None,
    on_bad_shard: str,
) -> Stream:
    """Open what `read_in_pieces` accepts."""
    # Imported when used: Arrow and fsspec take a while.
    from isthmus.data.stream.open import open_pictures, open_stream

    path = _path(source)
    if path is not None and "://" not in str(source) and path.is_dir() and not _holds_shards(path):
        if cutting.given:
            said = ", ".join(f"{name}=" for name in cutting.given)
            raise DataError(f"got {said} for {source}, which holds images; leave it out")
        return open_pictures(path, resize, on_bad_shard)
    if resize is not None:
        raise DataError(f"got resize={resize}, which is for folders of images; leave it out")
    return open_stream(
        os.fspath(source),
        label=label,
        columns=columns,
        keys=keys,
        kind=kind,
        cutting=cutting,
        on_bad_shard=on_bad_shard,
    )


def are_tables(source: Any) -> bool:
    """Return whether a source that `read_in_pieces` accepts is Parquet files."""
    path = _path(source)
    if path is not None and "://" not in str(source) and path.is_dir() and not _holds_shards(path):
        return False
    from isthmus.data.stream.store import PARQUET, Store

    return Store(os.fspath(source)).shards()[0].lower().endswith(PARQUET)


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
    """Return whether `load` has always read a folder as something else: images or IDX files."""
    from isthmus.data.images import SUFFIXES

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
