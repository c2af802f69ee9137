"""Labels of stretches of time: from when to when series were abnormal, or normal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data import ABNORMAL, MISSING, NORMAL, VERDICT_NAMES, as_labels
from isthmus.data.windows import TimePoints
from isthmus.detection.detector_labels import UNKNOWN, label_windows, read_detector_labels
from isthmus.detection.timeline import WindowPlaces
from isthmus.errors import DataError

FROM, TO, LABEL = "from", "to", "label"
#: Stretches that a message names.
MAX_NAMED = 5
#: Times may differ by this share of a step: units of another size round them otherwise.
ROUNDING = 0.01


def stretch_table(stretches: Any, group_columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return stretches as a table with columns `from`, `to`, `label`, and those of groups.

    Parameters
    ----------
    stretches : DataFrame, or sequence of (from, to) and (from, to, label)
    group_columns : sequence of str
        Columns of the groups of the series.

    Raises
    ------
    DataError
        When there are none, or columns are missing or not known.

    Examples
    --------
    >>> stretch_table([(3, 5), (8, 9, "normal")])["label"].tolist()
    [None, 'normal']
    """
    if isinstance(stretches, pd.DataFrame):
        table = stretches.rename(columns=str).reset_index(drop=True)
        others = [n for n in table.columns if n not in (FROM, TO, LABEL, *group_columns)]
        missing = [name for name in (FROM, TO) if name not in table.columns]
        if missing or others:
            what = f"no column {missing[0]!r}" if missing else f"the column {others[0]!r}"
            expected = ", ".join(map(repr, (FROM, TO, LABEL, *group_columns)))
            raise DataError(f"stretches have {what}; expected {expected} (label may be left out)")
    else:
        rows = [tuple(one) if isinstance(one, tuple | list) else (one,) for one in stretches]
        wrong = [row for row in rows if len(row) not in (2, 3)]
        if wrong:
            raise DataError(
                f"got the stretch {shown(wrong[0])}, expected (from, to) or (from, to, label)"
            )
        columns = {name: [row[at] for row in rows] for at, name in enumerate((FROM, TO))}
        labels = [row[2] if len(row) == 3 else None for row in rows]
        table = pd.DataFrame({name: pd.Series(one, dtype=object) for name, one in columns.items()})
        table[LABEL] = pd.Series(labels, dtype=object)
    if not len(table):
        raise DataError("got no stretches, expected at least one: (from, to) or (from, to, label)")
    return table


def label_time_points(
    points: TimePoints, stretches: pd.DataFrame, normal: Any = None, *, stated: bool = True
) -> np.ndarray:
    """Return the labels of time points that stretches give them.

    Parameters
    ----------
    points : TimePoints
        m of them.
    stretches : DataFrame
        As `stretch_table` returns it. `from` and `to`, both included, are times in any form that
        the table has, or its rows, counted from 0, where there is no time. A stretch without a
        label is abnormal. A date without a time of day is its midnight.
    normal, stated
        See `isthmus.detection.DetectorLabelReader`; labels that are "normal" and "abnormal" need
        no `normal`.

    Returns
    -------
    int8 array of shape (m,)
        1 normal, -1 abnormal, 0 in no stretch.

    Raises
    ------
    DataError
        When times or labels cannot be read, a stretch is of an unknown group, ends before it
        begins, has no time point or no window of its label, or contradicts another one.

    Examples
    --------
    >>> points = TimePoints.of(np.arange(6.0), window=2)
    >>> label_time_points(points, stretch_table([(1, 2), (4, 5, "normal")])).tolist()
    [0, -1, -1, 0, 1, 1]
    """
    given = _labels(stretches, normal, stated=stated)
    begins, ends = (_numbers(stretches[name], points, name) for name in (FROM, TO))
    backwards = np.flatnonzero(ends < begins)
    if len(backwards):
        raise DataError(f"the {_named(stretches, backwards)} ends before it begins")
    at, reach = _positions(points)
    labels = np.zeros(len(points), dtype=np.int8)
    empty, contradicting = [], []
    groups = _groups(stretches, points)
    touched = []
    for number, (begin, end, label) in enumerate(zip(begins, ends, given, strict=True)):
        inside = (at + reach[1] >= begin) & (at - reach[0] <= end)
        if groups is not None:
            inside &= points.codes == groups[number]
        touched.append(inside)
        if not inside.any():
            empty.append(number)
        if (labels[inside] == -label).any():
            contradicting.append(number)
        labels[inside] = label
    if empty:
        raise DataError(
            f"the {_named(stretches, empty)} has no time point of the data, which has times from "
            f"{_first_and_last(points)}"
            if len(empty) == 1
            else f"{len(empty)} stretches have no time point of the data, which has times from "
            f"{_first_and_last(points)}: {_named(stretches, empty)}"
        )
    if contradicting:
        raise DataError(
            f"the {_named(stretches, contradicting)} is labelled otherwise than an earlier "
            "stretch that it overlaps; leave one of them out"
        )
    _check_windows(points, labels, touched, stretches)
    return labels


