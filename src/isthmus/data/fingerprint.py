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
    parts = ArrayFingerprint(values.shape, values.dtype, digest)
    parts.update(values)


class ArrayFingerprint:
    """The fingerprint of an array of numbers that comes in pieces, in order.

    Parameters
    ----------
    shape : tuple of int
        Of the whole array.
    dtype : dtype

    Examples
    --------
    >>> X = np.arange(6.0).reshape(3, 2)
    >>> pieces = ArrayFingerprint((3, 2), X.dtype)
    >>> pieces.update(X[:1])
    >>> pieces.update(X[1:])
    >>> pieces.hexdigest() == fingerprint(X)
    True
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype, digest: hashlib._Hash | None = None
    ) -> None:
        self.dtype = dtype.newbyteorder("<")
        self._digest = hashlib.sha256() if digest is None else digest
        self._digest.update(f"{self.dtype.str} {shape}\n".encode())

    def update(self, values: np.ndarray) -> None:
        """Take in the next rows."""
        values = np.ascontiguousarray(values.astype(self.dtype, copy=False))
        self._digest.update(values.reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """Return the fingerprint."""
        return self._digest.hexdigest()
