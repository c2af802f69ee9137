"""Labels that people give over HTTP, queued in a file of JSON Lines for the next re-decision."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import Schema
from isthmus.errors import DataError
from isthmus.serve.bodies import from_lists
from isthmus.serve.refusals import Limits, Refusal

#: What each line holds, beside the time.
KEYS = ("bundle", "digest", "encoder_digest", "head", "label", "instance")


class LabelQueue:
    """A file that labels are appended to, all of one request or none.

    Parameters
    ----------
    path : path
        Made when it is not there.
    most : int
        Bytes that it may have.
    """

    def __init__(self, path: str | Path, most: int) -> None:
        self._path, self._most = Path(path), most
        self._lock = threading.Lock()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records, and return when they are on disk.

        Raises
        ------
        Refusal
            503 when the queue is full, or the disk is.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"time": now} | one, allow_nan=False) + "\n" for one in records]
        content = "".join(lines).encode()
        with self._lock:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                before = os.fstat(handle).st_size
                if before + len(content) > self._most:
                    raise self._full(before)
                try:
                    written = os.write(handle, content)
                    os.fsync(handle)
                except OSError as error:
                    os.ftruncate(handle, before)
                    raise self._full(before) from error
                if written < len(content):
                    os.ftruncate(handle, before)
                    raise self._full(before)
            finally:
                os.close(handle)

    def _full(self, size: int) -> Refusal:
        return Refusal(
            503,
            f"a queue of {size} bytes that has no room",
            f"room for the labels, within {self._most} bytes",
            "take it in with: isthmus label BUNDLE --queue FILE, then move it aside",
        )


def read_labels(
    path: str | Path, schema: Schema, bundle: str, head: str | None = None
) -> tuple[Any, np.ndarray]:
    """Read a queue: instances and labels, for `AnomalyDetector.add_labels` or a classifier.

    Parameters
    ----------
    path : path
        Of the queue.
    schema : Schema
        Of the instances: `encoder.schema_`.
    bundle : str
        The name it was served under.
    head : str, optional
        Labels for this head alone.

    Returns
    -------
    X : array or DataFrame of n instances
    y : array of shape (n,)
        Of an instance that was labelled several times, each label in the order given.

    Raises
    ------
    DataError
        When there are none, or a line is damaged.
    """
    chosen = [
        one
        for _, one in read_queue(path)
        if one["bundle"] == bundle and head in (None, one["head"])
    ]
    if not chosen:
        raise DataError(f"{path} holds no labels for {bundle!r}; its name is the one served under")
    return queued_instances(chosen, schema), np.array([one["label"] for one in chosen])


def read_queue(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the lines of a queue by number, from 1, as plain values.

    Raises
    ------
    DataError
        When a line is damaged; its number is named.
    """
    found = []
    with Path(path).open("rb") as file:
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
    """Return the instances of lines of a queue: an array or DataFrame of n."""
    rows = [one["instance"] for one in records]
    if schema.kind == "table" and schema.columns is not None:
        # Each request had one form, its rows objects or lists; the queue may have both.
        columns = schema.columns
        whole = [isinstance(row, list) and len(row) == len(columns) for row in rows]
        rows = [
            dict(zip(columns, row, strict=True)) if listed else row
            for row, listed in zip(rows, whole, strict=True)
        ]
    return from_lists(rows, schema, Limits(rows=len(rows)))


def _damaged(path: str | Path, number: int, what: str) -> DataError:
    return DataError(
        f"line {number} of {path} {what}, expected a JSON object with {', '.join(KEYS)}, the label "
        "text or a whole number; mend the line, or delete it"
    )
