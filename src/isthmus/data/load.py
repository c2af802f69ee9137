"""Load a data set: from a name, a path, an array or a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus._core import reading, shown
from isthmus.data.array_checks import check_step
from isthmus.data.catalog import check_exists, find_entry
from isthmus.data.containers import as_plain_array, with_labels
from isthmus.data.csv_options import CsvOptions
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.formats import is_table_file
from isthmus.data.groups import check_group_columns, with_group_columns
from isthmus.data.labels import as_normal_value
from isthmus.data.named_datasets import load_named
from isthmus.data.paths import load_path
from isthmus.data.predictions import check_key_names
from isthmus.data.schema import KINDS, Schema
from isthmus.data.streaming import (
    are_tables,
    check_image_keys,
    check_no_category,
    is_of_images,
    is_streamed,
    listed_images,
    open_streamed,
    refuse_tables,
)
from isthmus.data.windows import LABEL_RULES, WindowOptions, window_as_at_fit
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
    group: str | Sequence[str] | None = None,
    window: int | str | None = None,
    stride: int | str | None = None,
    channels: Sequence[str] | None = None,
    window_label: str | None = None,
    normal: Any = None,
    lazy: bool = False,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    category: Sequence[str] = (),
    keys: Sequence[str] = (),
    rows: slice | str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    date_format: str | None = None,
    encoding: str | None = None,
    na: Sequence[str] = (),
    unit: Sequence[str] = (),
    resample: str | float | None = None,
    time_zone: str | None = None,
    on_bad_shard: str = "fail",
    schema: Schema | None = None,
    frames: str = "first",
) -> Any:
    """Load data from a name, a path, an array or a table.

    What comes back has `train` and `test` in every case: of a `Dataset`, `train` is the
    data set itself and `test` is None.

    Parameters
    ----------
    source : str, Path, array, DataFrame, list of lists, Dataset or Splits
        A string that is the name of a data set ("digits", "mnist", "fashion-mnist",
        "kmnist") means that; write "./mnist" for a folder called so. Other strings are
        paths: `.npy`, `.npz`, `.csv`, `.tsv`, `.parquet`, `.ts`, IDX, an image, a folder
        of images or of the four IDX files, or a pattern such as "photos/*.png"; a list of paths is
        one of images. Arrays are images of shape (n, h, w) or
        (n, h, w, c), uint8 or float in [0, 1], or a table of shape (n, m), or with
        `kind="series"` windows of series of shape (n, t, c). See also `as_array_or_frame`.
    y : array-like of shape (n,) or None
        Labels for a source that brings none; of a dataset of torch instead of those in its pairs.
    data_dir : str, Path or None
        Folder with the files of a named data set; without it see
        `isthmus.data.named_datasets.load_named` for where they are looked for.
    label : str or None
        Column of a table that holds the labels.
    resize : (height, width) or None
        Size to bring all images to; for image files and with `schema` by default that at fit.
    kind : {"auto", "images", "series", "table"}
        What an array of three dimensions holds: images, unless this says "series". A table
        with `kind="series"` is a long one, a row for each time point, and cut into windows; so is
        each Parquet file of several by itself.
    time : str or None
        Column of a long table: when a row was taken (numbers, or dates), in increasing order.
        Without it the order of the rows counts.
    group : str, sequence of str or None
        Column of a table, or columns that together say of which machine or person a row is. Of a
        long table without it all rows are one series. Of other tables, and of images in a Parquet
        file, it is no feature but the group of each row, `Dataset.groups`, by which a detector
        calibrates; of a folder of images "folder" makes its sub-folders groups and no classes.
    window, stride : int, "auto" or None
        Rows in a window, and from the beginning of one to the next. Without a window, or with
        "auto", both are chosen from the data; of a given window without a stride, windows share no
        row. See `isthmus.data.windows.choose_windows`. What is read chunk by chunk
        needs a window. No window is of two groups or crosses a gap in time.
    resample : str, float or None
        Average the rows of a long table in bins of this width: "1s", "5min", or of times that are
        numbers a number. Up to eight empty bins in a row are filled on a line; more are a gap.
    time_zone : str or None
        Zone of local times of a long table that name none, such as "Europe/Berlin".
    channels : sequence of str or None
        Columns of a long table that are the channels; all others, when not given.
    window_label : {"any", "majority", "last"} or None
        The label of a window whose rows have different ones. "any": one abnormal row makes the
        window abnormal. "majority": the most frequent label. "last": that of the last row. None
        is "any" where it is known what is abnormal (`normal` is given, or a label is the number
        -1), and otherwise "majority".
    normal : str, int, float, bool or None
        The label that means normal, for "any". It is a label where it reads `NA` or the like in a
        CSV or Excel file; the labels of other data are left as they are.
    lazy : bool
        Read one `.parquet` or `.npy` file, or a folder of images, chunk by chunk. Several files
        (a folder of them, a pattern such as "events/*.parquet", an address such as
        "s3://bucket/events") always are.
    columns : sequence of str or None
        Of a table, the columns that are features; of data read chunk by chunk, others are never
        read. All others but label and keys, when not given.
    drop : sequence of str
        Of a table, columns that are no features, such as a running number.
    category : sequence of str
        Of a table, columns that are categories though they hold numbers, such as a customer.
    rows : slice or str, optional
        Which of the instances are taken: slice(100, 200), or "100:200".
    decimal, thousands, date_format, encoding, na, unit
        Of CSV files: the decimal mark ("." or ","), the mark between thousands, the format of
        dates that are not ISO 8601 ("%d.%m.%Y"), the encoding where it is not UTF-8, further
        cells that stand for a missing value, and units such as "%" or "$", which are left out
        before and behind numbers: 12% is 12.
    keys : sequence of str
        Of a table, columns that say which row is which: no features, but carried along to what is
        written of each row. A window's are those of its last row.
    on_bad_shard : {"fail", "skip"}
        What becomes of a file among several that is damaged or unlike the others: an error, or
        an entry in the stream's `skipped`.
    schema : Schema or None
        Of the encoder that the data is for (`encoder.schema_`, or `read_schema` of a bundle), as
        far as other arguments do not say it: the columns of a table are read by their types at
        fit, whatever they look like in this source, and other columns are carried along like keys
        (of several files, those that every file has); windows of the same length and channels
        are cut from a long table; arrays are taken for series; image files are brought to the
        size and, where that changes no value, to the channels at fit.
    frames : {"first", "all"}
        Which frames of TIFF, GIF and WebP files are instances.

    Returns
    -------
    Dataset, Splits or Stream
        A `Stream` of what is read chunk by chunk, of which nothing but footers and headers has
        been read yet; of files that are cut into windows also times and groups.
        `Splits` when the source says which part is for testing. Of a long table, `windows`
        says where each instance lies in it, and `y` is one label a window (see
        `isthmus.data.windows.deciding_rows` for windows of several labels).

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
    >>> readings = pd.DataFrame({"hour": range(48), "load": [0.5, 1.5] * 24})
    >>> load(readings, kind="series", time="hour", window=24)
    Dataset('data', 2 series of 24 time steps, no labels)
    """
    if kind not in KINDS:
        raise DataError(f"got kind={kind!r}, expected one of {', '.join(KINDS)}")
    if isinstance(channels, str):
        raise DataError(f"got channels={shown(channels)}, expected a list: [{channels!r}]")
    lists = {
        "columns": columns,
        "drop": drop,
        "category": category,
        "keys": keys,
        "na": na,
        "unit": unit,
    }
    for name, names in lists.items():
        if isinstance(names, str):
            raise DataError(f"got {name}={names!r}, expected a list: [{names!r}]")
    if frames not in ("first", "all"):
        raise DataError(f"got frames={frames!r}, expected 'first' or 'all'")
    csv = CsvOptions(decimal, thousands, date_format, encoding, tuple(na), tuple(unit))
    source, own = with_labels(source)
    y = own if y is None else y
    carry = False
    opened = data_dir is None and is_streamed(source, lazy, kind)
    of_images = not opened and is_of_images(source)
    if schema is not None and schema.kind == "series":
        if kind in ("auto", "series") and _may_be_series(source, opened):
            kind = "series"
            if are_tables(source) if opened else _is_table(source):
                window = window_as_at_fit(window, schema.shape[0])
                channels = schema.columns if channels is None else channels
    elif schema is not None and schema.kind == "table" and opened and columns is None:
        columns = schema.columns or None
        carry = columns is not None
    cutting = WindowOptions(
        window,
        stride,
        time,
        group if group is None or isinstance(group, str) else tuple(group) or None,
        None if channels is None else tuple(channels),
        window_label,
        as_normal_value(normal),
        resample,
        time_zone,
        as_at_fit=schema is not None and window is not None and schema.kind == "series",
    )
    if window_label not in (None, *LABEL_RULES):
        raise DataError(
            f"got window_label={shown(window_label)}, expected one of {', '.join(LABEL_RULES)}"
        )
    groups, cutting = cutting.groups_of_rows(kind)
    keys = [*groups, *(key for key in keys if key not in groups)]
    of_rows = [*keys, *cutting.groups, *([] if time is None else [time])]
    check_key_names(of_rows, of_points=kind == "series")
    check_group_columns(groups, source, table=opened or _is_table(source), images=of_images)
    size = None
    if resize is not None:
        # Pillow takes a tenth of a second, which only images need.
        from isthmus.data.formats import check_size, resize_images

        size = check_size(resize)
    if opened:
        if y is not None:
            raise DataError("got y, and data read chunk by chunk has its labels in its files")
        cutting.check_applicable(kind)
        if csv.given:
            raise DataError(
                f"got {csv.given[0]}=, which is for CSV files, and {source} holds none; leave it "
                "out"
            )
        stream = open_streamed(
            source,
            label=label,
            columns=columns,
            drop=drop,
            category=category,
            keys=keys,
            groups=groups,
            carry=carry,
            kind=kind,
            cutting=cutting,
            resize=size,
            frames=frames,
            schema=schema if schema is not None and schema.kind == "images" else None,
            on_bad_shard=on_bad_shard,
        )
        return stream if rows is None else stream.take_range(rows)
    check_exists(source)
    if on_bad_shard != "fail":
        raise DataError(
            f"got on_bad_shard={shown(on_bad_shard)}, which is for data read chunk by chunk, and "
            f"{shown(source) if isinstance(source, str | os.PathLike) else 'the source'} is read "
            "as a whole; leave it out, or with a folder of images pass lazy=True (--lazy)"
        )
    cutting.check_applicable(kind, long_table=_is_table(source))
    table: dict[str, Any] = {"label": label, "keys": keys, "drop": drop}
    if kind == "series":
        check_no_category(category)
    if kind != "series":
        of_table = schema is not None and schema.kind == "table"
        table |= {"columns": columns, "category": category}
        table |= {"schema": schema if of_table else None}
    elif columns is not None:
        raise DataError(
            f"got columns={list(columns)!r}, and the channels of windows are named with channels="
        )
    if of_images:
        check_image_keys([key for key in keys if key not in groups])
        keys = ()
    _check_columns_of_table(source, columns=columns, drop=drop, category=category, keys=keys)
    if csv.given:
        if not isinstance(source, str | os.PathLike) or not is_table_file(Path(source)):
            raise DataError(
                f"got {csv.given[0]}=, which is for CSV files, and the source is no such "
                "file; leave it out"
            )
        table["csv"] = csv
    images: dict[str, Any] = {"resize": size, "frames": frames, "arrays": kind == "images"}
    images["schema"] = schema if schema is not None and schema.kind == "images" else None
    data = with_group_columns(_load(source, data_dir, table, images, kind, cutting), groups)
    if frames != "first" and (data.kind != "images" or not of_images):
        raise DataError(f"got frames={frames!r}, which is for image files; leave it out")
    if kind not in ("auto", data.kind):
        raise DataError(
            f"got kind={kind!r}, and {data.name} holds {_IN_WORDS[data.kind]}; leave kind out"
        )
    if schema is not None and not isinstance(data, Splits):
        check_step(data.schema.step, schema.step)
    if y is not None:
        data = _with_labels(data, y)
    if rows is not None:
        if isinstance(data, Splits):
            raise DataError(
                f"got rows={shown(rows)}, and {data.name} has a training and a test part; "
                "leave it out"
            )
        data = data.take_range(rows)
    return data if size is None else resize_images(data, size)


def _check_columns_of_table(source: Any, **given: Sequence[str] | None) -> None:
    """Check that what names columns stands beside a table."""
    named = next((name for name, columns in given.items() if columns), None)
    if named is not None and not _is_table(source):
        refuse_tables(source)
        raise DataError(
            f"got {named}={list(given[named] or ())!r}, which names columns of a table (.csv, "
            ".tsv, .parquet or a DataFrame), and the source is no table; leave it out"
        )


def _may_be_series(source: Any, opened: bool) -> bool:
    """Return whether a source does not say by itself whether it holds series."""
    if opened or not isinstance(source, str | os.PathLike):
        return not isinstance(source, Dataset | Splits)
    return is_table_file(Path(source)) or Path(source).suffix.lower() in (".npy", ".npz")


def _is_table(source: Any) -> bool:
    """Return whether `kind="series"` makes a source in memory, or one file, a long table."""
    if isinstance(source, str | os.PathLike):
        return is_table_file(Path(source))
    return isinstance(source, pd.DataFrame | pd.Series)


def _load(
    source: Any,
    data_dir: str | Path | None,
    table: Mapping[str, Any],
    images: Mapping[str, Any],
    kind: str,
    cutting: WindowOptions,
) -> Dataset | Splits:
    label = table["label"]
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
    paths = listed_images(source)
    if paths is not None:
        from isthmus.data.streaming import ImageReading, load_image_files

        if label is not None:
            raise DataError(f"label={label!r} names a column of a table; pass the labels as y")
        name = "images" if isinstance(source, list | tuple) else str(source)
        return load_image_files(paths, ImageReading(**images), name)
    if isinstance(source, str | os.PathLike):
        with reading(source):
            return load_path(Path(source).expanduser(), images, kind, cutting, **table)
    if isinstance(source, Dataset | Splits):
        if label is not None:
            raise DataError(f"the data set is loaded already; leave label={label!r} out")
        return source
    if isinstance(source, pd.Series):
        source = source.to_frame()
    if isinstance(source, pd.DataFrame) and kind == "series":
        from isthmus.data.windows import series_from_frame

        return series_from_frame(source, cutting, **table)
    if isinstance(source, pd.DataFrame):
        from isthmus.data.formats import dataset_from_frame

        return dataset_from_frame(source, **table)
    if label is not None:
        raise DataError(
            f"label={label!r} names a column, and an array has no names; pass the labels as y"
        )
    values = as_plain_array(source)
    return Dataset(values, schema=Schema.learn(values, kind))


def _with_labels(data: Dataset | Splits, y: Any) -> Dataset:
    if isinstance(y, str):
        raise DataError(
            f"got y={y!r}, expected one label for each instance; for a column pass label={y!r}"
        )
    if isinstance(data, Splits) or data.y is not None:
        raise DataError("got y, and the source brings labels of its own; leave y out")
    return replace(data, y=y)
