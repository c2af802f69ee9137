"""One door for all data: a name, a path, an array or a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.catalogue import find_entry
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.files import load_path
from isthmus.data.named import load_named
from isthmus.data.resize import check_size, resize_images
from isthmus.errors import DataError


def load(
    source: Any,
    y: Any = None,
    *,
    data_dir: str | Path | None = None,
    label: str | None = None,
    resize: tuple[int, int] | None = None,
) -> Dataset | Splits:
    """Load data from a name, a path, an array or a table.

    What comes back has `train` and `test` in every case: of a `Dataset`, `train` is the
    data set itself and `test` is None.

    Parameters
    ----------
    source : str, Path, array, DataFrame, list of lists, Dataset or Splits
        A string that is the name of a data set ("digits", "mnist", "fashion-mnist",
        "kmnist") means that; write "./mnist" for a folder called so. Other strings are
        paths: `.npy`, `.npz`, `.csv`, `.tsv`, `.parquet`, IDX, an image, or a folder of
        images or of the four IDX files. Arrays are images of shape (n, h, w) or
        (n, h, w, c), uint8 or float in [0, 1], or a table of shape (n, m).
    y : array-like of shape (n,) or None
        Labels for a source that brings none.
    data_dir : str, Path or None
        Folder with the files of a named data set; without it see
        `isthmus.data.named.load_named` for where they are looked for.
    label : str or None
        Column of a table that holds the labels.
    resize : (height, width) or None
        Size to bring all images to.

    Returns
    -------
    Dataset or Splits
        `Splits` when the source says which part is for testing.

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
    """
    size = None if resize is None else check_size(resize)
    data = _load(source, data_dir, label, size)
    if y is not None:
        data = _with_labels(data, y)
    return data if size is None else resize_images(data, size)


def _load(
    source: Any, data_dir: str | Path | None, label: str | None, size: tuple[int, int] | None
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
        return load_path(Path(source).expanduser(), label, size)
    if isinstance(source, Dataset | Splits):
        if label is not None:
            raise DataError(f"the data set is loaded already; leave label={label!r} out")
        return source
    if isinstance(source, pd.Series):
        source = source.to_frame()
    if isinstance(source, pd.DataFrame):
        from isthmus.data.tables import dataset_from_frame

        return dataset_from_frame(source, label)
    if label is not None:
        raise DataError(
            f"label={label!r} names a column, and an array has no names; pass the labels as y"
        )
    return Dataset(_as_array(source))


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
    return Dataset(data.X, y, data.schema, name=data.name)
