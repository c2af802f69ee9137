"""Intake of a queue of labels: heads are updated with them and saved as new versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._core import user_path, write_bytes
from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Bundle, add_heads, bundle_lock, load_bundle, read_manifest
from isthmus.classification import CodeClassifier, uses_unlabelled
from isthmus.data import NORMAL, take_rows
from isthmus.detection import AnomalyDetector, check_detector_labels
from isthmus.errors import DataError
from isthmus.serve.label_queue import (
    RejectedLine,
    describe_rejected,
    queued_instances,
    read_queue,
)
from isthmus.serve.label_requests import read_class_label
from isthmus.serve.refusals import Refusal

Head = CodeClassifier | AnomalyDetector
#: Lines of a queue with their numbers.
Lines = Sequence[tuple[int, dict[str, Any]]]


def take_labels(path: str | Path, queue: str | Path, head: str | None = None) -> dict[str, Any]:
    """Update a bundle's heads with the labels of a queue, and save them as new versions.

    The last label of an instance counts. Labels that a head already has change nothing, so that a
    queue may be taken twice. No encoder is trained. A line that cannot be taken is added to a file
    beside the queue, named as it is with `.rejected.jsonl` at the end, and the others are taken:
    one that is damaged, that a killed process left half written, whose head the bundle does not
    have or cannot update, or whose instance or label does not fit the head.

    Parameters
    ----------
    path : path
        Of the bundle.
    queue : path
        The file that `POST /labels` appended to. It is not changed. Lines for other encoders are
        ignored.
    head : str, optional
        Take only labels for this head.

    Returns
    -------
    dict
        `heads`: of each head its `name`, `version` (None where nothing changed), `n_given`
        instances, `n_new` of them to the head, `n_changed` with another label; `left`: number of
        labels for other encoders, by the name that their bundle was served under; `rejected`:
        `line` and `reason` of each line that was not taken; `rejected_file`: where they are, None
        without any.

    Raises
    ------
    DataError
        When the queue is empty, holds nothing for this bundle, or no line of it can be taken.
    CalibrationError
        When too few normal rows are left. After any of these errors the bundle is unchanged.
    """
    lines, rejected = read_queue(queue)
    if not lines and not rejected:
        raise DataError(f"{queue} is empty; add labels by POST /labels")
    read_manifest(path)  # before a lock is made beside it
    # From loading to saving: labels that another process adds in between would be lost.
    with bundle_lock(path):
        return _take_lines(path, queue, lines, rejected, head)


def _take_lines(
    path: str | Path,
    queue: str | Path,
    lines: Lines,
    rejected: list[RejectedLine],
    head: str | None,
) -> dict[str, Any]:
    bundle = load_bundle(path)
    own_lines = [line for line in lines if line[1]["encoder_digest"] == bundle.encoder.digest_]
    results: list[dict[str, Any]] = []
    changed: dict[str, Head] = {}
    try:
        if lines and not own_lines:
            others = {f"{one['encoder_digest'][:12]} ({one['bundle']})" for _, one in lines}
            raise DataError(
                f"got labels for the encoder {', '.join(sorted(others)[:5])} in {queue}, expected "
                f"{bundle.encoder.digest_[:12]}, which is in {path}; name the bundle that was "
                "served"
            )
        for name, chosen in _by_head(own_lines, bundle, queue, head, rejected).items():
            found = _take(bundle.heads[name], bundle.encoder, chosen, rejected)
            if found is not None:
                results.append({"name": name, **found})
                if found["n_new"] + found["n_changed"]:
                    changed[name] = bundle.heads[name]
    finally:
        rejected_file = _set_aside(queue, rejected)
    rejected.sort(key=lambda one: one.line)
    if not results:
        raise DataError(f"{describe_rejected(queue, rejected)}; they are in {rejected_file}")
    versions = add_heads(path, changed) if changed else {}
    other_labels = Counter(one["bundle"] for _, one in lines) - Counter(
        one["bundle"] for _, one in own_lines
    )
    return {
        "heads": [one | {"version": versions.get(one["name"])} for one in results],
        "left": dict(other_labels),
        "rejected": [{"line": one.line, "reason": one.reason} for one in rejected],
        "rejected_file": None if rejected_file is None else str(rejected_file),
    }


def _by_head(
    lines: Lines, bundle: Bundle, queue: str | Path, head: str | None, rejected: list[RejectedLine]
) -> dict[str, Lines]:
    """Return the lines of each head of a bundle; those for other heads are rejected."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, one in lines:
        name = one["head"]
        if head not in (None, name):
            continue
        if name in bundle.heads:
            found.setdefault(name, []).append((number, one))
            continue
        names = ", ".join(sorted(bundle.heads)) or "none"
        reason = f"is for the head {name!r}, expected one of {bundle.path} ({names})"
        rejected.append(_rejected(number, one, reason))
    if not found and head is not None:
        names = ", ".join(sorted({one["head"] for _, one in lines}))
        raise DataError(f"{queue} holds no label for the head {head!r}, only for {names}")
    return dict(found)


