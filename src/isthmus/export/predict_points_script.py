"""Decide on time points of series: python predict.py TABLE.csv POINTS.csv --alarms ALARMS.csv.

`predict.py` calls this for a long table: a row for each time point, a column for each channel. The
score of a time point is the mean of those of the windows that cover it or, where the detector is
causal, that of the last window that has ended. Needs numpy and onnxruntime; pyarrow for Parquet.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

#: Windows that are run together, and decimals of their scores.
BATCH, DECIMALS = 4096, 6
#: A step of more than this many median steps is a gap, which no window crosses.
MAX_STEP = 1.5
#: Rows in a row without a reading that are filled at least, and share by which steps may differ.
MIN_FILLED, MAX_STEP_CHANGE = 16, 0.2
#: Share of steps that may be far from the usual one, of so many steps at least.
MAX_ODD_SHARE, MIN_STEPS = 0.1, 20

#: What a verdict is called in the counts.
WORDS = {"normal": "normal", "abnormal": "abnormal", "": "without score"}

Cells = dict[str, list[Any]]
Predict = Callable[[np.ndarray], dict[str, np.ndarray]]
Number = Callable[[Any, str], float]
Match = Callable[[list[str], set[str]], list[str]]


def say(words: str) -> None:
    """Print what was dropped, guessed or filled."""
    print(f"warning: {words}", file=sys.stderr)


def read(source: Path) -> Cells:
    """Return the cells of a CSV or Parquet file by column."""
    if source.suffix == ".parquet":
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise ValueError(f"{source} needs: pip install pyarrow; or save it as .csv") from error
        columns: Cells = parquet.read_table(source).to_pydict()
        return columns
    if source.suffix != ".csv":
        raise ValueError(f"got {source}, expected a .csv or .parquet file of a long table")
    with source.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        rows = [row for row in lines if row]
    head = [name.strip() for name in rows[0]] if rows else []
    if len(rows) < 2 or len(set(head)) < len(head):
        raise ValueError(f"got {source} with the columns {head[:9]} and {max(0, len(rows) - 1)} "
                         "rows; name each column once, with commas between them")  # fmt: skip
    for at, row in enumerate(rows):
        if len(row) != len(head):
            raise ValueError(f"row {at - 1} of {source} has {len(row)} cells, not {len(head)}")
    return dict(zip(head, map(list, zip(*rows[1:], strict=True)), strict=True))


def readings(cells: Cells, channels: list[str], number: Number, missing: set[str]) -> np.ndarray:
    """Return the channels as numbers, (m, c), NaN where missing."""
    values = np.empty((len(cells[channels[0]]), len(channels)))
    for at, name in enumerate(channels):
        column = [None if isinstance(c, str) and c in missing else c for c in cells[name]]
        values[:, at] = [number(cell, "number") for cell in column]
        for row in np.flatnonzero(np.abs(values[:, at]) > 1e18):
            raise ValueError(f"got {column[row]!r} in row {row}, counting from 0, of column "
                             f"{name!r}, expected a number; correct it")  # fmt: skip
    return values


def seconds(times: list[Any], name: str) -> np.ndarray:
    """Return times as numbers: numbers as they are, dates as seconds since 1970 in UTC."""
    try:
        return np.array([float(time) for time in times])
    except (TypeError, ValueError):
        pass
    found = np.empty(len(times))
    for row, time in enumerate(times):
        try:
            moment = datetime.fromisoformat(time.strip()) if isinstance(time, str) else time
            if isinstance(moment, date) and not isinstance(moment, datetime):
                moment = datetime(moment.year, moment.month, moment.day)
            found[row] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (AttributeError, TypeError, ValueError):
            where = f"row {row}, counting from 0, of column {name!r}"
            wanted = "expected a number or a date as 2024-05-31 13:00:00"
            raise ValueError(f"got {time!r} in {where}, {wanted}") from None
    return found


def stretches(codes: np.ndarray, time: np.ndarray | None) -> list[tuple[int, int]]:
    """Return first and end positions of the stretches of each group without a gap in time."""
    new = np.append(True, codes[1:] != codes[:-1])
    steps = None if time is None else np.append(0.0, np.diff(time))
    for code in np.unique(codes) if steps is not None else ():
        inside = np.flatnonzero((codes == code) & ~new)
        if len(inside) and steps is not None:
            if (steps[inside] <= 0).any():
                raise ValueError("times do not increase from row to row; sort the table by time, "
                                 "or name the columns that tell series apart: --group")  # fmt: skip
            new[inside[steps[inside] > MAX_STEP * np.median(steps[inside])]] = True
    first = np.flatnonzero(new)
    return list(zip(first.tolist(), [*first[1:].tolist(), len(codes)], strict=True))


def with_readings(
    values: np.ndarray, codes: np.ndarray, parts: list[tuple[int, int]], points: dict[str, Any]
) -> list[tuple[int, int]]:
    """Return the stretches without rows for which a channel has no reading for long.

    Where it has none to the end of a group while others go on, its last reading is held in place.
    """
    gone = np.zeros(len(values), dtype=bool)
    recorded = np.flatnonzero(~np.isnan(values).all(axis=1))
    for name, column in zip(points["channels"], values.T, strict=True):
        present = np.flatnonzero(~np.isnan(column))
        apart = np.diff(present)[codes[present[1:]] == codes[present[:-1]]]
        usual = int(MAX_STEP * np.median(apart)) - 1 if len(apart) else 0
        most = max(points["window"] // 2, MIN_FILLED, usual)
        for code in np.unique(codes[present]):
            last, end = (
                present[codes[present] == code][-1],
                int(np.searchsorted(codes, code, "right")),
            )
            others = int(recorded[np.searchsorted(recorded, end) - 1]) + 1
            end = others if end - others > most else end
            if end - last - 1 > most:
                column[last + 1 : end] = column[last]
                say(f"column {name!r} has no reading in its last {end - last - 1} rows: a dead "
                    "sensor? Its last reading is held in them")  # fmt: skip
        for begin, end in parts:
            at = begin + np.flatnonzero(np.isnan(column[begin:end]))
            for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
                gone[run] |= len(run) > most or len(run) == end - begin
    found = []
    for begin, end in parts:
        at = begin + np.flatnonzero(~gone[begin:end])
        runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
        found += [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    if gone.any():
        say(f"{int(gone.sum())} rows are gaps: a channel has no reading for long")
    return found


def check_step(
    time: np.ndarray | None, parts: list[tuple[int, int]], codes: np.ndarray, at_fit: float | None
) -> None:
    """Check that times have one usual step, that at fit."""
    if time is None:
        return
    fix = "bring the table to one row for each step at fit"
    if at_fit:
        fix += (f" ({at_fit:g}, of dates in seconds), such as the mean of the rows of each, or "
                f"decide with: isthmus predict BUNDLE TABLE --resample {at_fit:g}s")  # fmt: skip
    same = codes[1:] == codes[:-1]
    all_steps = np.diff(time)[same]
    usual = float(np.median(all_steps)) if len(all_steps) else 0.0
    odd = float(((all_steps > MAX_STEP * usual) | (all_steps < usual / 2)).mean()) if usual else 0.0
    if len(all_steps) >= MIN_STEPS and odd > MAX_ODD_SHARE:
        raise ValueError(f"the steps of time vary: {odd:.0%} of them differ by more than half from "
                         f"the usual one, {usual:g}; {fix}")  # fmt: skip
    steps = np.concatenate([np.diff(time[begin:end]) for begin, end in parts])
    step = float(np.median(steps)) if len(steps) else None
    if step and at_fit and abs(step - at_fit) > MAX_STEP_CHANGE * at_fit:
        raise ValueError(
            f"got rows {step:g} apart in time, and at fit they were {at_fit:g} apart: at another "
            f"rate windows look unlike all that was learned; {fix}"
        )


def filled(values: np.ndarray, channels: list[str]) -> np.ndarray:
    """Return readings of a stretch with missing ones on a line between their neighbours."""
    at = np.arange(len(values))
    for column, name in zip(values.T, channels, strict=True):
        gone = np.isnan(column)
        if gone.all():
            raise ValueError(f"column {name!r} has no value in a stretch of {len(values)} rows")
        column[gone] = np.interp(at[gone], at[~gone], column[~gone])
    return values


def spread(first: np.ndarray, of_windows: np.ndarray, n: int, points: dict[str, Any]) -> np.ndarray:
    """Return the score of each of n time points from those of windows, NaN where there is none."""
    window, shape = points["window"], of_windows.shape[1:]
    if points["causal"]:
        ended = np.searchsorted(first, np.arange(n) - window + 1, "right")
        last = of_windows[np.maximum(ended - 1, 0)].astype(np.float64)
        last[ended == 0] = np.nan
        return last
    sums, counts = np.zeros((n, *shape)), np.zeros((n, *[1] * len(shape)))
    for step in range(window):
        sums[first + step] += of_windows
        counts[first + step] += 1
    return sums / counts


def score(
    values: np.ndarray, parts: list[tuple[int, int]], predict: Predict, points: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the anomaly score of each time point, (m,), and the share of each channel, (m, c)."""
    window, stride = points["window"], points["stride"]
    scores, shares = np.full(len(values), np.nan), np.full(values.shape, np.nan)
    for begin, end in parts:
        if end - begin < window:
            continue
        last = end - begin - window
        first = np.unique(np.append(np.arange(0, last + 1, stride), last))
        series, found = filled(values[begin:end], points["channels"]), []
        for at in range(0, len(first), BATCH):
            decided = predict(series[first[at : at + BATCH, None] + np.arange(window)])
            found.append((decided[points["score"]], decided[points["parts"]]))
        of_windows, of_channels = map(np.concatenate, zip(*found, strict=True))
        scores[begin:end] = np.round(spread(first, of_windows, end - begin, points), DECIMALS)
        energy = spread(first, of_channels, end - begin, points)
        total = energy.sum(axis=1, keepdims=True)
        shares[begin:end] = np.divide(energy, total, out=energy, where=total > 0)
    return scores, shares


