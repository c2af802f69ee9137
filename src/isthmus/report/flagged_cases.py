"""Chapter "flagged cases": the most unusual instances of a detector, with names and reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import ABNORMAL, Dataset
from isthmus.detection import AnomalyDetector, Explanation
from isthmus.report.wording import label_or_none, short_text

#: Cases that are listed: those that are flagged up to a number, and so many where fewer are.
MAX_LISTED, MIN_LISTED = 200, 8
#: Reasons and nearest normal instances of a case, and columns that name it.
N_REASONS, N_NEIGHBORS, MAX_NAMES = 3, 3, 4
#: Share of flagged instances from which the question is whether the data is of the same source.
NEARLY_ALL = 0.9


def flagged_facts(
    name: str,
    detector: AnomalyDetector,
    part: Dataset,
    labels: np.ndarray,
    known: np.ndarray,
    hashes: np.ndarray | None = None,
) -> dict[str, Any]:
    """List the instances that a detector flags, the most unusual first.

    Instances that it was fitted or calibrated on are among them: a file that was fitted on may hold
    what is looked for.

    Parameters
    ----------
    name : str
    detector : fitted AnomalyDetector
    part : Dataset of n instances
    labels : array of shape (n,)
        1 normal, -1 abnormal, 0 unlabelled.
    known : bool array of shape (n,)
        Which instances it was fitted or calibrated on.
    hashes : uint64 array, optional
        Of the training part, in which nearest normal instances are looked up.

    Returns
    -------
    dict
        `name`; `n`, `n_flagged`, and of these `n_known`, `n_normal` and `n_abnormal` by label;
        `asked`, the false-alarm rate; `nearly_all`, whether nine in ten or more are flagged and
        labels do not explain it; `names`, the columns that identify a case, if any; `cases`, all
        that are flagged, at most 200, and at least the 8 most unusual: `row`, `ids` (text, one for
        each of `names`), `score`, `p_value`, `flagged`, `known`, `label` and, as text, the one
        `given`, `reasons` (of a table's columns or a series' channels `name`, `share` of the
        squared residual, and `value` of a column; none of images) and `nearest`, rows of the
        training part.
    """
    scores = -detector.score_samples(part)
    groups = None
    if detector.group_calibration_ is not None:
        groups = detector.instances_and_groups(part)[1]
    flagged = detector.verdicts_of(scores, groups) == ABNORMAL
    surprise = scores if groups is None else scores - detector.thresholds_of(groups)
    n_flagged = int(flagged.sum())
    order = np.lexsort((-surprise, ~flagged))
    rows = order[: min(max(n_flagged, MIN_LISTED), MAX_LISTED)]
    shown = part.take(rows)
    named = part.keys is not None or part.windows is not None
    ids = shown.identifiers().iloc[:, : MAX_NAMES if named else 0]
    explanation = detector.explain(shown.X, n_neighbors=N_NEIGHBORS)
    reasons = _reasons(explanation, shown.X)
    p_values = detector.p_values_of(scores[rows], None if groups is None else groups[rows])
    at_fit = {} if hashes is None else {int(one): row for row, one in enumerate(hashes)}
    nearest = detector.reference_set_.hashes[explanation.neighbours].tolist()
    return {
        "name": name,
        "n": len(scores),
        "n_flagged": n_flagged,
        "n_known": int((known & flagged).sum()),
        "n_normal": int((labels[flagged] > 0).sum()),
        "n_abnormal": int((labels[flagged] < 0).sum()),
        "asked": detector.false_alarm_rate_,
        "nearly_all": bool(
            n_flagged >= max(MIN_LISTED, NEARLY_ALL * len(scores))
            and (labels == ABNORMAL).mean() < 0.5
        ),
        "names": [str(column) for column in ids.columns],
        "cases": [
            {
                "row": int(row),
                "ids": [short_text(value) for value in ids.iloc[at]],
                "score": float(scores[row]),
                "p_value": float(p_values[at]),
                "flagged": bool(flagged[row]),
                "known": bool(known[row]),
                "label": int(labels[row]),
                "given": None if part.y is None else label_or_none(part.y[row]),
                "reasons": reasons[at],
                "nearest": [at_fit[one] for one in nearest[at] if one in at_fit],
            }
            for at, row in enumerate(rows.tolist())
        ],
    }


def _reasons(explanation: Explanation, X: Any) -> list[list[dict[str, Any]]]:
    """Return columns of a table with their values, or channels of a series, by share."""
    if explanation.kind == "images" or explanation.residuals is None:
        return [[] for _ in explanation.anomaly_scores]
    if explanation.kind == "series":
        of_channels = explanation.residuals.sum(axis=1)
        shares = of_channels / np.maximum(of_channels.sum(axis=1, keepdims=True), 1e-30)
        names = explanation.feature_names or [f"channel {at}" for at in range(shares.shape[1])]
        ranked = np.argsort(-shares, axis=1, kind="stable")[:, :N_REASONS]
        return [
            [{"name": names[at], "share": float(row[at]), "value": None} for at in places.tolist()]
            for row, places in zip(shares, ranked, strict=True)
        ]
    return [
        [
            {"name": name, "share": share, "value": value_text(X, at, name)}
            for name, share in reasons
        ]
        for at, reasons in enumerate(explanation.top(N_REASONS))
    ]


def value_text(X: Any, at: int, name: str) -> str | None:
    """Return a column's value in a row as text, None where there are no columns."""
    return short_text(X[name].iloc[at]) if isinstance(X, pd.DataFrame) and name in X else None
