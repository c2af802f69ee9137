"""Return memory that the C library holds after it was freed to the operating system."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Return freed memory to the operating system where the C library is glibc; else do nothing.

    The `isthmus` command sets glibc to hold freed memory (`isthmus.cli.process`), so that
    training steps do not return and request it over and over. Between two phases of a run that
    memory is not needed soon, and would add to the peak of the process. Takes milliseconds.

    Examples
    --------
    >>> return_freed_memory()
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    trim(ctypes.c_size_t(0))
