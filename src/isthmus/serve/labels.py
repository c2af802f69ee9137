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

from isthmus.data.schema import Schema
from isthmus.errors import DataError
from isthmus.serve.errors import Refusal
from isthmus.serve.limits import Limits
from isthmus.serve.reading import from_lists


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
            "take the queue up into the bundle, then empty it",
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
        When there are none.
    """
    with Path(path).open(encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    chosen = [
        one for one in found if one["bundle"] == bundle and head in (None, one["head"])
    ]  # fmt: skip
    if not chosen:
        raise DataError(f"{path} holds no labels for {bundle!r}; its name is the one served under")
    X = from_lists([one["instance"] for one in chosen], schema, Limits(rows=len(chosen)))
    return X, np.array([one["label"] for one in chosen])
