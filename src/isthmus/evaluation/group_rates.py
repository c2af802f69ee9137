"""What a detector realises in each group: false alarms beside the rate asked, and AUROC."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection import AnomalyDetector, GroupCalibration, band
from isthmus.evaluation.metrics import ranking

#: Probability that the share of one group is in its band.
CONFIDENCE = 0.9


def evaluate_groups(
    detector: AnomalyDetector, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """Measure the decisions of a detector in each group of labelled instances.

    Parameters
    ----------
    detector : fitted AnomalyDetector
        With or without groups: without, what one threshold for all of them realises.
    labels : array of shape (n,)
        1 normal, -1 abnormal.
    scores : array of shape (n,)
        Anomaly scores.
    groups : object array of shape (n,)
        Text, empty where an instance has no group.

    Returns
    -------
    dict
        `asked`, the false-alarm rate; `realised`, the share of all normal instances that are
        called abnormal, and `band`, between which shares it is with a probability of 90 %, were
        all groups one; `groups`, of each by name `n_normal`, `n_abnormal`, `calibration` (see
        `GroupCalibration`; "all rows" of a detector without groups, and of a group that was not
        there at fit), `n_calibration`, `realised` (None without normal ones), `band`, `found`,
        the share of the abnormal ones called so, and `auroc` (both None without abnormal ones);
        `n_in_band`, how many of the `n_with_band` groups with normal instances are in their band;
        `worst`, the name of the group with the highest realised rate, and `lowest_auroc`, that of
        the one with the lowest AUROC, None where there is none; and the numbers of
        `GroupCalibration.counts_of`.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> rng = np.random.default_rng(1)
    >>> machines = np.repeat(np.array(["a", "b"], dtype=object), 300)
    >>> X = rng.normal(size=(600, 4)) * np.where(machines == "a", 1, 3)[:, None]
    >>> encoder = Autoencoder(max_epochs=2, random_state=0)
    >>> detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0)
    >>> detector = detector.fit(X, groups=machines)
    >>> new = rng.normal(size=(600, 4)) * np.where(machines == "a", 1, 3)[:, None]
    >>> scores = -detector.score_samples(new)
    >>> found = evaluate_groups(detector, np.ones(600), scores, machines)
    >>> [one["calibration"] for one in found["groups"]], found["n_in_band"]
    (['group', 'group'], 2)
    """
    by_group = detector.group_calibration_
    groups = groups if by_group is None else by_group.matched(groups)
    verdicts = detector.verdicts_of(scores, None if by_group is None else groups)
    normal, flagged = labels == NORMAL, verdicts == ABNORMAL
    rate, n_all = detector.false_alarm_rate_, detector.score_calibration_.n
    found = []
    for name in sorted(set(groups.tolist())):
        own = groups == name
        how, n_calibration = _calibration_of(by_group, name, n_all)
        n = int((own & normal).sum())
        both = n > 0 and bool((own & ~normal).any())
        found.append(
            {
                "name": name,
                "n_normal": n,
                "n_abnormal": int(own.sum()) - n,
                "calibration": how,
                "n_calibration": n_calibration,
                "realised": _share(flagged[own & normal]),
                "band": list(band(rate, n_calibration, n, CONFIDENCE)) if n else None,
                "found": _share(flagged[own & ~normal]),
                "auroc": ranking(labels[own], scores[own])["auroc"] if both else None,
            }
        )
    with_band = [one for one in found if one["band"] is not None]
    inside = [one for one in with_band if one["band"][0] <= one["realised"] <= one["band"][1]]
    ranked = [one for one in found if one["auroc"] is not None]
    counts: dict[str, Any] = {} if by_group is None else by_group.counts_of(groups)
    n_normal = int(normal.sum())
    return {
        "asked": rate,
        "realised": _share(flagged[normal]),
        "band": list(band(rate, n_all, n_normal, CONFIDENCE)) if n_normal else None,
        "groups": found,
        "n_with_band": len(with_band),
        "n_in_band": len(inside),
        "worst": max(with_band, key=lambda one: one["realised"])["name"] if with_band else None,
        "lowest_auroc": min(ranked, key=lambda one: one["auroc"])["name"] if ranked else None,
    } | counts


def _calibration_of(by_group: GroupCalibration | None, name: str, n_all: int) -> tuple[str, int]:
    if by_group is None or name not in by_group.names:
        return "all rows", n_all
    at = by_group.names.index(name)
    return by_group.how[at], by_group.calibrations[by_group.positions[at]].n


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None
