"""Load a data set by its name: find its files or download them, verify, assemble."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from isthmus.data._bytes import read_bytes
from isthmus.data.catalogue import Entry, SourceFile
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.download import fetch, list_files
from isthmus.data.idx import parse_idx
from isthmus.data.idx_files import as_class_numbers, find_idx
from isthmus.errors import DataError


def load_named(entry: Entry, data_dir: str | Path | None = None) -> Splits:
    """Load a data set of the catalogue.

    `digits` comes with scikit-learn: float32 in [0, 1], of shape (1797, 8, 8), a fifth of
    each class set aside for testing with the fixed seed 0. The others are uint8 images of
    shape (n, 28, 28) with their published split. They are looked for in `data_dir` alone if
    given; otherwise in `$ISTHMUS_DATA/NAME`, for MNIST also in `$ISTHMUS_DATA` itself, then
    in the user's cache, and what is not there is downloaded into the cache.

    Parameters
    ----------
    entry : Entry
        See `isthmus.data.catalogue.find_entry`.
    data_dir : str, Path or None
        A folder that holds the files, or holds a folder of the data set's name that does.

    Returns
    -------
    Splits
        Labels are int64 of shape (n,).

    Raises
    ------
    DataError
        When the files are not in `data_dir`, or one is damaged or not the published one.
        MNIST is known by the SHA-256 of its uncompressed files; Fashion-MNIST and KMNIST by
        the MD5 of the archives as published, so that an *uncompressed* copy of those two
        cannot be verified: only its shape is checked.
    DownloadError
        When a file had to be downloaded and no mirror gave it.
    """
    if not entry.files:
        return _digits(entry)
    arrays = _arrays(entry, data_dir)
    train_X, train_y, test_X, test_y = (arrays[file.name] for file in entry.files)
    return Splits(
        _dataset(entry, train_X, train_y),
        _dataset(entry, test_X, test_y),
    )


def cache_folder(entry: Entry) -> Path:
    """Return the folder of the user's cache that the data set is kept in."""
    import pooch

    return Path(pooch.os_cache("isthmus")) / entry.name


def _digits(entry: Entry) -> Splits:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Sixteen grey levels and none: 0 to 16.
    images = (bunch.images / 16).astype(np.float32)
    return _dataset(entry, images, bunch.target.astype(np.int64)).split(0.2, random_state=0)


def _arrays(entry: Entry, data_dir: str | Path | None) -> dict[str, np.ndarray]:
    """Return what each file holds, verified; no two files are in memory beside their arrays."""
    folder = _folder(entry, data_dir)
    arrays, absent = {}, []
    for file in entry.files:
        path = find_idx(folder, file.name)
        if path is None:
            absent.append(file)
        else:
            arrays[file.name] = _parse(file, path, file.verified(read_bytes(path), path))
    if absent:
        for name, content in fetch(entry, absent, folder).items():
            file = next(one for one in absent if one.name == name)
            arrays[name] = _parse(file, folder / name, content)
    return arrays


def _folder(entry: Entry, data_dir: str | Path | None) -> Path:
    """Return the folder with all the files, or the cache, which may lack some."""
    if data_dir is not None:
        given = Path(data_dir).expanduser()
        for folder in (given / entry.name, given):
            if _holds_all(folder, entry):
                return folder
        raise DataError(
            f"{given} does not hold {entry.name}: expected {list_files(entry)} in it "
            f"or in {given / entry.name}; put them there, or leave data_dir out to download them"
        )
    shared = os.environ.get("ISTHMUS_DATA")
    if shared:
        root = Path(shared).expanduser()
        # The four names are the same for every data set; bare they mean MNIST.
        folders = (root / entry.name, root) if entry.name == "mnist" else (root / entry.name,)
        for folder in folders:
            if _holds_all(folder, entry):
                return folder
    return cache_folder(entry)


def _holds_all(folder: Path, entry: Entry) -> bool:
    return all(find_idx(folder, file.name) for file in entry.files)


def _parse(file: SourceFile, path: Path, content: bytes) -> np.ndarray:
    values = parse_idx(content, path)
    if values.shape != file.shape or values.dtype != np.uint8:
        raise DataError(
            f"{path} is not the published {file.name}: it holds {values.dtype} of shape "
            f"{values.shape}, expected uint8 of shape {file.shape}; delete it and fetch it again"
        )
    return values


def _dataset(entry: Entry, X: np.ndarray, y: np.ndarray) -> Dataset:
    return Dataset(X, as_class_numbers(y), class_names=entry.class_names, name=entry.name)
