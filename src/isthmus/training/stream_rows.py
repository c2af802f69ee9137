"""Rows of a stream as batches of tensors, shuffled without ever holding all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from isthmus.data.stream import Part, Stream
from isthmus.data.stream.ahead import ahead
from isthmus.training.rows import Batch, n_steps, to_tensor
from isthmus.workers import bounds

#: Bytes of rows that are mixed at a time; twice that lies in memory, with what comes next.
MIXED_BYTES = 2**26
#: Parts that a mix takes its rows from at most.
MOST_PARTS = 16


class StreamRows:
    """The rows of a stream but some that are left out, for training.

    Each epoch goes through the files in an order drawn anew. Rows of several parts are put
    together until they take `MIXED_BYTES`, are shuffled, and go out in batches, while the next
    such mix is read and prepared in another thread. Two mixes and one part are in memory, whose
    rows are read again in every epoch.

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
        self, batch_size: int, device: torch.device, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """Give an epoch's batches, in an order drawn from torch's generator.

        With several workers, the part of each batch that falls to the one of this rank: every
        worker reads all files, so that the batches are those of one worker alone.
        """
        for values in self._shuffled(batch_size):
            yield self._batch(values[slice(*bounds(len(values), rank, size))], device)

    def in_order(
        self, batch_size: int, device: torch.device, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """Give every row once, as they lie; with several workers, this one's parts."""
        held = np.empty((0, *self._row_shape), self._dtype)
        for part in ahead(self._read, self.stream.parts):
            values = np.concatenate([held, part])
            end = len(values) - len(values) % batch_size
            for first in range(0, end, batch_size):
                batch = values[first : first + batch_size]
                yield self._batch(batch[slice(*bounds(len(batch), rank, size))], device)
            held = values[end:]
        if len(held):
            yield self._batch(held[slice(*bounds(len(held), rank, size))], device)

    def _shuffled(self, batch_size: int) -> Iterator[np.ndarray]:
        seed = int(torch.randint(2**62, ()).item())
        runs = self.stream.runs
        order = np.random.default_rng(seed).permutation(len(runs))
        mixes = enumerate(self._mixes([runs[at] for at in order]))
        steps = self.steps(batch_size)
        held: np.ndarray | None = None
        for mix in ahead(lambda mix: self._read_mix(mix[1], [seed, mix[0]]), mixes):
            first = 0
            if held is not None and len(held):
                first = min(batch_size - len(held), len(mix))
                held = np.concatenate([held, mix[:first]])
                if len(held) < batch_size:
                    continue
                yield held
                steps -= 1
            n_whole = (len(mix) - first) // batch_size
            end = first + n_whole * batch_size
            for at in range(first, end, batch_size):
                yield mix[at : at + batch_size]
            steps -= n_whole
            held = mix[end:].copy()
        if steps and held is not None:
            yield held

    def _mixes(self, runs: list[list[Part]]) -> Iterator[list[Part]]:
        """Put parts together, of a few runs in turn so that none is mixed with itself alone."""
        row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        mix: list[Part] = []
        n_bytes = 0
        for part in _in_turn(runs):
            added = self._n_rows(part) * row_bytes
            if mix and (n_bytes + added > MIXED_BYTES or len(mix) == MOST_PARTS):
                yield mix
                mix, n_bytes = [], 0
            mix.append(part)
            n_bytes += added
        if mix:
            yield mix

    def _read_mix(self, parts: list[Part], seed: list[int]) -> np.ndarray:
        """Read parts, each row to the place that it has in the mix."""
        n_rows = sum(self._n_rows(part) for part in parts)
        places = np.random.default_rng(seed).permutation(n_rows)
        mix = np.empty((n_rows, *self._row_shape), self._dtype)
        first = 0
        for part in parts:
            values = self._read(part)
            mix[places[first : first + len(values)]] = values
            first += len(values)
        return mix

    def _read(self, part: Part) -> np.ndarray:
        """Return a part's rows, prepared; images of bytes are prepared batch by batch."""
        piece = self.stream.read(part)
        gaps = self._left_out_of[part.index]
        if len(gaps):
            piece = piece.take(np.delete(np.arange(len(piece)), gaps))
        if not len(piece):
            return np.empty((0, *self._row_shape), self._dtype)
        values = self.check(piece.X)
        return values if self._is_bytes else self.prepare(values)

    def _n_rows(self, part: Part) -> int:
        return part.n_rows - len(self._left_out_of[part.index])

    def _batch(self, values: np.ndarray, device: torch.device) -> Batch:
        return (to_tensor(self.prepare(values) if self._is_bytes else values, device),)


def _in_turn(runs: list[list[Part]], n_open: int = 4) -> Iterator[Part]:
    """Give the parts of a few runs in turn, each run's in order."""
    for first in range(0, len(runs), n_open):
        for parts in zip_longest(*runs[first : first + n_open]):
            yield from (part for part in parts if part is not None)