def _labels(stretches: pd.DataFrame, normal: Any, *, stated: bool) -> np.ndarray:
    """Return -1 or 1 of each stretch."""
    found = np.full(len(stretches), ABNORMAL, dtype=np.int8)
    if LABEL not in stretches:
        return found
    labels = as_labels(stretches[LABEL].to_numpy())
    there = np.flatnonzero(MISSING.has_label(labels))
    words = {VERDICT_NAMES[label]: label for label in (NORMAL, ABNORMAL)}
    texts = [labels[row] for row in there]
    if all(isinstance(text, str) and text in words for text in texts) and not (stated and normal):
        found[there] = [words[text] for text in texts]
        return found
    read = read_detector_labels(
        labels, len(labels), normal, source="stretches", stated=stated, may_lack_normal=True
    )[there]
    if (read == UNKNOWN).any():
        where = there[read == UNKNOWN]
        raise DataError(
            f"the {_named(stretches, where)} has the label {shown(labels[where[0]])}, which is "
            "neither normal nor abnormal; write normal or abnormal, or pass normal= (on the "
            "command line --normal)"
        )
    found[there] = read
    return found


def _groups(stretches: pd.DataFrame, points: TimePoints) -> np.ndarray | None:
    """Return the group code of each stretch; None where there is one group at most."""
    columns = [name for name in points.group_columns if name in stretches]
    if len(points.groups) < 2 and not columns:
        return None
    if len(columns) < len(points.group_columns):
        lacking = next(name for name in points.group_columns if name not in columns)
        raise DataError(
            f"got stretches without a column {lacking!r}, and the data has "
            f"{len(points.groups)} groups; say which one each stretch is of, in a table with "
            f"columns {', '.join(map(repr, (*points.group_columns, FROM, TO, LABEL)))}"
        )
    names = [one if isinstance(one, tuple) else (one,) for one in points.groups]
    codes = {tuple(map(str, one)): code for code, one in enumerate(names)}
    rows = stretches[list(points.group_columns)].itertuples(index=False, name=None)
    found = np.array([codes.get(tuple(map(str, row)), -1) for row in rows])
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        known = ", ".join(shown(one) for one in points.groups[:MAX_NAMED])
        known += ", ..." * (len(points.groups) > MAX_NAMED)
        raise DataError(
            f"the {_named(stretches, unknown)} is of a group that the data has not; it has {known}"
        )
    return found


def _positions(points: TimePoints) -> tuple[np.ndarray, tuple[float, float]]:
    """Return time or row of each point as a number, and how far it reaches back and forth."""
    if points.seconds is None:
        return points.rows.astype(np.float64), (0.0, 0.0)
    step = points.step or 0.0
    # After resampling a time is the beginning of a bin.
    bins = step * (1 - ROUNDING) if "resample" in points.choices else ROUNDING * step
    return points.seconds, (ROUNDING * step, bins)


