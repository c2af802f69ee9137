"""The reference set of a detector: features, labels and hashes of the rows it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array

from isthmus.autoencoder import Autoencoder, TrainingRowHashes, read_on_rank_zero
from isthmus.data import ABNORMAL, InMemory, Instances, Schema, StoredCodes
from isthmus.data.streaming import MAX_SAMPLED, Stream
from isthmus.detection.calibration import (
    MIN_ROWS_FOR_SPLIT,
    choose_calibration,
    draw_calibration_rows,
    n_folds,
)
from isthmus.detection.features import Features, extract_features
from isthmus.encoding import check_encoder, is_fitted, row_hashes
from isthmus.errors import CalibrationError, DataError, TrainingError
from isthmus.training import draw_seed


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows that calibrate, and the encoder that has not seen them.

    Attributes
    ----------
    held_out : integer array
        Row numbers that calibrate.
    encoder : Autoencoder or None
        None where it is the detector's own.
    features : Features or None
        Of all rows, through that encoder.
    """

    held_out: np.ndarray
    encoder: Autoencoder | None = None
    features: Features | None = None


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Features of all rows, their labels, and the folds.

    Attributes
    ----------
    features : Features
        Of n rows, through the detector's encoder.
    y : int8 array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.
    hashes : uint64 array of shape (n,)
        By which a row is known again when a label for it comes.
    folds : list of Fold
    seed : int
    """

    features: Features
    y: np.ndarray
    hashes: np.ndarray
    folds: list[Fold]
    seed: int

    def features_of(self, fold: Fold) -> Features:
        """Return the features of all rows through the fold's encoder."""
        return self.features if fold.features is None else fold.features

    def training_rows(self, fold: Fold) -> np.ndarray:
        """Return the rows that a score is fitted on while the fold's calibrate."""
        return np.setdiff1d(np.arange(len(self.y)), self.calibration_rows(fold))

    def calibration_rows(self, fold: Fold) -> np.ndarray:
        """Return the fold's rows that have not been found abnormal since."""
        return fold.held_out[self.y[fold.held_out] != ABNORMAL]

    def check_suffices(self) -> None:
        """Check that rows are left to learn from and to calibrate on."""
        calibrating = sum(len(self.calibration_rows(fold)) for fold in self.folds)
        learning = min(
            int((self.y[self.training_rows(fold)] != ABNORMAL).sum()) for fold in self.folds
        )
        if calibrating < 1 or learning < 2:
            raise CalibrationError(
                f"{learning} normal rows are left to learn from and {calibrating} to calibrate "
                "on, expected at least 2 and 1; bring more normal rows, or fit anew"
            )

    def with_labels(
        self, encoder: Autoencoder, instances: Instances, y: np.ndarray
    ) -> ReferenceSet:
        """Return a reference set with labels changed and new rows added.

        A row that is here gets the label; a calibration row found abnormal calibrates no
        more. New rows train and never calibrate: they were picked to be looked at, which
        rows that calibrate must not be.
        """
        hashes = row_hashes(encoder, instances)
        labels = self.y.copy()
        for digest, label in zip(hashes, y, strict=True):
            labels[self.hashes == digest] = label
        new = np.flatnonzero(~np.isin(hashes, self.hashes))
        if not len(new):
            return replace(self, y=labels)
        if instances.encoded and any(fold.encoder is not None for fold in self.folds):
            raise DataError(
                f"{instances.name} holds codes of one encoder, and the detector was calibrated "
                "with several (calibration='cross'), which have to see rows that are new to it; "
                "pass the instances themselves"
            )
        features = extract_features(encoder, instances).take(new)
        folds = [
            fold
            if fold.encoder is None or fold.features is None
            else replace(
                fold,
                features=fold.features.followed_by(
                    extract_features(fold.encoder, instances).take(new)
                ),
            )
            for fold in self.folds
        ]
        return ReferenceSet(
            self.features.followed_by(features),
            np.concatenate([labels, y[new]]),
            np.concatenate([self.hashes, hashes[new]]),
            folds,
            self.seed,
        )


EncoderAndReference = tuple[Autoencoder, str, ReferenceSet]


