"""Opening a stream: which sources are streamed, and which reader reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._core import natural_order
from isthmus.data.catalog import find_entry
from isthmus.data.formats import FOUR_FILES, find_idx, is_table_file, read_npy_header
from isthmus.data.streaming.chunks import FileRange, Reader, SkippedChunk
from isthmus.data.streaming.filesystem import PARQUET, FileStore
from isthmus.data.streaming.npy_files import NumpyReader, is_one_image
from isthmus.data.streaming.parquet import ParquetReader
from isthmus.data.streaming.stream import Stream
from isthmus.data.streaming.window_reader import WindowReader
from isthmus.data.windows import WindowOptions
from isthmus.errors import DataError, ShardError

if TYPE_CHECKING:
    from isthmus.data.schema import Schema
    from isthmus.data.streaming.image_folder import ImageReading

_ENDINGS = (".parquet", ".pq", ".npy")


def is_streamed(source: Any, lazy: bool, kind: str = "auto") -> bool:
    """Return whether a source is read chunk by chunk.

    That holds for patterns of Parquet or `.npy` files, addresses other than web pages, folders of
    such files (with `kind="images"` not of `.npy` files that hold one image each), and any source
    with `lazy=True`.

    Parameters
    ----------
    source : object
        As for `isthmus.load`.
    lazy : bool
    kind : {"auto", "images", "series", "table"}

    Returns
    -------
    bool

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
        return lazy or not (_is_image_folder(path, kind) or _holds_others(path))
    if not path.exists():
        return _is_pattern(source) and (lazy or image_pattern(source) is None)
    if lazy and not path.name.lower().endswith(_ENDINGS):
        raise DataError(
            f"got lazy=True (on the command line --lazy, --resume or --engine), and {path} cannot "
            "be read chunk by chunk; expected .parquet, .npy or a folder of these or of images; "
            "leave it out"
        )
    return lazy


def open_streamed(
    source: Any,
    *,
    label: str | None,
    columns: Sequence[str] | None,
    drop: Sequence[str],
    category: Sequence[str],
    keys: Sequence[str],
    groups: Sequence[str],
    carry: bool,
    kind: str,
    cutting: WindowOptions,
    resize: tuple[int, int] | None,
    frames: str,
    schema: Schema | None,
    on_bad_shard: str,
) -> Stream:
    """Open a source for which `is_streamed` is true.

    Parameters
    ----------
    source : path, address or list of paths
    label, columns, drop, category, kind, resize, frames, on_bad_shard
        As for `isthmus.load`.
    keys, groups, carry, cutting
        As for `open_stream`.
    schema : Schema or None
        That at fit, which later data have to be like.

    Returns
    -------
    Stream

    Raises
    ------
    DataError
        When an option is of another kind of data, and as `open_stream` and `load_image_folder` do.
    """
    path = _path(source)
    is_folder = path is not None and "://" not in str(source) and path.is_dir()
    paths = None if is_folder else image_pattern(source)
    if paths is not None or (is_folder and path is not None and _is_image_folder(path, kind)):
        if cutting.given:
            given_names = ", ".join(f"{name}=" for name in cutting.given)
            raise DataError(f"got {given_names} for {source}, which holds images; leave it out")
        if groups:
            raise DataError(
                f"got group={groups[0]!r}, and images that are read chunk by chunk have no groups; "
                "read the folder into memory (without lazy, on the command line --lazy), or write "
                "images and groups as columns of Parquet files, which are read in chunks"
            )
        given = {"label": label, "columns": columns, "drop": drop, "category": category}
        named = [f"{name}={value!r}" for name, value in given.items() if value]
        if named:
            raise DataError(
                f"{named[0]} names columns of a table, and {source} holds images; leave it out"
            )
        check_image_keys(keys)
        from isthmus.data.streaming.image_folder import ImageReading

        reading = ImageReading(resize, schema, frames, kind == "images")
        images: Any = path if paths is None else paths
        return open_images(images, reading, str(source), on_bad_shard)
    if resize is not None or frames != "first":
        option = f"resize={resize}" if resize is not None else f"frames={frames!r}"
        raise DataError(f"got {option}, which is for images; leave it out")
    return open_stream(
        os.fspath(source),
        label=label,
        columns=columns,
        drop=drop,
        category=category,
        keys=keys,
        groups=groups,
        carry=carry,
        kind=kind,
        cutting=cutting,
        on_bad_shard=on_bad_shard,
    )


