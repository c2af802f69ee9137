"""A folder of images: sub-folders are classes, or training and test set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from isthmus.data._pixels import read_images
from isthmus.data.dataset import Dataset, Splits
from isthmus.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_TEST_NAMES = ("test", "val", "valid", "validation")


def load_image_folder(folder: Path, resize: tuple[int, int] | None = None) -> Dataset | Splits:
    """Load the images in a folder, in natural order (`2.png` before `10.png`).

    Images directly in the folder have no labels. Sub-folders of images are classes, and
    their names the labels. Sub-folders `train` and `test` (or else `val`), which may hold
    classes in turn, are a training and a test set; where `test` and `val` both exist, `val`
    is not read. Hidden files and files that are not images are passed over. How pixels are
    read is said at `isthmus.data._pixels.read_images`.

    Parameters
    ----------
    folder : Path
    resize : (height, width) or None

    Returns
    -------
    Dataset or Splits
        `X` is (n, h, w) when all images are grey, otherwise (n, h, w, 3).

    Raises
    ------
    DataError
        When there are no images, they lie both in the folder and in sub-folders or a folder
        too deep, one cannot be read, or they differ in size and `resize` is not given.
    """
    parts = train_and_test(folder)
    if parts is None:
        paths, y = list_images(folder)
        return Dataset(read_images(paths, resize), y, name=folder.name)
    (train_paths, train_y), (test_paths, test_y) = (list_images(part) for part in parts)
    # Read as one, so that grey and colour are settled for both alike.
    X = read_images(train_paths + test_paths, resize)
    n_train = len(train_paths)
    return Splits(
        Dataset(X[:n_train], train_y, name=folder.name),
        Dataset(X[n_train:], test_y, name=folder.name),
    )


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image that can be loaded."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def train_and_test(folder: Path) -> tuple[Path, Path] | None:
    """Return the sub-folders of a training and a test set, None when there are no such two."""
    named = {path.name.lower(): path for path in _folders(folder)}
    if "train" not in named or _images(folder):
        return None
    for name in _TEST_NAMES:
        if name in named:
            return named["train"], named[name]
    return None


def list_images(folder: Path) -> tuple[list[Path], np.ndarray | None]:
    """Return the image files of a folder in order, and their class names if they have any."""
    direct = _images(folder)
    classes = {path.name: _images(path) for path in _folders(folder)}
    for name in classes:
        for inner in _folders(folder / name):
            if _images(inner):
                raise DataError(
                    f"{_images(inner)[0]} lies a folder too deep: expected images in {folder} or "
                    f"in its sub-folders; load {folder / name} instead, or move the images"
                )
    if not any(classes.values()):
        if not direct:
            raise DataError(
                f"{folder} holds no images: expected files that end in {', '.join(SUFFIXES)}, "
                "or sub-folders of them, one for each class"
            )
        return direct, None
    if direct:
        raise DataError(
            f"{folder} holds images both directly ({direct[0].name}) and in sub-folders; "
            "move the first into the folder of their class"
        )
    paths = [path for images in classes.values() for path in images]
    y = np.repeat(list(classes), [len(images) for images in classes.values()])
    return paths, y


def _images(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if _is_file(path)), key=_natural)


def _is_file(path: Path) -> bool:
    return is_image(path) and path.is_file()


def _folders(folder: Path) -> list[Path]:
    inner = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(inner, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Order names with their numbers by value; the name itself settles 1.png and 01.png."""
    parts = re.split(r"(\d+)", path.name.lower())
    key = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]
    return key, path.name
