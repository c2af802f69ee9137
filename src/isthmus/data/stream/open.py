"""A folder, a pattern or an address in, a stream out; only footers and headers are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.data.long_table import Cutting
from isthmus.data.stream.cut import WindowReader
from isthmus.data.stream.numpy_files import NumpyReader
from isthmus.data.stream.parquet import ParquetReader
from isthmus.data.stream.part import Reader, Skipped, Slice
from isthmus.data.stream.store import PARQUET, Store
from isthmus.data.stream.stream import Stream
from isthmus.errors import DataError, ShardError


def open_stream(
    source: str,
    *,
    label: str | None = None,
    columns: Sequence[str] | None = None,
    keys: Sequence[str] = (),
    kind: str = "auto",
    cutting: Cutting | None = None,
    on_bad_shard: str = "fail",
) -> Stream:
    """Open Parquet or `.npy` files.

    Parameters
    ----------
    source : str
        A folder, a pattern such as `events/*.parquet`, one file, or an address that fsspec
        knows, such as `s3://bucket/events`.
    label, columns, keys, kind, on_bad_shard
        As for `isthmus.load`.
    cutting : Cutting, optional
        How tables are cut into windows, with kind "series".

    Raises
    ------
    DataError
        When there are no such files, they cannot be reached, hold no rows, or, unless they are
        to be skipped, one is damaged or unlike the first.
    """
    if on_bad_shard not in ("fail", "skip"):
        raise DataError(f"got on_bad_shard={on_bad_shard!r}, expected 'fail' or 'skip'")
    cutting = Cutting() if cutting is None else cutting
    store = Store(source)
    files = store.shards()
    reader: Reader
    if files[0].lower().endswith(PARQUET):
        if kind == "series":
            if columns is not None:
                raise DataError(
                    f"got columns={list(columns)!r}, and the channels of windows are named with "
                    f"channels={list(columns)!r}"
                )
            reader = WindowReader(store, cutting, label, keys)
        elif kind not in ("auto", "table"):
            raise DataError(
                f"got kind={kind!r}, and {source} holds tables, which are read row by row; leave "
                "kind out (kind='series' cuts them into windows)"
            )
        else:
            reader = ParquetReader(store, columns, label, keys)
    else:
        given = {"label": label, "columns": columns, "keys": keys or None}
        named = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        if named:
            raise DataError(
                f"{named[0]} names columns of a table, and {source} holds arrays; leave it out"
            )
        if cutting.given:
            said = ", ".join(f"{name}=" for name in cutting.given)
            raise DataError(
                f"got {said}, which cuts long tables in Parquet files, and {source} holds arrays; "
                "leave it out for windows of shape (n, t, c)"
            )
        reader = NumpyReader(store, kind)
    return _open(source, reader, files, on_bad_shard)


def open_pictures(
    folder: Path, resize: tuple[int, int] | None = None, on_bad_shard: str = "fail"
) -> Stream:
    """Open a folder of images (see `isthmus.data.images.load_image_folder`)."""
    from isthmus.data.stream.pictures import ImageReader

    reader = ImageReader(folder, resize)
    return _open(str(folder), reader, reader.sources(), on_bad_shard)


def _open(name: str, reader: Reader, files: Sequence[str], on_bad_shard: str) -> Stream:
    slices: list[Slice] = []
    skipped: list[Skipped] = []
    for file in files:
        try:
            slices += reader.lay_out(file)
        except ShardError as error:
            if on_bad_shard == "fail":
                raise
            skipped.append(Skipped.because(file, None, error))
    if isinstance(reader, WindowReader):
        reader.tell(name)
    if not slices:
        reasons = f": {skipped[0].reason}" if skipped else ""
        raise DataError(
            f"{name} holds no rows in {len(files)} files; expected at least one{reasons}"
        )
    return Stream(name, reader, slices, skipped, on_bad_shard)
