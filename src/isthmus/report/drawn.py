"""A stream in a report: instances drawn from it to be shown, and heads tested on all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Bundle
from isthmus.data import Dataset, Splits
from isthmus.data.labels import ClassMatcher
from isthmus.data.stream import Piece, Stream
from isthmus.errors import DataError
from isthmus.evaluation.controls import decide
from isthmus.evaluation.metrics import ClassTally
from isthmus.evaluation.rows_to_test import some_of
from isthmus.heads import AnomalyDetector, CodeClassifier
from isthmus.heads.known import known_to

#: Instances of a stream that a report shows, and describes the data by.
MOST_SHOWN = 20_000


@dataclass(frozen=True, eq=False)
class Drawn:
    """Instances drawn from a stream: `data`, and in `rows` the number of each in the stream."""

    stream: Stream
    data: Dataset
    rows: np.ndarray
    in_memory: ClassVar[Literal[True]] = True


def draw(stream: Stream, encoder: Autoencoder, seed: int) -> Drawn:
    """Draw instances uniformly, or take all where there are few."""
    rows = stream.draw(MOST_SHOWN, [seed, 7])
    data = stream.take(rows, schema=encoder.schema_)
    # Parts that turned out to be damaged were passed over.
    there = np.zeros(len(rows), dtype=bool)
    for part in stream.parts:
        there |= (rows >= part.first_row) & (rows < part.first_row + part.n_rows)
    return Drawn(stream, data, rows[there])


def draw_if_streamed(
    data: Dataset | Splits | Stream | Drawn | None,
    encoder: Autoencoder,
    seed: int,
    tell: Callable[[str], object],
) -> Dataset | Splits | Drawn | None:
    """Return what a report looks at: data in memory as it is, of a stream what is drawn."""
    if data is None or data.in_memory:
        return data
    tell("instances drawn at random")
    return draw(data, encoder, seed)


@dataclass
class Tested:
    """What a head made of all rows of a stream that it does not know.

    Attributes
    ----------
    n_known : int
        Rows that it was fitted or calibrated on, which are left out.
    tally : ClassTally
        Of a classifier.
    labels : list of int8 arrays
        Of a detector: 1 normal, -1 abnormal, 0 nobody looked.
    scores : list of float64 arrays
        Of a detector: the anomaly scores.
    refused : DataError or None
        Of a classifier: why the labels do not test it, such as those of a detector.
    """

    n_known: int = 0
    tally: ClassTally = field(default_factory=ClassTally)
    labels: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    refused: DataError | None = None


def decide_on_all(
    stream: Stream, bundle: Bundle, labels_of: Callable[[Any], np.ndarray | None]
) -> dict[str, Tested]:
    """Let every head decide on all rows of a stream, in one pass.

    Parameters
    ----------
    stream : Stream
    bundle : Bundle
    labels_of : callable
        From the labels of a piece to those for detectors, None where they mean something else.

    Returns
    -------
    dict
        By the names of the heads.
    """
    encoder, found = bundle.encoder, {name: Tested() for name in bundle.heads}
    matchers = {
        name: ClassMatcher(head.classes_)
        for name, head in bundle.heads.items()
        if not isinstance(head, AnomalyDetector)
    }
    for piece in stream.pieces(label=True):
        hashes, codes = encoder.row_hashes(piece.X), encoder.transform(piece.X)
        for name, head in bundle.heads.items():
            if isinstance(head, AnomalyDetector):
                _verdicts(found[name], head, piece, hashes, labels_of(piece.y))
            elif piece.y is not None and found[name].refused is None:
                _classes(found[name], head, matchers[name], piece.y, codes, hashes)
    return found


def _verdicts(
    found: Tested,
    detector: AnomalyDetector,
    piece: Piece,
    hashes: np.ndarray,
    labels: np.ndarray | None,
) -> None:
    rows = np.flatnonzero(~known_to(detector, hashes))
    found.n_known += len(hashes) - len(rows)
    if len(rows):
        found.scores.append(-detector.score_samples(some_of(piece.X, rows)))
        found.labels.append(np.zeros(len(rows), np.int8) if labels is None else labels[rows])


def _classes(
    found: Tested,
    classifier: CodeClassifier,
    matcher: ClassMatcher,
    y: np.ndarray,
    codes: np.ndarray,
    hashes: np.ndarray,
) -> None:
    head = classifier.standardised_head_
    try:
        rows, labels = matcher.labelled(y)
    except DataError as error:
        found.refused = error
        return
    new = ~known_to(classifier, hashes[rows])
    found.n_known += int((~new).sum())
    if new.any():
        found.tally.update(labels[new], *decide(head, codes[rows[new]]), head.classes_)
