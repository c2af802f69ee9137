"""Settings of the command's process: memory, threads, signals, and its rank.

They hold for the whole process, so the library leaves them to the program that imports it.
`benchmarks/training_step.py` measures the effect of those of memory and threads.

The rank is read from torchrun's environment variables, so that torch is not loaded for it.
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
    """Set how long OpenMP threads spin, and let malloc keep freed memory.

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
    """Exit with status 0 on SIGTERM within the block: supervisors take any other for a crash.

    uvicorn stops gracefully by a handler of its own, and then raises the signal again for the
    handler that was set before.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


#: The only command that several processes may run together.
DISTRIBUTED_COMMAND = "fit"


def rank() -> int:
    """Return the rank of this process: rank 0 alone prints and writes."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def size() -> int:
    """Return the number of processes that torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def refuse_process_group(command: str) -> None:
    """Refuse a command that several processes would each run by themselves.

    Raises
    ------
    TrainingError
        On rank 0 of several processes; the others exit with status 1.
    """
    if command != DISTRIBUTED_COMMAND and size() > 1:
        if rank() > 0:
            raise SystemExit(1)
        raise TrainingError(
            f"got isthmus {command} on {size()} workers, and only isthmus {DISTRIBUTED_COMMAND} "
            "trains on several; run it without torchrun"
        )


def process_suffix() -> str:
    """Return a suffix for errors that names the process; empty on rank 0."""
    return f" (worker {rank()})" if rank() else ""


class Terminated(KeyboardInterrupt):
    """torchrun ended this process, as it does when another one failed."""


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM within the block, where there are several processes."""
    # Ray Train runs this in another thread, and ends the process itself.
    if size() == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command_line(arguments: list[str]) -> str:
    """Return the command line with these arguments, quoted for a shell."""
    start = "" if size() == 1 else "torchrun (its options as before) -m "
    return f"{start}isthmus {shlex.join(arguments)}"
