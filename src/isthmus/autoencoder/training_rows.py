"""Which rows an encoder has seen: hashes, so that calibration rows can be told to be new."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

#: Hashes that are kept of a stream: 8 MB of them.
MOST_HASHES = 1_000_000


@dataclass(frozen=True, eq=False)
class TrainingRowHashes:
    """Hashes of the rows that an encoder was trained on.

    Attributes
    ----------
    hashes : uint64 array of shape (n_distinct,)
        Sorted, each once. Of a stream of more than `MOST_HASHES` rows those of so many, drawn at
        random: of rows that were trained on, that share is told to be.
    repeated : float in [0, 1]
        Share of the training rows that have an equal among them. Instances of the same
        source that are new meet an equal among the training rows about as often, which is
        no overlap.

    Examples
    --------
    >>> import numpy as np
    >>> seen = TrainingRowHashes.of(row_hashes(np.arange(6, dtype=np.float32).reshape(3, 2)))
    >>> seen.overlap(row_hashes(np.float32([[0, 1], [7, 8]]))).tolist()
    [True, False]
    """

    hashes: np.ndarray
    repeated: float

    @classmethod
    def of(cls, hashes: np.ndarray) -> TrainingRowHashes:
        """Keep the hashes of all training rows, shape (n,)."""
        distinct, counts = np.unique(hashes, return_counts=True)
        return cls(distinct, float(counts[counts > 1].sum() / max(1, len(hashes))))

    def followed_by(self, later: TrainingRowHashes) -> TrainingRowHashes:
        """Return what was seen once more rows were trained on."""
        rows = np.array([len(self.hashes), len(later.hashes)])
        repeated = float(rows @ [self.repeated, later.repeated] / max(1, rows.sum()))
        return TrainingRowHashes(np.union1d(self.hashes, later.hashes), repeated)

    def overlap(self, hashes: np.ndarray) -> np.ndarray:
        """Return which rows equal one of the training rows, boolean of shape (n,)."""
        return np.isin(hashes, self.hashes)

    def tolerated(self, n_rows: int) -> int:
        """Return how many of `n_rows` new rows may equal a training row by chance.

        The share of repeats among the n training rows estimates how often a new row meets an
        equal (Good, Biometrika 40, 1953). Three standard errors are added, `2 share / n` being
        the variance of the estimate at most (Esty, Annals of Statistics 11, 1983), and `6 / n`
        for luck. Where no training row has an equal, no new row may have one.
        """
        share, n = self.repeated, max(1, len(self.hashes))
        if share == 0:
            return 0
        variance = share * (1 - share) / max(1, n_rows) + 2 * share / n
        return math.floor(n_rows * min(1.0, share + 3 * math.sqrt(variance) + 6 / n))


def row_hashes(values: np.ndarray) -> np.ndarray:
    """Hash each instance.

    Parameters
    ----------
    values : float32 array of shape (n, ...)
        Network inputs, so that the same values give the same hash in whatever column order
        and dtype they came. Values that another dtype rounded are others.

    Returns
    -------
    uint64 array of shape (n,)
    """
    rows = np.ascontiguousarray(values).reshape(len(values), -1) + np.float32(0)  # -0 is 0
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)
