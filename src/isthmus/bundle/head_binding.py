"""Checks that a saved head belongs to its encoder, and the rows that it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.autoencoder import InstanceEncoder
from isthmus.classification import CodeClassifier
from isthmus.data import Instances
from isthmus.detection import AnomalyDetector
from isthmus.encoding import encoder_identity, row_hashes
from isthmus.errors import BundleError, DataError

Head = CodeClassifier | AnomalyDetector


def binding(head: Head) -> dict[str, str | None]:
    """Return the manifest entries for the encoder and the data of a fitted head."""
    facts: dict[str, str | None] = {
        "data_fingerprint": head.data_fingerprint_,
        "encoder_identity": encoder_identity(head.encoder_),
        "encoder_digest": head.encoder_digest_,
    }
    if isinstance(head, AnomalyDetector):
        facts["decoder_digest"] = head.decoder_digest_
    return facts


def restore_binding(head: Head, facts: Mapping[str, Any]) -> None:
    """Set the attributes of a head that `binding` returned."""
    head.encoder_digest_ = facts["encoder_digest"]
    head.data_fingerprint_ = facts["data_fingerprint"]
    if isinstance(head, AnomalyDetector):  # the first bundles have none of the decoder
        head.decoder_digest_ = facts.get("decoder_digest", head.encoder_.decoder_digest_)


def check_bound(
    name: str, head: Head, digest: str, identity: str, decoder_digest: str | None = None
) -> None:
    """Check that a head was fitted on the encoder with this digest and identity.

    The digest of the decoder matters for detectors, and is None in the first bundles.

    Raises
    ------
    BundleError
        When its encoder has other weights or other preprocessing.
    FrozenError
        When the weights of its encoder changed after they were fitted.
    """
    head.encoder_.check_frozen()
    if head.encoder_digest_ != digest:
        raise BundleError(
            f"the head {name!r} was fitted on the codes of another encoder (digest "
            f"{head.encoder_digest_[:12]}, here {digest[:12]}); fit it on this one"
        )
    of_head = head.decoder_digest_ if isinstance(head, AnomalyDetector) else None
    if decoder_digest is not None and of_head is not None and of_head != decoder_digest:
        raise BundleError(
            f"the head {name!r} was fitted on the residuals of another decoder (digest "
            f"{of_head[:12]}, here {decoder_digest[:12]}); fit it on this one"
        )
    if encoder_identity(head.encoder_) != identity:
        raise BundleError(
            f"the head {name!r} was fitted on another encoder: the weights are the same, the "
            "preprocessing is not; fit it on this one"
        )


def check_bound_in_bundle(folder: Path, facts: Mapping[str, Any], encoder: InstanceEncoder) -> None:
    """Check that a saved head belongs to the encoder that was saved with it.

    Raises
    ------
    BundleError
        When it was fitted on other weights or with other preprocessing.
    """
    if facts["encoder_digest"] != encoder.digest_:
        raise BundleError(
            f"the head in {folder} was fitted on the codes of another encoder (digest "
            f"{facts['encoder_digest'][:12]}, here {encoder.digest_[:12]}); fit it again"
        )
    decoder = encoder.decoder_digest_
    if decoder is not None and facts.get("decoder_digest") not in (None, decoder):
        raise BundleError(
            f"the head in {folder} was fitted on the residuals of another decoder (digest "
            f"{facts['decoder_digest'][:12]}, here {decoder[:12]}); fit it again"
        )
    if facts["encoder_identity"] != encoder_identity(encoder):
        raise BundleError(
            f"the head in {folder} was fitted with other preprocessing than the encoder here "
            "has, although the weights are the same; fit it again"
        )


def rows_used_in_fit(head: Head, hashes: np.ndarray) -> np.ndarray:
    """Return which instances a head was fitted or calibrated on, boolean of shape (n,).

    Parameters
    ----------
    head : fitted CodeClassifier or AnomalyDetector
        Classifiers in bundles of an earlier isthmus may have no row hashes: none is found.
    hashes : uint64 array of shape (n,)
        As `Autoencoder.row_hashes` gives them.

    Returns
    -------
    boolean array of shape (n,)
    """
    if isinstance(head, CodeClassifier):
        return np.isin(hashes, head.fitted_on_)
    return np.isin(hashes, head.reference_set_.hashes)


def count_rows_used_in_fit(head: Head, instances: Instances, rows: np.ndarray) -> int:
    """Count the rows that a head was fitted on; 0 for stored codes without row hashes.

    Parameters
    ----------
    head : fitted CodeClassifier or AnomalyDetector
    instances : Instances
    rows : int array
        Which of the instances are looked at.

    Returns
    -------
    int
    """
    if not instances.has_row_hashes:
        return 0
    return int(rows_used_in_fit(head, row_hashes(head.encoder_, instances)[rows]).sum())


def decisions(
    head: Head,
    X: Any,
    groups: Any = None,
    *,
    alpha: float | None = None,
    by_class: bool = False,
) -> dict[str, np.ndarray]:
    """Return what a head decides for instances, by name of `isthmus.data.DECISIONS`.

    The network runs once: a detector's verdicts and p-values come from the same scores. With
    `alpha` the p-values of classes are among it, `by_class` as in `CodeClassifier.predict_set`.

    Raises
    ------
    DataError
        When a detector decides by group and there are no groups, or the other way round; when
        there are groups and the head is a classifier; when sets of a detector are asked for.
    CalibrationError
        When sets of a classifier that is not calibrated are asked for, or `alpha` is out of range.
    """
    check_sets(head, alpha, by_class=by_class)
    if isinstance(head, AnomalyDetector):
        X, groups = head.instances_and_groups(X, groups)
        scores = -head.score_samples(X)
        return {
            "verdict": head.verdicts_of(scores, groups),
            "anomaly_score": scores,
            "p_value": head.p_values_of(scores, groups),
        }
    if groups is not None:
        raise DataError("got groups=, and the head is a classifier, which has none; leave it out")
    found = {"class": head.predict(X)}
    if alpha is not None:
        found["class_p_values"] = head.class_p_values(X, by_class=by_class)
    if hasattr(head, "predict_proba"):
        found["probabilities"] = head.predict_proba(X)
    if head.rejecter_ is not None:
        found["p_value"] = head.rejecter_.p_values(X)
    return found


def check_sets(head: Head, alpha: float | None, *, by_class: bool = False) -> None:
    """Check that a head has prediction sets where they are asked for; warn of full ones.

    Parameters
    ----------
    head : fitted CodeClassifier or AnomalyDetector
    alpha : float in (0, 1) or None
        None: no sets are asked for.
    by_class : bool, default=False
        See `CodeClassifier.predict_set`.

    Raises
    ------
    DataError
        When the head is a detector.
    CalibrationError
        When the classifier is not calibrated, or `alpha` is out of range.
    """
    if alpha is None:
        return
    if isinstance(head, AnomalyDetector):
        raise DataError(
            "the head is a detector, and alpha= (on the command line --alpha) is for sets of "
            "classes; leave it out"
        )
    head.warn_of_full_sets(alpha, by_class=by_class)


def reasons_of(head: Head, X: Any) -> pd.DataFrame:
    """Return what explains a detector's decisions: `Explanation.frame` and `by_channel`.

    Raises
    ------
    DataError
        When the head is a classifier.
    """
    if not isinstance(head, AnomalyDetector):
        raise DataError(
            "the head is a classifier, and explain=True (on the command line --explain) is for "
            "detectors; leave it out"
        )
    explanation = head.explain(X)
    found, shares = explanation.frame().drop(columns="anomaly_score"), explanation.by_channel()
    return found.assign(**{str(k): c for k, c in shares.items() if k not in found})
