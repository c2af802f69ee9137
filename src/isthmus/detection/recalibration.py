"""The scores that calibrate a detector: of rows held out at fit, or of rows given later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.autoencoder import InstanceEncoder, TrainingRowHashes
from isthmus.data import ABNORMAL, Instances, describe_row, group_codes
from isthmus.detection.calibration import DECIMALS
from isthmus.detection.features import ColumnReference, extract_features
from isthmus.detection.labelled_scores import fit_score
from isthmus.detection.reference_set import Fold, ReferenceSet, check_not_trained_on
from isthmus.detection.scores import MissingPenalty, Score, anomaly_scores
from isthmus.detection.timeline import Timeline
from isthmus.encoding import row_hashes
from isthmus.errors import CalibrationError


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """A fitted score, and the scores of the rows that calibrate it.

    Attributes
    ----------
    score : Score
    penalty : MissingPenalty or None
    fitted_on : int array of shape (m,)
        Rows of the reference set that `score` was fitted on.
    rows : list of int arrays
        By fold, the rows that calibrate.
    scores : list of arrays
        Their anomaly scores, by a model that did not learn from them.
    """

    score: Score
    penalty: MissingPenalty | None
    fitted_on: np.ndarray
    rows: list[np.ndarray]
    scores: list[np.ndarray]


def score_held_out_rows(
    reference_set: ReferenceSet,
    encoder: InstanceEncoder,
    method: str,
    missing: str,
    calibration: str,
) -> HeldOutScores:
    """Fit a score on a reference set, and score the rows of each fold without them.

    Parameters
    ----------
    reference_set : ReferenceSet
    encoder : Autoencoder or FrozenEncoder
        The one that decides.
    method, missing : str
        See `fit_score`.
    calibration : {"split", "cross"}
        With `"cross"` the score that decides is fitted on all rows; scores of rows that are no
        windows of a series by time are then no lower than those of the rows by that score, as far
        as these are known.
    """
    y, how = reference_set.y, (method, missing, reference_set.seed)
    all_rows, all_scores = [], []
    for fold in reference_set.folds:
        features, rows = reference_set.features_of(fold), reference_set.calibration_rows(fold)
        if len(rows):  # not all labelled abnormal since
            training = reference_set.training_rows(fold)
            fitted, penalty = fit_score(features, y, training, *how)
            all_scores.append(anomaly_scores(fitted, features.take(rows), penalty))
            all_rows.append(rows)
    if calibration == "cross":
        training = reference_set.fitted_rows()
        fitted, penalty = fit_score(reference_set.features, y, training, *how)
        if reference_set.timeline is None and all_rows:
            own = _own_scores(reference_set, encoder, fitted, penalty, training)
            all_scores = _raise_in_order(all_scores, all_rows, own, reference_set.groups)
    return HeldOutScores(fitted, penalty, training, all_rows, all_scores)


def _own_scores(
    reference_set: ReferenceSet,
    encoder: InstanceEncoder,
    score: Score,
    penalty: MissingPenalty | None,
    fitted_on: np.ndarray,
) -> np.ndarray:
    """Return the score of each row by the model that decides, as if it were new, (n,).

    Against all others, where the score is known so. Of a row with a category that no other row has,
    that of the row with a category never seen. NaN where neither is known.
    """
    own = np.full(len(reference_set.y), np.nan)
    if (found := score.leave_one_out()) is not None:
        learned = fitted_on[reference_set.y[fitted_on] != ABNORMAL]
        own[learned[found[0]]] = np.round(found[1], DECIMALS)
    columns = reference_set.columns
    if columns is not None and any(fold.encoder is not None for fold in reference_set.folds):
        alone = columns.alone(encoder.schema_)
        unseen = np.array([len(column.categories) for column in encoder.schema_.types], float)
        values, new = np.where(alone, unseen, columns.values), np.flatnonzero(alone.any(axis=1))
        if len(new):
            features = extract_features(encoder, values[new])
            own[columns.rows[new]] = anomaly_scores(score, features, penalty)
    return own


def _raise_in_order(
    scores: list[np.ndarray], rows: list[np.ndarray], own: np.ndarray, groups: np.ndarray | None
) -> list[np.ndarray]:
    """Return scores of which the k-th largest is no lower than the k-th largest own score.

    Scores are relative to those of all rows. Where many rows are equal, or categories rare, the
    more rows there are the more have their like, and the others score higher by the model of all
    rows than by one of four fifths: on tables of counts the realised rate was above the one
    asked. Of other tables k-th largest scores hardly differ. The order of the rows stays. With
    groups the scores of each are raised by its own.
    """
    held, numbers = np.concatenate(scores), np.concatenate(rows)
    of_own = np.where(np.isnan(own[numbers]), held, own[numbers])
    of_rows = np.zeros(len(held)) if groups is None else group_codes(groups[numbers])[1]
    raised = held.copy()
    for group in np.unique(of_rows):
        at = np.flatnonzero(of_rows == group)
        order = at[np.argsort(held[at], kind="stable")]
        raised[order] = np.maximum(held[order], np.sort(of_own[at]))
    return np.split(raised, np.cumsum([len(one) for one in scores])[:-1])


def recalibrated(
    reference_set: ReferenceSet,
    encoder: InstanceEncoder,
    instances: Instances,
    groups: np.ndarray | None,
    calibration: str,
    *,
    labels: np.ndarray | None = None,
    timeline: Timeline | None = None,
) -> ReferenceSet:
    """Return a reference set followed by rows that calibrate in place of those before.

    Rows that calibrated before are not fitted on, so that the score stays as it was; with
    `calibration="cross"` it was fitted on all of them.

    Parameters
    ----------
    reference_set : ReferenceSet
    encoder : Autoencoder or FrozenEncoder
    instances : Instances
    groups : object array of shape (n,) or None
    calibration : {"split", "cross"}
        Of the reference set as it was.
    labels : int8 array of shape (n,), optional
        Rows that are labelled abnormal do not calibrate.
    timeline : Timeline, optional
        Of windows that calibrate time points: where they lie in time.

    Raises
    ------
    CalibrationError
        When encoder or score were fitted on some of the rows.
    """
    check_not_trained_on(encoder, instances)
    hashes, n = row_hashes(encoder, instances), len(reference_set.y)
    kept = [np.empty(0, dtype=np.int64)]
    if calibration == "split":
        kept += [one for fold in reference_set.folds for one in (fold.held_out, fold.purged)
                 if one is not None]  # fmt: skip
    set_aside = np.unique(np.concatenate(kept))
    fitted_on = np.setdiff1d(np.arange(n), set_aside)
    known = TrainingRowHashes.from_hashes(reference_set.hashes[fitted_on])
    overlap = known.overlap(hashes)
    if int(overlap.sum()) > known.max_overlap_by_chance(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum()):,} of {len(overlap):,} rows are among those that the detector "
            f"was fitted on, the first is {describe_row(int(overlap.argmax()))}; a threshold set "
            "on them would be too low: pass normal rows that are new to it"
        )
    rows = np.arange(n, n + len(hashes))
    y = np.zeros(len(hashes), dtype=np.int8) if labels is None else labels
    fold = Fold(rows, purged=set_aside)
    of_all = reference_set.groups
    placed = reference_set.timeline
    if placed is not None and timeline is not None:
        placed = placed.followed_by(timeline)
    return replace(
        reference_set,
        features=reference_set.features.followed_by(extract_features(encoder, instances)),
        y=np.concatenate([reference_set.y, y]),
        hashes=np.concatenate([reference_set.hashes, hashes]),
        folds=[fold],
        groups=None if of_all is None or groups is None else np.append(of_all, groups),
        timeline=placed,
        columns=ColumnReference.draw(encoder, instances, rows, reference_set.seed, first=n),
    )
