"""Long tables to labelled windows, with a count of the unused rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.csv_options import CsvOptions
from isthmus.data.dataset import Dataset
from isthmus.data.formats import read_table
from isthmus.data.labels import factorize_labels, is_missing, label_text
from isthmus.data.places import SourceFile, Where, describe_row
from isthmus.data.schema import Schema
from isthmus.data.windows.cutting import Windows, cut, deciding_rows, label_rule
from isthmus.data.windows.long_table import LongTable, says_abnormal
from isthmus.data.windows.time_index import MAX_STEP
from isthmus.data.windows.time_points import TimePoints, points_of_table
from isthmus.data.windows.window_choice import (
    WindowOptions,
    check_window_options,
    place_columns,
)
from isthmus.errors import DataError

#: Maximum number of unused groups named in a warning.
_MAX_NAMED = 5


@dataclass(frozen=True)
class UnusedRows:
    """Groups and rows of one or several tables that are in no window.

    Attributes
    ----------
    n_groups, n_without : int
        Number of groups, and of those without a window.
    names : tuple of str
        The first groups without a window.
    n_gaps, n_rows : int
        Number of gaps in time, and of rows unused because of them.
    n_short : int
        Those of these rows in stretches shorter than a window. The others are behind the last
        window of a stretch, for the stride; where time points are decided windows cover them.
    """

    n_groups: int = 0
    n_without: int = 0
    names: tuple[str, ...] = ()
    n_gaps: int = 0
    n_rows: int = 0
    n_short: int = 0

    def __add__(self, other: UnusedRows) -> UnusedRows:
        return UnusedRows(
            self.n_groups + other.n_groups,
            self.n_without + other.n_without,
            (*self.names, *other.names)[:_MAX_NAMED],
            self.n_gaps + other.n_gaps,
            self.n_rows + other.n_rows,
            self.n_short + other.n_short,
        )

    def describe(self, window: int, unread: bool = False, *, by_point: bool = False) -> list[str]:
        """Return the warnings about unused groups and about gaps, if any.

        Parameters
        ----------
        window : int
        unread : bool
            Whether stretches without a reading are among the gaps.
        by_point : bool
            Whether time points are decided.

        Returns
        -------
        list of str
        """
        messages = []
        if self.n_without:
            names = ", ".join(self.names)
            more = self.n_without - len(self.names)
            names += f" and {more} more" if more else ""
            verb = "is" if self.n_without == 1 else "are"
            messages.append(
                f"{self.n_without:,} of {self.n_groups:,} groups {verb} left out, with fewer than "
                f"{window} rows without a gap: {names}"
            )
        if self.n_gaps:
            other = ", or stretches without a reading" if unread else ""
            left_out = f", which leaves {self.n_rows:,} rows out"
            if by_point:
                left_out = f"; {_count(self.n_short, 'row')} between them, in stretches shorter "
                left_out = f"{left_out}than a window, have no score" if self.n_short else ""
            messages.append(
                f"{self.n_gaps:,} gap{'s' if self.n_gaps > 1 else ''} in time (steps of more than "
                f"{MAX_STEP} times the usual one{other}); no window crosses one{left_out}"
            )
        return messages


def unused_rows(
    groups: np.ndarray,
    lengths: np.ndarray,
    window: int,
    stride: int,
    name: Callable[[Any], str],
) -> UnusedRows:
    """Count the groups and rows of a table that are in no window.

    Parameters
    ----------
    groups, lengths : int array of shape (n_segments,)
        Group code and number of rows of each segment.
    window, stride : int
    name : callable
        Returns the name of a group code, such as "group 'A'".

    Returns
    -------
    UnusedRows

    Examples
    --------
    >>> groups, lengths = np.array([0, 0, 1]), np.array([5, 6, 3])
    >>> unused = unused_rows(groups, lengths, 4, 4, lambda code: f"group {code}")
    >>> unused.n_without, unused.names, unused.n_gaps, unused.n_rows, unused.n_short
    (1, ('1',), 1, 3, 0)
    """
    codes, n_segments = np.unique(groups, return_counts=True)
    without = np.setdiff1d(codes, groups[lengths >= window])
    split = np.isin(groups, codes[n_segments > 1])
    # All rows of a segment shorter than a window, otherwise fewer than a stride.
    left_over = np.where(lengths < window, lengths, (lengths - window) % stride)
    return UnusedRows(
        len(codes),
        len(without),
        tuple(name(code).removeprefix("group ") for code in without[:_MAX_NAMED]),
        len(groups) - len(codes),
        int(left_over[split].sum()),
        int(lengths[split & (lengths < window)].sum()),
    )


class LabelCounts:
    """Rows, events and windows by label, of one or several tables cut into windows.

    An event is a stretch of rows of one label that follow one another in a group.

    Parameters
    ----------
    cutting : WindowOptions
    window : int
        Rows in a window.

    Examples
    --------
    >>> counts = LabelCounts(WindowOptions(window_label="majority", normal="ok"), 4)
    >>> y, first = np.array(["ok", "leak", "ok", "ok", "ok", "leak", "ok", "ok"]), np.array([0, 4])
    >>> counts.add(y, np.zeros(8, dtype=int), first, deciding_rows(y, first, 4, "majority"))
    >>> counts.describe()[0].partition(";")[0]
    "class 'leak' (2 rows in 2 events) is in no window's label"
    """

    def __init__(self, cutting: WindowOptions, window: int) -> None:
        self.cutting, self.window = cutting, window
        # By label: rows, events, rows in windows, windows.
        self._counts: dict[Any, np.ndarray] = {}

    def add(self, y: np.ndarray, groups: np.ndarray, first: np.ndarray, rows: np.ndarray) -> None:
        """Count the labels of a table.

        Parameters
        ----------
        y, groups : array of shape (n,)
            Labels and group codes of its rows, group after group.
        first, rows : int array of shape (n_windows,)
            First row of each window, and the row whose label is the window's.
        """
        labels, codes = factorize_labels(y)
        change = np.ones(len(y), dtype=bool)
        change[1:] = (codes[1:] != codes[:-1]) | (groups[1:] != groups[:-1])
        depth = np.zeros(len(y) + 1, dtype=np.int64)
        np.add.at(depth, first, 1)
        np.add.at(depth, first + self.window, -1)
        inside = np.cumsum(depth)[:-1] > 0
        here = [codes, codes[change], codes[inside], codes[rows]]
        counts = np.stack([np.bincount(one[one >= 0], minlength=len(labels)) for one in here])
        for at, label in enumerate(labels):
            if not is_missing(label):
                before = self._counts.get(label, np.zeros(len(here), dtype=np.int64))
                self._counts[label] = before + counts[:, at]

    @property
    def rule(self) -> str:
        """The rule that labels of windows follow, see `label_rule`."""
        return label_rule(self._counts, self.cutting.window_label, self.cutting.normal)

    def describe(self) -> list[str]:
        """Return the warnings about classes that rows have and no window has.

        Without `normal` numbers that mark what is unlabelled are no classes: 0 beside -1 and 1,
        and -1 beside others.

        Returns
        -------
        list of str
        """
        signs = -1 in self._counts and set(self._counts) <= {-1, 0, 1}
        unlabelled = None if self.cutting.normal is not None else 0 if signs else -1
        messages = []
        for label, (rows, events, inside, windows) in self._counts.items():
            if windows or (isinstance(label, int | float) and label == unlabelled):
                continue
            messages.append(
                f"class {label_text(label)!r} ({_count(rows, 'row')} in {_count(events, 'event')}) "
                f"is in no window's label; {self._fix(bool(inside))}"
            )
        more = len(messages) - _MAX_NAMED
        return messages[:_MAX_NAMED] + ([f"{more} more classes are in none"] if more > 0 else [])

    def _fix(self, inside: bool) -> str:
        if not inside:
            return "none of these rows is in a window: pass a shorter window, or a stride"
        if self.rule == "any":
            return "pass a shorter window"
        if self.cutting.normal is not None:
            return "pass window_label='any' (on the command line --window-label any)"
        return (
            "pass window_label='any', and normal= with the label of ordinary rows (on the command "
            "line --window-label any --normal VALUE)"
        )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def load_long_table(
    path: Path,
    cutting: WindowOptions,
    label: str | None = None,
    *,
    keys: Sequence[str] = (),
    drop: Sequence[str] = (),
    csv: CsvOptions | None = None,
) -> Dataset:
    """Cut the file of a table into windows, see `read_table` and `series_from_frame`.

    Parameters
    ----------
    path : path
    cutting : WindowOptions
    label : str, optional
    keys, drop : sequence of str
    csv : CsvOptions, optional

    Returns
    -------
    Dataset
    """
    names, time = [*keys, *cutting.groups], () if cutting.time is None else (cutting.time,)
    features = None if cutting.channels is None else [*cutting.channels, *time]
    frame, where = read_table(
        path,
        label=label,
        normal=cutting.normal,
        keys=names,
        text=drop,
        as_written=False,
        features=features,
        csv=csv,
    )
    return series_from_frame(
        frame, cutting, label, path.name, source=path, where=where, keys=keys, drop=drop
    )


def series_from_frame(
    frame: pd.DataFrame,
    cutting: WindowOptions,
    label: str | None = None,
    name: str = "data",
    *,
    source: str | Path = "the table",
    where: Where = describe_row,
    keys: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Dataset:
    """Cut a long table into windows.

    The rows of a group are one series, in the order of the table. A window is of one
    group, and crosses no gap in time: a step of more than one and a half times the
    group's median step. Missing values are filled on a straight line between those before
    and after them, at the ends of a stretch without gaps with the nearest one.

    Parameters
    ----------
    frame : DataFrame of shape (m, k)
    cutting : WindowOptions
    label : str or None
        Column of labels. Where the rows of a window differ, the rule of `cutting` decides.
    name : str
        Name of the data set.
    source : str or Path
        Name of the table in errors.
    where : callable
        Returns the description of a row number (from 0).
    keys, drop : sequences of str
        Columns that are no channels; the keys of a window are those of its last row.

    Returns
    -------
    Dataset
        Of kind "series": `X` is (n, window, c), float64, group after group; the schema's
        `columns` are the channels; `windows` says where each window lies.

    Raises
    ------
    DataError
        When a column is missing or holds no numbers, times do not increase, a channel has
        no value at all, or no window fits; the message names column, group and row.

    Warns
    -----
    UserWarning
        When values were filled. A `WindowWarning` when the recording has gaps, a group is left out,
        or a class of rows is the label of no window.

    Examples
    --------
    >>> frame = pd.DataFrame({"t": [1, 2, 3, 4, 5, 6], "load": [0.0, 1, 2, 3, 4, 5]})
    >>> data = series_from_frame(frame, WindowOptions(window=3, time="t"))
    >>> data.X.shape, data.windows.first_time.tolist()
    ((2, 3, 1), [1, 4])
    """
    check_window_options(cutting.window, cutting.stride)
    place_columns(cutting.time, cutting.groups, keys)
    table = LongTable(frame, cutting, label, source, where, no_channels=[*keys, *drop])
    points = points_of_table(table, cutting.window, cutting.stride, keys=keys)
    window, stride = points.window, points.stride
    for number, channel in enumerate(table.channels):
        if says_abnormal(channel) and np.isin(points.values[:, number], (0, 1)).all():
            table.warn(
                f"column {channel!r} holds 0 and 1 and is taken as a channel, so that a detector "
                "learns from the answer; pass it as label= (on the command line --label), or "
                "drop it"
            )
    first, end = points.segments.T
    long_enough = end - first >= window
    if not long_enough.any():
        raise DataError(_too_short(table, points))
    unused = unused_rows(points.codes[first], end - first, window, stride, table.groups.name)
    unread = "without_reading" in points.choices
    of_points = unused.describe(window, unread, by_point=True)
    for message, instead in zip(unused.describe(window, unread), of_points, strict=True):
        table.warn_of_windows(message, instead)
    segments = points.segments[long_enough].tolist()
    X = cut(points.values, segments, window, stride)
    begin = np.concatenate([np.arange(a, b - window + 1, stride) for a, b in segments])
    schema = replace(Schema.learn(X, "series"), columns=tuple(table.channels), step=points.step)
    y = rule = None
    if points.y is not None:
        labels = points.y
        rows = deciding_rows(labels, begin, window, cutting.window_label, cutting.normal)
        y = labels[rows]
        counts = LabelCounts(cutting, window)
        counts.add(labels, points.codes, begin, rows)
        rule = counts.rule
        for message in counts.describe():
            table.warn_of_windows(message)
    last = begin + window - 1
    carried = None
    if points.keys is not None:
        carried = points.keys.iloc[last].reset_index(drop=True)
    at = _locate(table, points, begin, last, rule)
    of_file: dict[str, Any] = (
        {"line_of": where.line, "reading": where.reading} if isinstance(where, SourceFile) else {}
    )
    of_file["reading"] = {**(of_file.get("reading") or {}), **points.choices} or None
    return Dataset(X, y, schema, name=name, windows=at, keys=carried, points=points, **of_file)


def _locate(
    table: LongTable, points: TimePoints, first: np.ndarray, last: np.ndarray, rule: str | None
) -> Windows:
    columns = points.group_columns
    group = table.groups.of_codes(points.codes[first])
    first_row, last_row = points.rows[first], points.rows[last]
    if len(columns) == 1:
        group = table.frame[columns[0]].iloc[first_row].to_numpy()
    begins = ends = None
    if points.time is not None:
        begins, ends = (pd.Series(points.time[at]).to_numpy() for at in (first, last))
    return Windows(first_row, last_row, group, begins, ends, columns, rule, first)


def _too_short(table: LongTable, points: TimePoints) -> str:
    first, end = points.segments.T
    if not len(first):
        return f"{table.source} has no stretch in which all channels have readings"
    longest = int((end - first).argmax())
    n_gaps = len(first) - len(np.unique(points.codes[first]))
    group = table.groups.name(points.codes[first[longest]])
    rows = int(end[longest] - first[longest])
    fitted = table.cutting.as_at_fit
    return too_short(str(table.source), rows, group, points.window, n_gaps > 0, fitted)


def too_short(
    source: str, rows: int, group: str, window: int, has_gaps: bool, as_at_fit: bool = False
) -> str:
    """Return the error text for a source whose longest series is shorter than a window.

    Parameters
    ----------
    source, group : str
        In words.
    rows, window : int
    has_gaps, as_at_fit : bool

    Returns
    -------
    str
    """
    shorter = f"; pass a window of {rows} at most" if rows > 1 else "; pass a longer table"
    if as_at_fit:
        shorter = f"; windows are those at fit: pass {window} rows or more in a row"
    return (
        f"got window={window}, and the longest series"
        + (" without a gap in time" if has_gaps else "")
        + f" of {source} has {rows} rows"
        + (f" ({group})" if group else "")
        + shorter
        + (", or leave time out to take rows as they come, over gaps" if has_gaps else "")
    )
