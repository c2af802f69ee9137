"""Chapter "alarms over time": a series with its alarms, and what a detector found by time point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import ABNORMAL, NORMAL, Dataset, group_text
from isthmus.data.windows import TimePoints
from isthmus.detection import UNKNOWN, AnomalyDetector, as_duration
from isthmus.evaluation import evaluate_points
from isthmus.plots import SeriesView, runs, view_series
from isthmus.report.wording import percent

#: Alarms that are listed, and of them those whose neighbourhood is drawn in full.
MAX_LISTED, MAX_DETAILS = 500, 40
#: Groups that are drawn, those with most alarms first, and channels of each, the most involved.
MAX_CHARTS, MAX_CHANNELS = 4, 8
#: Buckets of a whole series on the page, and of the neighbourhood of an alarm.
MAX_BUCKETS, MAX_DETAIL_BUCKETS = 3000, 600
#: Decimal places of a reading on the page: so many digits of the spread of its channel.
DIGITS = 4
_MILLISECONDS_A_DAY = 86_400_000.0


def alarm_facts(
    name: str,
    detector: AnomalyDetector,
    test: Dataset,
    labels: np.ndarray | None = None,
    seen: np.ndarray | None = None,
    normal: Any = None,
) -> dict[str, Any]:
    """Describe the alarms of a detector on a series.

    Parameters
    ----------
    name : str
    detector : AnomalyDetector
        Fitted on series with time points.
    test : Dataset
        Windows of a long table, with its m time points.
    labels : array of shape (m,), optional
        Of the time points: 1 normal, -1 abnormal, 0 unlabelled.
    seen : bool array of shape (m,), optional
        Time points that the detector was fitted or calibrated on: figures by label leave them out.
    normal : str, int, float or bool, optional
        Label that means normal, for the chart.

    Returns
    -------
    dict
        `calibration`, see `AnomalyDetector.point_facts_`; `asked`, the rate of false alarms that
        the threshold is set for, in words; `threshold`; `n_points`, `n_scored` (those that a
        window covers), `n_abnormal` and `n_seen` of the time points; `n_alarms`; `step`, in seconds
        or None; `channels`, each with the number of alarms of which it is the worst; `groups`, each
        with the numbers of its time points and alarms; `alarms`, 500 at most, see `listed_alarms`;
        `measures`, see `isthmus.evaluation.evaluate_points`, None without labels; `charts`, see
        `chart_facts`; `words`, the result in a sentence.
    """
    decisions = detector.decide_points(test)
    held = detector.point_facts_ or {}  # never empty where `decide_points` returned
    alarms = detector.alarms_of(decisions)
    series = decisions.points
    seen = np.zeros(len(series), dtype=bool) if seen is None else seen
    places = _positions(alarms, series)
    groups = _drawn_groups(series, alarms)
    points = decisions.to_frame()
    facts: dict[str, Any] = {
        "name": name,
        "calibration": held,
        "asked": _asked(held),
        "threshold": held["threshold"],
        "n_points": len(series),
        "n_scored": int(decisions.known.sum()),
        "n_abnormal": int(decisions.abnormal.sum()),
        "n_seen": int(seen.sum()),
        "n_alarms": len(alarms),
        "step": series.step,
        "channels": _by_channel(alarms),
        "groups": _by_group(series, alarms),
        "alarms": listed_alarms(
            detector.alarms_of(decisions.as_written()), series, groups, labels, places
        ),
        "measures": None,
        "charts": [
            chart_facts(view_series(test, alarms, points, group=group, normal=normal))
            for group in groups
        ],
    }
    thresholds = {one["name"]: one["threshold"] for one in held.get("groups", [])}
    for chart, group in zip(facts["charts"], groups, strict=True):
        drawn = series.groups[0] if group is None and series.groups else group
        chart["threshold"] = thresholds.get(group_text(drawn), facts["threshold"])
    if labels is not None and (labels[~seen] != UNKNOWN).any():
        new = ~np.array([seen[first : last + 1].all() for first, last, _ in places], dtype=bool)
        known = np.where(seen, UNKNOWN, labels)
        facts["measures"] = evaluate_points(
            decisions.scores,
            known,
            abnormal=decisions.abnormal,
            segments=series.segments,
            alarms=places[new, :2] + [0, 1],
            known=places[new, 2],
            step=series.step,
            window=series.window,
        )
    return facts | {"words": _in_words(facts)}


def listed_alarms(
    alarms: pd.DataFrame,
    series: TimePoints,
    drawn: Sequence[Any],
    labels: np.ndarray | None,
    places: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the alarms as plain values, those with the highest score where there are many.

    Parameters
    ----------
    alarms : DataFrame of k rows
    series : TimePoints
    drawn : sequence
        Groups that have a chart, or None for the only one.
    labels : array of shape (m,) or None
    places : int array of shape (k, 3)
        Positions of `first`, `last` and `known_at`.

    Returns
    -------
    list of dict
        In order of group and time: `group` (text, empty without groups), `first`, `last`, `peak`
        and `known_at` (text of dates, as in the table, otherwise numbers), `n_points`, `delay`, the
        number of time points from the first one until the alarm was known, `channel`, `share`,
        `anomaly_score`, `p_value`; `label`, "event" where one of its time points is labelled
        abnormal, "false alarm" where all labels are normal, None where there are none; `chart`, the
        number of the chart that shows it, and `place`, its number there, None where there is none;
        `number`, counted from 1 among all alarms.
    """
    kept = np.arange(len(alarms))
    if len(alarms) > MAX_LISTED:
        best = np.argsort(-alarms["anomaly_score"].to_numpy(), kind="stable")[:MAX_LISTED]
        kept = np.sort(best)
    names = list(series.group_columns)
    groups = list(alarms[names].itertuples(index=False, name=None))
    numbers = {group: at for at, group in enumerate(drawn)}
    n_before: dict[tuple[Any, ...], int] = {}
    place = []
    for group in groups:
        place.append(n_before.get(group, 0))
        n_before[group] = place[-1] + 1
    found = []
    for at, row in zip(kept.tolist(), alarms.iloc[kept].to_dict("records"), strict=True):
        first, last, known = places[at].tolist()
        chart = 0 if list(drawn) == [None] else numbers.get(groups[at])
        found.append(
            {
                "group": ", ".join(map(str, groups[at])),
                **{key: _plain_time(row[key]) for key in ("first", "last", "peak", "known_at")},
                "n_points": int(row["n_points"]),
                "delay": known - first,
                "channel": str(row["channel"]),
                **{key: float(row[key]) for key in ("share", "anomaly_score", "p_value")},
                "label": None if labels is None else _label(labels[first : last + 1]),
                "chart": chart,
                "place": None if chart is None else place[at],
                "number": at + 1,
            }
        )
    return found


