"""The rows of a fit: hashes of those trained on, codes and errors of those held out."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

#: Training-row hashes of a stream, at most: 8 MB.
MAX_HASHES = 1_000_000
#: Share of rows that equal another one, from which an equal row need not be the same row.
MIN_REPEATED = 0.25
#: Held-out instances, at most: enough for a test, little on disk.
MAX_HELD_OUT = 1000


def row_hashes(values: np.ndarray) -> np.ndarray:
    """Return the hash of each instance.

    Parameters
    ----------
    values : float32 array of shape (n, ...)
        Standardised, so that equal values have equal hashes in any column order and dtype (see
        `Preprocessor.to_hash`). Values that another dtype rounded are not equal.

    Returns
    -------
    uint64 array of shape (n,)
    """
    rows = np.ascontiguousarray(values).reshape(len(values), -1) + np.float32(0)  # -0 is 0
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class TrainingRowHashes:
    """Hashes of the rows that an encoder was trained on.

    Attributes
    ----------
    hashes : uint64 array of shape (n_distinct,)
        Sorted, each once. Of a stream of more than `MAX_HASHES` rows a random sample of that size:
        of rows that were trained on, that share is found.
    repeated : float in [0, 1]
        Share of the training rows that equal another one. New instances of the same source equal
        a training row about as often, which is no overlap.

    Examples
    --------
    >>> import numpy as np
    >>> trained = TrainingRowHashes.from_hashes(row_hashes(np.float32([[0, 1], [2, 3], [4, 5]])))
    >>> trained.overlap(row_hashes(np.float32([[0, 1], [7, 8]]))).tolist()
    [True, False]
    """

    hashes: np.ndarray
    repeated: float

    @classmethod
    def from_hashes(cls, hashes: np.ndarray) -> TrainingRowHashes:
        """Summarise the hashes of all training rows, shape (n,).

        Parameters
        ----------
        hashes : uint64 array of shape (n,)

        Returns
        -------
        TrainingRowHashes
        """
        distinct, counts = np.unique(hashes, return_counts=True)
        return cls(distinct, float(counts[counts > 1].sum() / max(1, len(hashes))))

    def merged_with(self, later: TrainingRowHashes) -> TrainingRowHashes:
        """Return the hashes of these rows and of those trained on later.

        Parameters
        ----------
        later : TrainingRowHashes

        Returns
        -------
        TrainingRowHashes
        """
        rows = np.array([len(self.hashes), len(later.hashes)])
        repeated = float(rows @ [self.repeated, later.repeated] / max(1, rows.sum()))
        return TrainingRowHashes(np.union1d(self.hashes, later.hashes), repeated)

    def overlap(self, hashes: np.ndarray) -> np.ndarray:
        """Return which rows equal one of the training rows, boolean of shape (n,).

        Parameters
        ----------
        hashes : uint64 array of shape (n,)

        Returns
        -------
        boolean array of shape (n,)
        """
        return np.isin(hashes, self.hashes)

    @property
    def identify(self) -> bool:
        """Whether rows are known by their hashes: fewer than a quarter equal another one."""
        return self.repeated < MIN_REPEATED

    def trained_on(self, hashes: np.ndarray) -> np.ndarray:
        """Return which rows were trained on, boolean of shape (n,).

        Those that equal a training row, where these are more than `max_overlap_by_chance`; none
        otherwise. Of a table whose rows repeat, the new rows that equal none are the rare ones:
        left alone with them, nothing would be like the rows to come.

        Parameters
        ----------
        hashes : uint64 array of shape (n,)

        Returns
        -------
        boolean array of shape (n,)

        Examples
        --------
        >>> coins = TrainingRowHashes.from_hashes(np.repeat(np.uint64([1, 2]), 50))
        >>> coins.trained_on(np.uint64([1, 2, 2, 1])).any()
        np.False_
        >>> once = TrainingRowHashes.from_hashes(np.arange(100, dtype=np.uint64))
        >>> once.trained_on(np.uint64([1, 2, 500])).tolist()
        [True, True, False]
        """
        overlap = self.overlap(hashes)
        if int(overlap.sum()) <= self.max_overlap_by_chance(len(overlap)):
            return np.zeros(len(overlap), dtype=bool)
        return overlap

    def max_overlap_by_chance(self, n_rows: int) -> int:
        """Return how many of `n_rows` new rows at most equal a training row by chance.

        The share of repeats among the n training rows estimates how often a new row equals one
        (Good, Biometrika 40, 1953). Three standard errors are added, `2 share / n` being
        the variance of the estimate at most (Esty, Annals of Statistics 11, 1983), and `6 / n`
        for chance. Where no training row equals another, no new row may equal one.

        Parameters
        ----------
        n_rows : int

        Returns
        -------
        int
        """
        share, n = self.repeated, max(1, len(self.hashes))
        if share == 0:
            return 0
        variance = share * (1 - share) / max(1, n_rows) + 2 * share / n
        return math.floor(n_rows * min(1.0, share + 3 * math.sqrt(variance) + 6 / n))


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Codes and reconstruction errors of instances of the validation part.

    No weight was fitted to them, so they show what new instances of the same source look like
    to the encoder. Two choices did depend on them: the best epoch, and, with all other
    instances, the preprocessing. Windows cut from one series overlap windows that were trained
    on, and each other: then these are not independent of the training part, and their errors are
    lower than those of a new series.

    Attributes
    ----------
    codes : float32 array of shape (k, n_components)
    errors : float64 array of shape (k,)
        See `Autoencoder.reconstruction_error`.
    repeated : boolean array of shape (k,)
        Whether another instance at `fit` was equal.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0).fit(X)
    >>> encoder.held_out_.codes.shape, encoder.held_out_.errors.shape
    ((50, 3), (50,))
    """

    codes: np.ndarray
    errors: np.ndarray
    repeated: np.ndarray

    def __len__(self) -> int:
        return len(self.errors)

    @classmethod
    def empty(cls, n_components: int) -> HeldOut:
        """Return no instances, as without a validation part, or where it is not known.

        Parameters
        ----------
        n_components : int

        Returns
        -------
        HeldOut
        """
        codes = np.empty((0, n_components), dtype=np.float32)
        return cls(codes, np.empty(0), np.empty(0, dtype=bool))


def split_rows(n: int, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the validation part.

    Returns
    -------
    validation, training : integer arrays
        Row numbers in random order: the first k are k rows drawn at random.
    """
    order = np.random.default_rng([seed, 0]).permutation(n)
    n_validation = math.floor(n * validation_fraction)
    return order[:n_validation], order[n_validation:]


def rows_to_hold_out(validation: np.ndarray) -> np.ndarray:
    """Return the first `MAX_HELD_OUT` of row numbers in random order, sorted."""
    return np.sort(validation[:MAX_HELD_OUT])


def has_duplicate(hashes: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return which of the hashes `of`, a subset of `hashes`, occur there more than once."""
    distinct, counts = np.unique(hashes, return_counts=True)
    return counts[np.searchsorted(distinct, of)] > 1
