"""What a head is fitted on when the instances are a stream: some of them, in memory."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.autoencoder.passes import read_by_first
from isthmus.data.codes import StoredCodes
from isthmus.data.instances import InMemory, Instances
from isthmus.data.schema import Schema
from isthmus.data.stream import Stream
from isthmus.errors import DataError
from isthmus.heads.frozen import is_fitted
from isthmus.heads.learning import for_detection
from isthmus.heads.stored import check_encoder
from isthmus.training import draw_seed

#: Instances of a stream that a head is fitted on, at most.
MOST_SAMPLED = 100_000

RandomState = int | np.random.RandomState | None


@singledispatch
def labelled_sample(
    instances: Instances, encoder: Autoencoder, y: Any, random_state: RandomState
) -> tuple[Instances, Any]:
    """Return instances and labels as they are, or of a stream some of both, drawn at random.

    Stored codes are as many as were drawn already, and bring their own labels.

    Raises
    ------
    DataError
        When a stream or stored codes have no labels, or codes are of another encoder.
    """
    return instances, y


@labelled_sample.register(StoredCodes)
def _labelled_codes(
    codes: StoredCodes, encoder: Autoencoder, y: Any, random_state: RandomState
) -> tuple[Instances, Any]:
    check_encoder(encoder, codes)
    if y is None and codes.y is None:
        raise DataError(
            f"{codes.name} holds codes without labels; name their column with load_codes(..., "
            "label=COLUMN), or pass y"
        )
    return codes, codes.y if y is None else y


@labelled_sample.register(Stream)
def _labelled_of_stream(
    stream: Stream, encoder: Autoencoder, y: Any, random_state: RandomState
) -> tuple[Instances, Any]:
    stream.check_labelled()
    seed, schema = draw_seed(random_state), _schema_of(encoder)
    X, labels = read_by_first(stream, lambda: stream.at_most(MOST_SAMPLED, seed, schema=schema))
    return InMemory(X), labels


@singledispatch
def detector_sample(
    instances: Instances, encoder: Autoencoder, y: Any, seed: int
) -> tuple[Autoencoder, Instances, Any]:
    """Return encoder, instances and labels as they are, or of a stream a fifth at most.

    A stream of up to `MOST_SAMPLED` instances is taken as a whole. Of a longer one an encoder
    that is not fitted is trained on the rows that are not drawn: those drawn are then new to
    it, and some of them can calibrate.

    Raises
    ------
    DataError
        When stored codes are of another encoder.
    """
    check_encoder(encoder, instances)
    return encoder, instances, y


@detector_sample.register(Stream)
def _detector_sample_of_stream(
    stream: Stream, encoder: Autoencoder, y: Any, seed: int
) -> tuple[Autoencoder, Instances, Any]:
    n = stream.n_rows
    rows = stream.draw(n if n <= MOST_SAMPLED else min(MOST_SAMPLED, n // 5), [seed, 3])
    if len(rows) < n and not is_fitted(encoder):
        encoder = for_detection(encoder, seed).fit(stream.without(rows))
    schema = _schema_of(encoder)
    X = read_by_first(stream, lambda: stream.take(rows, label=False, schema=schema).X)
    return encoder, InMemory(X), None


def trains_beforehand(encoder: Autoencoder, instances: Instances) -> bool:
    """Return whether `detector_sample` trains the encoder, on the rows that are not drawn."""
    drawn_from = not instances.in_memory and instances.n_rows > MOST_SAMPLED
    return drawn_from and not is_fitted(encoder)


@singledispatch
def calibration_sample(instances: Instances, encoder: Autoencoder, seed: int) -> Instances:
    """Return instances as they are, or of a stream `MOST_SAMPLED` at most, drawn at random."""
    return instances


@calibration_sample.register(Stream)
def _calibration_sample_of_stream(stream: Stream, encoder: Autoencoder, seed: int) -> Instances:
    rows, schema = stream.draw(MOST_SAMPLED, [seed, 4]), _schema_of(encoder)
    return InMemory(read_by_first(stream, lambda: stream.take(rows, label=False, schema=schema).X))


def _schema_of(encoder: Autoencoder) -> Schema | None:
    """Return the schema of a fitted encoder: with it a stream need not be read for its own."""
    return encoder.schema_ if is_fitted(encoder) else None
