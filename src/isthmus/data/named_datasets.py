"""Download, verification and loading of named data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
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

# Seconds to connect, and between two chunks of the response; not for the whole file.
_TIMEOUT_S = 20


def fetch(entry: Entry, files: Sequence[SourceFile], folder: Path) -> dict[str, bytes]:
    """Download files of a data set into a folder.

    Each file is verified before it is written, and written atomically.

    Parameters
    ----------
    entry : Entry
    files : sequence of SourceFile
        Subset of `entry.files`.
    folder : Path
        Created when it does not exist.

    Returns
    -------
    dict
        Uncompressed content of each of `files` by its published name.

    Raises
    ------
    DownloadError
        When the folder cannot be written to, or a file could not be downloaded from any mirror.
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
                contents[file.name] = _fetch_file(entry, file, mirrors, folder, progress)
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(
            f"cannot write to {folder} ({error.strerror or error}); make it writable, or put "
            f"{list_files(entry)} in a folder and name that as data_dir"
        ) from error
    return contents


def list_files(entry: Entry) -> str:
    """Return the names of a data set's archives as a list in words.

    Examples
    --------
    >>> from isthmus.data.catalog import CATALOG
    >>> list_files(CATALOG["mnist"])[:48]
    'train-images-idx3-ubyte.gz, train-labels-idx1-ub'
    """
    *others, last = (file.archive for file in entry.files)
    return f"{', '.join(others)} and {last}"


def _fetch_file(
    entry: Entry, file: SourceFile, mirrors: list[str], folder: Path, progress: Progress
) -> bytes:
    failures = []
    for mirror in list(mirrors):
        url = f"{mirror}/{file.archive}"
        task = progress.add_task(file.archive, total=None)
        try:
            content = _download(url, _ProgressBar(progress, task))
            if file.sha256 is None and not is_gzip(content):
                raise DataError("not a gzip archive, and nothing else can be verified")
            plain = file.verified(content, url)
        except (OSError, DataError) as error:
            failures.append(f"{url}: {_one_line(error)}")
            # A mirror that failed is tried last for the following files.
            mirrors.remove(mirror)
            mirrors.append(mirror)
            continue
        finally:
            progress.remove_task(task)
        # A server may send the content uncompressed; the suffix must fit what was received.
        target = folder / (file.archive if is_gzip(content) else file.name)
        write_bytes(target, content)
        return plain
    raise DownloadError(
        f"cannot download {entry.name}: no mirror gave {file.archive} "
        f"({'; '.join(failures)}); put {list_files(entry)} in {folder}, "
        "or try `isthmus demo digits`, which needs no download"
    )


def _download(url: str, bar: _ProgressBar) -> bytes:
    import pooch

    content = BytesIO()
    # The MD5s are those of the archives, which "identity" leaves compressed.
    downloader = pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=1 << 16,
        timeout=_TIMEOUT_S,
        headers={"Accept-Encoding": "identity"},
    )
    downloader(url, content, None)
    return content.getvalue()


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:197]}..."


class _ProgressBar:
    """Adapter of a rich progress task to the interface of pooch progress bars."""

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
        """Do nothing; the task is removed after the download."""


def load_named(entry: Entry, data_dir: str | Path | None = None) -> Splits:
    """Load a data set of the catalog.

    `digits` comes with scikit-learn: float32 in [0, 1], of shape (1797, 8, 8), of which a fifth
    of each class is the test set, drawn with the fixed seed 0. `pump` is generated, see
    `isthmus.data.pump_table`: a long table, window and stride chosen from the data, of which the
    training part is normal and the test part is labelled. The others are uint8 images of
    shape (n, 28, 28) with their published split. Their files are searched in `data_dir` only, if
    given; otherwise in `$ISTHMUS_DATA/NAME`, for MNIST also in `$ISTHMUS_DATA`, then in the
    user's cache, into which missing files are downloaded.

    Parameters
    ----------
    entry : Entry
        See `isthmus.data.catalog.find_entry`.
    data_dir : str, Path or None
        Folder with the files, or with a subfolder of the data set's name that has them.

    Returns
    -------
    Splits
        Labels are int64 of shape (n,); of `pump` 0 is normal and 1 is not.

    Raises
    ------
    DataError
        When the files are not in `data_dir`, or one is damaged or not the published one.
        MNIST is verified by the SHA-256 of its uncompressed files, Fashion-MNIST and KMNIST by
        the MD5 of the published archives; of an *uncompressed* copy of those two only the
        shape is checked.
    DownloadError
        When a file had to be downloaded and no mirror provided it.
    """
    if entry.name == "pump":
        return _load_pump(entry)
    if not entry.files:
        return _load_digits(entry)
    arrays = _load_arrays(entry, data_dir)
    train_X, train_y, test_X, test_y = (arrays[file.name] for file in entry.files)
    return Splits(
        _dataset(entry, train_X, train_y),
        _dataset(entry, test_X, test_y),
    )


