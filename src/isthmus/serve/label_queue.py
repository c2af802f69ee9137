"""The queue of labels: a file of JSON Lines, appended to by `POST /labels`, and its reading."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._core import check_writable, errors_naming, user_path
from isthmus.data import Schema
from isthmus.errors import DataError, is_disk_full
from isthmus.serve.bodies import from_lists
from isthmus.serve.label_requests import shown_label
from isthmus.serve.refusals import Limits, Refusal

#: Keys of each line, beside `time`; all but the last two are text.
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
        check_writable(path)
        with errors_naming(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab"):  # also raises where the file alone is read-only
                pass

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records; returns when they are on disk.

        Raises
        ------
        Refusal
            503 when the queue or the disk is full, or the file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"time": now} | one, allow_nan=False) + "\n" for one in records]
        content = "".join(lines).encode()
        with self._lock:
            try:
                handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                size = os.fstat(handle).st_size
                if not _ends_a_line(self._path, size):
                    content = b"\n" + content  # a process was killed before it had written all
                if size + len(content) > self._max_bytes:
                    raise self._full(size)
                try:
                    written = os.write(handle, content)
                    os.fsync(handle)
                except OSError as error:
                    os.ftruncate(handle, size)
                    raise (
                        self._full(size) if is_disk_full(error) else self._unwritable(error)
                    ) from error
                if written < len(content):
                    os.ftruncate(handle, size)
                    raise self._full(size)
            finally:
                os.close(handle)

    def _unwritable(self, error: OSError) -> Refusal:
        return Refusal(
            503,
            f"a label queue that cannot be written ({error.strerror})",
            "a file that the service may append to",
            "send them again once the service can write its queue",
        )

    def _full(self, size: int) -> Refusal:
        return Refusal(
            503,
            f"a label queue that is full, at {size} bytes",
            f"at most {self._max_bytes} bytes with the new labels",
            "send them again once the queue was taken by: isthmus label BUNDLE --queue FILE",
        )


def _ends_a_line(path: Path, size: int) -> bool:
    if not size:
        return True
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


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
        When there are no such labels.

    Warns
    -----
    UserWarning
        Where lines are damaged and left out; they are named and counted.
    """
    lines, rejected = read_queue(path)
    if rejected:
        warnings.warn(describe_rejected(path, rejected), stacklevel=2)
    chosen = [one for _, one in lines if one["bundle"] == bundle and head in (None, one["head"])]
    if not chosen:
        raise DataError(f"{path} holds no labels for {bundle!r}; pass the name it was served under")
    return queued_instances(chosen, schema), np.array([one["label"] for one in chosen])


@dataclass(frozen=True)
class RejectedLine:
    """A line of a queue that was not taken.

    Attributes
    ----------
    line : int
        Its number, from 1.
    reason : str
    content : str
        As it is in the queue; bytes that are no UTF-8 as escapes.
    """

    line: int
    reason: str
    content: str


def describe_rejected(path: str | Path, rejected: Sequence[RejectedLine]) -> str:
    """Return a sentence that counts the rejected lines of a queue, and names the first of them."""
    shown = "; ".join(f"line {one.line} {one.reason}" for one in rejected[:3])
    more = f"; and {len(rejected) - 3:,} more" if len(rejected) > 3 else ""
    lines = "line" if len(rejected) == 1 else "lines"
    return f"{len(rejected):,} {lines} of {path} cannot be taken and were left out: {shown}{more}"


def read_queue(path: str | Path) -> tuple[list[tuple[int, dict[str, Any]]], list[RejectedLine]]:
    """Return the lines of a queue as plain values, each with its number, from 1, and the damaged.

    The last line is cut short where a process was killed while it wrote: no answer was given for
    it, and it is one of the damaged.

    Parameters
    ----------
    path : path

    Returns
    -------
    lines : list of (int, dict)
    damaged : list of RejectedLine
    """
    found, rejected = [], []
    with user_path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found.append((number, _read_line(line)))
            except DataError as error:
                text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                rejected.append(RejectedLine(number, str(error), text))
    return found, rejected


def _read_line(line: bytes) -> dict[str, Any]:
    try:
        one = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "is not JSON" if line.endswith(b"\n") else "is cut short"
        raise DataError(f"{what} ({str(error)[:200]})") from error
    missing = [key for key in KEYS if not isinstance(one, dict) or key not in one]
    if missing:
        raise DataError(f"has no {', '.join(missing)}")
    for key in KEYS[:-2]:
        if not isinstance(one[key], str):
            raise DataError(f"has the {key} {shown_label(one[key])}, expected text")
    if not isinstance(one["label"], str | int | float):
        raise DataError(f"has the label {shown_label(one['label'])}, expected text or a number")
    return dict(one)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is none of its values")


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
