"""SHA-256 fingerprints of arrays and tables, of the exact values."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd

#: Size of the blocks of rows that are hashed separately. Where several processes read the data,
#: each passes on the incomplete blocks at its two ends unhashed.
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
            _update_digest(digest, column.to_numpy())
    else:
        _update_digest(digest, np.asarray(X))
    return digest.hexdigest()


def _update_digest(digest: hashlib._Hash, values: np.ndarray) -> None:
    if values.dtype.hasobject:
        digest.update(f"objects {values.shape}\n".encode())
        for value in values.ravel():
            # The length in front keeps ["a", "b"] apart from ["a b"].
            encoded = f"{type(value).__name__} {value!r}".encode()
            digest.update(f"{len(encoded)} ".encode() + encoded)
        return
    blocks = Blocks(values.dtype, values.shape[1:])
    blocks.update(0, np.atleast_1d(values))
    digest.update(blocks.hashed_bytes(values.shape))


class Blocks:
    """SHA-256 digests of the blocks of rows of an array of numbers, for data read in parts.

    Rows are added in the order of their numbers, and some may be missing. A block with missing
    rows is hashed without them, and the ranges of rows that were added are then part of the
    fingerprint.

    Parameters
    ----------
    dtype : dtype
    row_shape : tuple of int
        Shape of one row.

    Examples
    --------
    Two parts, which may be hashed in two processes:

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
        #: Ranges of rows added, (first, stop); more than one where rows are missing in between.
        self.row_ranges: list[tuple[int, int]] = []
        # Other rows of the first and of the last block may be in another process, so these two
        # stay unhashed until the parts are joined.
        self._first: _PartialBlock | None = None
        self._digests = bytearray()
        self._last: _PartialBlock | None = None

    def update(self, first_row: int, values: np.ndarray) -> None:
        """Add the next rows; `first_row` is the number of the first one.

        Parameters
        ----------
        first_row : int
        values : array of shape (k, ...)
        """
        n_done = 0
        while n_done < len(values):
            number, offset = divmod(first_row + n_done, self.size)
            rows = values[n_done : n_done + self.size - offset]
            content = np.ascontiguousarray(rows.astype(self.dtype, copy=False))
            self._add_to_block(number, content.reshape(-1).view(np.uint8).data, len(rows))
            n_done += len(rows)
        self._add_range(first_row, first_row + len(values))

    def extend(self, later: Blocks) -> None:
        """Add the blocks of the rows after these.

        Parameters
        ----------
        later : Blocks
        """
        if later._first is not None:
            self._add_to_block(later._first.number, later._first.content, later._first.n_rows)
        if later._digests:
            self._hash_last_block()
            self._digests += later._digests
        if later._last is not None:
            self._add_to_block(later._last.number, later._last.content, later._last.n_rows)
        for first, stop in later.row_ranges:
            self._add_range(first, stop)

    def hashed_bytes(self, shape: tuple[int, ...]) -> bytes:
        """Return the bytes whose SHA-256 is the fingerprint of an array of this shape.

        Parameters
        ----------
        shape : tuple of int

        Returns
        -------
        bytes
        """
        n_rows = shape[0] if shape else 1
        gaps = "" if self.row_ranges in ([(0, n_rows)], []) else f"rows {self.row_ranges}\n"
        first, last = (
            b"" if block is None else block.digest() for block in (self._first, self._last)
        )
        return f"{self.dtype.str} {shape}\n{gaps}".encode() + first + self._digests + last

    def fingerprint(self, n_rows: int) -> str:
        """Return the fingerprint of an array of `n_rows` rows, missing ones included.

        Parameters
        ----------
        n_rows : int

        Returns
        -------
        str
        """
        return hashlib.sha256(self.hashed_bytes((n_rows, *self.row_shape))).hexdigest()

    def _add_to_block(self, number: int, content: bytearray | memoryview, n_rows: int) -> None:
        """Add rows of one block, as bytes."""
        if self._last is None or self._last.number != number:
            self._hash_last_block()
            if n_rows == self.size:  # complete, so it need not be copied
                self._digests += hashlib.sha256(content).digest()
                return
            self._last = _PartialBlock(number)
        self._last.content += content
        self._last.n_rows += n_rows

    def _hash_last_block(self) -> None:
        """Hash the block that rows were last added to; it is complete."""
        if self._last is None:
            return
        is_first = self._first is None and not self._digests
        if is_first and self._last.n_rows < self.size:
            self._first = self._last
        else:
            self._digests += self._last.digest()
        self._last = None

    def _add_range(self, first: int, stop: int) -> None:
        if first == stop:
            return
        if self.row_ranges and self.row_ranges[-1][1] == first:
            first = self.row_ranges.pop()[0]
        self.row_ranges.append((first, stop))


class _PartialBlock:
    """A block that may still get more rows."""

    def __init__(self, number: int) -> None:
        self.number, self.content, self.n_rows = number, bytearray(), 0

    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()
