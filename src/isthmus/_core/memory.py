"""Memory that was freed and is kept by the C library: return it to the system."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Hand freed memory back to the system, where the C library is glibc; elsewhere do nothing.

    The `isthmus` command keeps what is freed (`isthmus.cli.process`), since steps of training
    would otherwise give it back and take it again. Between two chapters of a run nothing is
    taken again soon, and what is kept adds to the most that the process ever holds. Pages that
    hold anything stay; it takes milliseconds.

    Examples
    --------
    >>> return_freed_memory()
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    trim(ctypes.c_size_t(0))
