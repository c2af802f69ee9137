"""Labels of requests, and their queue: a file of JSON Lines, appended to by `POST /labels`."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus._core import user_path
from isthmus.data import MISSING, Schema, read_as_binary, take_rows
from isthmus.detection import read_detector_labels
from isthmus.errors import DataError
from isthmus.serve.bodies import (
    CSV,
    JSON,
    NDJSON,
    PARQUET,
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
#: Keys of each line, beside `time`.
KEYS = ("bundle", "digest", "encoder_digest", "head", "label", "instance")


class LabelQueue:
    """A file that labels are appended to, all labels of a request or none.

    Parameters
    ----------
    path : path
        Created where it does not exist.
    max_bytes : int
        Largest size of the file.
    """

    def __init__(self, path: str | Path, max_bytes: int) -> None:
        self._path, self._max_bytes = user_path(path), max_bytes
        self._lock = threading.Lock()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records; returns when they are on disk.

        Raises
        ------
        Refusal
            503 when the queue or the disk is full.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"time": now} | one, allow_nan=False) + "\n" for one in records]
        content = "".join(lines).encode()
        with self._lock:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(handle).st_size
                if size + len(content) > self._max_bytes:
                    raise self._full(size)
                try:
                    written = os.write(handle, content)
                    os.fsync(handle)
                except OSError as error:
                    os.ftruncate(handle, size)
                    raise self._full(size) from error
                if written < len(content):
                    os.ftruncate(handle, size)
                    raise self._full(size)
            finally:
                os.close(handle)

    def _full(self, size: int) -> Refusal:
        return Refusal(
            503,
            f"a label queue that is full, at {size} bytes",
            f"at most {self._max_bytes} bytes with the new labels",
            "send them again once the queue was taken by: isthmus label BUNDLE --queue FILE",
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
    given = _labels(served, head, body, len(instances))
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


def _labels(served: Served, head: str, body: Mapping[str, Any], n: int) -> list[str | int]:
    """Return the labels of a request as they are queued: those of a detector as 1, -1 and 0."""
    given, detects = body.get("labels"), served.heads[head]["kind"] == "detector"
    plain = isinstance(given, list) and all(
        (isinstance(label, str | int) and not isinstance(label, bool))
        or (label is None and detects)
        for label in given
    )
    if not isinstance(given, list) or not plain or len(given) != n:
        raise Refusal(
            422,
            f"{len(given)} labels" if isinstance(given, list) and plain else "no list of labels",
            f"{n}, one for each instance: text or whole numbers",
            '"labels": [...] beside "instances": [...]',
        )
    return _detector_labels(served.heads[head], given, body) if detects else list(given)


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


def read_labels(
    path: str | Path, schema: Schema, bundle: str, head: str | None = None
) -> tuple[Any, np.ndarray]:
    """Read instances and labels from a queue, for `add_labels` of a detector or a classifier.

    Parameters
    ----------
    path : path
        Of the queue.
    schema : Schema
        Of the instances: `encoder.schema_`.
    bundle : str
        The name it was served under.
    head : str, optional
        Read only labels for this head.

    Returns
    -------
    X : array or DataFrame of n instances
    y : array of shape (n,)
        In the order of the queue; an instance may have several.

    Raises
    ------
    DataError
        When there are no such labels, or a line is damaged.
    """
    chosen = [
        one
        for _, one in read_queue(path)
        if one["bundle"] == bundle and head in (None, one["head"])
    ]
    if not chosen:
        raise DataError(f"{path} holds no labels for {bundle!r}; pass the name it was served under")
    return queued_instances(chosen, schema), np.array([one["label"] for one in chosen])


def read_queue(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the lines of a queue as plain values, each with its number, from 1.

    Raises
    ------
    DataError
        When a line is damaged; its number is named.
    """
    found = []
    with user_path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                one = json.loads(line)
            except ValueError as error:
                raise _damaged(path, number, f"is not JSON ({error})") from error
            missing = [key for key in KEYS if not isinstance(one, dict) or key not in one]
            if missing:
                raise _damaged(path, number, f"has no {', '.join(missing)}")
            if isinstance(one["label"], bool) or not isinstance(one["label"], str | int):
                raise _damaged(path, number, f"has the label {one['label']!r}")
            found.append((number, one))
    return found


def queued_instances(records: Sequence[dict[str, Any]], schema: Schema) -> Any:
    """Return the instances of a queue's lines, as an array or a DataFrame of n."""
    rows = [one["instance"] for one in records]
    if schema.kind == "table" and schema.columns is not None:
        # Rows are objects or lists, as they were sent; a queue may hold both forms.
        columns = schema.columns
        is_list = [isinstance(row, list) and len(row) == len(columns) for row in rows]
        rows = [
            dict(zip(columns, row, strict=True)) if listed else row
            for row, listed in zip(rows, is_list, strict=True)
        ]
    return from_lists(rows, schema, Limits(rows=len(rows)))


def _damaged(path: str | Path, number: int, what: str) -> DataError:
    return DataError(
        f"line {number} of {path} {what}, expected a JSON object with {', '.join(KEYS)}, the label "
        "text or a whole number; correct the line, or delete it"
    )
