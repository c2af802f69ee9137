"""What a head is fitted on when the instances are a stream: some of them, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.autoencoder.passes import read_by_first
from isthmus.data.codes import StoredCodes
from isthmus.data.schema import Schema
from isthmus.data.stream import Stream
from isthmus.errors import DataError
from isthmus.heads.frozen import is_fitted
from isthmus.heads.learning import for_detection
from isthmus.heads.stored import check_encoder
from isthmus.training import draw_seed

#: Instances of a stream that a head is fitted on, at most.
MOST_SAMPLED = 100_000


def labelled_sample(
    encoder: Autoencoder, X: Any, y: Any, random_state: int | np.random.RandomState | None
) -> Any:
    """Return instances and labels as they are, or of a stream some of both, drawn at random.

    Stored codes are as many as were drawn already, and bring their own labels.

    Raises
    ------
    DataError
        When a stream or stored codes have no labels, labels are passed beside a stream, or codes
        are of another encoder.
    """
    if isinstance(X, StoredCodes):
        check_encoder(encoder, X)
        if y is None and X.y is None:
            raise DataError(
                f"{X.name} holds codes without labels; name their column with load_codes(..., "
                "label=COLUMN), or pass y"
            )
        return X, X.y if y is None else y
    if not isinstance(X, Stream):
        return X, y
    _refuse_labels(y)
    if not X.has_labels:
        raise DataError(f"{X.name} has no labels; name their column with load(..., label=COLUMN)")
    seed, schema = draw_seed(random_state), _schema_of(encoder)
    drawn = read_by_first(X, lambda: X.sample(MOST_SAMPLED, seed, schema))
    return drawn.X, drawn.y


def detector_sample(
    encoder: Autoencoder, X: Any, y: Any, seed: int
) -> tuple[Autoencoder, Any, Any]:
    """Return encoder, instances and labels as they are, or of a stream a fifth at most.

    A stream of up to `MOST_SAMPLED` instances is taken as a whole. Of a longer one an encoder
    that is not fitted is trained on the rows that are not drawn: those drawn are then new to
    it, and some of them can calibrate.
    """
    check_encoder(encoder, X)
    if not isinstance(X, Stream):
        return encoder, X, y
    _refuse_labels(y)
    n_rows = X.n_rows if X.n_rows <= MOST_SAMPLED else min(MOST_SAMPLED, X.n_rows // 5)
    rows = X.draw(n_rows, [seed, 3])
    if len(rows) < X.n_rows and not is_fitted(encoder):
        encoder = for_detection(encoder, seed).fit(X.without(rows))
    schema = _schema_of(encoder)
    return encoder, read_by_first(X, lambda: X.take(rows, label=False, schema=schema).X), None


def trains_beforehand(encoder: Autoencoder, X: Any) -> bool:
    """Return whether `detector_sample` trains the encoder, on the rows that are not drawn."""
    return isinstance(X, Stream) and X.n_rows > MOST_SAMPLED and not is_fitted(encoder)


def calibration_sample(encoder: Autoencoder, X: Any, seed: int) -> Any:
    """Return instances as they are, or of a stream `MOST_SAMPLED` at most, drawn at random."""
    if not isinstance(X, Stream):
        return X
    rows, schema = X.draw(MOST_SAMPLED, [seed, 4]), _schema_of(encoder)
    return read_by_first(X, lambda: X.take(rows, label=False, schema=schema).X)


def _schema_of(encoder: Autoencoder) -> Schema | None:
    """Return the schema of a fitted encoder: with it a stream need not be read for its own."""
    return encoder.schema_ if is_fitted(encoder) else None


def _refuse_labels(y: Any) -> None:
    if y is not None:
        raise DataError("got y beside a stream, whose labels are in its files; leave y out")
