"""Folders of images: which files are images, what their folders mean, and reading of them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus._core import natural_order, read_parquet
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.formats import (
    ImageFile,
    ImageHeader,
    class_names,
    image_suffixes,
    read_header,
    read_images,
)
from isthmus.data.instances import Chunk
from isthmus.data.labels import labels_from_text
from isthmus.data.schema import Schema, check_is_there
from isthmus.data.streaming.chunks import FileRange
from isthmus.errors import DataError, ShardError

#: Image files in a chunk, at most; one that cannot be read costs the whole chunk when skipped.
MAX_CHUNK_FILES = 1024
#: Names, in lower case, of folders that are parts of the data; of several test ones the first.
_TRAIN_NAMES = ("train", "training", "train_set", "trainset")
_TEST_NAMES = (
    "test", "testing", "test_set", "testset", "val", "valid", "validation", "dev",
)  # fmt: skip
#: Names of folders that hold what belongs to images of other folders, and of those others.
_MASK_NAMES = (
    "mask", "masks", "ground_truth", "groundtruth", "gt", "annotations", "segmentations",
)  # fmt: skip
_IMAGE_NAMES = ("image", "images", "img", "imgs", "jpegimages")
#: File names that a warning lists.
_MAX_NAMED = 5


@dataclass(frozen=True)
class ImageReading:
    """How image files are read.

    Attributes
    ----------
    resize : (height, width) or None
    schema : Schema or None
        Of the images at fit, whose size and channels they are brought to.
    frames : {"first", "all"}
        Which frames of a file with several are images.
    arrays : bool
        Whether `.npy` files are images too, one each.
    """

    resize: tuple[int, int] | None = None
    schema: Schema | None = None
    frames: str = "first"
    arrays: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width to bring images to, None for none."""
        if self.resize is not None or self.schema is None:
            return self.resize
        return self.schema.shape[:2]  # type: ignore[return-value]


@dataclass(frozen=True)
class ImageList:
    """Images in order, and what of their folder is not read.

    Attributes
    ----------
    files : list of ImageFile
    y : array of shape (n,) or None
        Names of their classes.
    headers : list of ImageHeader
        Of each image.
    facts : dict
        `files_skipped`, `n_files_skipped`, `frames_unused` and `resized_from`, those there are.
    """

    files: list[ImageFile]
    y: np.ndarray | None
    headers: list[ImageHeader]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> pd.DataFrame:
        """Columns that identify the images: `file`, and `frame` where all frames are read."""
        columns: dict[str, Any] = {"file": [one.name for one in self.files]}
        if self.has_frames:
            columns["frame"] = [one.frame for one in self.files]
        return pd.DataFrame(columns)

    @property
    def has_frames(self) -> bool:
        """Whether images are frames of files."""
        return any(one.frame for one in self.files)

    @property
    def colour(self) -> bool:
        """Whether an image is not stored as grey."""
        return not all(one.is_grey for one in self.headers)


def load_image_folder(folder: Path, reading: ImageReading | None = None) -> Dataset | Splits:
    """Load the images in a folder, in natural order (`2.png` before `10.png`).

    Images directly in the folder have no labels. Sub-folders of images are classes, and
    their names the labels. Sub-folders `train` and `test` (or else `val`), in any case and also
    as `Training`, `Testing`, `valid`, `validation`, which may hold classes in turn, are a training
    and a test set; where `test` and `val` both exist, `val` is not read. Hidden files are passed
    over; others that are not read are counted in a warning and in `Dataset.reading`.

    Parameters
    ----------
    folder : Path
    reading : ImageReading, optional

    Returns
    -------
    Dataset or Splits
        `X` is (n, h, w) when all images are grey, otherwise (n, h, w, 3). The key `file` is the
        path of each image from the folder on.

    Raises
    ------
    DataError
        When there are no images, they lie both in the folder and in sub-folders or a folder
        too deep, one cannot be read, or they differ in size and `resize` is not given; when
        masks lie beside the images.
    """
    reading = reading or ImageReading()
    parts = train_and_test(folder)
    if parts is None:
        return _dataset(list_folder(folder, reading), reading, folder.name)
    listed = [list_images(part, folder, reading) for part in parts]
    together = _with_facts(
        ImageList(
            [file for one in listed for file in one.files],
            None,
            [header for one in listed for header in one.headers],
        ),
        reading,
        folder,
    )
    # Read as one, so that grey and colour are settled for both alike.
    both = _dataset(together, reading, folder.name)
    n_train = len(listed[0].files)
    rows = np.arange(len(both))
    train, test = (
        Dataset(part.X, one.y, name=folder.name, keys=part.keys, reading=both.reading)
        for part, one in zip(
            (both.take(rows[:n_train]), both.take(rows[n_train:])), listed, strict=True
        )
    )
    return Splits(train, test)