def chart_facts(view: SeriesView) -> dict[str, Any]:
    """Return a series in the few numbers that the page draws it from.

    Returns
    -------
    dict
        `group`, `n_groups`, `axis`, `dated`, `zone`; `n_points`, `channels` (those drawn) and
        `n_hidden`; `levels`: the whole series in 3,000 buckets at most and the neighbourhood of
        each of the first 40 alarms in 600, each with `x` (milliseconds since 1970, or numbers as
        they are), `low` and `high` of each channel (`high` is None where every time point is
        there), `breaks` (positions before which the line is broken), and the same of the score;
        `labels`, first and last place of each abnormal stretch; `label_words`; `alarms`, first,
        last and peak, and the position of the worst channel among those drawn (-1 for none);
        `step`.
    """
    drawn = sorted(view.involved()[:MAX_CHANNELS].tolist())
    names = [view.channels[at] for at in drawn]
    starts = np.zeros(len(view.x), dtype=bool)
    starts[view.starts] = True
    spread = np.array([_spread(view.values[:, at]) for at in drawn])
    decimals = DIGITS - np.ceil(np.log10(spread)).astype(int)
    levels = []
    for low, high, most in _ranges(view):
        inside = slice(*np.searchsorted(view.x, [low, high]).tolist())
        level = _buckets(view, view.x[inside], view.values[inside][:, drawn], starts[inside], most,
                         decimals)  # fmt: skip
        levels.append(level | {"score": _score_level(view, low, high, most)})
    abnormal = np.zeros(0, dtype=bool) if view.abnormal is None else view.abnormal
    stretches = runs(abnormal, view.starts) if len(abnormal) else np.zeros((0, 2), dtype=int)
    return {
        "group": view.group,
        "n_groups": view.n_groups,
        "axis": view.axis,
        "dated": view.dated,
        "zone": None if view.zone is None else str(view.zone),
        "n_points": len(view.x),
        "channels": names,
        "n_hidden": len(view.channels) - len(names),
        "reduced": levels[0]["high"] is not None,
        "levels": levels,
        "labels": [[_place(view, view.x[at]) for at in pair] for pair in stretches.tolist()],
        "label_words": view.label_words,
        "alarms": [
            {
                **{name: _place(view, row[name]) for name in ("first", "last", "peak")},
                "channel": names.index(row["channel"]) if row["channel"] in names else -1,
            }
            for row in view.alarms.to_dict("records")
        ],
        "step": _place(view, view.step),
    }


