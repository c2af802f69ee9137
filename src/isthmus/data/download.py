"""Fetch the files of a named data set: several mirrors, verified, atomically in place."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.data._bytes import is_gzip
from isthmus.data.catalogue import Entry, SourceFile
from isthmus.errors import DataError, DownloadError
from isthmus.storage import write_bytes

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds to connect and between two pieces of the answer, not for the whole file.
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
    >>> from isthmus.data.catalogue import CATALOGUE
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