def load_image_files(paths: Iterable[str | Path], reading: ImageReading, name: str) -> Dataset:
    """Load image files in the order given; the key `file` is each path as it is given.

    Raises
    ------
    DataError
        When one does not exist, is no image or cannot be read; or as `load_image_folder` does.
    """
    return _dataset(list_files(paths, reading), reading, name)


def list_files(paths: Iterable[str | Path], reading: ImageReading) -> ImageList:
    """Return image files that were named one by one, in the order given."""
    files = []
    for given in paths:
        path = Path(given).expanduser()
        if not path.is_file():
            raise DataError(f"there is no file {str(given)!r}; expected paths of images")
        if not is_image(path, reading.arrays):
            raise DataError(
                f"{given} is no image; a list of paths is read as images, expected files that end "
                f"in {_endings(reading.arrays)}; load a table by its path alone"
            )
        files.append(ImageFile(path, str(given)))
    return _with_facts(_with_frames(files, None, reading), reading, None)


def load_image_table(
    path: Path,
    column: str,
    reading: ImageReading,
    label: str | None = None,
    keys: Sequence[str] = (),
) -> Dataset:
    """Load the images in a Parquet file, one a row, as Hugging Face writes them.

    Parameters
    ----------
    path : Path
    column : str
        With `bytes` and `path` of each image; where there are no bytes the path is read.
    reading : ImageReading
    label : str or None
        Column of the labels; their names are read from the file where it states them.
    keys : sequence of str
        Further columns that identify the images, beside `file`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        When a column is not there, or an image cannot be read.
    """
    table = read_parquet(path)
    keys = [key for key in keys if key != "file"]
    check_is_there(keys if label is None else [label, *keys], table.column_names, path)
    files = []
    for row, cell in enumerate(table.column(column).to_pylist()):
        content, stored = (cell or {}).get("bytes"), (cell or {}).get("path")
        if content is None and stored is None:
            raise DataError(
                f"row {row} of {path}, counting from 0, has no image in the column {column!r}; "
                "leave it out"
            )
        name = stored or f"row {row}"
        place = Path(stored) if content is not None and stored else path.parent / name
        files.append(ImageFile(place, name, content=content))
    y = None if label is None else labels_from_text(table.column(label).to_pandas())
    listed = _with_facts(_with_frames(files, y, reading), reading, None)
    data = _dataset(listed, reading, path.name)
    own = table.select(keys).to_pandas().astype(str)
    names = class_names(table, label)
    if names is not None and data.y is not None:
        present = np.unique(data.y[data.y >= 0])
        data = replace(data, class_names=tuple(names[int(at)] for at in present))
    return data if own.empty else replace(data, keys=pd.concat([data.keys, own], axis=1))


def _dataset(images: ImageList, reading: ImageReading, name: str) -> Dataset:
    X = read_images(images.files, reading.size, reading.schema)
    _warn(images.facts, reading, name)
    return Dataset(X, images.y, name=name, keys=images.keys, reading=images.facts)


def is_image(path: Path, arrays: bool = False) -> bool:
    """Return whether a file is by its name an image that can be loaded."""
    suffixes = {*image_suffixes(), *([".npy"] if arrays else [])}
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def _endings(arrays: bool) -> str:
    common = [".png", ".jpg", ".jpeg", ".tif", ".bmp", ".gif", ".webp", ".pgm"]
    return ", ".join(common + [".npy"] * arrays) + " or another format of Pillow"


def train_and_test(folder: Path) -> tuple[Path, Path] | None:
    """Return the sub-folders of a training and a test set, None when there are no such two."""
    named = {path.name.lower(): path for path in _folders(folder)}
    train = next((named[name] for name in _TRAIN_NAMES if name in named), None)
    test = next((named[name] for name in _TEST_NAMES if name in named), None)
    if train is None or test is None or _images(folder, False):
        return None
    return train, test


def list_folder(folder: Path, reading: ImageReading) -> ImageList:
    """Return the images of a folder without a test part, and what is not read."""
    return _with_facts(list_images(folder, folder, reading), reading, folder)


