"""One door for all data: a name, a path, an array or a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.catalogue import find_entry
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.files import is_table_file, load_path
from isthmus.data.long_table import Cutting
from isthmus.data.named import load_named
from isthmus.data.pieces import open_pieces, read_in_pieces
from isthmus.data.resize import check_size, resize_images
from isthmus.data.schema import KINDS, Schema
from isthmus.errors import DataError

_IN_WORDS = {"images": "images", "series": "series", "table": "a table"}


def load(
    source: Any,
    y: Any = None,
    *,
    data_dir: str | Path | None = None,
    label: str | None = None,
    resize: tuple[int, int] | None = None,
    kind: str = "auto",
    time: str | None = None,
    group: str | None = None,
    window: int | None = None,
    stride: int | None = None,
    channels: Sequence[str] | None = None,
    lazy: bool = False,
    columns: Sequence[str] | None = None,
    keys: Sequence[str] = (),
    on_bad_shard: str = "fail",
) -> Any:
    """Load data from a name, a path, an array or a table.

    What comes back has `train` and `test` in every case: of a `Dataset`, `train` is the
    data set itself and `test` is None.

    Parameters
    ----------
    source : str, Path, array, DataFrame, list of lists, Dataset or Splits
        A string that is the name of a data set ("digits", "mnist", "fashion-mnist",
        "kmnist") means that; write "./mnist" for a folder called so. Other strings are
        paths: `.npy`, `.npz`, `.csv`, `.tsv`, `.parquet`, `.ts`, IDX, an image, or a folder
        of images or of the four IDX files. Arrays are images of shape (n, h, w) or
        (n, h, w, c), uint8 or float in [0, 1], or a table of shape (n, m), or with
        `kind="series"` windows of series of shape (n, t, c).
    y : array-like of shape (n,) or None
        Labels for a source that brings none.
    data_dir : str, Path or None
        Folder with the files of a named data set; without it see
        `isthmus.data.named.load_named` for where they are looked for.
    label : str or None
        Column of a table that holds the labels.
    resize : (height, width) or None
        Size to bring all images to.
    kind : {"auto", "images", "series", "table"}
        What an array of three dimensions holds: images, unless this says "series". A table
        with `kind="series"` is a long one, a row for each moment, and cut into windows; so is each
        Parquet file of several by itself.
    time, group : str or None
        Columns of a long table: when a row was taken (numbers, or dates), in increasing
        order, and of which machine or person it is. Without `time` the order of the rows
        counts; without `group` all rows are one series.
    window, stride : int or None
        Rows in a window, and from the beginning of one to the next; without a stride the
        windows share no row. No window is of two groups or crosses a gap in time.
    channels : sequence of str or None
        Columns of a long table that are the channels; all others, when not given.
    lazy : bool
        Read one `.parquet` or `.npy` file, or a folder of images, piece by piece. Several files
        (a folder of them, a pattern such as "events/*.parquet", an address such as
        "s3://bucket/events") always are.
    columns : sequence of str or None
        Of data read piece by piece, the columns that are features; others are never read.
    keys : sequence of str
        Of data read piece by piece, columns that say which row is which: no features, but
        carried along to what is written of each row. A window's are those of its last row.
    on_bad_shard : {"fail", "skip"}
        What becomes of a file among several that is damaged or unlike the others: an error, or
        an entry in the stream's `skipped`.

    Returns
    -------
    Dataset, Splits or Stream
        A `Stream` of what is read piece by piece, of which nothing but footers and headers has
        been read yet; of files that are cut into windows also times and groups.
        `Splits` when the source says which part is for testing. Of a long table, `windows`
        says where each instance lies in it, and `y` is one label a window (see
        `isthmus.data.window_labels.deciding_rows` for windows of several labels).

    Raises
    ------
    DataError
        When the source does not exist or cannot be used as it is; the message names the
        file, column, row or value at fault and the way to mend it.
    DownloadError
        When a named data set is not on this machine and could not be fetched.

    Examples
    --------
    >>> load([[1.0, 2.0], [3.0, 4.0]], y=["a", "b"])
    Dataset('data', 2 rows of 2 columns, 2 classes)
    >>> digits = load("digits")
    >>> digits.train.X.shape, digits.test.X.shape
    ((1437, 8, 8), (360, 8, 8))
    >>> readings = pd.DataFrame({"hour": range(48), "load": np.sin(np.arange(48.0))})
    >>> load(readings, kind="series", time="hour", window=24)
    Dataset('data', 2 series of 24 time steps, no labels)
    """
    if kind not in KINDS:
        raise DataError(f"got kind={kind!r}, expected one of {', '.join(KINDS)}")
    if isinstance(channels, str):
        raise DataError(f"got channels={channels!r}, expected a list: [{channels!r}]")
    for name, names in (("columns", columns), ("keys", keys)):
        if isinstance(names, str):
            raise DataError(f"got {name}={names!r}, expected a list: [{names!r}]")
    cutting = Cutting(window, stride, time, group, None if channels is None else tuple(channels))
    size = None if resize is None else check_size(resize)
    opened = data_dir is None and read_in_pieces(source, lazy)
    if opened:
        if y is not None:
            raise DataError("got y, and data read piece by piece has its labels in its files")
        if cutting.given and kind != "series":
            raise DataError(_needs_series(cutting))
        return open_pieces(
            source,
            label=label,
            columns=columns,
            keys=keys,
            kind=kind,
            cutting=cutting,
            resize=size,
            on_bad_shard=on_bad_shard,
        )
    _check_cutting(source, kind, cutting)
    if columns is not None or keys:
        raise DataError(
            f"got {'columns' if columns is not None else 'keys'}=, which is for data read piece by "
            "piece; pass lazy=True for a Parquet file, or leave it out"
        )
    data = _load(source, data_dir, label, size, kind, cutting)
    if kind not in ("auto", data.kind):
        raise DataError(
            f"got kind={kind!r}, and {data.name} holds {_IN_WORDS[data.kind]}; leave kind out"
        )
    if y is not None:
        data = _with_labels(data, y)
    return data if size is None else resize_images(data, size)


def _check_cutting(source: Any, kind: str, cutting: Cutting) -> None:
    """Check that what says how to cut a long table stands beside one."""
    if not cutting.given:
        return
    if kind != "series":
        raise DataError(_needs_series(cutting))
    if isinstance(source, pd.DataFrame | pd.Series):
        return
    if isinstance(source, str | os.PathLike) and is_table_file(Path(source)):
        return
    raise DataError(
        f"{_said(cutting)} is for a long table (a DataFrame, .csv, .tsv or .parquet), and the "
        "source is none; leave it out for windows of shape (n, t, c), and pass one long array as "
        "pd.DataFrame(values)"
    )


def _needs_series(cutting: Cutting) -> str:
    return (
        f"{_said(cutting)} is for a long table of series; pass kind='series' as well (on the "
        "command line --kind series)"
    )


def _said(cutting: Cutting) -> str:
    return ", ".join(f"{name}=" for name in cutting.given)


def _load(
    source: Any,
    data_dir: str | Path | None,
    label: str | None,
    size: tuple[int, int] | None,
    kind: str,
    cutting: Cutting,
) -> Dataset | Splits:
    entry = find_entry(source) if isinstance(source, str) else None
    if entry is not None:
        if label is not None:
            raise DataError(f"{entry.name} brings its own labels; leave label={label!r} out")
        return load_named(entry, data_dir)
    if data_dir is not None:
        raise DataError(
            f"data_dir={str(data_dir)!r} says where a named data set lies, and the source is "
            "not the name of one; leave data_dir out"
        )
    if isinstance(source, str) and "://" in source:
        raise DataError(f"{source} is an address; download it and pass the path of the file")
    if isinstance(source, str | os.PathLike):
        return load_path(Path(source).expanduser(), label, size, kind, cutting)
    if isinstance(source, Dataset | Splits):
        if label is not None:
            raise DataError(f"the data set is loaded already; leave label={label!r} out")
        return source
    if isinstance(source, pd.Series):
        source = source.to_frame()
    if isinstance(source, pd.DataFrame) and kind == "series":
        from isthmus.data.window_table import series_from_frame

        return series_from_frame(source, cutting, label)
    if isinstance(source, pd.DataFrame):
        from isthmus.data.tables import dataset_from_frame

        return dataset_from_frame(source, label)
    if label is not None:
        raise DataError(
            f"label={label!r} names a column, and an array has no names; pass the labels as y"
        )
    values = _as_array(source)
    return Dataset(values, schema=Schema.learn(values, kind))


def _as_array(source: Any) -> np.ndarray:
    if hasattr(source, "toarray"):
        raise DataError(
            f"got a sparse {type(source).__name__}, expected a dense array; pass X.toarray()"
        )
    try:
        values = np.asarray(source)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"cannot make an array of the {type(source).__name__} given; "
            "expected rows of numbers, all of the same length"
        ) from error
    if values.ndim == 0:
        raise DataError(f"got {source!r:.60}, expected a name, a path, an array or a DataFrame")
    return values


def _with_labels(data: Dataset | Splits, y: Any) -> Dataset:
    if isinstance(y, str):
        raise DataError(
            f"got y={y!r}, expected one label for each instance; for a column pass label={y!r}"
        )
    if isinstance(data, Splits) or data.y is not None:
        raise DataError("got y, and the source brings labels of its own; leave y out")
    return Dataset(data.X, y, data.schema, name=data.name, windows=data.windows)
