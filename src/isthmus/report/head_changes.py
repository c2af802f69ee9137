"""Heads of one name in two bundles, on the same instances."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.bundle import Bundle
from isthmus.data import Dataset
from isthmus.data.labels import ClassMatcher, label_text
from isthmus.errors import DataError
from isthmus.evaluation.against import classes_against, detections_against
from isthmus.evaluation.controls import decide
from isthmus.heads import AnomalyDetector, CodeClassifier
from isthmus.heads.known import known_to
from isthmus.report.rows import label_of

Pair = tuple[np.ndarray, np.ndarray]


def head_changes(
    earlier: Bundle,
    bundle: Bundle,
    codes: Pair,
    hashes: Pair,
    part: Dataset,
    labels: np.ndarray | None,
) -> list[dict[str, Any]]:
    """Compare heads that both bundles have, by name and kind.

    Parameters
    ----------
    earlier, bundle : Bundle
    codes, hashes : pairs of arrays, of shape (n, n_components) and (n,)
        Of the earlier and of the later encoder.
    part : Dataset of n instances
    labels : array of shape (n,) or None
        For detectors: 1 normal, -1 abnormal, 0 nobody looked.

    Returns
    -------
    list of dict
        `name`; `kind`, "classifier" or "detector"; `n_known`, instances that one of the two has
        learned from, which are left out; what `classes_against` or `detections_against` gives,
        `rows` counted in the part; `decisions`, those rows with what was decided `then` and `now`
        and the `label`; `tests`, the tests among these. Heads that know all instances are not in
        it.
    """
    found = []
    for name in bundle.heads:
        then, now = earlier.heads.get(name), bundle.heads[name]
        if isinstance(then, AnomalyDetector) and isinstance(now, AnomalyDetector):
            known = known_to(then, hashes[0]) | known_to(now, hashes[1])
            one = _detectors(then, now, part, labels, np.flatnonzero(~known))
        elif isinstance(then, CodeClassifier) and isinstance(now, CodeClassifier):
            known = known_to(then, hashes[0]) | known_to(now, hashes[1])
            one = _classifiers(then, now, codes, part, known)
        else:
            continue
        if one is not None:
            found.append({"name": name, "n_known": int(known.sum())} | one)
    return found


def _classifiers(
    then: CodeClassifier, now: CodeClassifier, codes: Pair, part: Dataset, known: np.ndarray
) -> dict[str, Any] | None:
    labelled, labels = _labels_for(now, part)
    new = ~known[labelled]
    rows, y = (labelled[new], labels[new]) if len(labelled) else (np.flatnonzero(~known), None)
    if not len(rows):
        return None
    decided = [
        decide(head.standardised_head_, some[rows])[0]
        for head, some in zip((then, now), codes, strict=True)
    ]
    try:
        decided[0] = ClassMatcher(now.classes_).match(decided[0])
    except DataError:  # classes of another kind, which only their names compare
        decided = [_as_text(one) for one in decided]
        y = None if y is None else _as_text(y)
    found = classes_against(decided[0], decided[1], y)
    tests = [] if found["test"] is None else [found["test"]]
    return (
        {"kind": "classifier"} | found | _told(rows, found["rows"], decided, y) | {"tests": tests}
    )


def _labels_for(now: CodeClassifier, part: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows whose labels test a head, and these labels; none where they do not fit it.

    The chapter on this head says why they do not.
    """
    nothing = np.empty(0, dtype=np.intp)
    if part.y is None:
        return nothing, nothing
    try:
        return ClassMatcher(now.classes_).labelled(part.y)
    except DataError:
        return nothing, nothing


def _as_text(labels: np.ndarray) -> np.ndarray:
    return np.array([label_text(label) for label in labels.tolist()], dtype=object)


def _detectors(
    then: AnomalyDetector,
    now: AnomalyDetector,
    part: Dataset,
    labels: np.ndarray | None,
    rows: np.ndarray,
) -> dict[str, Any] | None:
    if not len(rows):
        return None
    X = part.take(rows).X
    decided, y = [then.predict(X), now.predict(X)], None if labels is None else labels[rows]
    found = detections_against(decided[0], decided[1], y)
    groups = (found["false_alarms"], found["found"])
    return (
        {"kind": "detector"}
        | found
        | _told(rows, found["rows"], decided, y)
        | {"tests": [group["test"] for group in groups if group is not None]}
    )


def _told(
    rows: np.ndarray, otherwise: list[int], decided: list[np.ndarray], y: np.ndarray | None
) -> dict[str, Any]:
    """Return the instances that were decided otherwise, by their place in the part."""
    return {
        "rows": rows[otherwise].tolist(),
        "decisions": [
            {
                "row": int(rows[at]),
                "then": label_of(decided[0][at]),
                "now": label_of(decided[1][at]),
                "label": None if y is None else label_of(y[at]),
            }
            for at in otherwise
        ],
    }
