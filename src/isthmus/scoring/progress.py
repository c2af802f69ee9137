"""How far scoring is: rows a second and time left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.scoring.work import Done

#: Where standard error is no terminal a line is printed so often at most.
SECONDS = 10.0


def shown(
    done: Iterable[Done], title: str, n_rows: int, n_done: int, *, silent: bool
) -> Iterator[Done]:
    """Pass parts on as they are finished, and show how far it is on standard error.

    Parameters
    ----------
    done : iterable of Done
    title : str
    n_rows : int
        Of all parts.
    n_done : int
        Of parts that an earlier run has finished.
    silent : bool
        Show nothing.
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
    began = told = time.perf_counter()
    scored = 0
    with bar:
        for one in done:
            scored += one.part.n_rows
            now = time.perf_counter()
            speed = scored / max(now - began, 1e-9)
            bar.update(task, advance=one.part.n_rows, speed=speed)
            if not silent and not console.is_terminal and now - told >= SECONDS:
                told = now
                left = max(0, n_rows - n_done - scored) / speed
                console.print(
                    f"{title}: {n_done + scored:,} of {n_rows:,} rows  {speed:,.0f} rows/s  "
                    f"{left:,.0f} s left",
                    highlight=False,
                    soft_wrap=True,
                )
            yield one
