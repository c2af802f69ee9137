"""Sources of training instances: an array in memory, or a stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Protocol

import numpy as np

from isthmus.autoencoder.inference import Inference
from isthmus.autoencoder.shared_reading import read_by_shares
from isthmus.autoencoder.training_rows import (
    MAX_HASHES,
    HeldOut,
    TrainingRowHashes,
    has_duplicate,
    rows_to_hold_out,
    split_rows,
)
from isthmus.data import (
    Blocks,
    Chunk,
    InMemory,
    Instances,
    fingerprint,
    repeated_row_warnings,
    rows_of,
)
from isthmus.data.preprocessing import issue_warnings
from isthmus.data.streaming import Stream
from isthmus.errors import DataError, TrainingError
from isthmus.recipes import resolve_choices
from isthmus.training import Batches, StreamBatches

#: Validation rows of a stream, at most.
MAX_VALIDATION = 10_000


@dataclass(frozen=True)
class Measured:
    """Instances on which the loss is measured after each epoch; they decide nothing.

    Attributes
    ----------
    batches : Batches
    facts : dict
        How many are measured, `n`, and how many there are, `of`.
    """

    batches: Batches
    facts: dict[str, int]

    @classmethod
    def of(cls, instances: Instances, encoder: Inference) -> Measured:
        """Check instances by the schema of an encoder.

        Of a stream with more than `MAX_VALIDATION` rows so many are drawn, with a `DataWarning`.
        """
        schema, prepare = encoder.schema_, encoder.preprocessor_.to_training
        few, _ = instances.at_most(MAX_VALIDATION, 0, label=False, schema=schema)
        checked, n = schema.check(few), len(instances)
        if len(checked) < n:
            text = f"X_validation holds {n:,} instances, and {len(checked):,} of them, drawn at "
            issue_warnings([text + "random, are measured after each epoch"])
        rows = np.arange(len(checked))
        return cls(Batches(checked, rows, prepare), {"n": len(checked), "of": n})


class Source(Protocol):
    """Instances for one training run, split into a training and a validation part.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of the instances.
    row_hashes : TrainingRowHashes
    training : Batches or StreamBatches
    validation : Batches or None
    measured : Measured or None
        Where there is no validation part.
    sample : array of shape (k, *schema.shape)
        Instances of the training part, checked, to fit an encoder in closed form on: all of them,
        or as many as asked for, drawn at random.
    """

    fingerprint: str
    row_hashes: TrainingRowHashes
    training: Batches | StreamBatches
    validation: Batches | None
    measured: Measured | None
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
        self.measured: Measured | None = None
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
        self.measured: Measured | None = None
        self.X, self.hashes, self.fingerprint = scan.validation, scan.hashes, scan.fingerprint
        self.row_hashes = TrainingRowHashes.from_hashes(self.hashes)
        self.training: Batches | StreamBatches = StreamBatches(
            stream, validation, schema.check, prepare, scan.example
        )
        rows = np.arange(len(self.X))
        self.validation = Batches(self.X, rows, prepare) if len(self.X) else None
        rng = np.random.default_rng([seed, 2])
        if len(self.X):
            series = stream.kind == "series"
            issue_warnings(repeated_row_warnings(self.X, series=series, n_rows=len(stream)))
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


def check_before_reading(X: Instances, recipe: str, validation_fraction: float | str) -> None:
    """Refuse as `refuse_held_out` does, of a stream before the passes over its files."""
    if not X.in_memory:
        given = {"validation_fraction": validation_fraction}
        choices = resolve_choices(recipe, given, len(X), 1, X.kind or "table")
        refuse_held_out(choices.validation_fraction, len(X))


def refuse_held_out(validation_fraction: float, n_rows: int) -> None:
    """Refuse to measure other instances after each epoch where a part of the rows is held out.

    Parameters
    ----------
    validation_fraction : float in [0, 0.9]
    n_rows : int
        Training instances.

    Raises
    ------
    TrainingError
        When a row is held out.
    """
    n_held_out = math.floor(n_rows * validation_fraction)
    if n_held_out:
        raise TrainingError(
            f"got X_validation, and {n_held_out:,} of the training instances are held out, which "
            "choose the epoch; pass validation_fraction=0 (that of recipe='reference') to measure "
            "X_validation, or leave it out"
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
