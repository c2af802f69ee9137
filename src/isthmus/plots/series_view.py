"""A series over time, prepared to be drawn: one group of it, its alarms, and pixel columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data import (
    ABNORMAL,
    MISSING,
    NORMAL,
    VERDICT_NAMES,
    Dataset,
    are_normal,
    as_labels,
    factorize_labels,
    label_text,
)
from isthmus.data.windows import TimePoints, gaps
from isthmus.errors import DataError

#: Columns of an alarm table that follow those of the group.
FIRST, SCORE, SHARE = "first", "anomaly_score", "share_"
ALARM_TIMES = (FIRST, "last", "peak", "known_at")
_MAX_NAMED = 5
_NANOSECONDS_A_DAY = 86_400e9


@dataclass(frozen=True, eq=False)
class SeriesView:
    """One group of a series, with what a chart of it shows.

    Attributes
    ----------
    x : float64 array of shape (m,)
        Rising places on the axis: days since 1970 for dates, otherwise numbers as they are.
    values : float64 array of shape (m, c)
    starts : int array of shape (s,)
        Position at which each stretch without a gap in time begins.
    channels : tuple of str
    abnormal : bool array of shape (m,) or None
        Whether a label says abnormal; None without labels.
    label_words : str
        What the labels that are drawn are, for a legend.
    axis : str
        Name of the time column, or "row".
    dated : bool
        Whether `x` are dates.
    zone : tzinfo or None
        Zone in which dates are written.
    group : str
        The group as text, empty where there is one only.
    n_groups : int
    alarms : DataFrame
        The alarms of this group, with `first`, `last` and `peak` on the axis of `x`.
    scores : DataFrame or None
        `x`, `anomaly_score` and `abnormal` (bool) of the time points of this group.
    """

    x: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    channels: tuple[str, ...]
    abnormal: np.ndarray | None
    label_words: str
    axis: str
    dated: bool
    zone: Any
    group: str
    n_groups: int
    alarms: pd.DataFrame
    scores: pd.DataFrame | None = field(default=None)

    @property
    def step(self) -> float:
        """Median step of `x`, 1 where there is one time point only."""
        return float(np.median(np.diff(self.x))) if len(self.x) > 1 else 1.0

    def involved(self) -> np.ndarray:
        """Return the channels' positions, the one that is most involved in alarms first.

        A channel is involved by the shares of the alarms of which it is the worst, each weighted
        by its number of time points.

        Returns
        -------
        int array of shape (c,)
        """
        weight = np.zeros(len(self.channels))
        place = {name: at for at, name in enumerate(self.channels)}
        if "channel" in self.alarms:
            n = self.alarms.get("n_points", pd.Series(1, self.alarms.index)).to_numpy(float)
            share = self.alarms.get("share", pd.Series(1.0, self.alarms.index)).to_numpy(float)
            for name, one in zip(self.alarms["channel"].astype(str), n * share, strict=True):
                if name in place:
                    weight[place[name]] += one
        return np.argsort(-weight, kind="stable")


def view_series(
    new: Any,
    alarms: pd.DataFrame,
    points: pd.DataFrame | None = None,
    *,
    group: Any = None,
    time: str | None = None,
    normal: Any = None,
) -> SeriesView:
    """Return one group of a series with its alarms and scores, on one axis.

    Parameters
    ----------
    new : Dataset, TimePoints, DataFrame or array of shape (m, c)
        The series: a data set of `load` with its time points, those alone, a long table, or an
        array of readings.
    alarms : DataFrame
        A row an alarm, as `AnomalyDetector.alarms` returns them.
    points : DataFrame, optional
        A row a time point, as `AnomalyDetector.score_points` returns them.
    group : value or tuple of values, optional
        Which group; by default the one with most alarms, and of those the first.
    time : str, optional
        Column with the times, where `new` is a DataFrame.
    normal : str, int, float or bool, optional
        Label that means normal. Without it, -1 is abnormal where labels are 1, 0 and -1;
        otherwise every label but the most frequent one is shown.

    Returns
    -------
    SeriesView

    Raises
    ------
    DataError
        When `new` is no series, `alarms` are not alarms of it, or there is no such group.

    Examples
    --------
    >>> alarms = pd.DataFrame({"first": [1], "last": [2], "peak": [2], "channel": ["0"]})
    >>> view = view_series(np.arange(8.0).reshape(4, 2), alarms)
    >>> view.channels, view.axis, view.x.tolist()
    (('0', '1'), 'row', [0.0, 1.0, 2.0, 3.0])
    """
    _check_table(alarms, "alarms", (FIRST, "last"), "AnomalyDetector.alarms(new)")
    if points is not None:
        _check_table(points, "points", (SCORE,), "AnomalyDetector.score_points(new)")
    groups = list(map(str, alarms.columns[: list(alarms.columns).index(FIRST)]))
    places, values, channels, y, breaks = _read(new, alarms, points, groups, time)
    groups, axis = list(places.columns[:-1]), str(places.columns[-1])
    chosen, n_groups = _choose(places[groups], alarms, group)
    rows = np.flatnonzero(_is_group(places[groups], chosen))
    dated = not _are_numbers(places[axis])
    x = _on_axis(places[axis].iloc[rows], dated)
    order = np.argsort(x, kind="stable")
    x, rows = x[order], rows[order]
    of_group = alarms[_is_group(alarms.reindex(columns=groups), chosen)].reset_index(drop=True)
    times = [name for name in ALARM_TIMES if name in of_group]
    here = of_group.assign(**{name: _on_axis(of_group[name], dated) for name in times})
    _check_range(here, x, of_group)
    stretch = gaps(x, np.zeros(len(x), dtype=int)) if breaks is None else breaks[rows]
    stretch[:1] = True
    scores = None if points is None else _scores(points, groups, axis, chosen, dated)
    abnormal, words = _read_labels(y, normal)
    return SeriesView(
        x=x,
        values=values[rows],
        starts=np.flatnonzero(stretch),
        channels=channels,
        abnormal=None if abnormal is None else abnormal[rows],
        label_words=words,
        axis=axis,
        dated=dated,
        zone=_zone(places[axis]) if dated else None,
        group=", ".join(map(str, chosen)) if n_groups > 1 else "",
        n_groups=n_groups,
        alarms=here,
        scores=scores,
    )


def pixel_columns(
    x: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    n_columns: int,
    limits: tuple[float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a line with the lowest and the highest value of each pixel column.

    A series of few time points is returned whole. No extreme is lost: a single high value
    among a million is as high on the line.

    Parameters
    ----------
    x : float64 array of shape (m,)
        Rising.
    values : float64 array of shape (m,)
        NaN where there is none.
    starts : int array of shape (s,)
        Positions at which a stretch begins; the line is broken before each that begins in
        another column than its predecessor ends in.
    n_columns : int
        Pixel columns, equally spaced.
    limits : (low, high), optional
        Ends of the axis; by default those of `x`.

    Returns
    -------
    x, values : float64 arrays of shape (k,)
        With NaN in `values` where the line is broken.

    Examples
    --------
    >>> x = np.arange(1000.0)
    >>> line = pixel_columns(x, np.where(x == 517, 9.0, 0.0), np.array([0]), 10)
    >>> len(line[0]), float(line[1].max()), float(line[0][np.argmax(line[1])])
    (11, 9.0, 517.0)
    """
    breaks = np.zeros(len(x), dtype=bool)
    breaks[starts] = True
    if len(x) > 2 * n_columns:
        low, high = (x[0], x[-1]) if limits is None else limits
        column = ((x - low) * (n_columns / max(high - low, 1e-300))).astype(np.int64)
        column = np.clip(column, 0, n_columns - 1)
        first = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
        at = _extremes(values, first)
        breaks_before = breaks[first]
        keep_two = at[:, 0] != at[:, 1]
        both = np.column_stack([np.ones(len(first), dtype=bool), keep_two])
        broken = np.column_stack([breaks_before, np.zeros(len(first), dtype=bool)])[both]
        at = at[both]
        x, values, breaks = x[at], values[at], broken
    cuts = np.flatnonzero(breaks)[1:]
    return np.insert(x, cuts, x[cuts]), np.insert(values, cuts, np.nan)


