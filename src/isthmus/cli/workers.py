"""The command as one of several workers: who talks, and what several cannot do.

Read from the environment, where torchrun says it, so that no torch is loaded for it.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isthmus.errors import TrainingError

#: What trains; all else is done by one process.
TRAINS = "fit"


def rank() -> int:
    """Return the number of this worker, from 0: the first talks and writes."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def size() -> int:
    """Return how many workers torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def refuse_workers(command: str) -> None:
    """Refuse a command that several workers would only do several times.

    Raises
    ------
    TrainingError
        On the first of several workers; the others leave without a word.
    """
    if command != TRAINS and size() > 1:
        if rank() > 0:
            raise SystemExit(1)
        raise TrainingError(
            f"got isthmus {command} on {size()} workers, and only isthmus {TRAINS} trains on "
            "several; run it without torchrun"
        )


def name_of_worker() -> str:
    """Return what tells one worker's errors from another's: nothing for the first."""
    return f" (worker {rank()})" if rank() else ""


class Ended(KeyboardInterrupt):
    """torchrun ends this worker, as it does when another one ended."""


@contextmanager
def told_to_end() -> Iterator[None]:
    """Raise `Ended` within the block when torchrun says so, where there are several workers."""
    # Ray Train works in another thread, and ends the process itself.
    if size() == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def line_again(words: list[str]) -> str:
    """Return the line that starts the same command once more, as a person typed it."""
    start = "" if size() == 1 else "torchrun (its options as before) -m "
    return f"{start}isthmus {shlex.join(words)}"
