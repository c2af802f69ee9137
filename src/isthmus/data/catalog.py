"""The catalog of named data sets: file names, addresses and checksums."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus._core import gunzip, is_gzip
from isthmus.errors import DataError


@dataclass(frozen=True)
class SourceFile:
    """One published file of a data set.

    Attributes
    ----------
    name : str
        Published name, without `.gz`.
    shape : tuple of int
        Shape of the array in it.
    sha256 : str or None
        SHA-256 of the uncompressed content, so that any re-compressed copy passes.
    archive_md5 : str or None
        MD5 of the `.gz` archive as published, where no SHA-256 is published. It cannot verify
        an uncompressed copy, of which only the shape is checked.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str | None = None
    archive_md5: str | None = None

    @property
    def archive(self) -> str:
        """Name of the archive on the mirrors."""
        return f"{self.name}.gz"

    def verified(self, content: bytes, path: str | Path) -> bytes:
        """Check the content of a copy and return it uncompressed.

        Parameters
        ----------
        content : bytes
            The file as stored or downloaded, gzipped or not.
        path : str or Path
            Path or address of the copy, for the error.

        Raises
        ------
        DataError
            When the checksum is not the published one or the archive is damaged.
        """
        if self.archive_md5 is not None and is_gzip(content):
            got = hashlib.md5(content, usedforsecurity=False).hexdigest()
            _check_digest(got, self.archive_md5, "MD5", self.archive, path)
        plain = gunzip(content, path)
        if self.sha256 is not None:
            got = hashlib.sha256(plain).hexdigest()
            _check_digest(got, self.sha256, "SHA-256 (uncompressed)", self.name, path)
        return plain


@dataclass(frozen=True)
class Entry:
    """A named data set of the catalog.

    Attributes
    ----------
    name : str
    summary : str
        One line of description.
    class_names : tuple of str
        Names of the classes 0, 1, 2 ...
    files : tuple of SourceFile
        Training images, training labels, test images, test labels; empty when the
        data comes with a dependency, or is generated.
    mirrors : tuple of str
        URLs of folders with the files, tried in turn.
    """

    name: str
    summary: str
    class_names: tuple[str, ...]
    files: tuple[SourceFile, ...] = ()
    mirrors: tuple[str, ...] = ()


def find_entry(name: str) -> Entry | None:
    """Return the catalog entry of a name, or None.

    Case is ignored, and an underscore is the same as a hyphen.

    Examples
    --------
    >>> find_entry("Fashion_MNIST").name
    'fashion-mnist'
    """
    return CATALOG.get(_normalised(name))


def near_miss(name: str) -> str | None:
    """Return the most similar name of a data set, or None when none is similar.

    Examples
    --------
    >>> near_miss("mnits")
    'mnist'
    """
    close = difflib.get_close_matches(_normalised(name), CATALOG, 1, 0.7)
    return close[0] if close else None


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-")


def _check_digest(got: str, expected: str, kind: str, name: str, path: str | Path) -> None:
    if got != expected:
        raise DataError(
            f"{path} is not the published {name}: its {kind} is {got}, expected {expected}; "
            "delete it and put the published file there, or let it be downloaded again"
        )


def _idx_files(digests: tuple[str, str, str, str], *, archives: bool) -> tuple[SourceFile, ...]:
    layout = (
        ("train-images-idx3-ubyte", (60000, 28, 28)),
        ("train-labels-idx1-ubyte", (60000,)),
        ("t10k-images-idx3-ubyte", (10000, 28, 28)),
        ("t10k-labels-idx1-ubyte", (10000,)),
    )
    return tuple(
        SourceFile(name, shape, archive_md5=digest)
        if archives
        else SourceFile(name, shape, sha256=digest)
        for (name, shape), digest in zip(layout, digests, strict=True)
    )


_DIGIT_NAMES = tuple(str(digit) for digit in range(10))

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "digits",
            "1,797 handwritten digits of 8x8 pixels; comes with scikit-learn",
            _DIGIT_NAMES,
        ),
        Entry(
            "mnist",
            "70,000 handwritten digits of 28x28 pixels",
            _DIGIT_NAMES,
            _idx_files(
                (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
                archives=False,
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist",
                "https://storage.googleapis.com/cvdf-datasets/mnist",
                "http://yann.lecun.com/exdb/mnist",
            ),
        ),
        Entry(
            "fashion-mnist",
            "70,000 pictures of clothes of 28x28 pixels",
            (
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            # The MD5s that the authors publish in the README of their repository.
            _idx_files(
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
                archives=True,
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            ),
        ),
        Entry(
            "kmnist",
            "70,000 handwritten Japanese syllables of 28x28 pixels",
            ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            # The MD5s that torchvision checks the same archives against.
            _idx_files(
                (
                    "bdb82020997e1d708af4cf47b453dcf7",
                    "e144d726b3acfaa3e44228e80efcd344",
                    "5c965bf0a639b31b8f53240b1b52f4d7",
                    "7320c461ea6c1c855c0b718fb2a4b134",
                ),
                archives=True,
            ),
            ("http://codh.rois.ac.jp/kmnist/dataset/kmnist",),
        ),
        Entry(
            "pump",
            "4 sensors of a simulated pump, a row a minute: 4,000 normal, 2,000 with anomalies",
            ("0", "1"),
        ),
    )
}


def describe_missing(path: Path) -> str:
    """Return the error for a source that does not exist, with what may have been meant."""
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
        f"expected a path or one of the data sets {', '.join(CATALOG)}"
    )


def check_exists(source: Any) -> None:
    """Check that a path leads somewhere, before options are refused that do not suit it.

    Raises
    ------
    DataError
        When the source is a path, no address and no pattern, and nothing is there.
    """
    if not isinstance(source, str | os.PathLike) or find_entry(str(source)) is not None:
        return
    path = Path(source).expanduser()
    if not path.exists() and "://" not in str(source) and not set("*?[") & set(str(source)):
        raise DataError(describe_missing(path))
