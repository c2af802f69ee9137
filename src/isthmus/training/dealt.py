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

    Every worker can tell where each row goes without having read it. Nothing is sorted or
    searched but a worker's own rows, so that this takes no longer with many workers.

    Parameters
    ----------
    dealer : Dealer
    first : int
        The mix's first place in the epoch.
    order : integer array of shape (n,)
        Which row, in the order of reading, is at each of the mix's places.
    readers : integer array of shape (n,)
        The rank of the worker that reads each row.

    Attributes
    ----------
    rows : integer array of shape (k,)
        The rows that this worker trains on, batch after batch.
    n_read : int
        How many rows this worker reads.

    Examples
    --------
    Six rows in batches of four; the first worker has the first half of each batch.

    >>> dealer = Dealer(n_rows=6, batch_size=4, rank=0, size=2)
    >>> order, readers = np.array([1, 3, 5, 2, 4, 0]), np.array([0, 0, 0, 1, 1, 1])
    >>> dealt = Dealt(dealer, 0, order, readers)
    >>> dealt.rows
    array([1, 3, 4])
    >>> dealt.parcels(), dealt.counts().tolist(), dealt.slots().tolist()
    ([array([1]), array([2, 0])], [1, 2], [0, 1, 2])
    """

    def __init__(self, dealer: Dealer, first: int, order: np.ndarray, readers: np.ndarray) -> None:
        self._dealer, self._order, self._readers = dealer, order, readers
        self._trainers = dealer.trainers(np.arange(first, first + len(order)))
        is_own = (self._trainers == dealer.rank) | (self._trainers == ALL)
        self.rows = order if is_own.all() else order[is_own]
        self._is_read = readers == dealer.rank
        self.n_read = int(self._is_read.sum())

    def parcels(self) -> list[np.ndarray]:
        """Return for each worker the rows that this one has read for it, in their places' order.

        Counted among the rows that this worker reads.
        """
        places = np.flatnonzero(self._is_read[self._order])
        rows = (np.cumsum(self._is_read) - 1)[self._order[places]]
        trainers = self._trainers[places]
        return [rows[(trainers == rank) | (trainers == ALL)] for rank in range(self._dealer.size)]

    def counts(self) -> np.ndarray:
        """Return how many rows come from each worker to this one, shape (size,)."""
        return np.bincount(self._readers[self.rows], minlength=self._dealer.size)

    def slots(self) -> np.ndarray:
        """Return where among `rows` each row goes that comes, one worker's after the other's."""
        return np.argsort(self._readers[self.rows], kind="stable")


def _ranks(n: int, size: int) -> np.ndarray:
    """Return which worker trains on each of the n rows of a batch; `ALL` where all do."""
    ranks = np.full(n, ALL)
    if n >= size:
        for rank in range(size):
            ranks[slice(*bounds(n, rank, size))] = rank
    return ranks
