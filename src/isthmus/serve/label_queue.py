"""The queue of labels: a file of JSON Lines, appended to by `POST /labels`."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._core import user_path
from isthmus.data import Schema
from isthmus.errors import DataError
from isthmus.serve.bodies import from_lists
from isthmus.serve.refusals import Limits, Refusal

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
            "take the labels with: isthmus label BUNDLE --queue FILE, then move the file away",
        )


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