def find_alarms(
    abnormal: np.ndarray, parts: list[tuple[int, int]], points: dict[str, Any]
) -> Iterator[tuple[int, int, int]]:
    """Yield first and last position of each alarm, and the one at which it could be known."""
    gap, least = points["merge_gap"], points["min_length"]
    for begin, end in parts:
        at = begin + np.flatnonzero(abnormal[begin:end])
        for run in np.split(at, np.flatnonzero(np.diff(at) > gap + 1) + 1):
            if len(run) and run[-1] - run[0] + 1 >= least:
                known = int(run[np.searchsorted(run, run[0] + least - 1)])
                late = 0 if points["causal"] else points["window"] - 1
                yield int(run[0]), int(run[-1]), min(known + late, end - 1)


def write(target: Path, columns: Cells) -> None:
    """Write columns as CSV; what is no number is empty."""
    with target.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            lines.writerow(["" if one != one else one for one in row])


def p_values_of(
    scores: np.ndarray, cells: Cells, groups: list[str], order: np.ndarray, points: dict[str, Any]
) -> tuple[np.ndarray, Any]:
    """Return p-values and thresholds of time points, by group where the model decides so."""
    by_group = points.get("groups")
    if by_group is None:
        held = np.array(points["scores"])
        return (1 + len(held) - np.searchsorted(held, scores)) / (len(held) + 1), points[
            "threshold"
        ]
    rows = zip(*(cells[name] for name in groups), strict=True) if groups else [()] * len(order)
    names = [", ".join(map(str, row)) for row in rows]
    position = dict(zip(by_group["names"], by_group["positions"], strict=True))
    names = points["match"](names, set(position))
    last = len(by_group["scores"]) - 1
    if unseen := sorted(set(names).difference(position)):
        say(f"{len(unseen)} groups were not there at fit ({unseen[:5]}): no rate is promised there")
    places = np.array([position.get(name, last) for name in names])[order]
    p_values = np.ones(len(scores))
    for place, numbers in by_group["scores"].items():
        own, held = places == int(place), np.array(numbers)
        above = len(held) - np.searchsorted(held, scores[own])
        p_values[own] = (1 + above) / (len(held) + 1)
    return p_values, np.array(by_group["thresholds"])[places]