def _ranges(view: SeriesView) -> list[tuple[float, float, int]]:
    """Return the whole axis and the neighbourhoods of alarms, with the number of buckets."""
    end = np.nextafter(view.x[-1], np.inf)
    ranges = [(float(view.x[0]), float(end), MAX_BUCKETS)]
    if len(view.x) <= 2 * MAX_BUCKETS:
        return ranges
    ends = view.alarms[["first", "last"]].head(MAX_DETAILS).to_numpy(dtype=np.float64)
    for first, last in ends.tolist():
        beside = max(last - first, 50 * view.step)
        ranges.append((first - beside, last + beside, MAX_DETAIL_BUCKETS))
    return ranges


def _buckets(
    view: SeriesView,
    x: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    most: int,
    decimals: np.ndarray,
) -> dict[str, Any]:
    """Return time points, or the lowest and highest values of equal buckets of time."""
    if len(x) <= 2 * most:
        low, high, breaks = values, None, starts
    else:
        bucket = np.minimum((x - x[0]) * (most / (x[-1] - x[0])), most - 1).astype(np.int64)
        first = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
        low, high = np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)
        x, breaks = x[first], starts[first]
    return {
        "x": [_place(view, one) for one in x.tolist()],
        "low": _columns(low, decimals),
        "high": None if high is None else _columns(high, decimals),
        "breaks": np.flatnonzero(breaks).tolist(),
    }


def _score_level(view: SeriesView, low: float, high: float, most: int) -> dict[str, Any] | None:
    if view.scores is None:
        return None
    inside = slice(*np.searchsorted(view.scores["x"].to_numpy(), [low, high]).tolist())
    part = view.scores.iloc[inside]
    scores = part["anomaly_score"].to_numpy()
    decimals = np.array([DIGITS - np.ceil(np.log10(_spread(scores))).astype(int)])
    starts = np.zeros(len(part), dtype=bool)
    return _buckets(view, part["x"].to_numpy(), scores[:, None], starts, most, decimals)


def _columns(values: np.ndarray, decimals: np.ndarray) -> list[list[float | None]]:
    return [
        [None if np.isnan(one) else one for one in np.round(column, int(places)).tolist()]
        for column, places in zip(values.T, decimals, strict=True)
    ]


def _spread(values: np.ndarray) -> float:
    present = values[np.isfinite(values)]
    width = float(np.ptp(present)) if len(present) else 0.0
    return width or 1.0


def _place(view: SeriesView, x: float) -> float:
    return round(x * _MILLISECONDS_A_DAY, 3) if view.dated else float(x)


