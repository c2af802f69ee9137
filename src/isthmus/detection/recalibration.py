"""Calibration of a detector on other rows than those of its fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.autoencoder import InstanceEncoder, TrainingRowHashes
from isthmus.data import Instances, describe_row
from isthmus.detection.features import ColumnReference, extract_features
from isthmus.detection.reference_set import Fold, ReferenceSet, check_not_trained_on
from isthmus.detection.timeline import Timeline
from isthmus.encoding import row_hashes
from isthmus.errors import CalibrationError


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