def _numbers(column: pd.Series, points: TimePoints, name: str) -> np.ndarray:
    """Return the times of a column as numbers like `TimePoints.seconds`, or as rows."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise DataError(f"the stretch in row {int(missing.argmax())} has no {name!r}")
    example = None if points.time is None else pd.Series(points.time[:1])
    if example is None or (
        pd.to_numeric(example, errors="coerce").notna().all()
        and not (example.dtype.kind in "mM" or isinstance(example.dtype, pd.DatetimeTZDtype))
    ):
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        dates = column.map(lambda one: not isinstance(one, int | float | str | np.number))
        wrong = np.isnan(numbers) | dates.to_numpy(dtype=bool)
        if wrong.any():
            what = "a row of the table, counted from 0" if example is None else "a number"
            hint = ", as the data has no time column" if example is None else " as times are"
            raise DataError(
                f"got {shown(column[int(wrong.argmax())])} in {name!r} of a stretch, expected "
                f"{what}{hint}"
            )
        return numbers
    if example.dtype.kind == "m":
        spans = [pd.Timedelta(one) for one in column]
        return np.array([span.total_seconds() for span in spans])
    zone, text = _time_zone(example)
    return np.array([_seconds(one, zone, name, offset_needed=text) for one in column])


def _time_zone(example: pd.Series) -> tuple[Any, bool]:
    """Return the time zone of dates, None without one, and whether they are text with offsets."""
    if isinstance(example.dtype, pd.DatetimeTZDtype):
        return example.dtype.tz, False
    if example.dtype.kind == "M":
        return None, False
    zone = _as_timestamp(example.iloc[0]).tz
    return zone, zone is not None


def _as_timestamp(one: Any) -> pd.Timestamp:
    return pd.to_datetime(one, format="ISO8601") if isinstance(one, str) else pd.Timestamp(one)


def _seconds(one: Any, zone: Any, name: str, *, offset_needed: bool) -> float:
    try:
        if isinstance(one, int | float | np.number):  # would be nanoseconds
            raise ValueError
        stamp = _as_timestamp(one)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"got {shown(one)} in {name!r} of a stretch, expected a date such as "
            "2024-05-31 13:00:00"
        ) from error
    if (stamp.tz is None) != (zone is None) and (stamp.tz is not None or offset_needed):
        has, write = ("no", "without") if zone is None else ("an", "with")
        raise DataError(
            f"got {shown(one)} in {name!r} of a stretch, and the times of the data have {has} "
            f"offset from UTC; write the stretch {write} one"
        )
    if stamp.tz is None and zone is not None:
        there: Any = stamp.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
        if there is pd.NaT:
            raise DataError(
                f"got {shown(one)} in {name!r} of a stretch, which is twice or never on the clock "
                f"of {zone}; write it with its offset from UTC, such as {one}+02:00"
            )
        return there.timestamp()
    return stamp.timestamp()


def _check_windows(
    points: TimePoints, labels: np.ndarray, touched: list[np.ndarray], stretches: pd.DataFrame
) -> None:
    """Check that some window has the label of each stretch."""
    places = WindowPlaces.cut(points.segments, points.window, 1)
    of_windows = label_windows(labels, places.first, points.window)
    reached = {}
    for label in (NORMAL, ABNORMAL):
        change = np.zeros(len(points) + 1, dtype=np.int64)
        first = places.first[of_windows == label]
        np.add.at(change, first, 1)
        np.add.at(change, first + points.window, -1)
        reached[label] = np.cumsum(change)[:-1] > 0
    without = [
        number
        for number, inside in enumerate(touched)
        if not (reached[int(labels[inside][0])] & inside).any()
    ]
    if without:
        raise DataError(
            f"no window of {points.window} time points gets the label of the "
            f"{_named(stretches, without)}: a normal stretch is as long as a window or longer, and "
            "an abnormal one lies in a stretch of readings without a gap that is"
        )


def _first_and_last(points: TimePoints) -> str:
    table = points.identifiers()
    times = table[points.time_column or "row"]
    at = _positions(points)[0]
    return f"{times.iloc[int(at.argmin())]} to {times.iloc[int(at.argmax())]}"


def _named(stretches: pd.DataFrame, numbers: Any) -> str:
    """Return stretches in words, such as "stretch from 3 to 5"."""
    others = [str(name) for name in stretches if name not in (FROM, TO, LABEL)]
    texts = []
    for number in list(numbers)[:MAX_NAMED]:
        row = stretches.iloc[int(number)]
        of = "".join(f" of {row[name]}" for name in others)
        texts.append(f"stretch{of} from {row[FROM]} to {row[TO]}")
    return ", ".join(texts) + ", ..." * (len(numbers) > MAX_NAMED)
