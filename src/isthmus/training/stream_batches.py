"""Batches from a stream, shuffled without holding all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import torch

from isthmus.data.streaming import ChunkRange, Stream, prefetch
from isthmus.distributed import cpu_group, exchange_rows, shard_bounds
from isthmus.errors import DataError
from isthmus.training.batches import Batch, n_steps, to_tensor
from isthmus.training.device import derived_seed

#: In place of a rank.
ALL, NOBODY = -1, -2


@dataclass(frozen=True)
class ShufflePlan:
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
            start, stop = shard_bounds(n, self.rank, self.size)
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


class Sends:
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

    >>> dealer = ShufflePlan(n_rows=6, batch_size=4, rank=0, size=2)
    >>> order, readers = np.array([1, 3, 5, 2, 4, 0]), np.array([0, 0, 0, 1, 1, 1])
    >>> dealt = Sends(dealer, 0, order, readers)
    >>> dealt.rows
    array([1, 3, 4])
    >>> dealt.parcels(), dealt.counts().tolist(), dealt.slots().tolist()
    ([array([1]), array([2, 0])], [1, 2], [0, 1, 2])
    """

    def __init__(
        self, dealer: ShufflePlan, first: int, order: np.ndarray, readers: np.ndarray
    ) -> None:
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
            ranks[slice(*shard_bounds(n, rank, size))] = rank
    return ranks


#: Bytes of rows that are mixed at a time; twice that lies in memory, with what comes next.
MIXED_BYTES = 2**26
#: Parts that a mix takes its rows from at most.
MOST_PARTS = 16