def build_reference_set(
    given: Autoencoder,
    instances: Instances,
    y: np.ndarray,
    calibration: str,
    rate: float | str,
    seed: int,
    channel_names: Sequence[str] | None = None,
) -> EncoderAndReference:
    """Set calibration rows aside, train what is not trained yet, and look at all rows.

    Parameters
    ----------
    given : Autoencoder
        Fitted, and used as it is, or not.
    instances : Instances
    y : int8 array of shape (n,)
    calibration : {"auto", "split", "cross"}
    rate : float or "auto"
        The false-alarm rate that the calibration rows must be able to hold.
    seed : int
    channel_names : sequence of str, optional
        Of series, for an encoder that is trained here.

    Returns
    -------
    encoder, calibration, reference_set
        With the calibration settled to `"split"` or `"cross"`.

    Raises
    ------
    CalibrationError
        When a fitted encoder has seen some of the rows, or the rate needs more rows.
    TrainingError
        When several encoders would be trained, and a run is to be resumed.
    """
    fitted = is_fitted(given)
    if fitted:
        _check_new(given, instances)
    normal = np.flatnonzero(y != ABNORMAL)
    if n_encoders(given, calibration, len(normal)) > 1:
        given = _without_checkpoints(given)
    calibration = choose_calibration(calibration, len(normal))
    parts = draw_calibration_rows(calibration, len(normal), rate, np.random.default_rng([seed, 1]))
    held_out = [normal[part] for part in parts]
    split = calibration == "split"
    learning = np.setdiff1d(normal, held_out[0]) if split else normal
    encoder = given if fitted else _train(given, instances, learning, seed, channel_names)
    features = extract_features(encoder, instances, learning)
    folds = []
    for rows in held_out:
        if split or fitted:
            folds.append(Fold(rows))
            continue
        others = np.setdiff1d(normal, rows)
        trained = _train(given, instances, others, seed, channel_names)
        folds.append(Fold(rows, trained, extract_features(trained, instances, others)))
    return (
        encoder,
        calibration,
        ReferenceSet(features, y, row_hashes(encoder, instances), folds, seed),
    )


def n_encoders(given: Autoencoder, calibration: str, n_normal: int) -> int:
    """Return how many encoders `learn_reference_set` trains on so many normal rows.

    None when one is fitted, one of all rows but those that calibrate, or, with cross calibration,
    one of all rows and one for each fold.

    Raises
    ------
    CalibrationError
        When the name is not known or there are too few rows.

    Examples
    --------
    >>> n_encoders(Autoencoder(), "auto", 500), n_encoders(Autoencoder(), "auto", 5000)
    (6, 1)
    """
    if is_fitted(given):
        return 0
    split = choose_calibration(calibration, n_normal) == "split"
    return 1 if split else 1 + n_folds(n_normal)


def build_calibrated_set(
    given: Autoencoder,
    instances: Instances,
    y: np.ndarray,
    calibrating: Instances,
    seed: int,
    channel_names: Sequence[str] | None = None,
) -> EncoderAndReference:
    """Look at rows to learn from and, beside them, rows that calibrate.

    Raises
    ------
    CalibrationError
        When encoder or score would have seen rows that calibrate.
    """
    normal = np.flatnonzero(y != ABNORMAL)
    if is_fitted(given):
        _check_new(given, calibrating)
        encoder = given
    else:
        encoder = _train(given, instances, normal, seed, channel_names)
    hashes = [row_hashes(encoder, part) for part in (instances, calibrating)]
    learned = TrainingRowHashes.from_hashes(hashes[0])
    overlap = learned.overlap(hashes[1])
    if int(overlap.sum()) > learned.max_overlap_by_chance(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum())} of {len(overlap)} rows of X_calibration are in X as well, "
            f"the first is row {int(overlap.argmax())}, counting from 0; a threshold set on "
            "rows that were learned from would be too tight: pass rows that are not in X, or "
            "leave X_calibration out, and rows are set aside"
        )
    features = extract_features(encoder, instances, normal).followed_by(
        extract_features(encoder, calibrating)
    )
    labels = np.concatenate([y, np.zeros(len(overlap), dtype=np.int8)])
    fold = Fold(np.arange(len(y), len(labels)))
    return encoder, "split", ReferenceSet(features, labels, np.concatenate(hashes), [fold], seed)


