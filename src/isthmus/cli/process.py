"""The command's own process: memory, threads, signals, and its rank among several.

The library never does this to a program that imports it: these are process-wide, and not a
library's to choose. `benchmarks/training_step.py` prints what the first two are worth.

Read from the environment, where torchrun says it, so that no torch is loaded for it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isthmus.errors import TrainingError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 2**31 - 1


def tune_process() -> None:
    """Let threads wait briefly rather than spin, and keep freed memory.

    Must run before torch is loaded, which reads the first when it starts.
    """
    # A thread that spins at every barrier keeps a core from whoever else needs it; when
    # another process is busy, each barrier then lasts a whole time slice. One that sleeps too
    # soon has to be woken hundreds of times a step, which takes longer than the work.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    # glibc gives large blocks back to the system after every step and takes them again,
    # which costs a page fault for every 4 KiB.
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)


@contextmanager
def exit_cleanly_on_sigterm() -> Iterator[None]:
    """End with status 0 when SIGTERM comes, as a supervisor takes any other for a crash.

    uvicorn stops gracefully by a handler of its own, and then raises the signal once more for
    the one that was there before.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
