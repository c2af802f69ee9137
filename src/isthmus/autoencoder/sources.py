"""Sources of training instances: an array in memory, or a stream."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Generic, Protocol, TypeVar

import numpy as np

from isthmus.autoencoder.inference import Inference
from isthmus.autoencoder.training_rows import (
    MAX_HASHES,
    HeldOut,
    TrainingRowHashes,
    has_duplicate,
    rows_to_hold_out,
    split_rows,
)
from isthmus.data import Blocks, Chunk, InMemory, Instances, Schema, fingerprint, rows_of
from isthmus.data.preprocessing import Preprocessor, issue_warnings
from isthmus.data.streaming import SkippedChunk, Stream, StreamStatistics, median_rows
from isthmus.distributed import (
    IsCancelled,
    PartialResult,
    ProcessGroup,
    run_on_all_ranks,
    run_on_rank_zero,
)
from isthmus.errors import DataError
from isthmus.training import Batches, StreamBatches

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
    found, stream.state = run_on_rank_zero(group, lambda: (read(), stream.state))
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
        for chunk in stream.chunks(parts):
            if is_cancelled():
                return
            update(share.result, chunk)

    found, damaged = run_on_all_ranks(
        group,
        _Share(result, stream.state.damaged),
        work,
        lambda merged: (finish(merged.result), merged.damaged),
    )
    stream.state = replace(stream.state, damaged=damaged)
    return found


def learn_from_stream(stream: Stream) -> tuple[Schema, Preprocessor]:
    """Return schema and preprocessing of a stream, which all processes learn together.

    Raises
    ------
    DataError
        As `Schema.learn` and `learn_preprocessor` do.
    """
    known = read_on_rank_zero(stream, lambda: stream.state.learned)
    if known is None:
        drawn = median_rows(stream.n_rows)
        channels, first_row = stream.reader.channels, stream.first_row
        facts = StreamStatistics(stream.name, stream.kind, channels, first_row)
        known, found = read_by_shares(
            stream, facts, lambda result, chunk: result.update(chunk, drawn), _learned
        )
        stream.state = replace(stream.state, learned=known)
        issue_warnings(found)
    return known


def _learned(
    statistics: StreamStatistics,
) -> tuple[tuple[Schema, Preprocessor], list[str]]:
    learned = statistics.result()
    return learned, statistics.warnings(*learned)


class _Share(Generic[P]):
    """The result of some chunks, and which of them are damaged."""

    def __init__(self, result: P, damaged: dict[int, SkippedChunk]) -> None:
        self.result, self.damaged = result, damaged

    def extend(self, later: _Share[P]) -> None:
        self.result.extend(later.result)
        self.damaged = self.damaged | later.damaged


def _group_with_equal_files(stream: Stream) -> ProcessGroup:
    """Return the process group, after checking that all processes read the same files."""
    group = ProcessGroup.find()
    files = [(part.source, part.n_rows) for part in stream.chunk_ranges]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    group.check_equal({"instances": len(stream), "files with digest": digest})
    return group


#: Validation rows of a stream, at most.
MAX_VALIDATION = 10_000


class Source(Protocol):
    """Instances for one training run, split into a training and a validation part.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of the instances.
    row_hashes : TrainingRowHashes
    training : Batches or StreamBatches
    validation : Batches or None
    sample : array of shape (k, *schema.shape)
        Instances of the training part, checked, to fit an encoder in closed form on: all of them,
        or as many as asked for, drawn at random.
    """

    fingerprint: str
    row_hashes: TrainingRowHashes
    training: Batches | StreamBatches
    validation: Batches | None
    sample: np.ndarray

    def examples(self, n: int) -> np.ndarray:
        """Return n checked instances, of the validation part if there is one."""

    def held_out(self, encoder: Inference) -> HeldOut:
        """Return codes and errors of some of the validation part by the trained encoder."""


class ArraySource:
    """Checked instances in memory.

    Parameters
    ----------
    encoder : Inference
        With schema and preprocessing.
    X : array of shape (n, *schema.shape)
    validation_fraction : float
    seed : int
    n_sample : int
        Instances of `sample`, at most.
    """

    def __init__(
        self,
        encoder: Inference,
        X: np.ndarray,
        validation_fraction: float,
        seed: int,
        n_sample: int = 0,
    ) -> None:
        self.X, self.hashes = X, encoder.hash_checked_rows(X)
        self.fingerprint = fingerprint(X)
        self.row_hashes = TrainingRowHashes.from_hashes(self.hashes)
        validation, training = split_rows(len(X), validation_fraction, seed)
        self._held_out = rows_to_hold_out(validation)
        prepare = encoder.preprocessor_.to_training
        self.training: Batches | StreamBatches = Batches(X, np.sort(training), prepare)
        self.validation = Batches(X, np.sort(validation), prepare) if len(validation) else None
        rng = np.random.default_rng([seed, 3])
        few = n_sample < len(training)
        sampled = rng.choice(training, n_sample, replace=False) if few else training
        self.sample = X[np.sort(sampled)]

    def examples(self, n: int) -> np.ndarray:
        """Return the first instances of the validation part, or else of the training part."""
        batches = self.training if self.validation is None else self.validation
        assert isinstance(batches, Batches)
        return self.X[batches.rows[:n]]

    def held_out(self, encoder: Inference) -> HeldOut:
        """Return codes and errors of at most `MAX_HELD_OUT` rows of the validation part."""
        repeated = has_duplicate(self.hashes, self.hashes[self._held_out])
        return hold_out(encoder, self.X[self._held_out], repeated)


class StreamSource:
    """A stream, read in bounded memory.

    One pass computes its fingerprint, the hashes of `MAX_HASHES` rows at most, and the validation
    part of `MAX_VALIDATION` rows at most. Several processes share it.

    Parameters
    ----------
    encoder : Inference
        With schema and preprocessing.
    stream : Stream
    validation_fraction : float
    seed : int
    n_sample : int
        Instances of `sample`, at most.
    """

    def __init__(
        self,
        encoder: Inference,
        stream: Stream,
        validation_fraction: float,
        seed: int,
        n_sample: int = 0,
    ) -> None:
        schema, prepare = encoder.schema_, encoder.preprocessor_.to_training
        n_validation = min(MAX_VALIDATION, math.floor(len(stream) * validation_fraction))
        validation = stream.draw(n_validation, [seed, 0])
        hashed = np.union1d(validation, stream.draw(MAX_HASHES, [seed, 1]))
        sampled = np.setdiff1d(stream.draw(n_sample, [seed, 3]), validation)
        scan = scan_stream(encoder, stream, validation, hashed, sampled)
        self.sample = scan.sample
        self.X, self.hashes, self.fingerprint = scan.validation, scan.hashes, scan.fingerprint
        self.row_hashes = TrainingRowHashes.from_hashes(self.hashes)
        self.training: Batches | StreamBatches = StreamBatches(
            stream, validation, schema.check, prepare, scan.example
        )
        rows = np.arange(len(self.X))
        self.validation = Batches(self.X, rows, prepare) if len(self.X) else None
        rng = np.random.default_rng([seed, 2])
        self._held_out = rows_to_hold_out(rng.permutation(rows))
        self._held_out_hashes = scan.validation_hashes[self._held_out]
        self.stream, self._check = stream, schema.check

    def examples(self, n: int) -> np.ndarray:
        """Return the first instances of the validation part, or else of the stream."""
        if len(self.X):
            return self.X[:n]
        return self._check(self.stream.take(np.arange(n), label=False).X)

    def held_out(self, encoder: Inference) -> HeldOut:
        """Return codes and errors of at most `MAX_HELD_OUT` rows of the validation part."""
        repeated = has_duplicate(self.hashes, self._held_out_hashes)
        return hold_out(encoder, self.X[self._held_out], repeated)


@dataclass(frozen=True)
class StreamScan:
    """Results of the pass over a stream before training.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of the instances.
    hashes : uint64 array of shape (n_hashed,)
        Of the rows chosen for hashing.
    validation : array of shape (n_validation, *schema.shape)
        The validation part, checked.
    validation_hashes : uint64 array of shape (n_validation,)
    example : array of shape (1, *schema.shape)
        A checked instance.
    sample : array of shape (n_sampled, *schema.shape)
        The rows chosen for a closed form, checked.
    """

    fingerprint: str
    hashes: np.ndarray
    validation: np.ndarray
    validation_hashes: np.ndarray
    example: np.ndarray
    sample: np.ndarray


class _PartialScan:
    """Results of the pass over some chunks of a stream."""

    def __init__(self) -> None:
        self.blocks: Blocks | None = None
        self.example: np.ndarray | None = None
        self.hashes = [np.empty(0, np.uint64)]
        self.validation_hashes = [np.empty(0, np.uint64)]
        self.validation: list[np.ndarray] = []
        self.sample: list[np.ndarray] = []

    def extend(self, later: _PartialScan) -> None:
        if self.blocks is None:
            self.blocks, self.example = later.blocks, later.example
        elif later.blocks is not None:
            self.blocks.extend(later.blocks)
        self.hashes += later.hashes
        self.validation_hashes += later.validation_hashes
        self.validation += later.validation
        self.sample += later.sample


def scan_stream(
    encoder: Inference,
    stream: Stream,
    validation: np.ndarray,
    hashed: np.ndarray,
    sampled: np.ndarray,
) -> StreamScan:
    """Read a stream once, for its fingerprint, hashes, validation part and sample.

    Parameters
    ----------
    encoder : Inference
        With schema and preprocessing.
    stream : Stream
    validation, hashed, sampled : integer arrays
        Row numbers, sorted; those of `validation` are among `hashed`.
    """
    schema = encoder.schema_

    def update(scan: _PartialScan, chunk: Chunk) -> None:
        values = schema.check(chunk.X)
        if scan.blocks is None:
            scan.blocks, scan.example = Blocks(values.dtype, schema.shape), values[:1].copy()
        scan.blocks.update(chunk.first_row, values)
        held, rows = rows_of(validation, chunk), rows_of(hashed, chunk)
        scan.validation.append(values[held])
        scan.sample.append(values[rows_of(sampled, chunk)])
        if len(rows):
            scan.hashes.append(encoder.hash_checked_rows(values[rows]))
            scan.validation_hashes.append(scan.hashes[-1][np.isin(rows, held)])

    def finish(scan: _PartialScan) -> StreamScan:
        if scan.blocks is None or scan.example is None:
            raise DataError(f"{stream.name} holds no row that can be read; expected at least one")
        return StreamScan(
            scan.blocks.fingerprint(stream.n_rows),
            np.concatenate(scan.hashes),
            np.concatenate(scan.validation),
            np.concatenate(scan.validation_hashes),
            scan.example,
            np.concatenate(scan.sample),
        )

    return read_by_shares(stream, _PartialScan(), update, finish)


def hold_out(encoder: Inference, X: np.ndarray, repeated: np.ndarray) -> HeldOut:
    """Return codes and errors of rows of the validation part by a trained encoder.

    Parameters
    ----------
    encoder : Inference
        With its final weights.
    X : array of shape (k, *schema.shape)
        The rows, checked; `MAX_HELD_OUT` at most.
    repeated : boolean array of shape (k,)
        Whether another instance at `fit` was equal.
    """
    if not len(X):
        return HeldOut.empty(encoder.n_components_)
    batches = list(encoder.reconstructed_batches(X))
    return HeldOut(
        np.concatenate([batch.codes.numpy() for batch in batches]),
        np.concatenate([batch.errors.numpy() for batch in batches]),
        repeated,
    )


@singledispatch
def open_source(
    instances: Instances,
    encoder: Inference,
    validation_fraction: float,
    seed: int,
    n_sample: int = 0,
) -> Source:
    """Return the source of a training run on instances that were checked."""
    raise TypeError(f"got a {type(instances).__name__}, expected an array in memory or a stream")


@open_source.register(InMemory)
def _open_array(
    instances: InMemory,
    encoder: Inference,
    validation_fraction: float,
    seed: int,
    n_sample: int = 0,
) -> Source:
    return ArraySource(encoder, instances.X, validation_fraction, seed, n_sample)


@open_source.register(Stream)
def _open_stream(
    instances: Stream,
    encoder: Inference,
    validation_fraction: float,
    seed: int,
    n_sample: int = 0,
) -> Source:
    return StreamSource(encoder, instances, validation_fraction, seed, n_sample)
