"""Progress of long work on standard error, and HTML tables of results for notebooks."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from html import escape
from typing import Any, TypeVar

#: Seconds between two lines, at least, where standard error is not a terminal.
LINE_INTERVAL = 10.0

CELL = "padding:.15em .8em .15em 0;text-align:left;vertical-align:top"
T = TypeVar("T")
_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Show no progress and print no results within the block, as `--quiet`; warnings stay.

    Examples
    --------
    >>> with quiet():
    ...     is_quiet()
    True
    """
    before = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(before)


def is_quiet() -> bool:
    """Return whether only warnings and errors are wanted."""
    return _is_quiet.get()


class NotebookBar:
    """One bar in the output of a notebook's cell, which is replaced as the work goes on.

    Parameters
    ----------
    title : str
    display : callable, optional
        `IPython.display.display`; by default that of the notebook.

    Examples
    --------
    >>> class Handle:
    ...     def update(self, shown, raw):
    ...         print(shown["text/plain"])
    >>> bar = NotebookBar("training", lambda shown, **_: Handle())
    >>> bar.show(0.255, "epoch 2/8")
    training  26 %  epoch 2/8
    """

    def __init__(self, title: str, display: Callable[..., Any] | None = None) -> None:
        if display is None:  # only where a notebook runs
            display = importlib.import_module("IPython.display").display
        assert display is not None
        self.title = title
        self._percent = -1
        self._facts = ""
        self._handle = display(self._bundle(0, ""), raw=True, display_id=True)

    def show(self, share: float, facts: str) -> None:
        """Show how much is done, from 0 to 1, and what is known; at most once a percent."""
        percent = round(100 * share)
        if (percent, facts) != (self._percent, self._facts):
            self._percent, self._facts = percent, facts
            self._handle.update(self._bundle(percent, facts), raw=True)

    def _bundle(self, percent: int, facts: str) -> dict[str, str]:
        return {
            "text/plain": f"{self.title}  {percent} %  {facts}",
            "text/html": f'<label>{escape(self.title)} <progress max="100" value="{percent}">'
            f"</progress> {percent} % {escape(facts)}</label>",
        }


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
    # rich takes a while to import, and estimators import this file.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    silent = silent or is_quiet()
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
    # Before rich 14.3 a bar that is not shown ends with an empty line.
    with nullcontext() if bar.disable else bar:
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


def shown(value: Any) -> str:
    """Return a value as messages show it: its `repr`, of NumPy's numbers and text that of Python's.

    Examples
    --------
    >>> import numpy as np
    >>> shown(np.float64(1.5)), shown([np.int64(3), "a"])
    ('1.5', "[3, 'a']")
    """
    return repr(_plain(value))


def _plain(value: Any) -> Any:
    # Not isinstance: messages are made where NumPy is not imported.
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    if type(value) in (list, tuple, set):
        return type(value)(map(_plain, value))
    if isinstance(value, slice):
        return slice(_plain(value.start), _plain(value.stop), _plain(value.step))
    if type(value) is dict:
        return {_plain(key): _plain(one) for key, one in value.items()}
    return value


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = (), caption: str = "") -> str:
    """Return an HTML table; the first cell of a row is its heading.

    Examples
    --------
    >>> table([["width", "<8>"]], caption="A code")[:54]
    '<table class="isthmus"><caption style="text-align:left'
    >>> "&lt;8&gt;" in table([["width", "<8>"]])
    True
    """
    top = f'<caption style="text-align:left">{escape(caption)}</caption>' if caption else ""
    if head:
        cells = "".join(f'<th scope="col" style="{CELL}">{escape(name)}</th>' for name in head)
        top += f"<thead><tr>{cells}</tr></thead>"
    body = "".join(
        f'<tr><th scope="row" style="{CELL}">{escape(str(row[0]))}</th>'
        + "".join(f'<td style="{CELL}">{escape(str(cell))}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<table class="isthmus">{top}<tbody>{body}</tbody></table>'


class LearnedTable:
    """Mixin that adds the learned attributes of a fitted estimator to scikit-learn's diagram."""

    def _learned(self) -> Mapping[str, Any]:
        """Return the values to show of a fitted estimator, by name."""
        raise NotImplementedError

    def _html_repr(self) -> str:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        diagram: str = super()._html_repr()  # type: ignore[misc]
        try:
            check_is_fitted(self)
        except NotFittedError:
            return diagram
        return diagram + table(list(self._learned().items()))


class Evaluation(dict[str, Any]):
    """Metrics of a head and its baselines, a dict that notebooks show as a table.

    Examples
    --------
    >>> results = Evaluation(head="linear", code={"accuracy": 0.9, "interval": [0.8, 0.95]},
    ...                      baselines={"raw": {"accuracy": 0.85, "interval": [0.7, 0.9]}})
    >>> "90.0 % (80.0 to 95.0)" in results._repr_html_()
    True
    """

    def _repr_html_(self) -> str:
        metrics = {"code": self["code"]} | self["baselines"]
        if "accuracy" in self["code"]:
            rows = [[name, _accuracy(values)] for name, values in metrics.items()]
            return table(rows, ["features", "accuracy (95 % interval)"], f"head {self['head']}")
        if "vus_pr" in self["code"]:
            rows = [
                [name, *(_number(values[figure]) for figure in ("auroc", "vus_pr"))]
                for name, values in metrics.items()
            ]
            return table(rows, ["time points by", "AUROC", "VUS-PR"], f"score {self['head']}")
        rows = [
            [name, *map(_number, (values["auroc"], values["auprc"])), *map(_share, _rates(values))]
            for name, values in metrics.items()
        ]
        head = ["features", "AUROC", "average precision", "false alarms", "caught"]
        return table(rows, head, f"score {self['head']}, {_percent(self['asked'])} asked for")


def _accuracy(values: Mapping[str, Any]) -> str:
    low, high = (100 * bound for bound in values["interval"])
    return f"{100 * values['accuracy']:.1f} % ({low:.1f} to {high:.1f})"


def _rates(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [values.get(name, {}) for name in ("false_alarms", "power")]


def _share(rate: Mapping[str, Any]) -> str:
    return f"{rate['count']:,} of {rate['n']:,}" if rate else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:g} %"
