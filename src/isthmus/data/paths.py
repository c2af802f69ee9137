"""One path: what kind of file or folder it is, and the loader that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.data.catalog import describe_missing
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.formats import (
    image_column,
    is_idx_file,
    is_table_file,
    load_idx_file,
    load_idx_folder,
    load_table,
)
from isthmus.data.windows import WindowOptions
from isthmus.errors import DataError

_KINDS = (
    ".npy, .npz, .csv, .tsv, .parquet, .feather, .jsonl, .xlsx and .ts files, IDX files, images, "
    "and folders of images or of the four IDX files"
)


def load_path(
    path: Path,
    images: Mapping[str, Any] | None = None,
    kind: str = "auto",
    cutting: WindowOptions | None = None,
    *,
    label: str | None = None,
    **table: Any,
) -> Dataset | Splits:
    """Load a file or folder.

    By its name: `.npy`, `.npz`, `.csv` and `.tsv` (also gzipped), `.parquet`, `.ts`, an image.
    By its content: IDX. A folder holds the four IDX files or images (see `load_image_folder`).

    Parameters
    ----------
    path : Path
    images : mapping or None
        Arguments of `isthmus.data.streaming.ImageReading`, for image files.
    kind : {"auto", "images", "series", "table"}
        What arrays, which do not say it, are taken for, and whether tables are long ones.
    cutting : WindowOptions or None
        How a long table is cut into windows.
    label : str or None
        Column of the labels, for tables only.
    **table
        Of tables, other options of `dataset_from_frame`, or of `series_from_frame` for long ones.

    Raises
    ------
    DataError
        When there is no such path, it is of no known kind, or its loader refuses it.
    """
    if not path.exists():
        raise DataError(describe_missing(path))
    # The loaders are imported when used: Arrow and Pillow take a while.
    if path.is_file() and is_table_file(path):
        if kind == "series":
            from isthmus.data.windows import load_long_table

            return load_long_table(path, cutting or WindowOptions(), label, **table)
        column = image_column(path)
        if column is not None:
            from isthmus.data.streaming import ImageReading, load_image_table

            reading = ImageReading(**images or {})
            return load_image_table(path, column, reading, label, table.get("keys", ()))
        return load_table(path, label, normal=cutting and cutting.normal, **table)
    if label is not None:
        raise DataError(
            f"label={label!r} names a column of a table, and {path} is not one; "
            "leave label out, or pass the labels as y"
        )
    if path.is_dir():
        return _load_folder(path, images or {})
    return _load_file(path, images or {}, kind)


def _load_folder(folder: Path, images: Mapping[str, Any]) -> Dataset | Splits:
    from isthmus.data.streaming import ImageReading, load_image_folder, refuse_tables

    splits = load_idx_folder(folder)
    if splits is not None:
        return splits
    refuse_tables(folder)
    return load_image_folder(folder, ImageReading(**images))


def _load_file(path: Path, images: Mapping[str, Any], kind: str) -> Dataset | Splits:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        from isthmus.data.formats import load_npy

        return load_npy(path, kind)
    if suffix == ".npz":
        from isthmus.data.formats import load_npz

        return load_npz(path, kind)
    if path.name.lower().removesuffix(".gz").endswith(".ts"):
        from isthmus.data.formats import load_ts

        return load_ts(path)
    if is_idx_file(path):
        return load_idx_file(path)
    if path.name.lower().removesuffix(".gz").endswith(".json"):
        raise DataError(
            f"{path} is one JSON value, whose shape (rows, columns, objects within objects) would "
            "have to be guessed, and .jsonl is read, with an object for each row on a line of its "
            f"own; write it so: pandas.read_json({str(path)!r}).to_json("
            f"{path.name.split('.')[0] + '.jsonl'!r}, orient='records', lines=True)"
        )
    from isthmus.data.streaming import ImageReading, is_image, load_image_files

    if is_image(path):
        return load_image_files([path], ImageReading(**images), path.name)
    raise DataError(f"{path} is of no kind that can be loaded; expected one of: {_KINDS}")
