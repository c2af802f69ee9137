"""IDX files as they circulate: four of them in a folder, under two spellings, gzipped or not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from isthmus.data.dataset import Dataset, Splits
from isthmus.data.idx import read_idx
from isthmus.errors import DataError

# Training images and labels, test images and labels.
FOUR_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file of that canonical name in a folder, or None.

    It may be gzipped, and a dot may stand for the dash before `idx`: both spellings
    circulate.
    """
    dotted = name.replace("-idx", ".idx")
    for spelling in (f"{name}.gz", name, f"{dotted}.gz", dotted):
        if (folder / spelling).is_file():
            return folder / spelling
    return None


def load_idx_folder(folder: Path) -> Splits | None:
    """Load a folder that holds the four canonical files; None when it holds none of them.

    Raises
    ------
    DataError
        When it holds some of the four and not all, or one of them is damaged.
    """
    found = {name: find_idx(folder, name) for name in FOUR_FILES}
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == len(FOUR_FILES):
        return None
    if missing:
        raise DataError(
            f"{folder} holds some of the four IDX files and lacks {', '.join(missing)}; "
            "put the missing ones beside the others, or pass one file instead of the folder"
        )
    train_X, train_y, test_X, test_y = (read_idx(path) for path in found.values() if path)
    return Splits(
        Dataset(train_X, as_class_numbers(train_y), name=folder.name),
        Dataset(test_X, as_class_numbers(test_y), name=folder.name),
    )


def load_idx_file(path: Path) -> Dataset:
    """Load one IDX file of images or vectors, with the labels that lie beside it if any.

    The labels of `train-images-idx3-ubyte` are `train-labels-idx1-ubyte`, in any spelling
    that `find_idx` knows.

    Raises
    ------
    DataError
        When the file is damaged, holds labels only, or has another number of labels.
    """
    X = read_idx(path)
    if X.ndim == 1:
        raise DataError(
            f"{path} holds one number for each instance, which looks like labels; "
            "pass the file of the images or vectors, and labels beside it are found by name"
        )
    labels = _labels_beside(path)
    y = None if labels is None else as_class_numbers(read_idx(labels))
    if labels is not None and y is not None and (y.ndim != 1 or len(y) != len(X)):
        raise DataError(
            f"{path} holds {len(X)} instances and {labels} has shape {y.shape}; "
            "expected one label for each instance: move the labels away if they belong elsewhere"
        )
    return Dataset(X, y, name=path.name)


def as_class_numbers(y: np.ndarray) -> np.ndarray:
    """Widen the bytes that IDX stores classes in to int64."""
    return y.astype(np.int64) if y.dtype.kind in "iu" else y


def _labels_beside(path: Path) -> Path | None:
    name = path.name.removesuffix(".gz")
    canonical = re.sub(r"[.-]idx\d", "-idx1", name)
    labels, n_changes = re.subn(r"images|vectors", "labels", canonical)
    return find_idx(path.parent, labels) if n_changes else None
