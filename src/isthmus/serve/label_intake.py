"""A queue of labels taken into the heads that they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Bundle, add_heads, load_bundle
from isthmus.classification import CodeClassifier, uses_unlabelled
from isthmus.data import MISSING, PARTIAL_CLASSES, ClassMatcher, take_rows
from isthmus.detection import AnomalyDetector, check_detector_labels
from isthmus.errors import BundleError, DataError
from isthmus.serve.label_queue import queued_instances, read_queue
from isthmus.serve.refusals import Refusal

Head = CodeClassifier | AnomalyDetector
#: Lines of a queue by number.
Lines = Sequence[tuple[int, dict[str, Any]]]


def take_labels(path: str | Path, queue: str | Path, head: str | None = None) -> dict[str, Any]:
    """Decide anew with the labels of a queue, and save the heads as new versions.

    Of an instance that was labelled several times the last label counts. Labels that a head has
    already change nothing, so that a queue may be taken twice. No encoder is trained.

    Parameters
    ----------
    path : path
        Of the bundle.
    queue : path
        What `POST /labels` appended to. Lines for other encoders, of which a service may have
        several, are left.
    head : str, optional
        Labels for this head alone.

    Returns
    -------
    dict
        `heads`: of each head its `name`, `version` (None where nothing changed), `n_given`
        instances, of which `n_new` to it and `n_changed`; `left`: by the name that a bundle was
        served under, the number of labels for other encoders.

    Raises
    ------
    DataError
        When the queue is empty, holds nothing for this bundle, a line is damaged, or a label is
        not such as the head takes.
    BundleError
        When a label is for a head that the bundle does not have.
    CalibrationError
        When too few normal rows are left. Whatever is raised, nothing has been saved.
    """
    lines = read_queue(queue)
    if not lines:
        raise DataError(f"{queue} is empty; labels come into it by POST /labels")
    bundle = load_bundle(path)
    own = [line for line in lines if line[1]["encoder_digest"] == bundle.encoder.digest_]
    if not own:
        others = {f"{one['encoder_digest'][:12]} ({one['bundle']})" for _, one in lines}
        raise DataError(
            f"got labels for the encoder {', '.join(sorted(others)[:5])} in {queue}, expected "
            f"{bundle.encoder.digest_[:12]}, which is in {path}; name the bundle that was served"
        )
    told: list[dict[str, Any]] = []
    changed: dict[str, Head] = {}
    for name, chosen in _by_head(own, bundle, queue, head).items():
        found = _take(bundle.heads[name], bundle.encoder, chosen, f"{queue}, for {name!r},")
        told.append({"name": name, **found})
        if found["n_new"] + found["n_changed"]:
            changed[name] = bundle.heads[name]
    versions = add_heads(path, changed) if changed else {}
    left = Counter(one["bundle"] for _, one in lines) - Counter(one["bundle"] for _, one in own)
    return {
        "heads": [one | {"version": versions.get(one["name"])} for one in told],
        "left": dict(left),
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
                f"line {number} of {queue} is for the head {one['head']!r}, expected one that "
                f"{bundle.path} has ({', '.join(bundle.heads) or 'none'}); fit such a head, or "
                "delete the line"
            )
        found.setdefault(one["head"], []).append((number, one))
    if not found:
        known = ", ".join(sorted({one["head"] for _, one in lines}))
        raise DataError(f"{queue} holds no label for the head {head!r}, only for {known}")
    return found


def _take(head: Head, encoder: Autoencoder, lines: Lines, queue: str) -> dict[str, int]:
    """Add to a head what it does not have yet; return how many that are."""
    classes = None if isinstance(head, AnomalyDetector) else ClassMatcher(head.classes_)
    labels = [
        _label(head, classes, one["label"], f"line {number} of {queue}") for number, one in lines
    ]
    X, hashes = _instances(encoder, lines, queue)
    # Equal rows are one instance here: of what was labelled twice the last label counts.
    last = {digest: at for at, digest in enumerate(hashes)}
    known = _known(head)
    # A label that was taken back before the head had it leaves nothing.
    unknown = 0 if isinstance(head, AnomalyDetector) else None
    fresh = [at for digest, at in last.items() if labels[at] != known.get(digest, unknown)]
    if fresh:
        fresh.sort()
        head.add_labels(take_rows(X, np.array(fresh)), np.array([labels[at] for at in fresh]))
    n_new = sum(hashes[at] not in known for at in fresh)
    return {"n_given": len(last), "n_new": n_new, "n_changed": len(fresh) - n_new}


def _label(head: Head, classes: ClassMatcher | None, label: str | int, where: str) -> Any:
    """Return a label as the head has it; None where a classifier's is taken back."""
    given, why = np.array([label], dtype=object), ""
    try:
        if isinstance(head, AnomalyDetector) or classes is None:
            such = "1 normal, -1 abnormal or 0 to take a label back"
            return int(check_detector_labels(given, 1)[0])
        numbers = head.classes_.dtype.kind in "iuf"
        such = f"{'a whole number' if numbers else 'one'} such as {head.classes_.tolist()[0]!r}"
        if uses_unlabelled(head.head) and not PARTIAL_CLASSES.has_label(given).any():
            return None
        if MISSING.has_label(given).all():
            return classes.match(given).tolist()[0]
    except DataError as error:
        why = f" ({error})"
    raise DataError(
        f"{where} has the label {label!r}, expected {such}{why}; mend the line, or delete it"
    )


def _instances(encoder: Autoencoder, lines: Lines, queue: str) -> tuple[Any, list[int]]:
    """Return instances and their hashes."""
    try:
        X = queued_instances([one for _, one in lines], encoder.schema_)
        return X, encoder.row_hashes(X).tolist()
    except (Refusal, DataError) as error:
        for number, one in lines:
            try:
                encoder.row_hashes(queued_instances([one], encoder.schema_))
            except (Refusal, DataError) as why:
                raise DataError(f"line {number} of {queue} does not fit: {why}") from error
        raise


def _known(head: Head) -> dict[int, Any]:
    """Return the labels that a head has, by the hash of the instance."""
    kept = head.reference_set_ if isinstance(head, AnomalyDetector) else head.labelled_
    if kept is None:
        return {}
    return dict(zip(kept.hashes.tolist(), kept.y.tolist(), strict=True))
