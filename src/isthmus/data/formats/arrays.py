"""Files of arrays: `.npy`, `.npz`, and the IDX format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from isthmus._core import check_content, gunzip, is_gzip, read_bytes, reading
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.schema import Schema
from isthmus.errors import DataError

_MAGIC, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
# The third byte of the file names the type of every value in it.
_TYPES: dict[int, np.dtype] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
# NumPy holds no more; a larger count means that the file is something else.
_MAX_DIMENSIONS = 64


def load_npy(path: Path, kind: str = "auto") -> Dataset:
    """Load the array of a `.npy` file as X, without labels; `kind` as in `Schema.learn`.

    Parameters
    ----------
    path : Path
    kind : str

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        When the file is damaged or holds Python objects, which are never unpickled.
    """
    X = read_npy(path)
    return Dataset(X, schema=Schema.learn(X, kind), name=path.name)


def load_npz(path: Path, kind: str = "auto") -> Dataset | Splits:
    """Load a `.npz` file of `X` and perhaps `y`, or of `x_train`, `y_train`, `x_test`, `y_test`.

    The second is how Keras stores its data sets; its labels may be missing as well. Capitals
    do not matter and other arrays in the file are passed over. `kind` as in `Schema.learn`.

    Parameters
    ----------
    path : Path
    kind : str

    Returns
    -------
    Dataset, or Splits of the training and the test part

    Raises
    ------
    DataError
        When the file is damaged, holds none of these names, or holds Python objects.
    """
    wanted = ("x", "y", "x_train", "y_train", "x_test", "y_test")
    found, names = read_npz(path, lambda name: name.lower() in wanted)
    arrays = {name.lower(): values for name, values in found.items()}
    if "x_train" in arrays and "x_test" in arrays:
        return Splits(_part(arrays, path, "_train", kind), _part(arrays, path, "_test", kind))
    if "x" in arrays:
        return _part(arrays, path, "", kind)
    raise DataError(
        f"{path} holds {', '.join(names) or 'nothing'}; expected X and perhaps y, "
        "or x_train, y_train, x_test and y_test: save it with np.savez(path, X=X, y=y)"
    )


def _part(arrays: Mapping[str, np.ndarray], path: Path, ending: str, kind: str) -> Dataset:
    X = arrays[f"x{ending}"]
    return Dataset(X, arrays.get(f"y{ending}"), Schema.learn(X, kind), name=path.name)


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a `.npy` file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    array

    Raises
    ------
    DataError
        When it is no such file, is cut short, or holds Python objects.
    """
    with reading(path), path.open("rb") as file:
        if file.read(4) == _ZIP and zipfile.is_zipfile(file):
            raise DataError(f"{path} is an archive of arrays; rename it to end in .npz")
        file.seek(0)
        return _array(file, path.stat().st_size, path)


