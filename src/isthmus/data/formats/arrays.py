"""NumPy files: `.npy` holds X; `.npz` holds X and perhaps y, or a training and a test set."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from isthmus.data.dataset import Dataset, Splits
from isthmus.data.schema import Schema
from isthmus.errors import DataError

_DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError)


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
