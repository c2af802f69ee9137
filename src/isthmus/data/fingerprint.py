"""One short string that stands for the exact values of an array or a table."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd

#: Bytes of rows that are hashed by themselves. Of data that several workers read, each hands on
#: the blocks at its two ends as they are.
BLOCK_BYTES = 2**18


def fingerprint(X: np.ndarray | pd.DataFrame) -> str:
    """Return a SHA-256 of data, for caches and manifests.

    Of an array: dtype, shape and the SHA-256 of each block of rows, in C order and
    little-endian, so that neither the memory layout nor the machine matters. A block has as many
    rows as fit into `BLOCK_BYTES`, and at least one. Of a DataFrame: the number of rows, then
    name, dtype and values of each column in order; the index is left out. Values that are Python
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
    blocks = Blocks(values.dtype, values.shape[1:])
    blocks.update(0, np.atleast_1d(values))
    digest.update(blocks.written(values.shape))


class Blocks:
    """What is hashed of some rows of an array of numbers: their blocks.

    Rows come in the order of their numbers, and some may be missing. A block of which some are
    has the others; which rows were there is then part of the fingerprint.

    Parameters
    ----------
    dtype : dtype
    row_shape : tuple of int
        Of one row.

    Examples
    --------
    Two halves, which may be made in two processes:

    >>> X = np.arange(6.0).reshape(3, 2)
    >>> first, second = Blocks(X.dtype, (2,)), Blocks(X.dtype, (2,))
    >>> first.update(0, X[:1])
    >>> second.update(1, X[1:])
    >>> first.extend(second)
    >>> first.fingerprint(3) == fingerprint(X)
    True
    """

    def __init__(self, dtype: np.dtype, row_shape: tuple[int, ...]) -> None:
        self.dtype, self.row_shape = dtype.newbyteorder("<"), row_shape
        row_bytes = max(1, self.dtype.itemsize * math.prod(row_shape))
        self.size = max(1, BLOCK_BYTES // row_bytes)
        #: From which row to before which, as often as some are missing between.
        self.there: list[tuple[int, int]] = []
        # Whoever has the rows before these may have some of the first block, and whoever has
        # those after them some of the last.
        self._first: _Open | None = None
        self._digests = bytearray()
        self._last: _Open | None = None

    def update(self, first_row: int, values: np.ndarray) -> None:
        """Take in the next rows, of which the first has this number."""
        done = 0
        while done < len(values):
            number, begun = divmod(first_row + done, self.size)
            rows = values[done : done + self.size - begun]
            content = np.ascontiguousarray(rows.astype(self.dtype, copy=False))
            self._take(number, content.reshape(-1).view(np.uint8).data, len(rows))
            done += len(rows)
        self._are_there(first_row, first_row + len(values))

    def extend(self, later: Blocks) -> None:
        """Take in what is known of rows after these."""
        if later._first is not None:
            self._take(later._first.number, later._first.content, later._first.n_rows)
        if later._digests:
            self._close()
            self._digests += later._digests
        if later._last is not None:
            self._take(later._last.number, later._last.content, later._last.n_rows)
        for first, stop in later.there:
            self._are_there(first, stop)

    def written(self, shape: tuple[int, ...]) -> bytes:
        """Return what the fingerprint of an array of this shape is the SHA-256 of."""
        n_rows = shape[0] if shape else 1
        gaps = "" if self.there in ([(0, n_rows)], []) else f"rows {self.there}\n"
        first, last = (
            b"" if block is None else block.digest() for block in (self._first, self._last)
        )
        return f"{self.dtype.str} {shape}\n{gaps}".encode() + first + self._digests + last

    def fingerprint(self, n_rows: int) -> str:
        """Return the fingerprint of all rows: `n_rows`, those missing counted too."""
        return hashlib.sha256(self.written((n_rows, *self.row_shape))).hexdigest()

    def _take(self, number: int, content: bytearray | memoryview, n_rows: int) -> None:
        """Take in rows of one block."""
        if self._last is None or self._last.number != number:
            self._close()
            if n_rows == self.size:  # whole as it is, and need not be copied
                self._digests += hashlib.sha256(content).digest()
                return
            self._last = _Open(number)
        self._last.content += content
        self._last.n_rows += n_rows

    def _close(self) -> None:
        """Hash the block that rows were added to last; there are no more of it."""
        if self._last is None:
            return
        is_first = self._first is None and not self._digests
        if is_first and self._last.n_rows < self.size:
            self._first = self._last
        else:
            self._digests += self._last.digest()
        self._last = None

    def _are_there(self, first: int, stop: int) -> None:
        if first == stop:
            return
        if self.there and self.there[-1][1] == first:
            first = self.there.pop()[0]
        self.there.append((first, stop))


class _Open:
    """A block of which there may be more rows."""

    def __init__(self, number: int) -> None:
        self.number, self.content, self.n_rows = number, bytearray(), 0

    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()
