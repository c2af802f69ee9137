"""Files of arrays: `.npy`, `.npz`, and the IDX format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from isthmus._core import gunzip, read_bytes
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.schema import Schema
from isthmus.errors import DataError

_DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError)
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

    Raises
    ------
    DataError
        When the file is damaged or holds Python objects, which are never unpickled.
    """
    try:
        # Given a path, NumPy leaves the file open when the archive is damaged.
        with path.open("rb") as file:
            X = np.load(file, allow_pickle=False)
    except (ValueError, *_DAMAGED) as error:
        raise _unreadable(path, error) from error
    if not isinstance(X, np.ndarray):
        raise DataError(f"{path} is an archive of arrays; rename it to end in .npz")
    return Dataset(X, schema=Schema.learn(X, kind), name=path.name)


def load_npz(path: Path, kind: str = "auto") -> Dataset | Splits:
    """Load a `.npz` file of `X` and perhaps `y`, or of `x_train`, `y_train`, `x_test`, `y_test`.

    The second is how Keras stores its data sets; its labels may be missing as well. Capitals
    do not matter and other arrays in the file are passed over. `kind` as in `Schema.learn`.

    Raises
    ------
    DataError
        When the file is damaged, holds none of these names, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array; rename it to end in .npy")
            wanted = ("x", "y", "x_train", "y_train", "x_test", "y_test")
            names = list(archive.files)
            arrays = {name.lower(): archive[name] for name in names if name.lower() in wanted}
    except DataError:
        raise
    except (ValueError, *_DAMAGED) as error:
        raise _unreadable(path, error) from error
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


def _unreadable(path: Path, error: Exception) -> DataError:
    if "Object arrays" in str(error):
        return DataError(
            f"{path} holds Python objects, which isthmus does not unpickle; "
            "save it again as an array of numbers"
        )
    if "allow_pickle" in str(error):  # NumPy takes every unknown file for a pickle
        return DataError(f"{path} is not a file that NumPy saved; save it with np.save or np.savez")
    return DataError(f"cannot read {path} ({error}); the file is damaged: save or copy it again")


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


def is_idx_file(path: Path) -> bool:
    """Return whether a file is IDX, by its name or by its content.

    Raises
    ------
    DataError
        When it cannot be read.
    """
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
