"""A path in, a data set out: which loader reads which file."""

from __future__ import annotations

import difflib
import gzip
import zlib
from pathlib import Path

from isthmus.data.catalogue import CATALOGUE, near_miss
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.idx import is_idx
from isthmus.data.idx_files import load_idx_file, load_idx_folder
from isthmus.data.long_table import Cutting
from isthmus.errors import DataError

_KINDS = (
    ".npy, .npz, .csv, .tsv, .parquet and .ts files, IDX files, images, and folders of images "
    "or of the four IDX files"
)


def load_path(
    path: Path,
    label: str | None = None,
    resize: tuple[int, int] | None = None,
    kind: str = "auto",
    cutting: Cutting | None = None,
) -> Dataset | Splits:
    """Load a file or folder.

    By its name: `.npy`, `.npz`, `.csv` and `.tsv` (also gzipped), `.parquet`, `.ts`, an image.
    By its content: IDX. A folder holds the four IDX files or images (see `load_image_folder`).

    Parameters
    ----------
    path : Path
    label : str or None
        Column of the labels, for tables only.
    resize : (height, width) or None
        Applied here to image files alone, which cannot be stacked otherwise.
    kind : {"auto", "images", "series", "table"}
        What arrays, which do not say it, are taken for, and whether tables are long ones.
    cutting : Cutting or None
        How a long table is cut into windows.

    Raises
    ------
    DataError
        When there is no such path, it is of no known kind, or its loader refuses it.
    """
    if not path.exists():
        raise DataError(_missing(path))
    # The loaders are imported when used: Arrow and Pillow take a while.
    suffix = path.with_name(path.name.removesuffix(".gz")).suffix.lower()
    if kind == "series" and is_table_file(path) and path.is_file():
        from isthmus.data.window_table import load_long_table

        return load_long_table(path, cutting or Cutting(), label)
    if suffix in (".csv", ".tsv") and path.is_file():
        from isthmus.data.tables import load_csv

        return load_csv(path, label)
    if suffix in (".parquet", ".pq") and path.is_file():
        from isthmus.data.tables import load_parquet

        return load_parquet(path, label)
    if label is not None:
        raise DataError(
            f"label={label!r} names a column of a table, and {path} is not one; "
            "leave label out, or pass the labels as y"
        )
    if path.is_dir():
        return _load_folder(path, resize)
    return _load_file(path, resize, kind)


def is_table_file(path: Path) -> bool:
    """Tell a file of a table by its name: .csv and .tsv, also gzipped, .parquet and .pq."""
    name = path.name.lower()
    return name.removesuffix(".gz").endswith((".csv", ".tsv")) or name.endswith((".parquet", ".pq"))


def _load_folder(folder: Path, resize: tuple[int, int] | None) -> Dataset | Splits:
    from isthmus.data.images import load_image_folder

    try:
        splits = load_idx_folder(folder)
        return splits if splits is not None else load_image_folder(folder, resize)
    except PermissionError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


def _load_file(path: Path, resize: tuple[int, int] | None, kind: str) -> Dataset | Splits:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        from isthmus.data.arrays import load_npy

        return load_npy(path, kind)
    if suffix == ".npz":
        from isthmus.data.arrays import load_npz

        return load_npz(path, kind)
    if path.name.lower().removesuffix(".gz").endswith(".ts"):
        from isthmus.data.ts import load_ts

        return load_ts(path)
    if _is_idx_file(path):
        return load_idx_file(path)
    from isthmus.data.images import is_image

    if is_image(path):
        from isthmus.data._pixels import read_images

        return Dataset(read_images([path], resize), name=path.name)
    raise DataError(f"{path} is of no kind that can be loaded; expected one of: {_KINDS}")


def _is_idx_file(path: Path) -> bool:
    # A damaged file that is called IDX goes to the IDX reader, whose error says more.
    if "-ubyte" in path.name or "idx" in path.suffix:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                head = file.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return is_idx(head)


def _missing(path: Path) -> str:
    name = near_miss(str(path))
    if name is not None:
        return f"there is no data set and no file called {str(path)!r}; did you mean {name!r}?"
    neighbours: list[str] = []
    if path.parent.is_dir():
        neighbours = [other.name for other in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, neighbours, 1)
    hint = f"did you mean {str(path.with_name(close[0]))!r}? " if close else ""
    return (
        f"there is no file or folder {str(path)!r}; {hint}"
        f"expected a path or one of the data sets {', '.join(CATALOGUE)}"
    )
