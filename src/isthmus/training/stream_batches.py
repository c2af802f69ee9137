"""Shuffled batches from a stream, by a bounded shuffle buffer and several processes."""

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
from isthmus.distributed import cpu_group, current_generator, exchange_rows, shard_bounds
from isthmus.errors import DataError
from isthmus.training.batches import Batch, TrainingRows, to_tensor
from isthmus.training.device import derived_seed

#: In place of a rank: all processes train on a row, or none does.
ALL, NONE = -1, -2


@dataclass(frozen=True)
class ShufflePlan:
    """Which rank trains on each row of a shuffled epoch, by the row's position in the epoch.

    Attributes
    ----------
    n_rows, batch_size : int
        Of the epoch.
    rank, world_size : int
        Of the process group.
    first_step : int
        Batches before this one are skipped: they were trained on before an interruption.
    """

    n_rows: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    first_step: int = 0

    @property
    def first_position(self) -> int:
        """Position of the first row that is trained on."""
        return self.first_step * self.batch_size

    def lengths(self) -> Iterator[int]:
        """Yield the number of this rank's rows in each batch that is trained on.

        Yields
        ------
        int
        """
        for first in range(self.first_position, self.n_rows, self.batch_size):
            n = min(self.batch_size, self.n_rows - first)
            start, stop = shard_bounds(n, self.rank, self.world_size)
            yield stop - start

    def trainers(self, positions: np.ndarray) -> np.ndarray:
        """Return the rank that trains on the row at each position, `ALL` or `NONE`.

        Parameters
        ----------
        positions : int array

        Returns
        -------
        int array of the same shape
        """
        ranks = _ranks(self.batch_size, self.world_size)[positions % self.batch_size]
        n_last = self.n_rows % self.batch_size
        last = positions >= self.n_rows - n_last
        if last.any():
            ranks[last] = _ranks(n_last, self.world_size)[positions[last] % self.batch_size]
        ranks[positions < self.first_position] = NONE
        return ranks


class Sends:
    """The rows of one shuffle buffer: which rank reads each, and which trains on it.

    Every process works this out without reading a row. Only a process's own rows are sorted or
    searched, so that this takes no longer with many processes.

    Parameters
    ----------
    plan : ShufflePlan
    first : int
        Position in the epoch of the buffer's first row.
    order : integer array of shape (n,)
        The row, in the order of reading, at each of the buffer's positions.
    readers : integer array of shape (n,)
        The rank that reads each row.

    Attributes
    ----------
    rows : integer array of shape (k,)
        The rows that this rank trains on, batch after batch.
    n_read : int
        Number of rows that this rank reads.

    Examples
    --------
    Six rows in batches of four; rank 0 has the first half of each batch.

    >>> plan = ShufflePlan(n_rows=6, batch_size=4, rank=0, world_size=2)
    >>> order, readers = np.array([1, 3, 5, 2, 4, 0]), np.array([0, 0, 0, 1, 1, 1])
    >>> sends = Sends(plan, 0, order, readers)
    >>> sends.rows
    array([1, 3, 4])
    >>> sends.by_rank(), sends.counts().tolist(), sends.slots().tolist()
    ([array([1]), array([2, 0])], [1, 2], [0, 1, 2])
    """

    def __init__(
        self, plan: ShufflePlan, first: int, order: np.ndarray, readers: np.ndarray
    ) -> None:
        self._plan, self._order, self._readers = plan, order, readers
        self._trainers = plan.trainers(np.arange(first, first + len(order)))
        is_own = (self._trainers == plan.rank) | (self._trainers == ALL)
        self.rows = order if is_own.all() else order[is_own]
        self._is_read = readers == plan.rank
        self.n_read = int(self._is_read.sum())

    def by_rank(self) -> list[np.ndarray]:
        """Return for each rank the rows to send to it, in the order of their positions.

        Rows are counted among those that this rank reads.

        Returns
        -------
        list of int arrays
        """
        positions = np.flatnonzero(self._is_read[self._order])
        rows = (np.cumsum(self._is_read) - 1)[self._order[positions]]
        trainers = self._trainers[positions]
        return [
            rows[(trainers == rank) | (trainers == ALL)] for rank in range(self._plan.world_size)
        ]

    def counts(self) -> np.ndarray:
        """Return the number of rows received from each rank, shape (world_size,).

        Returns
        -------
        int array of shape (world_size,)
        """
        return np.bincount(self._readers[self.rows], minlength=self._plan.world_size)

    def slots(self) -> np.ndarray:
        """Return the index in `rows` of each row received, in the order of the ranks.

        Returns
        -------
        int array
        """
        return np.argsort(self._readers[self.rows], kind="stable")