def decide(
    cells: Cells, predict: Predict, points: dict[str, Any], number: Number, given: Any
) -> tuple[Cells, Cells]:
    """Return the columns of the table of time points, and of that of alarms."""
    time = given.time or (points["time_column"] if points["time_column"] in cells else None)
    groups = given.group or [name for name in points["group_columns"] if name in cells]
    wanted = [*([time] if time else []), *groups, *given.key, *points["channels"]]
    lacking = [name for name in wanted if name not in cells]
    if lacking:
        raise ValueError(f"got the columns {list(cells)[:9]}, without {lacking[:9]}; name them so")
    names = list(zip(*(cells[name] for name in groups), strict=True)) if groups else []
    code_of = {name: code for code, name in enumerate(dict.fromkeys(names))}
    values = readings(cells, points["channels"], number, set(points["missing"]))
    codes = np.array([code_of[name] for name in names] or [0] * len(values))
    order = np.argsort(codes, kind="stable")
    moments = None if time is None else seconds(cells[time], time)[order]
    values, codes = values[order], codes[order]
    parts = stretches(codes, moments)
    check_step(moments, parts, codes, points["step"])
    n_gaps = len(parts) - len(np.unique(codes))
    if n_gaps:
        say(f"{n_gaps} gaps in time (steps of more than {MAX_STEP} times the usual one); no "
            "window crosses one")  # fmt: skip
    missing = np.isnan(values)
    parts = with_readings(values, codes, parts, points)
    longest = max((end - begin for begin, end in parts), default=0)
    if longest < points["window"]:
        raise ValueError(
            f"the longest stretch without a gap has {longest} rows, and windows have "
            f"{points['window']}, as at fit; pass {points['window']} rows or more in a row"
        )
    scores, shares = score(values, parts, predict, points)
    n_filled = np.where(np.isnan(scores) | np.isnan(values).any(axis=1), 0, missing.sum(axis=1))
    if total := int(n_filled.sum()):
        n_rows = int((n_filled > 0).sum())
        say(f"{total} of {values.size} values are missing and filled, in {n_rows} rows: n_filled")
    p_values, thresholds = p_values_of(scores, cells, groups, order, points)
    p_values[np.isnan(scores)] = np.nan
    abnormal = np.nan_to_num(scores, nan=-np.inf) > thresholds
    words = np.where(np.isnan(scores), "", np.where(abnormal, "abnormal", "normal"))
    back = np.argsort(order, kind="stable")
    label = time or "row"
    places = cells[time] if time else list(range(len(order)))
    table: Cells = {name: cells[name] for name in groups} | {label: places}
    table |= {name: cells[name] for name in given.key}
    table |= {"anomaly_score": scores[back].tolist(), "p_value": p_values[back].tolist()}
    table["verdict"] = words[back].tolist()
    table["n_filled"] = n_filled[back].tolist()
    for name, column in zip(points["channels"], shares[back].T, strict=True):
        table[f"share_{name}"] = column.tolist()
    ends = ("first", "last", "peak", "n_points", "known_at")
    alarms: Cells = {
        name: [] for name in (*groups, *ends, "channel", "share", "anomaly_score", "p_value")
    }
    for first, last, known in find_alarms(abnormal, parts, points):
        peak = first + int(np.nanargmax(scores[first : last + 1]))
        share = np.nan_to_num(shares[peak])
        worst = int(share.argmax())
        at = [places[order[one]] for one in (first, last, peak, known)]
        found = [*(cells[name][order[first]] for name in groups), *at[:3], last - first + 1, at[3]]
        found += [points["channels"][worst], float(share[worst])]
        found += [float(scores[peak]), float(p_values[peak])]
        for column, one in zip(alarms.values(), found, strict=True):
            column.append(one)
    n = {name: int((words == word).sum()) for word, name in WORDS.items()}
    counts = ", ".join(
        f"{name}: {count}" for name, count in n.items() if count or name != "without score"
    )
    print(f"{len(words)} rows: {counts}; alarms: {len(alarms['first'])}")
    return table, alarms


