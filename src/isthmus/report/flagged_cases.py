"""Chapter "flagged cases": the most unusual instances of a detector, with names and reasons."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isthmus.bundle import rows_used_in_fit
from isthmus.data import ABNORMAL, NORMAL, Dataset
from isthmus.detection import UNKNOWN, AnomalyDetector, Explanation
from isthmus.errors import DataWarning
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
    hashes: np.ndarray,
    at_fit: Mapping[int, int] | None = None,
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
    hashes : uint64 array of shape (n,)
        Of the instances: which of them it was fitted or calibrated on.
    at_fit : mapping of int to int, optional
        Row numbers of the training part, in which nearest normal instances are looked up, by their
        hashes; see `numbers_by_hash`.

    Returns
    -------
    dict
        `name`; `n`, `n_flagged`, and of these `n_known`, those that it was fitted or calibrated on,
        `n_normal` and `n_abnormal` by label, `n_labels_known`, those labelled now whose label was
        used in the fit, and `n_labels_new`, those fitted or calibrated on without it; `asked`, the
        false-alarm rate; `nearly_all`, whether nine in ten or more are flagged and labels do not
        explain it; `names`, the columns that name a case, if any, and `numbered`, whether they are
        no more than its group, so that its row identifies it; `cases`, all that are flagged, at
        most 200, and at least the 8 most unusual: `row`, its number in the data that was read, as
        in predictions, of several files `file` and `file_row`, its number in there, `ids` (text,
        one for each of `names`), `score`, `threshold`, `p_value`, `flagged`, `known`, `label` and,
        as text, the one `given`, `reasons` (of a table's columns or a series' channels `name`,
        `share` of the squared residual, and `value` of a column; none of images) and `nearest`,
        rows of the training part.
    """
    scores = -detector.score_samples(part)
    groups = None
    if detector.group_calibration_ is not None:
        groups = detector.instances_and_groups(part)[1]
    flagged = detector.verdicts_of(scores, groups) == ABNORMAL
    thresholds = np.full(len(scores), -detector.offset_)
    if groups is not None:
        thresholds = detector.thresholds_of(groups)
    surprise = scores - thresholds
    n_flagged = int(flagged.sum())
    known, labelled = rows_used_in_fit(detector, hashes), flagged & (labels != UNKNOWN)
    used = _labels_used_in_fit(detector, hashes, labels)
    order = np.lexsort((-surprise, ~flagged))
    rows = order[: min(max(n_flagged, MIN_LISTED), MAX_LISTED)]
    shown = part.take(rows)
    named = part.keys is not None or part.windows is not None
    numbered = part.windows is None and not set(() if part.keys is None else part.keys) - {
        *part.group_columns
    }
    ids = shown.identifiers().iloc[:, : MAX_NAMES if named else 0]
    ids = ids.drop(columns="row", errors="ignore") if numbered else ids
    explanation = explain_shown(detector, shown.X, N_NEIGHBORS)
    reasons = _reasons(explanation, shown.X)
    p_values = detector.p_values_of(scores[rows], None if groups is None else groups[rows])
    at_fit, numbers = at_fit or {}, part.row_numbers()
    nearest = detector.reference_set_.hashes[explanation.neighbours].tolist()
    return {
        "name": name,
        "n": len(scores),
        "n_flagged": n_flagged,
        "n_known": int((known & flagged).sum()),
        "n_normal": int((labels[flagged] > 0).sum()),
        "n_abnormal": int((labels[flagged] < 0).sum()),
        "n_labels_known": int((labelled & used).sum()),
        "n_labels_new": int((labelled & known & ~used).sum()),
        "asked": detector.false_alarm_rate_,
        "nearly_all": bool(
            n_flagged >= max(MIN_LISTED, NEARLY_ALL * len(scores))
            and (labels == ABNORMAL).mean() < 0.5
        ),
        "names": [str(column) for column in ids.columns],
        "numbered": numbered,
        "cases": [
            {
                "row": int(numbers[row]),
                **_file_facts(part, int(numbers[row])),
                "ids": [short_text(value) for value in ids.iloc[at]],
                "score": float(scores[row]),
                "threshold": float(thresholds[row]),
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


def _file_facts(part: Dataset, number: int) -> dict[str, Any]:
    """Return the file of a row, and its number in there, of data of several files."""
    found = None if part.file_of is None else part.file_of(number)
    return {} if found is None else {"file": found[0], "file_row": found[1]}


def _labels_used_in_fit(
    detector: AnomalyDetector, hashes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return which instances the detector knows by the label that they have, boolean (n,)."""
    known, used = detector.reference_set_, np.zeros(len(labels), dtype=bool)
    for label in (NORMAL, ABNORMAL):
        used |= (labels == label) & np.isin(hashes, known.hashes[known.y == label])
    return used


def explain_shown(detector: AnomalyDetector, X: Any, n_neighbors: int) -> Explanation:
    """Return the explanation of instances; without a decoder it has no reasons.

    Nothing warns: that there are no reasons the page says, and what there is to say of the values
    was said of all instances. Of a few, "most values of a column" would be of these alone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return detector.explain(X, n_neighbors=n_neighbors)


def numbers_by_hash(part: Dataset, hashes: np.ndarray) -> dict[int, int]:
    """Return the row number of each instance in the data that was read, by its hash.

    Parameters
    ----------
    part : Dataset of n instances
    hashes : uint64 array of shape (n,)

    Examples
    --------
    >>> part = Dataset(np.arange(6.0)[:, None]).take_range("2:4")
    >>> numbers_by_hash(part, np.array([17, 99], dtype=np.uint64))
    {17: 2, 99: 3}
    """
    return dict(zip(hashes.tolist(), part.row_numbers().tolist(), strict=True))


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