def _ranks(n: int, world_size: int) -> np.ndarray:
    """Return the rank that trains on each of the n rows of a batch; `ALL` where all do."""
    ranks = np.full(n, ALL)
    if n >= world_size:
        for rank in range(world_size):
            ranks[slice(*shard_bounds(n, rank, world_size))] = rank
    return ranks


#: Bytes of rows in a shuffle buffer; two are in memory, as the next one is read ahead.
BUFFER_BYTES = 2**26
#: Chunks at most that a shuffle buffer takes its rows from.
MAX_CHUNKS = 16


class StreamBatches(TrainingRows):
    """Shuffled batches of a stream's rows for training, without the rows held out.

    Each epoch goes through the files in an order drawn anew. A shuffle buffer is filled with the
    rows of several chunks up to `BUFFER_BYTES`, shuffled and cut into batches, while other threads
    read and prepare the next one. Two buffers and two chunks are in memory; all rows are read
    again in every epoch.

    Of several processes each reads some of the chunks and sends rows to the others: each gets the
    rows of a buffer that it trains on, and the batches are those of a single process.

    Parameters
    ----------
    stream : Stream
    held_out : integer array
        Row numbers that are not trained on, sorted.
    check : callable
        From what is read to checked instances.
    prepare : callable
        From checked instances to a float32 array for the network, each row by itself.
    like : array of shape (1, ...)
        A checked instance, for shape and dtype.
    """

    def __init__(
        self,
        stream: Stream,
        held_out: np.ndarray,
        check: Callable[[Any], np.ndarray],
        prepare: Callable[[np.ndarray], np.ndarray],
        like: np.ndarray,
    ) -> None:
        self.stream, self.check, self.prepare = stream, check, prepare
        # Images of bytes stay bytes until they are in a batch.
        self._is_bytes = like.dtype == np.uint8
        prepared = like if self._is_bytes else prepare(like)
        self._row_shape, self._dtype = prepared.shape[1:], prepared.dtype
        self._held_out_of = {
            part.index: held_out[slice(*np.searchsorted(held_out, [first, first + part.n_rows]))]
            - first
            for part in stream.chunk_ranges
            for first in [part.first_row]
        }
        self._length = sum(self._n_rows(part) for part in stream.chunk_ranges)

    def __len__(self) -> int:
        return self._length

    def shuffled(
        self,
        batch_size: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ) -> Iterator[Batch]:
        """Yield an epoch's batches, in an order drawn from the generator of the run.

        With several processes, this rank's shard of each batch. A later `first_step`, counted
        from 0, resumes an epoch.

        Parameters
        ----------
        batch_size, device, rank, world_size, first_step
            See `Batches.shuffled`.

        Yields
        ------
        tuple of tensors
        """
        if world_size > 1:
            cpu_group()  # created by all at this point, and not at any time by a thread
        cpu = torch.device("cpu")
        drawn = torch.randint(2**62, (), device=cpu, generator=current_generator(cpu))
        seed = int(drawn.item())
        runs = self.stream.runs
        order = np.random.default_rng(seed).permutation(len(runs))
        chosen = [runs[at] for at in order]
        readers = {part.index: at % world_size for at, run in enumerate(chosen) for part in run}
        plan = ShufflePlan(len(self), batch_size, rank, world_size, first_step)
        buffers = [buffer for buffer in self._buffers(chosen) if buffer.stop > plan.first_position]
        for values in self._local_batches(buffers, readers, plan, seed):
            yield (to_tensor(self.prepare(values) if self._is_bytes else values, device),)

    def _local_batches(
        self, buffers: list[_Buffer], readers: dict[int, int], plan: ShufflePlan, seed: int
    ) -> Iterator[np.ndarray]:
        """Yield this rank's rows of each batch, while the next buffer is read."""
        own = (
            part for buffer in buffers for part in buffer.parts if readers[part.index] == plan.rank
        )

        def shuffle(buffer: _Buffer) -> np.ndarray:
            # torch's is four times as fast as NumPy's, and every process computes all of them.
            rng = torch.Generator().manual_seed(derived_seed(seed, buffer.number))
            order = torch.randperm(buffer.n_rows, generator=rng, dtype=torch.int32).numpy()
            # 16 bits, as NumPy sorts these by radix.
            ranks = np.array([readers[part.index] for part in buffer.parts], np.uint16)
            sends = Sends(plan, buffer.first, order, np.repeat(ranks, buffer.lengths))
            return self._local_rows(sends, reading, alone=plan.world_size == 1)

        with (
            closing(prefetch(self._read, own)) as reading,
            closing(prefetch(shuffle, buffers)) as shuffled,
        ):
            n_steps_left = self.steps(plan.batch_size) - plan.first_step
            yield from _cut(shuffled, islice(plan.lengths(), n_steps_left))

    def _local_rows(self, sends: Sends, reading: Iterator[np.ndarray], alone: bool) -> np.ndarray:
        """Return this rank's rows of a buffer, batch after batch."""
        local = np.empty((len(sends.rows), *self._row_shape), self._dtype)
        if alone and len(local) == sends.n_read:  # straight to its slot, which saves memory
            slots = np.empty(len(local), np.int64)
            slots[sends.rows] = np.arange(len(local))
            first = 0
            for values in _next_rows(reading, len(local)):
                local[slots[first : first + len(values)]] = values
                first += len(values)
            return local
        read = np.concatenate([local[:0], *_next_rows(reading, sends.n_read)])
        if alone:
            return read[sends.rows]
        rows_by_rank = [read[rows] for rows in sends.by_rank()]
        local[sends.slots()] = exchange_rows(rows_by_rank, sends.counts().tolist())
        return local

    def _buffers(self, runs: list[list[ChunkRange]]) -> Iterator[_Buffer]:
        """Group chunks into shuffle buffers, of a few runs in turn so that runs are mixed."""
        row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        buffer = _Buffer(0, 0)
        for part in _in_turn(runs):
            n_rows = self._n_rows(part)
            is_full = (buffer.n_rows + n_rows) * row_bytes > BUFFER_BYTES
            if buffer.parts and (is_full or len(buffer.parts) == MAX_CHUNKS):
                yield buffer
                buffer = _Buffer(buffer.number + 1, buffer.stop)
            if n_rows:
                buffer.parts.append(part)
                buffer.lengths.append(n_rows)
        if buffer.parts:
            yield buffer

    def _read(self, part: ChunkRange) -> np.ndarray:
        """Return a part's rows, prepared; images of bytes are prepared batch by batch."""
        chunk = self.stream.read(part)
        if len(chunk) != part.n_rows:
            raise DataError(
                f"got {len(chunk):,} rows of {part.source}, expected the {part.n_rows:,} that it "
                "had before; leave files as they are while they are read, and start again"
            )
        gaps = self._held_out_of[part.index]
        if len(gaps):
            chunk = chunk.take(np.delete(np.arange(len(chunk)), gaps))
        values = self.check(chunk.X)
        return values if self._is_bytes else self.prepare(values)

    def _n_rows(self, part: ChunkRange) -> int:
        return part.n_rows - len(self._held_out_of[part.index])


@dataclass(frozen=True)
class _Buffer:
    """A shuffle buffer: its number, its first row, and its chunks with the rows of each."""

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
    """Yield the arrays read next, up to n rows in all."""
    while n > 0:
        values = next(reading)
        n -= len(values)
        yield values


def _cut(buffers: Iterable[np.ndarray], lengths: Iterator[int]) -> Iterator[np.ndarray]:
    """Cut the rows of buffers into batches of these lengths."""
    parts: list[np.ndarray] = []
    missing = next(lengths, 0)
    for buffer in buffers:
        first = 0
        while 0 < missing <= len(buffer) - first:
            parts.append(buffer[first : first + missing])
            first += missing
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)
            parts, missing = [], next(lengths, 0)
        if first < len(buffer):
            parts.append(buffer[first:].copy())  # a view would hold the whole buffer in memory
            missing -= len(parts[-1])


def _in_turn(runs: list[list[ChunkRange]], n_open: int = 4) -> Iterator[ChunkRange]:
    """Yield the chunks of `n_open` runs in turn, each run's in order."""
    for first in range(0, len(runs), n_open):
        for parts in zip_longest(*runs[first : first + n_open]):
            yield from (part for part in parts if part is not None)
