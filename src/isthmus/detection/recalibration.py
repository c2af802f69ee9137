"""The scores that calibrate a detector: of rows held out at fit, or of rows given later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.autoencoder import InstanceEncoder, TrainingRowHashes
from isthmus.data import ABNORMAL, Instances, describe_row
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
    reference_set: ReferenceSet, method: str, missing: str, calibration: str
) -> HeldOutScores:
    """Fit a score on a reference set, and score the rows of each fold without them.

    Parameters
    ----------
    reference_set : ReferenceSet
    method, missing : str
        See `fit_score`.
    calibration : {"split", "cross"}
        With `"cross"` the score that decides is fitted on all rows; scores of rows that are no
        windows of a series by time are then `raise_to_own_scores`.
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
        if reference_set.timeline is None:
            learned, hashes = training[y[training] != ABNORMAL], reference_set.hashes
            all_scores = [
                raise_to_own_scores(fitted, scores, rows, learned, hashes)
                for scores, rows in zip(all_scores, all_rows, strict=True)
            ]
    return HeldOutScores(fitted, penalty, training, all_rows, all_scores)


def raise_to_own_scores(
    score: Score, scores: np.ndarray, rows: np.ndarray, fitted_on: np.ndarray, hashes: np.ndarray
) -> np.ndarray:
    """Return scores of rows by models without them, no lower than by the model that decides.

    Scores are relative to those of all rows. Where many rows are equal, more have equals the more
    rows there are, and rare rows score higher by the model of all rows than by one of four fifths:
    on tables of counts the realised rate was up to twice the one asked.

    Parameters
    ----------
    score : Score
        Of all rows, which decides; without `leave_one_out` nothing is raised.
    scores : array of shape (n,)
        Each by a model without the row.
    rows : int array of shape (n,)
        Their numbers.
    fitted_on : int array of shape (m,)
        Numbers of the normal rows that `score` was fitted on.
    hashes : uint64 array
        Of all rows.
    """
    found = score.leave_one_out()
    if found is None or TrainingRowHashes.from_hashes(hashes[fitted_on]).identify:
        return scores
    own = np.full(len(hashes), -np.inf)
    own[fitted_on[found[0]]] = np.round(found[1], DECIMALS)
    return np.maximum(scores, own[rows])


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