class StreamBatches:
    """The rows of a stream but some that are left out, for training.

    Each epoch goes through the files in an order drawn anew. Rows of several parts are put
    together until they take `MIXED_BYTES`, are shuffled, and go out in batches, while the next
    such mix is read and prepared in other threads. Two mixes and two parts are in memory, whose
    rows are read again in every epoch.

    Several workers read some of the parts each, and send rows to one another: of a mix each has
    the rows that it trains on, and the batches are those of one worker alone.

    Parameters
    ----------
    stream : Stream
    left_out : integer array
        Row numbers that do not belong, sorted.
    check : callable
        From what is read to checked instances.
    prepare : callable
        From checked instances to a float32 array for the network, each row by itself.
    like : array of shape (1, ...)
        A checked instance, which says how large each is.
    """

    def __init__(
        self,
        stream: Stream,
        left_out: np.ndarray,
        check: Callable[[Any], np.ndarray],
        prepare: Callable[[np.ndarray], np.ndarray],
        like: np.ndarray,
    ) -> None:
        self.stream, self.check, self.prepare = stream, check, prepare
        # Images of bytes stay bytes until they are in a batch.
        self._is_bytes = like.dtype == np.uint8
        prepared = like if self._is_bytes else prepare(like)
        self._row_shape, self._dtype = prepared.shape[1:], prepared.dtype
        self._left_out_of = {
            part.index: left_out[slice(*np.searchsorted(left_out, [first, first + part.n_rows]))]
            - first
            for part in stream.parts
            for first in [part.first_row]
        }
        self._length = sum(self._n_rows(part) for part in stream.parts)

    def __len__(self) -> int:
        return self._length

    def steps(self, batch_size: int) -> int:
        """Return how many batches of training an epoch has."""
        return n_steps(len(self), batch_size)

    def shuffled(
        self,
        batch_size: int,
        device: torch.device,
        rank: int = 0,
        size: int = 1,
        first_step: int = 0,
    ) -> Iterator[Batch]:
        """Give an epoch's batches, in an order drawn from torch's generator.

        With several workers, the part of each batch that falls to the one of this rank; from a
        later step, counted from 0, as the epoch would have gone on.
        """
        if size > 1:
            cpu_group()  # made by all at this point, and not whenever a thread comes to it
        seed = int(torch.randint(2**62, ()).item())
        runs = self.stream.runs
        order = np.random.default_rng(seed).permutation(len(runs))
        chosen = [runs[at] for at in order]
        readers = {part.index: at % size for at, run in enumerate(chosen) for part in run}
        dealer = ShufflePlan(len(self), batch_size, rank, size, first_step)
        mixes = [mix for mix in self._mixes(chosen) if mix.stop > dealer.first_place]
        for values in self._in_mixes(mixes, readers, dealer, seed):
            yield (to_tensor(self.prepare(values) if self._is_bytes else values, device),)

    def _in_mixes(
        self, mixes: list[_Mix], readers: dict[int, int], dealer: ShufflePlan, seed: int
    ) -> Iterator[np.ndarray]:
        """Give this worker's rows of each batch, read ahead by mixes."""
        own = (part for mix in mixes for part in mix.parts if readers[part.index] == dealer.rank)

        def deal(mix: _Mix) -> np.ndarray:
            # torch's is four times as fast as NumPy's, and every worker makes all of them.
            rng = torch.Generator().manual_seed(derived_seed(seed, mix.number))
            order = torch.randperm(mix.n_rows, generator=rng, dtype=torch.int32).numpy()
            # Numbers of 16 bits are sorted by radix.
            ranks = np.array([readers[part.index] for part in mix.parts], np.uint16)
            dealt = Sends(dealer, mix.first, order, np.repeat(ranks, mix.lengths))
            return self._mixed(dealt, reading, alone=dealer.size == 1)

        with closing(prefetch(self._read, own)) as reading, closing(prefetch(deal, mixes)) as mixed:
            n_steps_left = self.steps(dealer.batch_size) - dealer.first_step
            yield from _cut(mixed, islice(dealer.lengths(), n_steps_left))

    def _mixed(self, dealt: Sends, reading: Iterator[np.ndarray], alone: bool) -> np.ndarray:
        """Return this worker's rows of a mix, batch after batch."""
        mix = np.empty((len(dealt.rows), *self._row_shape), self._dtype)
        if alone and len(mix) == dealt.n_read:  # to its place at once, which spares memory
            slots = np.empty(len(mix), np.int64)
            slots[dealt.rows] = np.arange(len(mix))
            first = 0
            for values in _next_rows(reading, len(mix)):
                mix[slots[first : first + len(values)]] = values
                first += len(values)
            return mix
        read = np.concatenate([mix[:0], *_next_rows(reading, dealt.n_read)])
        if alone:
            return read[dealt.rows]
        parcels = [read[rows] for rows in dealt.parcels()]
        mix[dealt.slots()] = exchange_rows(parcels, dealt.counts().tolist())
        return mix

    def _mixes(self, runs: list[list[ChunkRange]]) -> Iterator[_Mix]:
        """Put parts together, of a few runs in turn so that none is mixed with itself alone."""
        row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        mix = _Mix(0, 0)
        for part in _in_turn(runs):
            n_rows = self._n_rows(part)
            is_full = (mix.n_rows + n_rows) * row_bytes > MIXED_BYTES
            if mix.parts and (is_full or len(mix.parts) == MOST_PARTS):
                yield mix
                mix = _Mix(mix.number + 1, mix.stop)
            if n_rows:
                mix.parts.append(part)
                mix.lengths.append(n_rows)
        if mix.parts:
            yield mix

    def _read(self, part: ChunkRange) -> np.ndarray:
        """Return a part's rows, prepared; images of bytes are prepared batch by batch."""
        piece = self.stream.read(part)
        if len(piece) != part.n_rows:
            raise DataError(
                f"got {len(piece):,} rows of {part.source}, expected the {part.n_rows:,} that it "
                "had before; leave files as they are while they are read, and start again"
            )
        gaps = self._left_out_of[part.index]
        if len(gaps):
            piece = piece.take(np.delete(np.arange(len(piece)), gaps))
        values = self.check(piece.X)
        return values if self._is_bytes else self.prepare(values)

    def _n_rows(self, part: ChunkRange) -> int:
        return part.n_rows - len(self._left_out_of[part.index])


@dataclass(frozen=True)
class _Mix:
    """Parts whose rows are mixed: number of the mix, its first row, the rows of each part."""

    number: int
    first: int
    parts: list[ChunkRange] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return sum(self.lengths)

    @property
    def stop(self) -> int:
        return self.first + self.n_rows


def _next_rows(reading: Iterator[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """Give what is read next, until it is n rows."""
    while n > 0:
        values = next(reading)
        n -= len(values)
        yield values


def _cut(mixes: Iterable[np.ndarray], lengths: Iterator[int]) -> Iterator[np.ndarray]:
    """Cut mixes one after the other into batches of these lengths."""
    held: list[np.ndarray] = []
    missing = next(lengths, 0)
    for mix in mixes:
        first = 0
        while 0 < missing <= len(mix) - first:
            held.append(mix[first : first + missing])
            first += missing
            yield held[0] if len(held) == 1 else np.concatenate(held)
            held, missing = [], next(lengths, 0)
        if first < len(mix):
            held.append(mix[first:].copy())  # a view would keep all of the mix in memory
            missing -= len(held[-1])


def _in_turn(runs: list[list[ChunkRange]], n_open: int = 4) -> Iterator[ChunkRange]:
    """Give the parts of a few runs in turn, each run's in order."""
    for first in range(0, len(runs), n_open):
        for parts in zip_longest(*runs[first : first + n_open]):
            yield from (part for part in parts if part is not None)