def list_images(folder: Path, root: Path, reading: ImageReading) -> ImageList:
    """Return the images of a folder in order, and their class names if they have any.

    Parameters
    ----------
    folder : Path
    root : Path
        That the names of files begin at.
    reading : ImageReading
    """
    direct = _images(folder, reading.arrays)
    classes = {path.name: _images(path, reading.arrays) for path in _folders(folder)}
    for name in classes:
        for inner in _folders(folder / name):
            if _images(inner, reading.arrays):
                raise DataError(
                    f"{_images(inner, reading.arrays)[0]} lies a folder too deep: expected images "
                    f"in {folder} or in its sub-folders; load {folder / name} instead, or move the "
                    "images"
                )
    classes = {name: images for name, images in classes.items() if images}
    if not classes and not direct:
        raise DataError(
            f"{folder} holds no images: expected files that end in {_endings(reading.arrays)}, "
            "or sub-folders of them, one for each class"
        )
    if not classes:
        paths, y = direct, None
    elif direct:
        raise DataError(
            f"{folder} holds images both directly ({direct[0].name}) and in sub-folders; "
            "move the first into the folder of their class"
        )
    else:
        _check_class_names(folder, list(classes))
        paths = [path for images in classes.values() for path in images]
        y = np.repeat(list(classes), [len(images) for images in classes.values()])
        if len(classes) == 1 and next(iter(classes)).lower() in _IMAGE_NAMES:
            y = None
    files = [ImageFile(path, path.relative_to(root).as_posix()) for path in paths]
    return _with_frames(files, y, reading)


def _check_class_names(folder: Path, names: Sequence[str]) -> None:
    """Check that no folder of images holds masks or a part of the data instead of a class."""
    masks = [name for name in names if name.lower() in _MASK_NAMES]
    if masks and len(names) > 1:
        others = [name for name in names if name not in masks]
        raise DataError(
            f"{folder} holds the folder {masks[0]} beside {', '.join(others[:5])}: masks are "
            f"neither instances nor a class; load {folder / (others or masks)[0]} alone, or move "
            f"{masks[0]} out of the folder"
        )
    parts = [name for name in names if name.lower() in (*_TRAIN_NAMES, *_TEST_NAMES)]
    if parts:
        raise DataError(
            f"{folder} holds the folder {parts[0]}, which is the name of a part of the data and of "
            f"no class, and no pair of a training and a test part; load {folder / parts[0]} "
            "alone, or give it another name"
        )


def _with_frames(files: list[ImageFile], y: np.ndarray | None, reading: ImageReading) -> ImageList:
    headers = [read_header(file) for file in files]
    counts = [header.n_frames for header in headers]
    if reading.frames == "all" and max(counts, default=1) > 1:
        files = [
            replace(file, frame=frame)
            for file, n in zip(files, counts, strict=True)
            for frame in range(n)
        ]
        headers = [header for header, n in zip(headers, counts, strict=True) for _ in range(n)]
        y = None if y is None else np.repeat(y, counts)
    return ImageList(files, y, headers)


def _with_facts(images: ImageList, reading: ImageReading, folder: Path | None) -> ImageList:
    """Return the images with what of the folder is not read, and what is resized."""
    facts: dict[str, Any] = {}
    skipped = [] if folder is None else _others(folder, {one.path for one in images.files})
    if skipped:
        facts |= {"n_files_skipped": len(skipped), "files_skipped": skipped[:100]}
    unused = sum(one.n_frames - 1 for one in images.headers) if reading.frames == "first" else 0
    if unused:
        facts["frames_unused"] = unused
    size = reading.size
    found = Counter(one.size for one in images.headers if one.size not in (None, size))
    if size is not None and found:
        facts["resized_to"] = list(size)
        facts["resized_from"] = {f"{one[0]}x{one[1]}": n for one, n in found.items() if one}
    return ImageList(images.files, images.y, images.headers, facts)


def _others(folder: Path, used: set[Path]) -> list[str]:
    """Return the files of a folder that are not read, by their path from it; no hidden ones."""
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        paths = [Path(place) / name for name in files if name[0] != "."]
        names += [path.relative_to(folder).as_posix() for path in paths if path not in used]
    return sorted(names)