def _take(
    head: Head, encoder: Autoencoder, lines: Lines, rejected: list[RejectedLine]
) -> dict[str, int] | None:
    """Add new and changed labels to a head, and return their numbers; None where none fits."""
    labels: dict[int, Any] = {}
    for number, one in lines:
        try:
            labels[number] = _label(head, one["label"])
        except DataError as error:
            rejected.append(_rejected(number, one, f"has a label that does not fit: {error}"))
    lines = [line for line in lines if line[0] in labels]
    hashes: list[int] = []
    taken: list[tuple[int, dict[str, Any]]] = []
    for chosen, of_chosen in _fitting(encoder, lines, rejected):
        taken += chosen
        hashes += of_chosen
    if not taken:
        return None
    X = queued_instances([one for _, one in taken], encoder.schema_)
    # Equal rows are one instance; its last label counts.
    last = {digest: at for at, digest in enumerate(hashes)}
    given = [labels[number] for number, _ in taken]
    current = _current_labels(head)
    # The withdrawal of a label that the head does not have changes nothing.
    no_label = 0 if isinstance(head, AnomalyDetector) else None
    changed = [at for digest, at in last.items() if given[at] != current.get(digest, no_label)]
    if changed:
        changed.sort()
        new = [given[at] for at in changed]
        if isinstance(head, AnomalyDetector):  # 0 withdraws a label, as a missing one does
            signs = np.array([float(one) if one else np.nan for one in new])
            head.add_labels(take_rows(X, np.array(changed)), signs, normal=NORMAL)
        else:
            head.add_labels(take_rows(X, np.array(changed)), np.array(new))
    n_new = sum(hashes[at] not in current for at in changed)
    return {"n_given": len(last), "n_new": n_new, "n_changed": len(changed) - n_new}


def _label(head: Head, label: Any) -> Any:
    """Return a label in the type of the head; None where a classifier's is withdrawn."""
    if isinstance(head, AnomalyDetector):
        try:
            return int(check_detector_labels(np.array([label], dtype=object), 1)[0])
        except DataError as error:
            raise DataError(
                f"got {str(label)[:60]!r}, expected 1 normal, -1 abnormal or 0 to withdraw a label"
            ) from error
    if head.labelled_ is None:
        raise DataError(
            "got a label for a head that stores no codes, expected one that stores them; have it "
            "fitted again with the new labels among the others"
        )
    # A matcher for each line, because clients may write one class in several ways.
    return read_class_label(label, head.classes_.tolist(), partial=uses_unlabelled(head.head))


def _fitting(
    encoder: Autoencoder, lines: Lines, rejected: list[RejectedLine]
) -> Iterator[tuple[Lines, list[int]]]:
    """Yield lines whose instances fit the encoder, with their hashes; others are rejected."""
    if not lines:
        return
    try:
        X = queued_instances([one for _, one in lines], encoder.schema_)
        yield lines, encoder.row_hashes(X).tolist()
    except (Refusal, DataError) as error:
        if len(lines) == 1:
            [(number, one)] = lines
            rejected.append(_rejected(number, one, f"has an instance that does not fit: {error}"))
            return
        half = len(lines) // 2  # by halves, because few of many lines are wrong
        yield from _fitting(encoder, lines[:half], rejected)
        yield from _fitting(encoder, lines[half:], rejected)


def _rejected(number: int, one: dict[str, Any], reason: str) -> RejectedLine:
    return RejectedLine(number, reason, json.dumps(one))


def _set_aside(queue: str | Path, rejected: Sequence[RejectedLine]) -> Path | None:
    """Add rejected lines to the file beside the queue that has them, each once."""
    if not rejected:
        return None
    path = user_path(queue)
    path = path.with_name(f"{path.name}.rejected.jsonl")
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    # The reason may name a bundle that has changed since; line and content stay.
    old = {line.partition(b'", "reason": ')[0] for line in before.splitlines()}
    lines = []
    for one in sorted(rejected, key=lambda one: one.line):
        stored = json.dumps({"line": one.line, "content": one.content, "reason": one.reason})
        line = stored.encode()
        if line.partition(b'", "reason": ')[0] not in old:
            lines.append(line + b"\n")
    if lines:
        write_bytes(path, before + b"".join(lines))
    return path


def _current_labels(head: Head) -> dict[int, Any]:
    """Return a head's labels by the hash of the instance."""
    stored = head.reference_set_ if isinstance(head, AnomalyDetector) else head.labelled_
    if stored is None:
        return {}
    return dict(zip(stored.hashes.tolist(), stored.y.tolist(), strict=True))
