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
    IsCancelled,
    PartialResult,
    ProcessGroup,
    run_on_all_ranks,
    run_on_rank_zero,
)
from isthmus.errors import DataError
from isthmus.training import Batches, StreamBatches

if TYPE_CHECKING:
    from isthmus.autoencoder.inference import Inference

T = TypeVar("T")
P = TypeVar("P", bound=PartialResult)


def read_on_rank_zero(stream: Stream, read: Callable[[], T]) -> T:
    """Call `read` on rank 0 alone, and return its result to all; the others read no file.

    Raises
    ------
    DataError
        As `read` does; also when another process has other files.
    """
    group = _group_with_equal_files(stream)
    found, stream.known = run_on_rank_zero(group, lambda: (read(), stream.known))
    return found


def read_by_shares(
    stream: Stream, result: P, update: Callable[[P, Chunk], None], finish: Callable[[P], T]
) -> T:
    """Read a stream once, each process a share of its chunks, and return a result to all.

    Parameters
    ----------
    stream : Stream
    result : PartialResult
        Empty. The merged result must not depend on how the chunks were shared out.
    update : callable
        Adds a chunk to a result; the chunks of a share come in order.
    finish : callable
        From the merged result to what is returned.

    Raises
    ------
    DataError
        As `update` and `finish` do, the same that a single process raises first; also when another
        process has other files.
    """
    group = _group_with_equal_files(stream)
    parts = stream.share(group.rank, group.world_size)

    def work(share: _Share[P], is_cancelled: IsCancelled) -> None:
        for piece in stream.pieces(parts):
            if is_cancelled():
                return
            update(share.result, piece)

    found, bad_parts = run_on_all_ranks(
        group,
        _Share(result, stream.known.bad_parts),
        work,
        lambda merged: (finish(merged.result), merged.bad_parts),
    )
    stream.known = replace(stream.known, bad_parts=bad_parts)
    return found


def learn_from_stream(stream: Stream) -> tuple[Schema, Preprocessor]:
    """Return schema and preprocessing of a stream, which all processes learn together.

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
            stream, facts, lambda result, piece: result.update(piece, drawn), Facts.result
        )
        stream.known = replace(stream.known, learned=known)
    return known


class _Share(Generic[P]):
    """The result of some chunks, and which of them are damaged."""

    def __init__(self, result: P, bad_parts: dict[int, SkippedChunk]) -> None:
        self.result, self.bad_parts = result, bad_parts

    def extend(self, later: _Share[P]) -> None:
        self.result.extend(later.result)
        self.bad_parts = self.bad_parts | later.bad_parts


def _group_with_equal_files(stream: Stream) -> ProcessGroup:
    """Return the process group, after checking that all processes read the same files."""
    group = ProcessGroup.find()
    files = [(part.source, part.n_rows) for part in stream.parts]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    group.check_equal({"instances": len(stream), "files with digest": digest})
    return group


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
