"""One short string that stands for the exact values of an array or a table."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd


def fingerprint(X: np.ndarray | pd.DataFrame) -> str:
    """Return a SHA-256 of data, for caches and manifests.

    Of an array: dtype, shape and the bytes in C order, little-endian, so that neither the
    memory layout nor the machine matters. Of a DataFrame: the number of rows, then name,
    dtype and values of each column in order; the index is left out. Values that are Python
    objects, such as text labels with gaps, count by type and `repr`.

    Parameters
    ----------
    X : array of any shape, or DataFrame

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(6.0).reshape(2, 3)
    >>> fingerprint(X) == fingerprint(np.asfortranarray(X))
    True
    >>> fingerprint(X) == fingerprint(X.astype(np.float32))
    False
    """
    digest = hashlib.sha256()
    if isinstance(X, pd.DataFrame):
        digest.update(f"table of {X.shape}\n".encode())
        for position, name in enumerate(X.columns):
            column = X.iloc[:, position]
            digest.update(f"column {name!r} of {column.dtype}\n".encode())
            _add(digest, column.to_numpy())
    else:
        _add(digest, np.asarray(X))
    return digest.hexdigest()


def _add(digest: hashlib._Hash, values: np.ndarray) -> None:
    if values.dtype.hasobject:
        digest.update(f"objects {values.shape}\n".encode())
        for value in values.ravel():
            # The length in front keeps ["a", "b"] apart from ["a b"].
            written = f"{type(value).__name__} {value!r}".encode()
            digest.update(f"{len(written)} ".encode() + written)
        return
    values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    digest.update(f"{values.dtype.str} {values.shape}\n".encode())
    digest.update(values.reshape(-1).view(np.uint8).data)