def cache_folder(entry: Entry) -> Path:
    """Return the data set's folder in the user's cache."""
    import pooch

    return Path(pooch.os_cache("isthmus")) / entry.name


def _load_digits(entry: Entry) -> Splits:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Grey levels are 0 to 16.
    images = (bunch.images / 16).astype(np.float32)
    return _dataset(entry, images, bunch.target.astype(np.int64)).split(0.2, random_state=0)


def _load_pump(entry: Entry) -> Splits:
    from isthmus.data.pump import LABEL, TIME, pump_table
    from isthmus.data.windows import WindowOptions, series_from_frame

    cutting = WindowOptions("auto", "auto", TIME, window_label="any", normal=0)
    train = series_from_frame(pump_table("train"), cutting, LABEL, entry.name)
    assert train.points is not None
    as_train = replace(cutting, window=train.points.window, stride=train.points.stride)
    return Splits(train, series_from_frame(pump_table("test"), as_train, LABEL, entry.name))


def _load_arrays(entry: Entry, data_dir: str | Path | None) -> dict[str, np.ndarray]:
    """Return the verified array of each file by its name; one file at a time is in memory."""
    folder = _find_folder(entry, data_dir)
    arrays, missing = {}, []
    for file in entry.files:
        path = find_idx(folder, file.name)
        if path is None:
            missing.append(file)
        else:
            arrays[file.name] = _parse_verified(file, path, file.verified(read_bytes(path), path))
    if missing:
        for name, content in fetch(entry, missing, folder).items():
            file = next(each for each in missing if each.name == name)
            arrays[name] = _parse_verified(file, folder / name, content)
    return arrays


def _find_folder(entry: Entry, data_dir: str | Path | None) -> Path:
    """Return the first folder with all files, or that of the cache, where some may be missing."""
    if data_dir is not None:
        given = Path(data_dir).expanduser()
        for folder in (given / entry.name, given):
            if _has_all_files(folder, entry):
                return folder
        raise DataError(
            f"{given} does not hold {entry.name}: expected {list_files(entry)} in it "
            f"or in {given / entry.name}; put them there, or leave data_dir out to download them"
        )
    shared = os.environ.get("ISTHMUS_DATA")
    if shared:
        root = Path(shared).expanduser()
        # The file names are the same for every data set; without a subfolder they are MNIST.
        folders = (root / entry.name, root) if entry.name == "mnist" else (root / entry.name,)
        for folder in folders:
            if _has_all_files(folder, entry):
                return folder
    return cache_folder(entry)


def _has_all_files(folder: Path, entry: Entry) -> bool:
    return all(find_idx(folder, file.name) for file in entry.files)


def _parse_verified(file: SourceFile, path: Path, content: bytes) -> np.ndarray:
    values = parse_idx(content, path)
    if values.shape != file.shape or values.dtype != np.uint8:
        raise DataError(
            f"{path} is not the published {file.name}: it holds {values.dtype} of shape "
            f"{values.shape}, expected uint8 of shape {file.shape}; delete it and fetch it again"
        )
    return values


def _dataset(entry: Entry, X: np.ndarray, y: np.ndarray) -> Dataset:
    return Dataset(X, as_class_numbers(y), class_names=entry.class_names, name=entry.name)
