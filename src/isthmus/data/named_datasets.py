"""Named data sets: downloaded, verified, and assembled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isthmus._core import is_gzip, read_bytes, write_bytes
from isthmus.data.catalog import Entry, SourceFile
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.formats import as_class_numbers, find_idx, parse_idx
from isthmus.errors import DataError, DownloadError

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds to connect and between two chunks of the answer, not for the whole file.
_TIMEOUT = 20


def fetch(entry: Entry, files: Sequence[SourceFile], folder: Path) -> dict[str, bytes]:
    """Download files of a data set into a folder.

    Every file is verified before it is written, so a wrong one never reaches the
    folder, and it appears there complete or not at all.

    Parameters
    ----------
    entry : Entry
    files : sequence of SourceFile
        Those of `entry.files` that are wanted.
    folder : Path
        Made when it does not exist.

    Returns
    -------
    dict
        Canonical name to uncompressed content, for each of `files`.

    Raises
    ------
    DownloadError
        When the folder cannot be written to or no mirror gave the right file.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    mirrors = list(entry.mirrors)
    contents = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            for file in files:
                contents[file.name] = _fetch_one(entry, file, mirrors, folder, progress)
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(
            f"cannot write to {folder} ({error.strerror or error}); make it writable, or put "
            f"{list_files(entry)} in a folder and name that as data_dir"
        ) from error
    return contents


def list_files(entry: Entry) -> str:
    """Return the names of a data set's files as words.

    Examples
    --------
    >>> from isthmus.data.catalog import CATALOGUE
    >>> list_files(CATALOGUE["mnist"])[:48]
    'train-images-idx3-ubyte.gz, train-labels-idx1-ub'
    """
    *most, last = (file.archive for file in entry.files)
    return f"{', '.join(most)} and {last}"


def _fetch_one(
    entry: Entry, file: SourceFile, mirrors: list[str], folder: Path, progress: Progress
) -> bytes:
    failures = []
    for mirror in list(mirrors):
        url = f"{mirror}/{file.archive}"
        task = progress.add_task(file.archive, total=None)
        try:
            content = _get(url, _Bar(progress, task))
            if file.sha256 is None and not is_gzip(content):
                raise DataError("not a gzip archive, and nothing else can be verified")
            plain = file.verified(content, url)
        except (OSError, DataError) as error:
            failures.append(f"{url}: {_short(error)}")
            # The next file need not wait for a mirror that has just failed.
            mirrors.remove(mirror)
            mirrors.append(mirror)
            continue
        finally:
            progress.remove_task(task)
        # A server may have undone the gzip on the way: the name says what is inside.
        target = folder / (file.archive if is_gzip(content) else file.name)
        write_bytes(target, content)
        return plain
    raise DownloadError(
        f"cannot download {entry.name}: no mirror gave {file.archive} "
        f"({'; '.join(failures)}); put {list_files(entry)} in {folder}, "
        "or try `isthmus demo digits`, which needs no download"
    )


def _get(url: str, bar: _Bar) -> bytes:
    import pooch

    content = BytesIO()
    # "identity" keeps the archive as published, which the MD5s are of.
    download = pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=1 << 16,
        timeout=_TIMEOUT,
        headers={"Accept-Encoding": "identity"},
    )
    download(url, content, None)
    return content.getvalue()


def _short(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:197]}..."


class _Bar:
    """What pooch expects of a progress bar, drawn by rich."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress = progress
        self._task = task

    @property
    def total(self) -> int:
        return 0

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._progress.update(self._task, total=n_bytes or None)  # type: ignore[arg-type]

    def update(self, n_bytes: int) -> None:
        self._progress.advance(self._task, n_bytes)  # type: ignore[arg-type]

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)  # type: ignore[arg-type]

    def close(self) -> None:
        """Nothing to do: the task is removed with its download."""


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
        See `isthmus.data.catalog.find_entry`.
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
