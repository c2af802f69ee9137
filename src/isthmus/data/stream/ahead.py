"""Preparing what comes next while what is there is worked on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(make: Callable[[A], B], items: Iterable[A]) -> Generator[B, None, None]:
    """Yield `make(item)` of each item in order, the next one being made in another thread.

    At most two results are there at any time: the one given out and the next.

    Examples
    --------
    >>> list(ahead(lambda x: x * x, [1, 2, 3]))
    [1, 4, 9]
    """
    with ThreadPoolExecutor(1, "isthmus-ahead") as thread:
        waiting = None
        for item in items:
            coming = thread.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
