"""What a long benchmark keeps: one JSON line a run, so that it can be taken up again."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from rich.console import Console

import isthmus
from isthmus._core import to_json, write_bytes, write_json
from isthmus.errors import DataError, IsthmusError

errors = Console(stderr=True)


class Journal:
    """Records of finished runs, in memory and, with a path, as JSON lines.

    Parameters
    ----------
    path : str, Path or None
        A file that is there is taken up: its runs count as done.
    protocol : dict
        Plain values that say what is measured. A file of another protocol is refused.

    Raises
    ------
    DataError
        When the file is no journal, or one of another protocol.
    """

    def __init__(self, path: str | Path | None, protocol: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.protocol = protocol
        self.records: list[dict[str, Any]] = []
        if self.path is not None and self.path.exists():
            self.records = _read(self.path, protocol)

    def has(self, **key: Any) -> bool:
        """Return whether a record holds all of these values."""
        return self.find(**key) is not None

    def find(self, **key: Any) -> dict[str, Any] | None:
        """Return the record that holds all of these values, if there is one."""
        for record in self.records:
            if all(record.get(name) == value for name, value in key.items()):
                return record
        return None

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record, and write the file anew as a whole."""
        self.records.append(record)
        if self.path is not None:
            lines = [{"protocol": self.protocol}, *self.records]
            text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
            write_bytes(self.path, text.encode())


def _read(path: Path, protocol: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        first, *records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        before = first["protocol"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not hold the runs of a benchmark; give --out another path"
        ) from error
    if before != protocol:
        raise DataError(
            f"{path} holds runs of the protocol {before}, and this is {protocol}; "
            "give --out another path"
        )
    return records


def versions() -> dict[str, str]:
    """Return what the figures depend on beside the seeds."""
    return {
        "isthmus": isthmus.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "torch threads": str(torch.get_num_threads()),
    }


def say(words: str) -> None:
    """Say how far it is, on standard error, so that standard output holds results alone."""
    errors.print(words, highlight=False, markup=False, soft_wrap=True)


def put_json(where: str | None, plain: dict[str, Any]) -> None:
    """Write plain values to a path, or for `-` to standard output."""
    if where == "-":
        sys.stdout.write(to_json(plain))
    elif where is not None:
        write_json(Path(where), plain)


def tables_console(json_path: str | None) -> Console:
    """Return where tables for a person go: away from standard output when JSON goes there.

    In a file or pipe they are wide enough for all columns.
    """
    stderr = json_path == "-"
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 240)


def run(main: Callable[[], None]) -> None:
    """Run a script: what is wrong with its input is said in one sentence, with exit status 1."""
    try:
        main()
    except IsthmusError as error:
        sys.exit(f"error: {error}")


def chosen(names: str | None, known: Iterable[str]) -> list[str]:
    """Return the names given to --only, separated by commas, or all that are known.

    Raises
    ------
    DataError
        When one is not known.
    """
    known = list(known)
    wanted = known if names is None else names.split(",")
    for name in wanted:
        if name not in known:
            raise DataError(f"got --only {name}, expected some of {', '.join(known)}")
    return wanted


def data_folder(given: str | None, name: str) -> Path:
    """Return the folder given, or else `$ISTHMUS_DATA/name`.

    Raises
    ------
    DataError
        When there is neither.
    """
    if given is not None:
        return Path(given)
    if os.environ.get("ISTHMUS_DATA"):
        return Path(os.environ["ISTHMUS_DATA"]) / name
    raise DataError(f"got no folder; pass it, or set ISTHMUS_DATA to where {name}/ lies")


def try_out(
    fit: Callable[[], Any], score: Callable[[Any], np.ndarray]
) -> tuple[Any, np.ndarray, dict[str, float]]:
    """Return what `fit` returns, what `score` makes of it, and the seconds that each took."""
    started = time.perf_counter()
    fitted = fit()
    between = time.perf_counter()
    scores = score(fitted)
    ended = time.perf_counter()
    return fitted, scores, {"seconds_fit": between - started, "seconds_score": ended - between}
