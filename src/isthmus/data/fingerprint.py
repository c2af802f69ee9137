"""Fingerprints of arrays and tables, of the exact values, and rows that repeat in them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd

#: Size of the blocks of rows that are hashed separately. Where several processes read the data,
#: each passes on the incomplete blocks at its two ends unhashed.
BLOCK_BYTES = 2**18
#: Share of the distinct rows that occur more than once, from which it is asked whether chance
#: explains them. One row may be very frequent, as that of an empty record.
MIN_COPIES = 0.1
#: Rows whose pairs are compared with chance, at most.
MAX_PAIRED = 20_000
#: How many times as many pairs of equal rows as by chance are no chance, and at least how many.
MIN_TIMES_CHANCE, MIN_PAIRS = 5.0, 10


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


def repeated_row_warnings(
    X: np.ndarray, *, series: bool = False, n_rows: int | None = None
) -> list[str]:
    """Return a warning where more rows equal another one than chance explains.

    They do where files were read or joined twice. Rows that are set aside to test or to calibrate
    then have copies among those fitted on. Rows of a table of few values, such as counts or flags,
    equal each other by chance: were one column independent of the others, then d c / (1 - c) pairs
    of rows would be equal, d being the number of pairs that differ in that column alone, and c the
    share of pairs of different rows that are equal in it. The column that makes this number
    largest is taken, once columns that follow from the others are left out. Where all others
    follow from one column, no rows are taken for copies.

    Parameters
    ----------
    X : array of shape (n, ...)
        Numbers. Beyond two dimensions, as of images, no equal rows are taken for chance.
    series : bool, default=False
        X are windows of series, of shape (n, n_steps, n_channels). Those in which no channel
        changes in half of its steps, such as of machines that stand still, count as different.
    n_rows : int, optional
        Of how many rows X is a sample drawn at random. Of 1,000,000 rows that are all there twice
        10,000 drawn hold some 50 pairs, which suffice.

    Returns
    -------
    list of str

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> repeated_row_warnings(X)
    []
    >>> [text[:37] for text in repeated_row_warnings(np.concatenate([X, X[:10]]))]
    ['20 of 60 instances equal another one,']
    >>> coins = np.random.default_rng(0).integers(0, 2, (60, 3))
    >>> repeated_row_warnings(coins)
    []
    >>> sample = np.random.default_rng(0).choice(np.repeat(X, 100, axis=0), 1000, replace=False)
    >>> print(repeated_row_warnings(sample, n_rows=5000)[0].split(" equal")[0])
    1,000 of 1,000 instances drawn from 5,000
    """
    flat = X.reshape(len(X), -1)
    rows = _row_keys(flat)
    if series:
        _tell_still_windows_apart(rows, X)
    counts = np.unique(rows, return_counts=True)[1]
    drawn_from = len(X) if n_rows is None else n_rows
    if (counts > 1).sum() < MIN_COPIES * len(counts) * len(X) / drawn_from:
        return []
    n = int(counts[counts > 1].sum())
    if len(X) > MAX_PAIRED:
        drawn = np.random.default_rng(0).choice(len(X), MAX_PAIRED, replace=False)
        flat, rows = flat[drawn], rows[drawn]
    equal = _n_pairs(rows)
    chance = _pairs_by_chance(flat, rows, equal) if X.ndim == 2 else 0.0
    if equal < max(MIN_PAIRS, MIN_TIMES_CHANCE * chance):
        return []
    fix = "X = X.drop_duplicates()" if X.ndim == 2 else "keep one of each"
    if drawn_from > len(X):
        fix = "write the files without them"
    which = "instances" if drawn_from == len(X) else f"instances drawn from {drawn_from:,}"
    return [
        f"{n:,} of {len(X):,} {which} equal another one, more than chance explains, as where "
        "files were read or joined twice: those set aside to test or to calibrate then have "
        "copies among those fitted on, so that figures are too good, and of new instances more "
        f"are called abnormal than the false-alarm rate says; leave copies out ({fix}), unless "
        "instances to come are copies of these as well"
    ]


def _tell_still_windows_apart(rows: np.ndarray, X: np.ndarray) -> None:
    """Give windows that equal another one, and change in few steps, keys of their own."""
    _, of_row, counts = np.unique(rows, return_inverse=True, return_counts=True)
    equal = np.flatnonzero(counts[of_row] > 1)
    changes = (np.diff(X[equal], axis=1) != 0).mean(axis=1).max(axis=1)
    still = equal[changes < 0.5]
    rows[still] = np.arange(len(still))


def _pairs_by_chance(X: np.ndarray, rows: np.ndarray, equal: float) -> float:
    """Return how many pairs of rows chance makes equal at most, see `repeated_row_warnings`."""
    pairs, most = len(X) * (len(X) - 1) / 2, 0.0
    if equal == pairs:
        return equal
    alike = np.array([_n_pairs(_keys(column, at)) - equal for at, column in enumerate(X.T)])
    alike /= pairs - equal
    if (alike == 0).sum() == 1:  # as of days, with what follows from the day
        return equal
    for at in np.argsort(alike):
        rest = rows - _keys(X[:, at], int(at))
        differing = _n_pairs(rest) - equal
        if not differing:  # the columns left determine this one, as a sum of them
            rows = rest
        elif alike[at] < 1:  # not constant
            most = max(most, differing * alike[at] / (1 - alike[at]))
    return most


def _n_pairs(keys: np.ndarray) -> float:
    """Return the number of pairs of equal keys."""
    counts = np.unique(keys, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1) / 2).sum())


def _row_keys(X: np.ndarray) -> np.ndarray:
    """Return a number for each row of an array (n, m), equal where the rows are; uint64 (n,)."""
    keys = np.zeros(len(X), dtype=np.uint64)
    for at in range(X.shape[1]):
        keys += _keys(X[:, at], at)
    return keys


def _keys(column: np.ndarray, at: int) -> np.ndarray:
    """Return a number for each value of column `at`, which scatter (the mixer of SplitMix64)."""
    values = column.astype(np.float64) + 0.0  # -0 is 0
    values[np.isnan(values)] = np.nan  # one bit pattern for all that is missing
    keys = values.view(np.uint64) + np.uint64((at + 1) * 0x9E3779B97F4A7C15 % 2**64)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = keys ^ (keys >> np.uint64(31))
    return mixed