def runs(flags: np.ndarray, starts: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """Return first and last position of each run of True; a run ends where a stretch begins.

    Parameters
    ----------
    flags : boolean array of shape (m,)
    starts : sequence of int
        Positions at which a stretch begins.

    Returns
    -------
    int array of shape (k, 2)

    Examples
    --------
    >>> runs(np.array([True, True, False, True, True]), [0, 4]).tolist()
    [[0, 1], [3, 3], [4, 4]]
    """
    begins = np.zeros(len(flags) + 1, dtype=bool)
    begins[np.asarray(starts, dtype=int)] = True
    before = np.r_[False, flags[:-1]] if len(flags) else flags
    first = np.flatnonzero(flags & (~before | begins[:-1]))
    after = np.r_[flags[1:], False] if len(flags) else flags
    last = np.flatnonzero(flags & (~after | begins[1:]))
    return np.column_stack([first, last])


def _extremes(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the positions of the lowest and the highest value of each part, in their order."""
    part = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(values)]))
    found = []
    for reduce in (np.fmin, np.fmax):
        best = reduce.reduceat(values, first)
        hits = np.flatnonzero(values == best[part])
        places = first.copy()  # of a part without a value, its first
        # Backwards, so that the first hit of each part is written last.
        places[part[hits[::-1]]] = hits[::-1]
        found.append(places)
    return np.sort(np.column_stack(found), axis=1)


def _read(
    new: Any,
    alarms: pd.DataFrame,
    points: pd.DataFrame | None,
    groups: list[str],
    time: str | None,
) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...], Any, np.ndarray | None]:
    """Return group columns and time of each position, values, channels, labels, and breaks."""
    found: Any = new.points if isinstance(new, Dataset) else new
    if isinstance(found, TimePoints):
        breaks = np.zeros(len(found) + 1, dtype=bool)
        breaks[found.segments] = True
        columns = [*found.group_columns, found.time_column or "row"]
        return found.identifiers()[columns], found.values, found.channels, found.y, breaks[:-1]
    if isinstance(new, pd.DataFrame):
        return _read_table(new, alarms, points, groups, time)
    values: np.ndarray = np.asarray([] if found is None else found)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.dtype.kind not in "buif" or 0 in values.shape:
        raise DataError(
            f"got {type(new).__name__} as the series, expected a data set of a long table as "
            "load(..., kind='series', time=...) gives it, a long DataFrame, or an array of "
            "readings of shape (time points, channels)"
        )
    channels = _channels_of(points) or tuple(str(at) for at in range(values.shape[1]))
    if len(channels) != values.shape[1]:
        raise DataError(
            f"got {values.shape[1]} channels and points of {len(channels)}; expected the same "
            "channels in both"
        )
    rows = pd.DataFrame({"row": np.arange(len(values))})
    return rows, values.astype(np.float64), channels, None, None


def _read_table(
    table: pd.DataFrame,
    alarms: pd.DataFrame,
    points: pd.DataFrame | None,
    groups: list[str],
    time: str | None,
) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...], Any, np.ndarray | None]:
    if time is None and points is not None:
        after_groups = str(points.columns[len(groups)])
        time = after_groups if after_groups in table else None
    elif time is None and not _are_numbers(alarms[FIRST]):
        dates = [name for name in table if table[name].dtype.kind == "M"]
        if len(dates) != 1:
            raise DataError(
                f"got a table with {len(dates)} columns of dates and alarms with times; name the "
                "column with time="
            )
        time = str(dates[0])
    missing = [name for name in [*groups, *([time] if time else [])] if name not in table]
    if missing:
        raise DataError(
            f"the table has no column {', '.join(map(repr, missing))}, it has "
            f"{shown(list(map(str, table.columns)))}; expected the columns of the alarms' groups "
            "and of time="
        )
    channels = _channels_of(points)
    if not channels:
        channels = tuple(
            str(name) for name in table
            if name not in (*groups, time) and _are_numbers(table[name])
        )  # fmt: skip
    absent = [name for name in channels if name not in table]
    if absent or not channels:
        raise DataError(
            f"the table lacks the channels {', '.join(map(repr, absent[:_MAX_NAMED]))}"
            if absent
            else "the table has no column of numbers to draw"
        )
    table = table.reset_index(drop=True)
    places = table[groups].assign(**{time or "row": table[time] if time else table.index})
    return places, table[list(channels)].to_numpy(dtype=np.float64), channels, None, None


def _channels_of(points: pd.DataFrame | None) -> tuple[str, ...]:
    if points is None:
        return ()
    return tuple(
        str(name).removeprefix(SHARE) for name in points if str(name).startswith(SHARE)
    )  # fmt: skip


def _check_table(table: Any, name: str, columns: tuple[str, ...], source: str) -> None:
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"got {type(table).__name__} as {name}, expected the table of {source}")
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            f"{name} have no column {', '.join(map(repr, missing))}, they have "
            f"{shown(list(map(str, table.columns)))}; expected the table of {source}"
        )


def _scores(
    points: pd.DataFrame, groups: list[str], axis: str, chosen: tuple[Any, ...], dated: bool
) -> pd.DataFrame:
    """Return place, score and verdict of the time points of one group."""
    if axis not in points:
        raise DataError(
            f"the points have no column {axis!r}, they have {shown(list(map(str, points.columns)))}"
            "; expected the times of the same series"
        )
    here = points[_is_group(points.reindex(columns=groups), chosen)]
    verdict = here["verdict"] if "verdict" in here else pd.Series("", here.index)
    found = pd.DataFrame({
        "x": _on_axis(here[axis], dated),
        SCORE: here[SCORE].to_numpy(dtype=np.float64),
        "abnormal": (verdict == VERDICT_NAMES[ABNORMAL]).to_numpy(),
    })  # fmt: skip
    return found.sort_values("x", kind="stable", ignore_index=True)


def _choose(places: pd.DataFrame, alarms: pd.DataFrame, group: Any) -> tuple[tuple[Any, ...], int]:
    """Return the values of the chosen group, and how many groups there are."""
    if not places.shape[1]:
        if group is not None:
            raise DataError(f"got group={shown(group)} and a series without groups; leave it out")
        return (), 1
    distinct = list(places.drop_duplicates().itertuples(index=False, name=None))
    if group is not None:
        wanted = tuple(map(str, group if isinstance(group, tuple | list) else (group,)))
        named = [one for one in distinct if tuple(map(str, one)) == wanted]
        if not named:
            first = "; ".join(", ".join(map(str, one)) for one in distinct[:_MAX_NAMED])
            more = len(distinct) - _MAX_NAMED
            raise DataError(
                f"got group={shown(group)}, expected one of {first}"
                + (f" and {more} more" if more > 0 else "")
            )
        return named[0], len(distinct)
    keys = alarms.reindex(columns=places.columns).astype(str).itertuples(index=False, name=None)
    n_alarms = Counter(keys)
    return max(distinct, key=lambda one: n_alarms[tuple(map(str, one))]), len(distinct)


def _is_group(columns: pd.DataFrame, chosen: tuple[Any, ...]) -> np.ndarray:
    # As text: a table of alarms that was read from a file holds 7 as "7".
    found = np.ones(len(columns), dtype=bool)
    for name, value in zip(columns, chosen, strict=True):
        found &= (columns[name].astype(str) == str(value)).to_numpy()
    return found


def _are_numbers(column: pd.Series) -> bool:
    kind = pd.api.types
    return kind.is_numeric_dtype(column.dtype) and not kind.is_bool_dtype(column.dtype)


def _on_axis(column: pd.Series, dated: bool) -> np.ndarray:
    """Return times as days since 1970 in UTC, or as the numbers that they are."""
    try:
        if not dated:
            return pd.to_numeric(column).to_numpy(dtype=np.float64)
        dates = pd.to_datetime(column, format=None if column.dtype.kind == "M" else "ISO8601",
                               utc=True)  # fmt: skip
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the times of {column.name!r} are not those of the series ({error}); expected "
            f"{'dates' if dated else 'numbers'}"
        ) from error
    return dates.dt.as_unit("ns").astype("int64").to_numpy() / _NANOSECONDS_A_DAY


def _zone(column: pd.Series) -> Any:
    if len(column) and column.dtype.kind == "O" and hasattr(column.iloc[0], "tzinfo"):
        return column.iloc[0].tzinfo
    return getattr(column.dtype, "tz", None)


def _check_range(here: pd.DataFrame, x: np.ndarray, alarms: pd.DataFrame) -> None:
    outside = (here[FIRST] > x[-1]).to_numpy() | (here["last"] < x[0]).to_numpy()
    if outside.any():
        row = int(outside.argmax())
        raise DataError(
            f"the alarm from {alarms[FIRST].iloc[row]} to {alarms['last'].iloc[row]} is outside "
            "the series; expected alarms of the same series (of a table, name the column of its "
            "times with time=)"
        )


def _read_labels(y: Any, normal: Any) -> tuple[np.ndarray | None, str]:
    """Return where labels say abnormal, and what is drawn of them in words."""
    if y is None:
        return None, ""
    y = as_labels(y)
    labelled = MISSING.has_label(y)
    labels, places = factorize_labels(y[labelled])
    if not labels:
        return None, ""
    if normal is not None:
        is_normal, words = are_normal(labels, normal), "abnormal, by its label"
    elif ABNORMAL in labels and set(labels) <= {NORMAL, 0, ABNORMAL}:
        is_normal, words = [label != ABNORMAL for label in labels], "abnormal, by its label"
    else:
        usual = int(np.bincount(places).argmax())
        is_normal = [at == usual for at in range(len(labels))]
        words = f"label other than {label_text(labels[usual])!r}"
    abnormal = np.zeros(len(y), dtype=bool)
    abnormal[labelled] = ~np.asarray(is_normal)[places]
    return abnormal, words
