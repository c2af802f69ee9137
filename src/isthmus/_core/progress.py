"""Progress of long work: rows a second and time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two lines, at least, where standard error is not a terminal.
LINE_INTERVAL = 10.0

T = TypeVar("T")


def with_progress(
    items: Iterable[T],
    rows_of: Callable[[T], int],
    title: str,
    n_rows: int,
    *,
    n_done: int = 0,
    silent: bool = False,
) -> Iterator[T]:
    """Yield items unchanged, and show progress on standard error.

    Parameters
    ----------
    items : iterable
        One counts as done when the next is requested.
    rows_of : callable
        Returns the number of rows of an item.
    title : str
    n_rows : int
        Of all items.
    n_done : int
        Rows that an earlier run has finished.
    silent : bool
        Show nothing.

    Examples
    --------
    >>> list(with_progress([[1, 2], [3]], len, "adding", 3, silent=True))
    [[1, 2], [3]]
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[speed]:,.0f} rows/s  left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=silent or not console.is_terminal,
    )
    task = bar.add_task(title, total=n_rows, completed=n_done, speed=0.0)
    began = printed = time.perf_counter()
    finished = 0
    with bar:
        for one in items:
            yield one  # counted once the caller has processed it
            finished += rows_of(one)
            now = time.perf_counter()
            speed = finished / max(now - began, 1e-9)
            bar.update(task, advance=rows_of(one), speed=speed)
            if not silent and not console.is_terminal and now - printed >= LINE_INTERVAL:
                printed = now
                left = max(0, n_rows - n_done - finished) / speed
                console.print(
                    f"{title}: {n_done + finished:,} of {n_rows:,} rows  {speed:,.0f} rows/s  "
                    f"{left:,.0f} s left",
                    highlight=False,
                    soft_wrap=True,
                )
