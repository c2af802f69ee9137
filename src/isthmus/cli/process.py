"""Two settings of the command's own process that training is faster with.

The library never does this to a program that imports it: these are process-wide, and not a
library's to choose. `benchmarks/training_step.py` prints what they are worth.
"""

from __future__ import annotations

import ctypes
import os

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
