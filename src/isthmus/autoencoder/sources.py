"""Sources of training instances: an array in memory, or a stream."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from isthmus.autoencoder.inference import HeldOut, hold_out, is_repeated, rows_held_out, split_rows
from isthmus.autoencoder.training_rows import MOST_HASHES, TrainingRowHashes
from isthmus.data import Blocks, Chunk, InMemory, Instances, Schema, fingerprint, rows_of
from isthmus.data.preprocessing import Preprocessor
from isthmus.data.streaming import Facts, SkippedChunk, Stream, median_rows
from isthmus.distributed import (
    Needless,
    ProcessGroup,
    ShareResult,
    run_on_all_ranks,
    run_on_rank_zero,
)
from isthmus.errors import DataError
from isthmus.training import Batches, StreamBatches

if TYPE_CHECKING:
    from isthmus.autoencoder.inference import Inference

T = TypeVar("T")
G = TypeVar("G", bound=ShareResult)


def read_on_rank_zero(stream: Stream, read: Callable[[], T]) -> T:
    """Return what `read` makes of a stream for the first worker; the others leave its files alone.

    Raises
    ------
    DataError
        As `read` does; also when another worker has other files.
    """
    workers = _of_the_same_files(stream)
    found, stream.known = run_on_rank_zero(workers, lambda: (read(), stream.known))
    return found


def read_by_shares(
    stream: Stream, own: G, take: Callable[[G, Chunk], None], finish: Callable[[G], T]
) -> T:
    """Go through a stream once, each worker through a share of its parts, none twice.

    Parameters
    ----------
    stream : Stream
    own : Gathered
        Empty. What it holds in the end must not depend on how the pieces were divided.
    take : callable
        Adds a piece to it; pieces of a share come in order.
    finish : callable
        From what was gathered of all pieces to what is returned, to all workers.

    Raises
    ------
    DataError
        As `take` and `finish` do, the same that one worker alone meets first; also when another
        worker has other files.
    """
    workers = _of_the_same_files(stream)
    parts = stream.share(workers.rank, workers.size)

    def gather(share: _Share[G], needless: Needless) -> None:
        for piece in stream.pieces(parts):
            if needless():
                return
            take(share.own, piece)

    found, bad_parts = run_on_all_ranks(
        workers,
        _Share(own, stream.known.bad_parts),
        gather,
        lambda whole: (finish(whole.own), whole.bad_parts),
    )
    stream.known = replace(stream.known, bad_parts=bad_parts)
    return found


def learn_from_stream(stream: Stream) -> tuple[Schema, Preprocessor]:
    """Return schema and preprocessing of a stream, which all workers learn together.

    Raises
    ------
    DataError
        As `Schema.learn` and `learn_preprocessor` do.
    """
    known = read_on_rank_zero(stream, lambda: stream.known.learned)
    if known is None:
        drawn = median_rows(stream.n_rows)
        facts = Facts(stream.name, stream.kind, stream.reader.channels)
        known = read_by_shares(
            stream, facts, lambda own, piece: own.update(piece, drawn), Facts.result
        )
        stream.known = replace(stream.known, learned=known)
    return known


class _Share(Generic[G]):
    """What was gathered of some parts, and which of them are damaged."""

    def __init__(self, own: G, bad_parts: dict[int, SkippedChunk]) -> None:
        self.own, self.bad_parts = own, bad_parts

    def extend(self, later: _Share[G]) -> None:
        self.own.extend(later.own)
        self.bad_parts = self.bad_parts | later.bad_parts


def _of_the_same_files(stream: Stream) -> ProcessGroup:
    """Return the workers, after checking that all are about to read the same."""
    workers = ProcessGroup.find()
    files = [(part.source, part.n_rows) for part in stream.parts]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    workers.check_same({"instances": len(stream), "files with digest": digest})
    return workers


#: Rows of a stream that choose the best epoch, at most.
MOST_VALIDATION = 10_000


class Source(Protocol):
    """Instances for one training run, split into a training and a validation part.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of the instances.
    seen : SeenRows
    training : Rows or StreamRows
    validation : Rows or None
    """

    fingerprint: str
    seen: TrainingRowHashes
    training: Batches | StreamBatches
    validation: Batches | None

    def examples(self, n: int) -> np.ndarray:
        """Return a few checked instances to look at, of the validation part if there is one."""

    def held_out(self, encoder: Inference) -> HeldOut:
        """Return what the trained encoder makes of some of the validation part."""


class ArraySource:
    """Checked instances in memory.

    Parameters
    ----------
    encoder : Coder
        With schema and preprocessing.
    X : array of shape (n, *schema.shape)
    validation_fraction : float
    seed : int
    """

    def __init__(
        self, encoder: Inference, X: np.ndarray, validation_fraction: float, seed: int
    ) -> None:
        self.X, self.hashes = X, encoder.hash_checked_rows(X)
        self.fingerprint, self.seen = fingerprint(X), TrainingRowHashes.of(self.hashes)
        drawn, rest = split_rows(len(X), validation_fraction, seed)
        self.kept = rows_held_out(drawn)
        prepare = encoder.preprocessor_.to_network
        self.training: Batches | StreamBatches = Batches(X, np.sort(rest), prepare)
        self.validation = Batches(X, np.sort(drawn), prepare) if len(drawn) else None

    def examples(self, n: int) -> np.ndarray:
        """Return the first instances of the validation part, or else of the training part."""
        rows = self.training if self.validation is None else self.validation
        assert isinstance(rows, Batches)
        return self.X[rows.rows[:n]]

    def held_out(self, encoder: Inference) -> HeldOut:
        """Return what the trained encoder makes of a bounded number of rows."""
        repeated = is_repeated(self.hashes, self.hashes[self.kept])
        return hold_out(encoder, self.X[self.kept], repeated)


class StreamSource:
    """A stream; what is kept of it in memory is bounded.

    One pass gives its fingerprint, the hashes of `MOST_HASHES` rows at most, and the validation
    part, of `MOST_VALIDATION` rows at most. Several workers make it together.

    Parameters
    ----------
    encoder : Coder
        With schema and preprocessing.
    stream : Stream
    validation_fraction : float
    seed : int
    """

    def __init__(
        self, encoder: Inference, stream: Stream, validation_fraction: float, seed: int
    ) -> None:
        schema, prepare = encoder.schema_, encoder.preprocessor_.to_network
        n_validation = min(MOST_VALIDATION, math.floor(len(stream) * validation_fraction))
        drawn = stream.draw(n_validation, [seed, 0])
        hashed = np.union1d(drawn, stream.draw(MOST_HASHES, [seed, 1]))
        self.fingerprint, self.hashes, own, self.X, like = _looked_through(
            encoder, stream, drawn, hashed
        )
        self.seen = TrainingRowHashes.of(self.hashes)
        self.training: Batches | StreamBatches = StreamBatches(
            stream, drawn, schema.check, prepare, like
        )
        everything = np.arange(len(self.X))
        self.validation = Batches(self.X, everything, prepare) if len(self.X) else None
        rng = np.random.default_rng([seed, 2])
        self.kept = rows_held_out(rng.permutation(everything))
        self.own = own[self.kept]
        self.stream, self._check = stream, schema.check

    def examples(self, n: int) -> np.ndarray:
        """Return the first instances of the validation part, or else of the stream."""
        if len(self.X):
            return self.X[:n]
        return self._check(self.stream.take(np.arange(n), label=False).X)

    def held_out(self, encoder: Inference) -> HeldOut:
        """Return what the trained encoder makes of a bounded number of rows."""
        return hold_out(encoder, self.X[self.kept], is_repeated(self.hashes, self.own))


class _Looked:
    """What is kept of the pieces of a stream that were looked through."""

    def __init__(self) -> None:
        self.blocks: Blocks | None = None
        self.like: np.ndarray | None = None
        self.hashes = [np.empty(0, np.uint64)]
        self.own_hashes = [np.empty(0, np.uint64)]
        self.drawn: list[np.ndarray] = []

    def extend(self, later: _Looked) -> None:
        if self.blocks is None:
            self.blocks, self.like = later.blocks, later.like
        elif later.blocks is not None:
            self.blocks.extend(later.blocks)
        self.hashes += later.hashes
        self.own_hashes += later.own_hashes
        self.drawn += later.drawn


def _looked_through(
    encoder: Inference, stream: Stream, drawn: np.ndarray, hashed: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return fingerprint, hashes, hashes of what is drawn, what is drawn, and an instance."""
    schema = encoder.schema_

    def look(looked: _Looked, piece: Chunk) -> None:
        values = schema.check(piece.X)
        if looked.blocks is None:
            looked.blocks, looked.like = Blocks(values.dtype, schema.shape), values[:1].copy()
        looked.blocks.update(piece.first_row, values)
        held, rows = rows_of(drawn, piece), rows_of(hashed, piece)
        looked.drawn.append(values[held])
        if len(rows):
            looked.hashes.append(encoder.hash_checked_rows(values[rows]))
            looked.own_hashes.append(looked.hashes[-1][np.isin(rows, held)])

    def finish(looked: _Looked) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        if looked.blocks is None or looked.like is None:
            raise DataError(f"{stream.name} holds no row that can be read; expected at least one")
        return (
            looked.blocks.fingerprint(stream.n_rows),
            np.concatenate(looked.hashes),
            np.concatenate(looked.own_hashes),
            np.concatenate(looked.drawn),
            looked.like,
        )

    return read_by_shares(stream, _Looked(), look, finish)


@singledispatch
def open_source(
    instances: Instances, encoder: Inference, validation_fraction: float, seed: int
) -> Source:
    """Return the source of a training run on instances that were checked."""
    raise TypeError(f"got a {type(instances).__name__}, expected an array in memory or a stream")


@open_source.register(InMemory)
def _open_array(
    instances: InMemory, encoder: Inference, validation_fraction: float, seed: int
) -> Source:
    return ArraySource(encoder, instances.X, validation_fraction, seed)


@open_source.register(Stream)
def _open_stream(
    instances: Stream, encoder: Inference, validation_fraction: float, seed: int
) -> Source:
    return StreamSource(encoder, instances, validation_fraction, seed)