def are_tables(source: Any) -> bool:
    """Return whether a source for which `is_streamed` is true is Parquet files.

    Parameters
    ----------
    source : str or path

    Returns
    -------
    bool
    """
    path = _path(source)
    if path is not None and "://" not in str(source) and path.is_dir() and not _holds_shards(path):
        return False
    if image_pattern(source) is not None:
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


def _is_image_folder(folder: Path, kind: str) -> bool:
    """Return whether a folder is read as one of images, or refused as one."""
    if not _holds_shards(folder):
        return True
    files = [path for path in _entries(folder) if path.name.lower().endswith(_ENDINGS)]
    return kind == "images" and files[0].suffix.lower() == ".npy" and _is_one_image(files[0])


def _is_one_image(path: Path) -> bool:
    """Return whether a `.npy` file holds an array that can be one image."""
    try:
        with path.open("rb") as file:
            return is_one_image(read_npy_header(file, path)[0])
    except (OSError, DataError):
        return False


def image_pattern(source: Any) -> list[str] | None:
    """Return the image files that a pattern such as `"photos/*.png"` stands for, in order.

    Returns
    -------
    list of str or None
        None when it is no pattern, or other files than images match it.
    """
    if not _is_pattern(source) or Path(source).expanduser().exists():
        return None
    from isthmus.data.streaming.image_folder import is_image

    pattern = Path(source).expanduser()
    matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    found = [path for path in matches if path.is_file() and path.name[0] != "."]
    if not found or not all(is_image(path) for path in found):
        return None
    return [str(path) for path in sorted(found, key=natural_order)]


def listed_images(source: Any) -> Sequence[str] | None:
    """Return the paths in a list of them, or that a pattern of images stands for.

    Parameters
    ----------
    source : object

    Returns
    -------
    sequence of paths, or None
    """
    if isinstance(source, list | tuple):
        return source if source and all(isinstance(s, str | os.PathLike) for s in source) else None
    return image_pattern(source)


def is_of_images(source: Any) -> bool:
    """Return whether a source in memory is image files, or a folder, which may be of them.

    Parameters
    ----------
    source : object

    Returns
    -------
    bool
    """
    if listed_images(source) is not None:
        return True
    if not isinstance(source, str | os.PathLike) or find_entry(str(source)) is not None:
        return False
    path = Path(source).expanduser()
    if path.is_dir():
        return not _tables_alone(path)
    from isthmus.data.streaming.image_folder import is_image

    return is_image(path)


def refuse_tables(source: Any) -> None:
    """Check that a source is no folder of tables without images, which none reads.

    Parameters
    ----------
    source : object

    Raises
    ------
    DataError
        When it is.
    """
    folder = Path(source).expanduser() if isinstance(source, str | os.PathLike) else None
    tables = [] if folder is None or not folder.is_dir() else _tables_alone(folder)
    if tables:
        n = f"{len(tables):,} tables" if len(tables) > 1 else "a table"
        raise DataError(
            f"{folder} holds {n}, {tables[0]}{', ...' * (len(tables) > 1)}, and a folder is read "
            "as images, or as several .parquet or .npy files; name one table, join several into "
            "one file, or write each as .parquet"
        )


def _tables_alone(folder: Path) -> list[str]:
    """Return the names of the tables of a folder, none where images are in it."""
    from isthmus.data.streaming.image_folder import is_image

    tables = [one for one in folder.iterdir() if is_table_file(one) and one.is_file()]
    if not tables or any(is_image(one) for one in folder.rglob("*")):
        return []
    return [one.name for one in sorted(tables, key=natural_order)]