def main(predict: Predict, facts: dict[str, Any], number: Number, match: Match) -> None:
    """Read the words of the command line, and write the tables."""
    heads = facts["points"]
    parser = argparse.ArgumentParser(description="Decide on each time point of a long table.")
    parser.add_argument("rows", type=Path, help=".csv or .parquet with a row for each time point; "
                        "or .npy of windows, to decide on windows")  # fmt: skip
    parser.add_argument("out", type=Path, help=".csv to write, a row for each row; of windows .npz")
    parser.add_argument("--time", help="column of the time, by default that at fit")
    parser.add_argument("--group", action="append", default=[], help="column that tells series "
                        "apart, by default those at fit; again for several")  # fmt: skip
    parser.add_argument("--key", action="append", default=[], help="column to carry along")
    parser.add_argument("--alarms", type=Path, help=".csv to write, a row for each alarm")
    parser.add_argument("--head", choices=list(heads), default=next(iter(heads)))
    given = parser.parse_args()
    try:
        points = heads[given.head] | {"missing": facts["cells"]["missing"], "match": match}
        table, alarms = decide(read(given.rows), predict, points, number, given)
        write(given.out, table)
        if given.alarms:
            write(given.alarms, alarms)
    except UnicodeDecodeError:
        sys.exit(f"{given.rows} is not text in UTF-8; save it as CSV in UTF-8")
    except (OSError, ValueError, csv.Error) as error:
        sys.exit(str(error))