def _warn(facts: dict[str, Any], reading: ImageReading, name: str) -> None:
    """Warn of what is not read, and of images that are resized because the bundle needs it."""
    found = []
    if n := facts.get("n_files_skipped"):
        more = f" and {n - _MAX_NAMED} more" if n > _MAX_NAMED else ""
        named = ", ".join(facts["files_skipped"][:_MAX_NAMED]) + more
        found.append(f"{n} {'file' if n == 1 else 'files'} skipped: {named}")
    if n := facts.get("frames_unused"):
        found.append(
            f"{n} frame{'s' * (n > 1)} unused: the first of each file is read; frames='all' (on "
            "the command line --frames all) reads all"
        )
    if "resized_from" in facts and reading.resize is None:
        sizes = facts["resized_from"]
        height, width = facts["resized_to"]
        named = ", ".join(f"{n} of {size}" for size, n in list(sizes.items())[:_MAX_NAMED])
        more = f" and {n} more size{'s' * (n > 1)}" if (n := len(sizes) - _MAX_NAMED) > 0 else ""
        found.append(f"images resized to {height}x{width} as at fit: {named}{more}")
    if found:
        warnings.warn(f"{name}: {'; '.join(found)}", stacklevel=4)


def _images(folder: Path, arrays: bool) -> list[Path]:
    found = (path for path in folder.iterdir() if is_image(path, arrays) and path.is_file())
    return sorted(found, key=natural_order)


def _folders(folder: Path) -> list[Path]:
    inner = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(inner, key=natural_order)


class ImageReader:
    """Reads images of one size; sub-folders are classes (see `load_image_folder`).

    Whether the images are grey or in colour is told from their headers: in colour when one
    of them is not stored as grey. (In memory a palette of nothing but greys counts as grey.)

    Parameters
    ----------
    images : ImageList
    reading : ImageReading
    name : str
        Of the source.
    """

    kind = "images"
    channels = None
    identifies_rows = True

    def __init__(self, images: ImageList, reading: ImageReading, name: str) -> None:
        self.images, self.reading = images, reading
        schema = reading.schema
        self.colour = images.colour if schema is None else len(schema.shape) == 3
        first = read_images(images.files[:1], reading.size, schema, warn=False)
        self.shape, self.dtype = first.shape[1:3], first.dtype
        _warn(images.facts, reading, name)

    @property
    def has_labels(self) -> bool:
        """Whether the folder has classes."""
        return self.images.y is not None

    @property
    def facts(self) -> dict[str, Any]:
        """What is not read or resized, as plain values."""
        return self.images.facts

    def sources(self) -> list[str]:
        """Return the number of the first image of each chunk."""
        return [str(first) for first in range(0, len(self.images.files), MAX_CHUNK_FILES)]

    def lay_out(self, source: str) -> list[FileRange]:
        """Return the chunk that begins with an image."""
        first = int(source)
        files = self.images.files[first : first + MAX_CHUNK_FILES]
        names = tuple(str(one.path) for one in files)
        return [FileRange(names, (), first, first + len(files))]

    def read(self, file_range: FileRange, label: bool, keys: bool) -> Chunk:
        """Read the files of a chunk."""
        rows = slice(file_range.start, file_range.stop)
        try:
            X = read_images(self.images.files[rows], self.reading.size, self.reading.schema)
        except DataError as error:
            if not Path(file_range.files[0]).exists():
                raise
            raise ShardError(str(error)) from error
        if X.shape[1:3] != self.shape or X.dtype != self.dtype:
            raise ShardError(
                f"{file_range.files[0]} is {X.shape[1]}x{X.shape[2]} {X.dtype}, and the first "
                f"image {self.shape[0]}x{self.shape[1]} {self.dtype}; pass resize="
                f"{(self.shape[0], self.shape[1])}, on the command line --resize "
                f"{self.shape[0]}x{self.shape[1]}"
            )
        if self.colour and X.ndim == 3:
            X = np.repeat(X[..., None], 3, axis=-1)
        y = self.images.y[rows] if label and self.images.y is not None else None
        names = self.images.keys.iloc[rows].reset_index(drop=True) if keys else None
        return Chunk(0, X, y, names)

    def key_types(self) -> dict[str, Any]:
        """Return the columns that identify an image, and their types."""
        types: dict[str, Any] = {"file": pa.string()}
        return types | {"frame": pa.int64()} if self.images.has_frames else types

    def stamp(self, source: str) -> dict[str, Any]:
        """Return size and time of the first file of a chunk."""
        found = Path(source).stat()
        return {"size": found.st_size, "modified": found.st_mtime}

    def describe(self) -> str:
        """Return what an image looks like."""
        sides = "x".join(map(str, self.shape)) + ("x3" if self.colour else "")
        return f"images of {sides} {self.dtype}"