def detection_encoder(given: Autoencoder, seed: int) -> Autoencoder:
    """Return an encoder with the same parameters as one that is not fitted, to be trained."""
    encoder = clone(given)
    if encoder.recipe == "default":
        encoder.set_params(recipe="detection")
    if encoder.random_state is None:
        encoder.set_params(random_state=seed)
    return encoder


def _without_checkpoints(given: Autoencoder) -> Autoencoder:
    """Return the encoder without a checkpoint folder: several trainings cannot share one."""
    if given.resume:
        raise TrainingError(
            "got resume=True, and a detector with cross calibration, which 'auto' takes for fewer "
            f"than {MIN_ROWS_FOR_SPLIT:,} normal rows, trains several encoders one after the "
            "other, which keep no checkpoint; leave resume out (on the command line: leave "
            "--resume out)"
        )
    encoder: Autoencoder = clone(given)
    return encoder.set_params(checkpoint_dir=None)


def _train(
    given: Autoencoder,
    instances: Instances,
    rows: np.ndarray,
    seed: int,
    channel_names: Sequence[str] | None,
) -> Autoencoder:
    encoder, X = detection_encoder(given, seed), instances.held
    if not hasattr(X, "iloc"):  # whatever gives an array; sparse ones are refused by name
        X = check_array(X, dtype=None, allow_nd=True, ensure_2d=False, ensure_all_finite=False)
    return encoder.fit(_safe_indexing(X, rows), channel_names=channel_names)


def _check_new(encoder: Autoencoder, instances: Instances) -> None:
    """Refuse rows that a fitted encoder was trained on."""
    overlap = encoder.training_row_hashes_.overlap(row_hashes(encoder, instances))
    if int(overlap.sum()) > encoder.training_row_hashes_.max_overlap_by_chance(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum())} of {len(overlap)} rows were among those the encoder was "
            f"trained on, the first is row {int(overlap.argmax())}, counting from 0; a "
            "threshold set on them would be too tight: pass rows that are new to it, or an "
            "encoder that is not fitted, AnomalyDetector(Autoencoder()).fit(X), which sets "
            "rows aside by itself (on the command line: isthmus fit DATA -o BUNDLE --detector)"
        )


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
    X, labels = read_on_rank_zero(stream, lambda: stream.at_most(MAX_SAMPLED, seed, schema=schema))
    return InMemory(X), labels


@singledispatch
def detector_sample(
    instances: Instances, encoder: Autoencoder, y: Any, seed: int
) -> tuple[Autoencoder, Instances, Any]:
    """Return encoder, instances and labels as they are, or of a stream a fifth at most.

    A stream of up to `MAX_SAMPLED` instances is taken as a whole. Of a longer one an encoder
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
    rows = stream.draw(n if n <= MAX_SAMPLED else min(MAX_SAMPLED, n // 5), [seed, 3])
    if len(rows) < n and not is_fitted(encoder):
        encoder = detection_encoder(encoder, seed).fit(stream.without(rows))
    schema = _schema_of(encoder)
    X = read_on_rank_zero(stream, lambda: stream.take(rows, label=False, schema=schema).X)
    return encoder, InMemory(X), None


def trains_beforehand(encoder: Autoencoder, instances: Instances) -> bool:
    """Return whether `detector_sample` trains the encoder, on the rows that are not drawn."""
    drawn_from = not instances.in_memory and instances.n_rows > MAX_SAMPLED
    return drawn_from and not is_fitted(encoder)


@singledispatch
def calibration_sample(instances: Instances, encoder: Autoencoder, seed: int) -> Instances:
    """Return instances as they are, or of a stream `MAX_SAMPLED` at most, drawn at random."""
    return instances


@calibration_sample.register(Stream)
def _calibration_sample_of_stream(stream: Stream, encoder: Autoencoder, seed: int) -> Instances:
    rows, schema = stream.draw(MAX_SAMPLED, [seed, 4]), _schema_of(encoder)
    return InMemory(
        read_on_rank_zero(stream, lambda: stream.take(rows, label=False, schema=schema).X)
    )


def _schema_of(encoder: Autoencoder) -> Schema | None:
    """Return the schema of a fitted encoder: with it a stream need not be read for its own."""
    return encoder.schema_ if is_fitted(encoder) else None
