"""What the command does to its own process: memory and threads, and how it ends.

The library never does this to a program that imports it: these are process-wide, and not a
library's to choose. `benchmarks/training_step.py` prints what the first two are worth.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
def ending_well_on_sigterm() -> Iterator[None]:
    """End with status 0 when SIGTERM comes, as a supervisor takes any other for a crash.

    uvicorn stops gracefully by a handler of its own, and then raises the signal once more for
    the one that was there before.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
