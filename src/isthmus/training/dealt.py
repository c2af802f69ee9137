"""Which worker reads, and which trains on, each row of an epoch whose rows are mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isthmus.workers import bounds

#: In place of a rank.
ALL, NOBODY = -1, -2


@dataclass(frozen=True)
class Dealer:
    """Who trains on the row at each place of an epoch, counted over all its batches.

    Attributes
    ----------
    n_rows, batch_size : int
        Of the epoch.
    rank, size : int
        This worker, and how many there are.
    first_step : int
        Batches at the beginning that nobody trains on, because that was done before.
    """

    n_rows: int
    batch_size: int
    rank: int = 0
    size: int = 1
    first_step: int = 0

    @property
    def first_place(self) -> int:
        """The place of the first row that is trained on."""
        return self.first_step * self.batch_size

    def lengths(self) -> Iterator[int]:
        """Give how many rows this worker has of each batch, from the first that is trained on."""
        for first in range(self.first_place, self.n_rows, self.batch_size):
            n = min(self.batch_size, self.n_rows - first)
            start, stop = bounds(n, self.rank, self.size)
            yield stop - start

    def trainers(self, places: np.ndarray) -> np.ndarray:
        """Return the rank of who trains on the row at each place, `ALL` or `NOBODY`."""
        of = _ranks(self.batch_size, self.size)[places % self.batch_size]
        n_last = self.n_rows % self.batch_size
        last = places >= self.n_rows - n_last
        if last.any():
            of[last] = _ranks(n_last, self.size)[places[last] % self.batch_size]
        of[places < self.first_place] = NOBODY
        return of


class Dealt:
    """The rows of one mix: who reads them, and who trains on them.

    Every worker can tell where each row goes without having read it.

    Parameters
    ----------
    dealer : Dealer
    places : integer array of shape (n,)
        Of each row, in the order of reading, its place in the epoch; n places next to one another.
    readers : integer array of shape (n,)
        The rank of the worker that reads each row.

    Attributes
    ----------
    n_read : int
        How many rows this worker reads.
    parcels : list of integer arrays
        For each worker, the rows that this one has read for it, counted among those that this
        one reads.
    counts : integer array of shape (size,)
        How many rows come from each worker to this one.
    slots : integer array of shape (sum(counts),)
        Where each row that comes goes, in the order of who read them, so that this worker has
        its rows batch after batch.

    Examples
    --------
    Six rows in batches of four; the first worker has the first half of each batch.

    >>> dealer = Dealer(n_rows=6, batch_size=4, rank=0, size=2)
    >>> dealt = Dealt(dealer, np.array([5, 0, 3, 1, 4, 2]), np.array([0, 0, 0, 1, 1, 1]))
    >>> dealt.parcels
    [array([1]), array([0, 2])]
    >>> dealt.counts.tolist(), dealt.slots.tolist()
    ([1, 2], [0, 1, 2])
    """

    def __init__(self, dealer: Dealer, places: np.ndarray, readers: np.ndarray) -> None:
        trainers = dealer.trainers(places)
        read = trainers[readers == dealer.rank]
        self.n_read = len(read)
        self.parcels = [
            np.flatnonzero((read == rank) | (read == ALL)) for rank in range(dealer.size)
        ]
        coming = np.flatnonzero((trainers == dealer.rank) | (trainers == ALL))
        self.counts = np.bincount(readers[coming], minlength=dealer.size)
        coming = coming[np.argsort(readers[coming], kind="stable")]
        at = places[coming] - places.min()
        is_taken = np.zeros(len(places), bool)
        is_taken[at] = True
        self.slots = (np.cumsum(is_taken) - 1)[at]


def _ranks(n: int, size: int) -> np.ndarray:
    """Return which worker trains on each of the n rows of a batch; `ALL` where all do."""
    ranks = np.full(n, ALL)
    if n >= size:
        for rank in range(size):
            ranks[slice(*bounds(n, rank, size))] = rank
    return ranks