def _positions(alarms: pd.DataFrame, series: TimePoints) -> np.ndarray:
    """Return the positions of `first`, `last` and `known_at` of each alarm, (k, 3)."""
    columns = [*series.group_columns, series.time_column or "row"]
    of_points = pd.MultiIndex.from_frame(series.identifiers()[columns])
    found = np.empty((len(alarms), 3), dtype=np.int64)
    for at, name in enumerate(("first", "last", "known_at")):
        of_alarms = alarms[[*series.group_columns, name]].set_axis(columns, axis=1)
        found[:, at] = of_points.get_indexer(pd.MultiIndex.from_frame(of_alarms))
    return found


def _label(labels: np.ndarray) -> str | None:
    if (labels == ABNORMAL).any():
        return "event"
    return "false alarm" if (labels == NORMAL).all() else None


def _plain_time(value: Any) -> str | float | int:
    if isinstance(value, int | float):
        return value
    return value.item() if isinstance(value, np.generic) else str(value)


def _by_channel(alarms: pd.DataFrame) -> list[dict[str, Any]]:
    counts = alarms["channel"].astype(str).value_counts()
    return [{"name": name, "n_alarms": int(n)} for name, n in counts.items()]


def _by_group(series: TimePoints, alarms: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the numbers of time points and alarms of each group, those with most alarms first."""
    n_points = np.bincount(series.codes, minlength=len(series.groups))
    n_alarms = _alarms_of_groups(series, alarms)
    order = np.argsort(-n_alarms, kind="stable")[:MAX_LISTED]
    return [
        {
            "name": ", ".join(map(str, _group_values(series, at))),
            "n_points": int(n_points[at]),
            "n_alarms": int(n_alarms[at]),
        }
        for at in order.tolist()
    ] if len(series.groups) > 1 else []  # fmt: skip


def _drawn_groups(series: TimePoints, alarms: pd.DataFrame) -> list[Any]:
    if len(series.groups) < 2:
        return [None]
    n_alarms = _alarms_of_groups(series, alarms)
    order = np.argsort(-n_alarms, kind="stable")
    with_alarms = max(1, int((n_alarms > 0).sum()))
    return [_group_values(series, at) for at in order[: min(MAX_CHARTS, with_alarms)].tolist()]


def _alarms_of_groups(series: TimePoints, alarms: pd.DataFrame) -> np.ndarray:
    counts: dict[tuple[Any, ...], int] = {}
    for values in alarms[list(series.group_columns)].itertuples(index=False, name=None):
        counts[values] = counts.get(values, 0) + 1
    return np.array([counts.get(_group_values(series, at), 0) for at in range(len(series.groups))])


def _group_values(series: TimePoints, at: int) -> tuple[Any, ...]:
    value = series.groups[at]
    return tuple(value) if len(series.group_columns) > 1 else (value,)


def _asked(held: dict[str, Any]) -> str:
    """Return the rate of false alarms that a threshold is set for, in words."""
    if "false_alarms" in held:
        return f"at most {held['false_alarms']} (accepted false alarms)"
    return f"{percent(held['false_alarm_rate'], 2)} of normal time points"


def _in_words(facts: dict[str, Any]) -> str:
    """Return the result in a sentence or two."""
    n, step = facts["n_alarms"], facts["step"]
    words = f"{n:,} alarm{'' if n == 1 else 's'} on {facts['n_points']:,} time points"
    if step is not None:
        words += f" ({as_duration(facts['n_points'], step)})"
    words += f"; the threshold is set for {facts['asked']}"
    if facts["channels"]:
        worst = facts["channels"][0]
        words += f"; most often the worst channel is {worst['name']} ({worst['n_alarms']:,})"
    words += "."
    found = facts["measures"]
    if found is not None:
        events, false = found["events"], found["false_alarms"]
        words += (
            f" By the labels it found {events['n_found']:,} of {events['n']:,} events, with "
            f"{false['count']:,} false alarm{'' if false['count'] == 1 else 's'}."
        )
    return words
