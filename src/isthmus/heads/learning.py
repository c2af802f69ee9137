"""From instances to what a detector remembers: who calibrates, and what encoders are trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array

from isthmus.autoencoder import Autoencoder
from isthmus.autoencoder.seen import SeenRows
from isthmus.data.instances import Instances
from isthmus.errors import CalibrationError, TrainingError
from isthmus.heads.detector_labels import ABNORMAL
from isthmus.heads.folds import SPLIT_FROM, calibration_rows, choose_calibration, n_folds
from isthmus.heads.frozen import is_fitted
from isthmus.heads.memory import Fold, Memory
from isthmus.heads.stored import row_hashes
from isthmus.heads.views import view

Learned = tuple[Autoencoder, str, Memory]


def learn(
    given: Autoencoder,
    instances: Instances,
    y: np.ndarray,
    calibration: str,
    rate: float | str,
    seed: int,
    channel_names: Sequence[str] | None = None,
) -> Learned:
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
    encoder, calibration, memory
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
    parts = calibration_rows(calibration, len(normal), rate, np.random.default_rng([seed, 1]))
    held_out = [normal[part] for part in parts]
    split = calibration == "split"
    learning = np.setdiff1d(normal, held_out[0]) if split else normal
    encoder = given if fitted else _train(given, instances, learning, seed, channel_names)
    views = view(encoder, instances, learning)
    folds = []
    for rows in held_out:
        if split or fitted:
            folds.append(Fold(rows))
            continue
        others = np.setdiff1d(normal, rows)
        trained = _train(given, instances, others, seed, channel_names)
        folds.append(Fold(rows, trained, view(trained, instances, others)))
    return encoder, calibration, Memory(views, y, row_hashes(encoder, instances), folds, seed)


def n_encoders(given: Autoencoder, calibration: str, n_normal: int) -> int:
    """Return how many encoders `learn` trains on so many normal rows.

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


def learn_calibrated(
    given: Autoencoder,
    instances: Instances,
    y: np.ndarray,
    calibrating: Instances,
    seed: int,
    channel_names: Sequence[str] | None = None,
) -> Learned:
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
    learned = SeenRows.of(hashes[0])
    overlap = learned.overlap(hashes[1])
    if int(overlap.sum()) > learned.tolerated(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum())} of {len(overlap)} rows of X_calibration are in X as well, "
            f"the first is row {int(overlap.argmax())}, counting from 0; a threshold set on "
            "rows that were learned from would be too tight: pass rows that are not in X, or "
            "leave X_calibration out, and rows are set aside"
        )
    views = view(encoder, instances, normal).followed_by(view(encoder, calibrating))
    labels = np.concatenate([y, np.zeros(len(overlap), dtype=np.int8)])
    fold = Fold(np.arange(len(y), len(labels)))
    return encoder, "split", Memory(views, labels, np.concatenate(hashes), [fold], seed)


def for_detection(given: Autoencoder, seed: int) -> Autoencoder:
    """Return an encoder with the same parameters as one that is not fitted, to be trained."""
    encoder = clone(given)
    if encoder.recipe == "default":
        encoder.set_params(recipe="detection")
    if encoder.random_state is None:
        encoder.set_params(random_state=seed)
    return encoder


def _without_checkpoints(given: Autoencoder) -> Autoencoder:
    """Return an encoder that keeps none: several in a row have no common one, and are small."""
    if given.resume:
        raise TrainingError(
            "got resume=True, and a detector with cross calibration, which 'auto' takes for fewer "
            f"than {SPLIT_FROM:,} normal rows, trains several encoders one after the other, which "
            "keep no checkpoint; leave resume out (on the command line: leave --resume out)"
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
    encoder, X = for_detection(given, seed), instances.held
    if not hasattr(X, "iloc"):  # whatever gives an array; sparse ones are refused by name
        X = check_array(X, dtype=None, allow_nd=True, ensure_2d=False, ensure_all_finite=False)
    return encoder.fit(_safe_indexing(X, rows), channel_names=channel_names)


def _check_new(encoder: Autoencoder, instances: Instances) -> None:
    """Refuse rows that a fitted encoder was trained on."""
    overlap = encoder.seen_rows_.overlap(row_hashes(encoder, instances))
    if int(overlap.sum()) > encoder.seen_rows_.tolerated(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum())} of {len(overlap)} rows were among those the encoder was "
            f"trained on, the first is row {int(overlap.argmax())}, counting from 0; a "
            "threshold set on them would be too tight: pass rows that are new to it, or an "
            "encoder that is not fitted, AnomalyDetector(Autoencoder()).fit(X), which sets "
            "rows aside by itself (on the command line: isthmus fit DATA -o BUNDLE --detector)"
        )
