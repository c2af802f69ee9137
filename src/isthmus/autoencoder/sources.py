"""Where a fit takes its instances from: an array in memory, or a stream."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import TYPE_CHECKING, Protocol

import numpy as np

from isthmus.autoencoder.held_out import HeldOut, hold_out, is_repeated, kept_of, split_rows
from isthmus.autoencoder.passes import read_together
from isthmus.autoencoder.seen import MOST_HASHES, SeenRows
from isthmus.data.fingerprint import Blocks, fingerprint
from isthmus.data.instances import InMemory, Instances, rows_of
from isthmus.data.stream import Piece, Stream
from isthmus.errors import DataError
from isthmus.training import Rows, StreamRows

if TYPE_CHECKING:
    from isthmus.autoencoder.coder import Coder

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
    seen: SeenRows
    training: Rows | StreamRows
    validation: Rows | None

    def examples(self, n: int) -> np.ndarray:
        """Return a few checked instances to look at, of the validation part if there is one."""

    def held_out(self, encoder: Coder) -> HeldOut:
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
        self, encoder: Coder, X: np.ndarray, validation_fraction: float, seed: int
    ) -> None:
        self.X, self.hashes = X, encoder._row_hashes(X)
        self.fingerprint, self.seen = fingerprint(X), SeenRows.of(self.hashes)
        drawn, rest = split_rows(len(X), validation_fraction, seed)
        self.kept = kept_of(drawn)
        prepare = encoder.preprocessor_.to_network
        self.training: Rows | StreamRows = Rows(X, np.sort(rest), prepare)
        self.validation = Rows(X, np.sort(drawn), prepare) if len(drawn) else None

    def examples(self, n: int) -> np.ndarray:
        """Return the first instances of the validation part, or else of the training part."""
        rows = self.training if self.validation is None else self.validation
        assert isinstance(rows, Rows)
        return self.X[rows.rows[:n]]

    def held_out(self, encoder: Coder) -> HeldOut:
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
        self, encoder: Coder, stream: Stream, validation_fraction: float, seed: int
    ) -> None:
        schema, prepare = encoder.schema_, encoder.preprocessor_.to_network
        n_validation = min(MOST_VALIDATION, math.floor(len(stream) * validation_fraction))
        drawn = stream.draw(n_validation, [seed, 0])
        hashed = np.union1d(drawn, stream.draw(MOST_HASHES, [seed, 1]))
        self.fingerprint, self.hashes, own, self.X, like = _looked_through(
            encoder, stream, drawn, hashed
        )
        self.seen = SeenRows.of(self.hashes)
        self.training: Rows | StreamRows = StreamRows(stream, drawn, schema.check, prepare, like)
        everything = np.arange(len(self.X))
        self.validation = Rows(self.X, everything, prepare) if len(self.X) else None
        rng = np.random.default_rng([seed, 2])
        self.kept = kept_of(rng.permutation(everything))
        self.own = own[self.kept]
        self.stream, self._check = stream, schema.check

    def examples(self, n: int) -> np.ndarray:
        """Return the first instances of the validation part, or else of the stream."""
        if len(self.X):
            return self.X[:n]
        return self._check(self.stream.take(np.arange(n), label=False).X)

    def held_out(self, encoder: Coder) -> HeldOut:
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
    encoder: Coder, stream: Stream, drawn: np.ndarray, hashed: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return fingerprint, hashes, hashes of what is drawn, what is drawn, and an instance."""
    schema = encoder.schema_

    def look(looked: _Looked, piece: Piece) -> None:
        values = schema.check(piece.X)
        if looked.blocks is None:
            looked.blocks, looked.like = Blocks(values.dtype, schema.shape), values[:1].copy()
        looked.blocks.update(piece.first_row, values)
        held, rows = rows_of(drawn, piece), rows_of(hashed, piece)
        looked.drawn.append(values[held])
        if len(rows):
            looked.hashes.append(encoder._row_hashes(values[rows]))
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

    return read_together(stream, _Looked(), look, finish)


@singledispatch
def open_source(
    instances: Instances, encoder: Coder, validation_fraction: float, seed: int
) -> Source:
    """Return the source of a training run on instances that were checked."""
    raise TypeError(f"got a {type(instances).__name__}, expected an array in memory or a stream")


@open_source.register(InMemory)
def _open_array(
    instances: InMemory, encoder: Coder, validation_fraction: float, seed: int
) -> Source:
    return ArraySource(encoder, instances.X, validation_fraction, seed)


@open_source.register(Stream)
def _open_stream(
    instances: Stream, encoder: Coder, validation_fraction: float, seed: int
) -> Source:
    return StreamSource(encoder, instances, validation_fraction, seed)