def read_npz(
    source: Path | bytes, wanted: Callable[[str], bool], name: str | Path | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the arrays of a `.npz` file whose names are wanted.

    Parameters
    ----------
    source : Path or bytes
        A file, or its content.
    wanted : callable
        Takes a name, without `.npy`.
    name : str or Path, optional
        What to call it in an error.

    Returns
    -------
    arrays : dict of str to array
    names : list of str
        Of all arrays in it.

    Raises
    ------
    DataError
        When it is damaged, holds Python objects, or more than `isthmus._core.largest_content`.
    """
    name = name or (source if isinstance(source, Path) else "the content")
    file: IO[bytes] = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with file, reading(name):
        begin, n_bytes = file.read(len(_MAGIC)), file.seek(0, 2)
        if begin == _MAGIC:
            file.seek(0)
            read_npy_header(file, name)
            raise DataError(f"{name} holds a single array; rename it to end in .npy")
        if begin[:4] not in (_ZIP, b"PK\5\6"):
            raise _no_numpy(name)
        with zipfile.ZipFile(file) as archive:
            members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
            chosen = {key: one for key, one in members.items() if wanted(key)}
            check_content(sum(one.file_size for one in chosen.values()), n_bytes, name)
            arrays = {}
            for key, one in chosen.items():
                with archive.open(one) as member:
                    arrays[key] = _array(member, one.file_size, f"{key} in {name}")
    return arrays, list(members)


def read_npy_header(file: IO[bytes], name: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Read the header of a `.npy` file, which is left at its first value.

    Parameters
    ----------
    file : binary file
        At its first byte.
    name : str or Path
        What to call it in an error.

    Returns
    -------
    shape : tuple of int
    dtype : numpy dtype

    Raises
    ------
    DataError
        When there is none, or it states no array.
    """
    shape, _, dtype = read_npy_layout(file, name)
    return shape, dtype


def read_npy_layout(file: IO[bytes], name: str | Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read a header as `read_npy_header` does; the second is whether columns come first."""
    with reading(name):
        begin = file.read(len(_MAGIC) + 2)
        if not begin.startswith(_MAGIC):
            raise _no_numpy(name)
        if begin[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
            raise DataError(f"{name} is of another version of the format; save it with np.save")
        read = npy.read_array_header_1_0 if begin[6] == 1 else npy.read_array_header_2_0
        shape, by_column, dtype = read(file)
        return shape, by_column, dtype


def check_npy(shape: tuple[int, ...], dtype: np.dtype, name: str | Path) -> None:
    """Check what a header states.

    Raises
    ------
    DataError
        When no array has that shape, or its values would have to be unpickled.
    """
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0 or not dtype.itemsize:
        raise DataError(
            f"cannot read {name}: its header states the shape {str(shape)[:100]} of {dtype}; the "
            "file is damaged: save or copy it again"
        )
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which isthmus does not unpickle; "
            "save it again as an array of numbers"
        )


def _array(file: IO[bytes], n_bytes: int, name: str | Path) -> np.ndarray:
    """Read a `.npy` file of this size, of which no more is allocated than it holds."""
    shape, by_column, dtype = read_npy_layout(file, name)
    check_npy(shape, dtype, name)
    stated, there = math.prod(shape) * dtype.itemsize, n_bytes - file.tell()
    if stated > there:
        raise DataError(
            f"cannot read {name}: its header states shape {shape} of {dtype}, which is {stated:,} "
            f"bytes, and {there:,} follow; save or copy it again"
        )
    values = np.empty(shape, dtype, order="F" if by_column else "C")
    flat = values.reshape(-1, order="A").view(np.uint8) if values.size else values
    at = 0
    while at < flat.size and (n := file.readinto(flat[at : at + 2**24])):  # type: ignore[attr-defined]
        at += n
    if at < stated:
        raise DataError(
            f"cannot read {name}: it is cut short after {at:,} bytes; save or copy it again"
        )
    return values


def _no_numpy(name: str | Path) -> DataError:
    return DataError(f"{name} is not a file that NumPy saved; save it with np.save or np.savez")


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, gzipped or not, into an array.

    Gzip is recognised by content, so the name need not end in `.gz`.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    array
        Of the shape that the header states, in the machine's own byte order: uint8,
        int8, int16, int32, float32 or float64.

    Raises
    ------
    DataError
        When the file cannot be read, is not IDX, is damaged, cut short or too long.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    return parse_idx(read_bytes(path), path)


def parse_idx(content: bytes, name: str | Path = "the content") -> np.ndarray:
    """Turn the bytes of an IDX file, gzipped or not, into an array.

    Parameters
    ----------
    content : bytes
    name : str or Path
        What to call the content in an error.

    Returns
    -------
    array
        See `read_idx`. It owns its memory and can be written to.

    Raises
    ------
    DataError
        When the content is not IDX, is damaged, cut short or too long.

    Examples
    --------
    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9]))
    array([[7, 9]], dtype=uint8)
    """
    content = gunzip(content, name)
    if not is_idx(content):
        raise DataError(
            f"{name} is not an IDX file: it begins with {_first_bytes(content)}, expected "
            f"00 00, a type code (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions"
            f"{_guess(content)}"
        )
    dtype, n_dimensions = _TYPES[content[2]], content[3]
    start = 4 + 4 * n_dimensions
    if len(content) < start:
        raise DataError(
            f"{name} ends inside its header: it has {len(content)} bytes, "
            f"expected at least {start}; fetch or copy it again"
        )
    shape = struct.unpack(f">{n_dimensions}I", content[4:start])
    expected = math.prod(shape) * dtype.itemsize
    got = len(content) - start
    if got != expected:
        trouble = "is cut short" if got < expected else "goes on after its data"
        raise DataError(
            f"{name} {trouble}: its header states shape {shape} of {dtype.newbyteorder('=')}, "
            f"which is {expected} bytes, and {got} follow; fetch or copy it again"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    # A copy, because a view of immutable bytes is an array that nobody can write to.
    return values.astype(dtype.newbyteorder("="), copy=True)


def is_idx(head: bytes) -> bool:
    r"""Tell from its first four bytes (not gzipped) whether a file is IDX.

    Examples
    --------
    >>> is_idx(bytes([0, 0, 8, 3])), is_idx(b"a,b\n")
    (True, False)
    """
    return (
        len(head) >= 4
        and head[:2] == b"\0\0"
        and head[2] in _TYPES
        and 1 <= head[3] <= _MAX_DIMENSIONS
    )


def _first_bytes(content: bytes) -> str:
    return content[:4].hex(" ") if content else "nothing (it is empty)"


def _guess(content: bytes) -> str:
    if content[:64].lstrip().startswith(b"<"):
        return "; it looks like a web page saved under that name"
    return ""


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

    Parameters
    ----------
    folder : Path
    name : str
        Such as `train-images-idx3-ubyte`.

    Returns
    -------
    Path or None
    """
    dotted = name.replace("-idx", ".idx")
    for spelling in (f"{name}.gz", name, f"{dotted}.gz", dotted):
        if (folder / spelling).is_file():
            return folder / spelling
    return None


def load_idx_folder(folder: Path) -> Splits | None:
    """Load a folder that holds the four canonical files; None when it holds none of them.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Splits or None

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

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset
        Its labels are None where no file of labels lies beside it.

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


def is_idx_file(path: Path) -> bool:
    """Return whether a file is IDX, by its name or by its content.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool

    Raises
    ------
    DataError
        When it cannot be read.
    """
    # A damaged file that is called IDX goes to the IDX reader, whose error says more.
    if "-ubyte" in path.name or "idx" in path.suffix:
        return True
    with reading(path), path.open("rb") as file:
        head = file.read(4)
        if is_gzip(head):
            with gzip.open(path) as unpacked:
                head = unpacked.read(4)
    return is_idx(head)
