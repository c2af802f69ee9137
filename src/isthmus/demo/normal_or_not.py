"""The chapter "normal or not": one class is normal, all others are not, on the same code."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus._memory import give_back_memory
from isthmus.autoencoder import Autoencoder
from isthmus.data import Dataset
from isthmus.data.predictions import ABNORMAL, verdicts
from isthmus.errors import CalibrationWarning, DataError
from isthmus.evaluation.detection import raw_distances
from isthmus.evaluation.metrics import plain_label
from isthmus.heads import AnomalyDetector
from isthmus.heads.combined import LABEL_FREE
from isthmus.heads.scores import anomaly_scores
from isthmus.heads.views import views_in_parts

#: What the detector itself makes of instances, beside the scores by name.
DECIDES = "decides"

#: With fewer of a class there is nothing to set a threshold on.
FEWEST = 10


def decide_normal(
    encoder: Autoencoder, train: Dataset, test: Dataset, normal: str | None, seed: int
) -> tuple[dict[str, Any], AnomalyDetector] | None:
    """Fit a detector on one class and test it against all others.

    It learns from the training instances of the class, which the encoder has seen without
    labels, and is calibrated on half of the test instances of the class, which nothing has
    seen. It is tested on the other half and on all test instances of the other classes.

    Parameters
    ----------
    encoder : fitted Autoencoder
    train, test : Dataset
        With labels.
    normal : str or None
        The class that is normal, as text; None takes the first.
    seed : int

    Returns
    -------
    facts and detector, or None when no class has enough test instances

    Raises
    ------
    DataError
        When there is no class of that name, or too few of it.
    """
    assert train.y is not None
    assert test.y is not None
    names = np.asarray(test.y).astype(str)
    known = train.class_names or ()
    wanted = normal if normal is not None else known[0]
    if wanted not in known:
        raise DataError(f"got normal class {wanted!r}, expected one of {', '.join(known)}")
    of_class = np.random.default_rng([seed, 4]).permutation(np.flatnonzero(names == wanted))
    learn_from = np.flatnonzero(np.asarray(train.y).astype(str) == wanted)
    others = np.flatnonzero(names != wanted)
    if len(of_class) < FEWEST or len(learn_from) < FEWEST or not len(others):
        if normal is None:
            return None
        raise DataError(
            f"the class {wanted!r} has {len(learn_from)} training and {len(of_class)} test "
            f"instances, expected at least {FEWEST} of each, and some of other classes"
        )
    calibrate, rest = np.array_split(of_class, 2)
    reference = train.take(learn_from).X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # the story tells the rate
        detector = AnomalyDetector(encoder, random_state=seed).fit(
            reference, X_calibration=test.take(calibrate).X
        )
    rows = np.concatenate([rest, others])
    abnormal = np.arange(len(rows)) >= len(rest)
    tested = test.take(rows).X
    give_back_memory()
    own = detector.memory_.views.take(np.arange(len(learn_from)))
    fitted = {n: score().fit(own, np.random.default_rng(seed)) for n, score in LABEL_FREE.items()}
    give_back_memory()
    found: dict[str, list[np.ndarray]] = {name: [] for name in (DECIDES, *fitted)}
    for views in views_in_parts(encoder, tested):
        found[DECIDES].append(anomaly_scores(detector.fitted_score_, views))
        for name, one in fitted.items():
            found[name].append(one.score(views))
    ranked = {name: np.concatenate(parts) for name, parts in found.items()}
    scores = ranked.pop(DECIDES)
    flagged = verdicts(scores, -detector.offset_) == ABNORMAL
    by_name = {name: float(roc_auc_score(abnormal, of)) for name, of in ranked.items()}
    del own, fitted
    give_back_memory()
    facts = {
        "normal_class": plain_label(train.y[learn_from[0]]),
        "n_train": len(learn_from),
        "n_calibration": detector.n_calibration_,
        "n_abnormal": len(others),
        "method": detector.method_,
        "auroc": float(roc_auc_score(abnormal, scores)),
        "auprc": float(average_precision_score(abnormal, scores)),
        "false_alarm_rate": {
            "asked": detector.false_alarm_rate_,
            "realised": float(flagged[~abnormal].mean()),
            "n": len(rest),
        },
        "found": float(flagged[abnormal].mean()),
        "scores": by_name,
        "controls": {
            "raw": float(roc_auc_score(abnormal, raw_distances(encoder, reference, None, tested)))
        },
    }
    return facts, detector
