"""Intake of a queue of labels: heads are updated with them and saved as new versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Bundle, add_heads, load_bundle
from isthmus.classification import CodeClassifier, uses_unlabelled
from isthmus.data import MISSING, NORMAL, PARTIAL_CLASSES, ClassMatcher, take_rows
from isthmus.detection import AnomalyDetector, check_detector_labels
from isthmus.errors import BundleError, DataError
from isthmus.serve.label_queue import queued_instances, read_queue
from isthmus.serve.refusals import Refusal

Head = CodeClassifier | AnomalyDetector
#: Lines of a queue with their numbers.
Lines = Sequence[tuple[int, dict[str, Any]]]


def take_labels(path: str | Path, queue: str | Path, head: str | None = None) -> dict[str, Any]:
    """Update a bundle's heads with the labels of a queue, and save them as new versions.

    The last label of an instance counts. Labels that a head already has change nothing, so that a
    queue may be taken twice. No encoder is trained.

    Parameters
    ----------
    path : path
        Of the bundle.
    queue : path
        The file that `POST /labels` appended to. Lines for other encoders are ignored.
    head : str, optional
        Take only labels for this head.

    Returns
    -------
    dict
        `heads`: of each head its `name`, `version` (None where nothing changed), `n_given`
        instances, `n_new` of them to the head, `n_changed` with another label; `left`: number of
        labels for other encoders, by the name that their bundle was served under.

    Raises
    ------
    DataError
        When the queue is empty, holds nothing for this bundle, a line is damaged, or the head
        does not take a label.
    BundleError
        When a label is for a head that the bundle does not have.
    CalibrationError
        When too few normal rows are left. After any of these errors nothing has been saved.
    """
    lines = read_queue(queue)
    if not lines:
        raise DataError(f"{queue} is empty; add labels by POST /labels")
    bundle = load_bundle(path)
    own_lines = [line for line in lines if line[1]["encoder_digest"] == bundle.encoder.digest_]
    if not own_lines:
        others = {f"{one['encoder_digest'][:12]} ({one['bundle']})" for _, one in lines}
        raise DataError(
            f"got labels for the encoder {', '.join(sorted(others)[:5])} in {queue}, expected "
            f"{bundle.encoder.digest_[:12]}, which is in {path}; name the bundle that was served"
        )
    results: list[dict[str, Any]] = []
    changed: dict[str, Head] = {}
    for name, chosen in _by_head(own_lines, bundle, queue, head).items():
        found = _take(bundle.heads[name], bundle.encoder, chosen, f"{queue}, for {name!r},")
        results.append({"name": name, **found})
        if found["n_new"] + found["n_changed"]:
            changed[name] = bundle.heads[name]
    versions = add_heads(path, changed) if changed else {}
    other_labels = Counter(one["bundle"] for _, one in lines) - Counter(
        one["bundle"] for _, one in own_lines
    )
    return {
        "heads": [one | {"version": versions.get(one["name"])} for one in results],
        "left": dict(other_labels),
    }


def _by_head(
    lines: Lines, bundle: Bundle, queue: str | Path, head: str | None
) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, one in lines:
        if head not in (None, one["head"]):
            continue
        if one["head"] not in bundle.heads:
            raise BundleError(
                f"line {number} of {queue} is for the head {one['head']!r}, expected one of "
                f"{bundle.path} ({', '.join(bundle.heads) or 'none'}); fit such a head, or "
                "delete the line"
            )
        found.setdefault(one["head"], []).append((number, one))
    if not found:
        names = ", ".join(sorted({one["head"] for _, one in lines}))
        raise DataError(f"{queue} holds no label for the head {head!r}, only for {names}")
    return found


def _take(head: Head, encoder: Autoencoder, lines: Lines, queue: str) -> dict[str, int]:
    """Add new and changed labels to a head, and return their numbers."""
    classes = None if isinstance(head, AnomalyDetector) else ClassMatcher(head.classes_)
    labels = [
        _label(head, classes, one["label"], f"line {number} of {queue}") for number, one in lines
    ]
    X, hashes = _instances(encoder, lines, queue)
    # Equal rows are one instance; its last label counts.
    last = {digest: at for at, digest in enumerate(hashes)}
    current = _current_labels(head)
    # The withdrawal of a label that the head does not have changes nothing.
    no_label = 0 if isinstance(head, AnomalyDetector) else None
    changed = [at for digest, at in last.items() if labels[at] != current.get(digest, no_label)]
    if changed:
        changed.sort()
        given = [labels[at] for at in changed]
        if isinstance(head, AnomalyDetector):  # 0 withdraws a label, as a missing one does
            signs = np.array([float(one) if one else np.nan for one in given])
            head.add_labels(take_rows(X, np.array(changed)), signs, normal=NORMAL)
        else:
            head.add_labels(take_rows(X, np.array(changed)), np.array(given))
    n_new = sum(hashes[at] not in current for at in changed)
    return {"n_given": len(last), "n_new": n_new, "n_changed": len(changed) - n_new}


def _label(head: Head, classes: ClassMatcher | None, label: str | int, where: str) -> Any:
    """Return a label in the type of the head; None where a classifier's is withdrawn."""
    given, reason = np.array([label], dtype=object), ""
    try:
        if isinstance(head, AnomalyDetector) or classes is None:
            expected = "1 normal, -1 abnormal or 0 to withdraw a label"
            return int(check_detector_labels(given, 1)[0])
        numbers = head.classes_.dtype.kind in "iuf"
        expected = f"{'a whole number' if numbers else 'one'} such as {head.classes_.tolist()[0]!r}"
        if uses_unlabelled(head.head) and not PARTIAL_CLASSES.has_label(given).any():
            return None
        if MISSING.has_label(given).all():
            return classes.match(given).tolist()[0]
    except DataError as error:
        reason = f" ({error})"
    raise DataError(
        f"{where} has the label {label!r}, expected {expected}{reason}; correct the line, or "
        "delete it"
    )


def _instances(encoder: Autoencoder, lines: Lines, queue: str) -> tuple[Any, list[int]]:
    """Return instances and their hashes; an error names the line."""
    try:
        X = queued_instances([one for _, one in lines], encoder.schema_)
        return X, encoder.row_hashes(X).tolist()
    except (Refusal, DataError) as error:
        for number, one in lines:
            try:
                encoder.row_hashes(queued_instances([one], encoder.schema_))
            except (Refusal, DataError) as reason:
                raise DataError(f"line {number} of {queue} does not fit: {reason}") from error
        raise


def _current_labels(head: Head) -> dict[int, Any]:
    """Return a head's labels by the hash of the instance."""
    stored = head.reference_set_ if isinstance(head, AnomalyDetector) else head.labelled_
    if stored is None:
        return {}
    return dict(zip(stored.hashes.tolist(), stored.y.tolist(), strict=True))
