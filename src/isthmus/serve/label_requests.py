"""Labels of requests: read from bodies, and checked by the classes of the head they are for."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus._core import reading
from isthmus.data import (
    CLASSES,
    MISSING,
    PARTIAL_CLASSES,
    ClassMatcher,
    Schema,
    read_as_binary,
    take_rows,
)
from isthmus.detection import read_detector_labels
from isthmus.errors import DataError
from isthmus.serve.bodies import (
    CSV,
    JSON,
    NDJSON,
    PARQUET,
    cannot_read,
    from_lists,
    plain_cell,
    read_instances,
    read_json,
)
from isthmus.serve.refusals import Limits, Refusal, check_rows, refusal_of
from isthmus.serve.uploads import MULTIPART, Notes, decode_text, split_content_type

if TYPE_CHECKING:
    from isthmus.serve.models import Served

#: Fields of the query of a request that sends a table.
_QUERY = ("label", "head", "normal")
#: Longest label that is no class of the head yet, in characters.
MAX_LABEL_CHARS = 200
#: Largest label that is a whole number: beyond it JSON and floats differ.
MAX_LABEL = 2**53
#: What `heads` of an export names the classifiers that `uses_unlabelled` is true for, which a
#: service without scikit-learn cannot ask.
PARTIAL_HEADS = (
    "spreading",
    "SpreadingHead",
    "SelfTrainingClassifier",
    "LabelSpreading",
    "LabelPropagation",
)


@dataclass(frozen=True)
class Labelled:
    """Instances and labels of one request.

    Attributes
    ----------
    X : array or DataFrame of n instances
    instances : list of length n
        As a queue holds them, which is as a JSON body does.
    labels : list of int or str, of length n
        Those of a detector as 1, -1 and 0.
    head : str
        That they are for.
    notes : Notes
    """

    X: Any
    instances: list[Any]
    labels: list[str | int]
    head: str
    notes: Notes


def read_labelled(
    content: bytes, content_type: str, query: Mapping[str, str], served: Served, limits: Limits
) -> Labelled:
    """Return the instances of a body and their labels.

    Parameters
    ----------
    content : bytes
    content_type : str
        JSON with `instances`, `labels`, and `head` and `normal` where they are needed; or a table
        that has its labels in a column, of which rows without a label are left out.
    query : mapping of str to str
        For a table: `label`, the column, `head` and `normal`.
    served : Served
    limits : Limits

    Raises
    ------
    Refusal
        When body, labels or head are none that can be queued.
    """
    with reading("the body", cannot_read, "send labels and instances, written again"):
        return _read_labelled(content, content_type, query, served, limits)


def _read_labelled(
    content: bytes, content_type: str, query: Mapping[str, str], served: Served, limits: Limits
) -> Labelled:
    notes, schema = Notes(), served.schema
    media_type, charset = split_content_type(content_type)
    stated = {name: query[name] for name in _QUERY if name in query}
    if media_type == JSON:
        if stated:
            raise Refusal(
                422,
                f"?{'=, ?'.join(stated)}= beside a JSON body",
                "the labels of a JSON body in the body",
                '"labels": [...] beside "instances": [...]',
            )
        body = read_json(decode_text(content, charset))
        instances = body["instances"]
        X = from_lists(instances, schema, limits, notes)
        if schema.kind == "images" and isinstance(instances[0], str | dict):
            instances = X.tolist()  # the queue holds pixels, not files
    else:
        allowed = label_content_types(schema)
        if media_type not in allowed:
            raise Refusal(
                415,
                f"the content type {media_type[:100]!r}",
                f"one of {', '.join(allowed)}, for labels of {schema.kind}",
                "send instances and labels as JSON",
            )
        if "label" not in stated:
            raise Refusal(
                422,
                f"{media_type} without the name of its column of labels",
                "?label=COLUMN in the query",
                "name the column of labels in the query: ?label=COLUMN",
            )
        notes.label = stated.pop("label")
        X = read_instances(content, content_type, schema, limits, notes)
        if notes.labels is None:  # of a form
            raise Refusal(
                415,
                "a file that has no columns",
                f"one of {', '.join(allowed[1:-1])}",
                "send instances and labels as a table, or as JSON",
            )
        labels = np.array([*notes.labels, None], dtype=object)[:-1]
        rows = np.flatnonzero(MISSING.has_label(labels))
        if len(rows) < len(labels):
            notes.warnings.append(
                f"{len(labels) - len(rows)} of {len(labels)} rows have no label in the column "
                f"{notes.label!r}, and were left out"
            )
        check_rows(len(rows), limits)
        X = take_rows(X, rows)
        instances = _as_queued(X, schema)
        body = stated | {"labels": labels[rows].tolist()}
    head = _head(served, body.get("head"))
    if not takes_labels(served.heads[head]):
        raise Refusal(
            422,
            f"a label for the head {head!r}, which stores no codes and cannot be updated",
            "a head that stores its codes",
            "have it fitted again with the new labels among the others: isthmus classify",
        )
    given = _labels(served, head, body, len(instances), notes)
    return Labelled(X, instances, given, head, notes)


def label_content_types(schema: Schema) -> list[str]:
    """Return the content types that labelled instances of a schema can be sent as."""
    return [JSON, CSV, PARQUET, *NDJSON, MULTIPART] if schema.kind == "table" else [JSON]


def _as_queued(X: Any, schema: Schema) -> list[Any]:
    """Return rows of a table as a JSON body has them."""
    if not isinstance(X, pd.DataFrame):
        return [[plain_cell(value) for value in row] for row in np.asarray(X).tolist()]
    plain = X.astype(object).where(X.notna(), None)
    rows = [
        {str(name): plain_cell(value) for name, value in row.items()}
        for row in plain.to_dict("records")
    ]
    return rows if schema.columns is not None else [list(row.values()) for row in rows]


def takes_labels(head: Mapping[str, Any]) -> bool:
    """Return whether the head of an export can be updated with labels."""
    return bool(head.get("takes_labels", True))  # older exports lack the key


def _head(served: Served, name: Any) -> str:
    heads = list(served.heads)
    if name is None and len(heads) == 1:
        return heads[0]
    if name not in heads:
        raise Refusal(
            422,
            "no head" if name is None else "a head that the bundle does not have",
            f"one of {', '.join(heads)}",
            'name the head that the labels are for: "head": NAME in JSON, else ?head=NAME',
        )
    return str(name)


def _labels(
    served: Served, head: str, body: Mapping[str, Any], n: int, notes: Notes
) -> list[str | int]:
    """Return the labels of a request as they are queued.

    Those of a detector are 1, -1 and 0, those of a classifier as the head writes its classes, -1
    where one is withdrawn. "3" and 3 of a JSON body are one class, but not "3" and "03" in a
    column of a table, where they may be two.
    """
    given, facts = body.get("labels"), served.heads[head]
    detects, classes = facts["kind"] == "detector", facts.get("classes", [])
    partial = facts.get("head") in PARTIAL_HEADS
    types = {str, int, *({type(None)} if detects or partial else ()), *map(type, classes)}
    if isinstance(given, list) and float not in types:
        given = [int(one) if type(one) is float and one.is_integer() else one for one in given]
    plain = isinstance(given, list) and all(type(label) in types for label in given)
    if not isinstance(given, list) or not plain or len(given) != n:
        raise Refusal(
            422,
            f"{len(given)} labels" if isinstance(given, list) and plain else "no list of labels",
            f"{n}, one for each instance: text or whole numbers",
            '"labels": [...] beside "instances": [...]',
        )
    known = [body.get("normal", facts.get("normal"))] if detects else classes
    matcher = None if notes.labels is None else ClassMatcher(classes)
    read: dict[tuple[type, Any], Any] = {}
    try:
        for at, label in enumerate(given):
            where = f" of instance {at}, counting from 0"
            if (type(label), label) in read:
                continue
            _check_label_text(label, known, where)
            read[type(label), label] = (
                label
                if detects
                else read_class_label(label, classes, matcher, partial=partial, where=where)
            )
    except DataError as error:
        raise refusal_of(error) from error
    if detects:
        return _detector_labels(facts, given, body)
    new = [label for label in dict.fromkeys(read.values()) if label not in (None, *classes)]
    if new:
        shown = ", ".join(map(repr, new[:5])) + ", ..." * (len(new) > 5)
        notes.warnings.append(
            f"labels that are no class of the head {head!r} yet become classes when the queue "
            f"is taken: {len(new)} ({shown})"
        )
    found = [read[type(label), label] for label in given]
    return [-1 if label is None else label for label in found]


def read_class_label(
    label: Any,
    classes: Sequence[Any],
    matcher: ClassMatcher | None = None,
    *,
    partial: bool,
    where: str = "",
) -> Any:
    """Return a label as a classifier writes its classes; None where it withdraws one.

    Parameters
    ----------
    label : str, int, float, bool or None
        A class in any writing that `ClassMatcher` takes for it, or a new class of the same kind,
        as `CodeClassifier.add_labels` takes them.
    classes : sequence of str, int, float or bool
        Those of the head.
    matcher : ClassMatcher, optional
        Of these classes, where labels that are written in two ways are to be refused.
    partial : bool
        Whether the head is fitted on unlabelled instances too, so that labels can be withdrawn.
    where : str, default=""
        For the message: " of instance 3".

    Raises
    ------
    DataError
        When the head could not be fitted with it, it is empty, is longer than `MAX_LABEL_CHARS`,
        or contains control characters.

    Examples
    --------
    >>> read_class_label("3", [1, 3], partial=False), read_class_label(-1, [1, 3], partial=True)
    (3, None)
    """
    if partial and (label is None or not PARTIAL_CLASSES.has_label(_column(label)).all()):
        return None
    _check_label_text(label, classes, where)
    whole = all(type(one) is int for one in classes)
    texts = all(isinstance(one, str) for one in classes)
    kind = "a whole number" if whole else "text" if texts else "one"
    as_objects = np.array([*classes, None], dtype=object)[:-1]
    reason, found = "", None
    try:
        if type(label) in {str, int, *map(type, classes)}:
            found = (matcher or ClassMatcher(list(classes))).match(_column(label)).tolist()[0]
    except DataError as error:
        reason = f" ({error})"
    if found is not None and found not in classes and not isinstance(found, str):
        fits = abs(found) <= MAX_LABEL and not (whole and found % 1)
        found = (int(found) if whole else found) if fits else None
        # -1 marks an instance as unlabelled, but for a head that has it as a class.
        if found is not None and not CLASSES.has_label(_column(found), as_objects).all():
            found = None
    if found is None:
        raise DataError(
            f"got the label {shown_label(label)}{where}, expected {kind} such as {classes[0]!r}"
            f"{reason}; write labels as the classes of the head are written"
        )
    return found


def _column(label: Any) -> np.ndarray:
    return np.array([label], dtype=object)


def _check_label_text(label: Any, classes: Sequence[Any], where: str) -> None:
    """Check text that is no class: not empty, not too long, and without control characters."""
    if not isinstance(label, str) or label in classes:
        return
    fault = ""
    if not label.strip():
        fault = "empty text as the label"
    elif len(label) > MAX_LABEL_CHARS:
        fault = f"a label of {len(label)} characters ({shown_label(label)})"
    elif any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in label):
        fault = f"control characters in the label {shown_label(label)}"
    if fault:
        raise DataError(
            f"got {fault}{where}, expected text of 1 to {MAX_LABEL_CHARS} characters, none of them "
            "a control character; write labels as the classes of the head are written"
        )


def _detector_labels(
    head: Mapping[str, Any], given: list[Any], body: Mapping[str, Any]
) -> list[str | int]:
    stated = "normal" in body
    normal = body["normal"] if stated else head.get("normal")
    if stated and (isinstance(normal, bool) or not isinstance(normal, str | int)):
        raise Refusal(
            422,
            'a "normal" that is no label',
            "the label that means normal: text or a whole number",
            '"normal": 0 where 1 marks what is abnormal',
        )
    if normal is None or read_as_binary(normal) is not None:
        allowed: set[Any] = {1, -1, 0} if normal is None else {1, -1, 0, None}
        if not set(given) <= allowed:
            raise Refusal(
                422,
                "labels that a detector does not take",
                '1 normal, -1 abnormal, or 0 to withdraw a label; with "normal": 0 or 1 also '
                "null to withdraw one",
                "send one of these for each instance",
            )
    try:
        read = read_detector_labels(
            given, len(given), normal, source="labels", stated=stated, may_lack_normal=True
        )
    except DataError as error:
        raise Refusal(
            422,
            f"labels that a detector cannot read ({refusal_of(error).got})",
            "1 normal, -1 abnormal, or 0 to withdraw a label, with -1 among 0 and 1; or labels "
            'with "normal", the one that means normal',
            '"normal": 0 where 0 is normal and 1 abnormal, "normal": 1 where 1 is normal; beside a '
            "table ?normal=0, ?normal=1",
        ) from error
    return [int(label) for label in read]


def shown_label(label: Any) -> str:
    """Return a label for a message, cut short where it is long."""
    shown = repr(label)
    return shown if len(shown) <= 60 else f"{shown[:56]} ..."