def _is_pattern(source: Any) -> bool:
    text = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    return isinstance(text, str) and "://" not in text and any(mark in text for mark in "*?[")


def check_image_keys(keys: Sequence[str]) -> None:
    """Check that key columns are those that images have.

    Parameters
    ----------
    keys : sequence of str

    Raises
    ------
    DataError
        Naming the first that is not.
    """
    unknown = [key for key in keys if key not in ("file", "frame")]
    if unknown:
        raise DataError(
            f"got the key {unknown[0]!r}, and images have the key 'file' alone (and 'frame' with "
            "frames='all'), which is written without being asked for; leave it out"
        )


def _holds_others(folder: Path) -> bool:
    """Return whether a folder holds images or IDX files, which `load` reads into memory."""
    # Pillow, which only images need, is imported with their formats.
    from isthmus.data.streaming.image_folder import is_image

    if any(is_image(entry) for entry in _entries(folder)):
        return True
    for inner in _entries(folder):
        if inner.is_dir() and any(is_image(entry) for entry in _entries(inner)):
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
    category: Sequence[str] = (),
    keys: Sequence[str] = (),
    groups: Sequence[str] = (),
    carry: bool = False,
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
    label, columns, drop, category, keys, kind, on_bad_shard
        As for `isthmus.load`.
    groups : sequence of str
        Those of `keys` that name the group of a row.
    carry : bool
        Carry along the columns of a table that are nothing of these.
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
            check_no_category(category)
            reader = WindowReader(store, cutting, label, keys, drop)
        elif kind not in ("auto", "table"):
            ParquetReader(store, None, label, keys, drop).lay_out(files[0])  # an error on images
            raise DataError(
                f"got kind={kind!r}, and {source} holds tables, which are read row by row; leave "
                "kind out (kind='series' cuts them into windows)"
            )
        else:
            reader = ParquetReader(store, columns, label, keys, drop, category, carry, groups)
    else:
        given = {"label": label, "columns": columns, "group": groups, "keys": keys, "drop": drop}
        given |= {"category": category}
        named = [f"{name}={value!r}" for name, value in given.items() if value]
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
        stream = _open(source, reader, files, on_bad_shard)
        if kind == "auto":
            reader.warn_of_single_images(source)
        return stream
    return _open(source, reader, files, on_bad_shard)


def open_images(
    images: Path | Sequence[str], reading: ImageReading, name: str, on_bad_shard: str = "fail"
) -> Stream:
    """Open a folder of images, or image files (see `load_image_folder`)."""
    from isthmus.data.streaming.image_folder import (
        ImageReader,
        list_files,
        list_folder,
        train_and_test,
    )

    if isinstance(images, Path):
        parts = train_and_test(images)
        if parts is not None:
            raise DataError(
                f"{images} holds a training and a test part; read one of them chunk by chunk: "
                f"load({str(parts[0])!r}, lazy=True)"
            )
        listed = list_folder(images, reading)
    else:
        listed = list_files(images, reading)
    reader = ImageReader(listed, reading, name)
    return _open(name, reader, reader.sources(), on_bad_shard)


def check_no_category(category: Sequence[str]) -> None:
    """Check that no column of a table that is cut into windows is named as a category.

    Parameters
    ----------
    category : sequence of str

    Raises
    ------
    DataError
        When a column is named.
    """
    if category:
        raise DataError(
            f"got category={list(category)!r}, and channels of windows are numbers; leave it out"
        )


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
    if isinstance(reader, WindowReader | ParquetReader):
        reader.warn_of_unused(name)
    if not file_ranges:
        reasons = f": {skipped[0].reason}" if skipped else ""
        raise DataError(
            f"{name} holds no rows in {len(files)} files; expected at least one{reasons}"
        )
    return Stream(name, reader, file_ranges, skipped, on_bad_shard)
