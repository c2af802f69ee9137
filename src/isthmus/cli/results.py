"""Output of commands: tables as files, and evaluations as text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from isthmus._core import check_writable, refuse_address, require, user_path, write_bytes
from isthmus.data import StoredCodes, with_identifiers
from isthmus.data.streaming import MAX_SAMPLED
from isthmus.detection import AlarmRate, as_duration
from isthmus.errors import DataError


def check_suffix(path: Path, *allowed: str) -> None:
    """Refuse a file type early, before any work is done.

    Raises
    ------
    DataError
        When the path ends in none of `allowed`, or is an address.
    OutputError
        When it cannot be written.
    """
    refuse_address(path)
    if path.suffix not in allowed:
        raise DataError(f"got the output {path}, expected a name that ends in {', '.join(allowed)}")
    if path.suffix == EXCEL:
        require("openpyxl", extra="excel", purpose="writing Excel files")
    if not user_path(path).is_dir():  # in which data read in chunks has its parts
        check_writable(path)


def write_codes(path: Path, stored: StoredCodes, columns: list[str], front: pd.DataFrame) -> None:
    """Write codes as .npy, .csv or .parquet.

    In .csv and .parquet the columns of `front`, which identify the instances, come first, then the
    codes under their names. Parquet files hold the digest of the encoder too.
    """
    import pyarrow.parquet as pq

    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, stored.codes, allow_pickle=False)
        write_bytes(path, buffer.getvalue())
        return
    if path.suffix == ".csv":
        codes = pd.DataFrame(stored.codes, columns=columns)
        write_table(path, with_identifiers(front, codes))
        return
    sink = io.BytesIO()
    pq.write_table(stored.to_arrow(columns, front), sink, write_page_checksum=True)
    write_bytes(path, sink.getvalue())


EXCEL = ".xlsx"
#: What a table may be written as.
TABLES = (".csv", ".parquet", EXCEL)
#: Rows of a sheet of Excel, the header among them.
MAX_SHEET_ROWS = 1_048_576


def _write_sheet(buffer: io.BytesIO, table: pd.DataFrame) -> None:
    """Write a table as one sheet; text stays text, also where it begins like a formula."""
    if len(table) >= MAX_SHEET_ROWS:
        raise DataError(
            f"got {len(table):,} rows, and a sheet of Excel holds {MAX_SHEET_ROWS - 1:,}; write "
            ".csv or .parquet"
        )
    zoned = table.select_dtypes("datetimetz").columns  # Excel has no time zones
    table = table.assign(**{name: table[name].map(str) for name in zoned})
    with pd.ExcelWriter(buffer, engine="openpyxl") as book:
        table.to_excel(book, index=False, freeze_panes=(1, 0))
        for row in book.book.active.iter_rows(min_row=2):
            for cell in row:
                if cell.data_type == "f":  # a formula
                    cell.data_type = "s"


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as .csv, .parquet or .xlsx.

    Raises
    ------
    DataError
        When it has more rows than a sheet of Excel.
    """
    if path.suffix == ".csv":
        write_bytes(path, table.to_csv(index=False).encode())
        return
    buffer = io.BytesIO()
    if path.suffix == EXCEL:
        _write_sheet(buffer, table)
        write_bytes(path, buffer.getvalue())
        return
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())


MAX_CLASSES = 30


def print_evaluation(console: Console, found: dict[str, Any]) -> None:
    """Print the metrics of a classifier beside its baselines, and those of each class."""
    from isthmus.evaluation import BASELINE_TITLES  # which loads torch, as below

    table = Table(box=None, pad_edge=False)
    table.add_column(f"features ({found['head']} head)")
    for title in ("accuracy", "95 % interval", "log-loss"):
        table.add_column(title, justify="right")
    for name, result in {"frozen code": found["code"], **found["baselines"]}.items():
        low, high = result["interval"]
        loss = result["log_loss"]
        table.add_row(
            BASELINE_TITLES.get(name, name),
            f"{100 * result['accuracy']:.2f} %",
            f"{100 * low:.1f}-{100 * high:.1f} %",
            "" if loss is None else f"{loss:.4f}",
            style="bold" if name == "frozen code" else "",
        )
    n = found["code"]["n"]
    console.print(f"{n:,} test instance{'s' * (n != 1)}")
    console.print(table)
    classes = Table(box=None, pad_edge=False)
    classes.add_column("class")
    for title in ("precision", "recall", "f1", "instances"):
        classes.add_column(title, justify="right")
    rows = found["code"]["per_class"]
    for row in rows[:MAX_CLASSES]:
        classes.add_row(
            str(row["label"]),
            *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")),
            f"{row['support']:,}",
        )
    console.print(classes)
    print_calibration(console, found.get("calibration"))
    if len(rows) > MAX_CLASSES:
        console.print(f"and {len(rows) - MAX_CLASSES} more classes, all of them in --json")


def print_calibration(console: Console, found: dict[str, Any] | None) -> None:
    """Print what sets, probabilities and accepted predictions of a classifier reach."""
    if not found:
        return
    loss, ece = found["log_loss"], found["ece"]
    console.print(
        f"calibrated on {found['n']:,} labels ({found['source']}): log-loss {loss['before']:.4f} "
        f"before, {loss['after']:.4f} after; calibration error {ece['before']:.1%} and "
        f"{ece['after']:.1%}",
        soft_wrap=True,
    )
    for one in found["sets"]:
        worst = min(one["per_class"], key=lambda each: each["coverage"], default=None)
        of_class = "" if worst is None else f"; least of {worst['label']}, {worst['coverage']:.1%}"
        console.print(
            f"sets at {one['alpha']:g}{' by class' if one['by_class'] else ''}: hold the class of "
            f"{one['coverage']:.1%} of instances, {1 - one['alpha']:.0%} asked, with "
            f"{one['mean_size']:.2f} classes on average{of_class}",
            soft_wrap=True,
        )
    for one in found["accepted"]:
        wrong = "" if one["error"] is None else f", {one['error']:.1%} of them wrong"
        console.print(
            f"accepted with at most {one['max_error']:.0%} wrong: {one['share']:.1%}{wrong}",
            soft_wrap=True,
        )


def print_left_out(console: Console, found: dict[str, Any], fitted_on: Any) -> None:
    """Print what an evaluation left out, and what was drawn from a longer stream."""
    from isthmus.evaluation import BASELINE_TITLES, describe_unknown_classes

    what, of = ("time points", "windows") if "n_windows" in found else ("instances", "instances")
    if found["n_known"]:
        console.print(
            f"{found['n_known']:,} of the {of} {'is one' if found['n_known'] == 1 else 'are such'} "
            "as the head was fitted on: the figures flatter it there; test on others"
        )
    if found["n_unlabelled"]:
        console.print(f"{found['n_unlabelled']:,} {what} without a label are left out")
    if "unknown_classes" in found:
        console.print(
            describe_unknown_classes(found["unknown_classes"], "the head"),
            soft_wrap=True,
        )
    for name, baseline in found["baselines"].items():
        if baseline["n"] < found["code"]["n"]:
            words = BASELINE_TITLES.get(name, name)
            console.print(f"{words}: tested on {baseline['n']:,} instances, drawn at random")
    n_rows = getattr(fitted_on, "n_rows", 0)
    if n_rows > MAX_SAMPLED:
        console.print(
            f"baselines are fitted on {MAX_SAMPLED:,} of {n_rows:,} rows, drawn at random"
        )
    for part in found.get("skipped", [])[:10]:
        lost = "" if part["n_rows"] is None else f", {part['n_rows']:,} rows"
        console.print(f"skipped {part['source']}{lost}: {part['reason']}", soft_wrap=True)
    if len(found.get("skipped", [])) > 10:
        console.print(f"and {len(found['skipped']) - 10} more, all of them in --json")


def print_detection(console: Console, found: dict[str, Any]) -> None:
    """Print the metrics of a detector beside its baseline, and the rates at its threshold."""
    code = found["code"]
    asked = f"asked for {100 * found['asked']:.3g} %"
    console.print(f"found        {_describe_share(code['power'], 'abnormal')}")
    console.print(f"false alarms {_describe_share(code['false_alarms'], 'normal')}, {asked}")
    precision = found["precision"]
    if precision["n"] and code["n_normal"] and code["n_abnormal"]:
        flagged = _describe_share(precision, "called abnormal are abnormal")
        console.print(f"precision    {flagged}, where as many are as here", soft_wrap=True)
    if "alert_load" in found:
        console.print(f"a day        {_describe_load(found['alert_load'])}", soft_wrap=True)
    console.print(
        f"{code['n']:,} test instances: {code['n_normal']:,} normal, "
        f"{code['n_abnormal']:,} abnormal"
    )
    _print_labels(console, found)
    if code["auroc"] is not None:
        table = Table(box=None, pad_edge=False)
        table.add_column("features")
        for title in ("AUROC", "AUPRC"):
            table.add_column(title, justify="right")
        for name, result in {f"frozen code ({found['head']})": code, **found["baselines"]}.items():
            words = "raw features (5 nearest neighbours)" if name == "raw" else name
            figures = [f"{result[figure]:.4f}" for figure in ("auroc", "auprc")]
            table.add_row(words, *figures, style="" if name == "raw" else "bold")
        console.print(table)
    _print_groups(console, found)


#: Groups that are printed, those with the highest rates.
MAX_GROUPS = 20


def _print_groups(console: Console, found: dict[str, Any]) -> None:
    """Print what groups realise, the highest rates first."""
    by_group = found.get("by_group")
    if by_group is None:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("group", "normal", "false alarms", "90 % band", "AUROC", "calibrated on"):
        table.add_column(title, justify="left" if title in ("group", "calibrated on") else "right")
    listed = sorted(by_group["groups"], key=lambda one: -(one["realised"] or 0))
    for one in listed[:MAX_GROUPS]:
        band = one["band"]
        table.add_row(
            one["name"] or "(none)",
            f"{one['n_normal']:,}",
            "" if one["realised"] is None else f"{100 * one['realised']:.3g} %",
            "" if band is None else f"{100 * band[0]:.3g} to {100 * band[1]:.3g} %",
            "" if one["auroc"] is None else f"{one['auroc']:.4f}",
            "its own" if one["calibration"] == "group" else one["calibration"],
        )
    console.print(table)
    if len(listed) > MAX_GROUPS:
        console.print(f"the {MAX_GROUPS} with the highest rates of {len(listed):,} groups")
    console.print(f"{by_group['n_in_band']:,} of {by_group['n_with_band']:,} groups in their band")


def _print_labels(console: Console, found: dict[str, Any]) -> None:
    """Print which label was taken as normal, and how many there are of each."""
    if "normal" in found:
        counts = ", ".join(f"{label}: {n:,}" for label, n in list(found["labels"].items())[:10])
        counts += ", ..." if len(found["labels"]) > 10 else ""
        line = f"label {found['normal']} is normal, any other abnormal ({counts})"
        console.print(line, soft_wrap=True)


#: Names of the baselines of time points in tables.
POINT_BASELINES = {
    "raw": "windows, 5 nearest neighbours",
    "pca": "windows, residual of PCA (95 %)",
    "untrained": "untrained encoder, 5 nearest",
}


def print_points(console: Console, found: dict[str, Any]) -> None:
    """Print how a detector ranks and decides on time points, beside its baselines."""
    code, asked = found["code"], found["asked"]
    events, false, delay = code["events"], code["false_alarms"], code["delay"]
    asked = asked if isinstance(asked, str) else f"{100 * asked:.3g} % of normal time points"
    lines = {"found": f"{events['n_found']:,} of {events['n']:,} events"}
    if delay["mean"] is not None:
        late = f"{delay['mean']:.3g} time points"
        if delay.get("mean_seconds"):
            late += f" ({as_duration(1, delay['mean_seconds'])})"
        lines["delay"] = f"{late} from the begin of an event until its alarm is known, on average"
    rates = []
    if false["per_1000_points"] is not None:
        rates.append(f"{false['per_1000_points']:.3g} per 1,000 normal time points")
    if false.get("per_day") is not None:
        rates.append(f"{false['per_day']:.3g} per day")
    by_time = isinstance(found["asked"], str)
    lines["false alarms"] = ", ".join([f"{false['count']:,}", *rates])
    share = code["false_points"]["share"]
    realised = "none" if share is None else f"{100 * share:.3g} %"
    lines["realised"] = f"{realised} of normal time points are called abnormal"
    lines["false alarms" if by_time else "realised"] += f"; asked for {asked}"
    apart = code["apart"]
    if apart["n"] < code["n_normal"] and apart["n"]:
        lines["apart"] = (
            f"{100 * apart['share']:.3g} % of the {apart['n']:,} normal ones that share no window "
            "with an event"
        )
    for name, value in lines.items():
        console.print(f"{name:<13}{value}", soft_wrap=True)
    console.print(
        f"{code['n']:,} test time points: {code['n_normal']:,} normal, "
        f"{code['n_abnormal']:,} abnormal"
    )
    _print_labels(console, found)
    if code["auroc"] is None:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("time points by")
    for title in ("AUROC", f"VUS-PR ({code['vus_window']})"):
        table.add_column(title, justify="right")
    for name, result in {f"isthmus ({found['head']})": code, **found["baselines"]}.items():
        figures = [f"{result[figure]:.4f}" for figure in ("auroc", "vus_pr")]
        table.add_row(
            POINT_BASELINES.get(name, name),
            *figures,
            style="" if name in POINT_BASELINES else "bold",
        )
    console.print(table)


def _describe_load(load: dict[str, Any]) -> str:
    """Return what a detector means to those who look at its alerts, in words."""

    def n(value: float) -> str:
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"

    right = "" if load["precision"] is None else f", {100 * load['precision']:.3g} % of them right"
    return (
        f"{n(load['alerts'])} alerts of {load['per_day']:,.10g} instances{right} "
        f"({n(load['false_alerts'])} false); {n(load['missed'])} abnormal ones missed; "
        f"{100 * load['prevalence']:.3g} % are abnormal"
    )


def _describe_share(part: dict[str, Any], what: str) -> str:
    if part["share"] is None:
        return f"no {what} instances"
    low, high = part["interval"]
    return (
        f"{part['count']:,} of {part['n']:,} {what}, {100 * part['share']:.2f} % "
        f"(95 % interval {100 * low:.1f}-{100 * high:.1f} %)"
    )


def print_detector(console: Console, facts: dict[str, Any]) -> None:
    """Print the facts of `detector_facts`."""
    labels = facts["labels"]
    source = {
        "split": " that nothing was trained on",
        "cross": ", each scored by a model that did not see it",
    }[facts["calibration"]]
    lines = {
        "rows": f"{facts['n']:,}: {labels['normal']:,} labelled normal, {labels['abnormal']:,} "
        f"abnormal, {labels['unknown']:,} unlabelled",
        "calibration": f"{facts['calibration']}, {facts['n_calibration']:,} rows{source}",
        "false alarms": f"{100 * facts['false_alarm_rate']:.3g} % of normal instances accepted",
        "method": facts["method"],
        "threshold": f"{facts['threshold']:.4g}, an anomaly score above it is abnormal",
    }
    if "cost_choice" in facts:
        lines["by cost"] = _cost_line(facts["cost_choice"])
    if "contamination" in facts:
        lines["abnormal"] = _contamination_line(facts["contamination"])
    if "groups" in facts:
        lines["groups"] = _groups_line(facts["groups"])
        lines["threshold"] = f"by group, {_threshold_range(facts['groups'])}"
    if "points" in facts:
        lines |= _point_lines(facts["points"])
    for name, value in lines.items():
        console.print(f"{name:<13}{value}", soft_wrap=True)
    if labels["abnormal"] and "points" not in facts:
        _print_label_curve(console, facts)


def _cost_line(choice: dict[str, Any]) -> str:
    """Return which rate costs least, on which labels, in words."""
    of = "stated" if choice["prevalence_stated"] else "as in the labels"
    left_out = f"; {choice['n_left_out']:,} that were fitted on are left out"
    left_out *= bool(choice["n_left_out"])
    return (
        f"a miss costs {choice['cost_of_miss']:g}, a false alarm {choice['cost_of_alarm']:g}, "
        f"{100 * choice['prevalence']:.3g} % are abnormal ({of}): found {choice['n_found']:,} of "
        f"{choice['n_abnormal']:,}; {choice['n_false_alarms']:,} false alarms of "
        f"{choice['n_normal']:,}; {choice['cost']:.4g} an instance, "
        f"{choice['cost_without_alarms']:.4g} without alarms{left_out}"
    )


def _contamination_line(found: dict[str, Any]) -> str:
    """Return which rows a bound of abnormal ones left out, in words."""
    return (
        f"at most {100 * found['bound']:.3g} % ({'auto' if found['auto'] else 'as stated'}); "
        f"{found['n_trimmed']:,} rows are not fitted on, {found['n_left_out']:,} of "
        f"{found['n_calibration_before']:,} do not calibrate; --json names them"
    )


def _groups_line(groups: dict[str, Any]) -> str:
    """Return how many groups hold the rate by themselves, in words."""
    small = groups["n_small_groups"] + groups["n_all_rows"]
    words = f"{groups['n_groups']:,}, the rate holds in each of {groups['n_own']:,}"
    pooled = "share one calibration" if groups["n_small_groups"] else "are decided as all rows"
    return words + (
        f"; {small:,} with fewer than {groups['rows_needed']} rows {pooled}" * bool(small)
    )


def _threshold_range(groups: dict[str, Any]) -> str:
    thresholds = [one["threshold"] for one in groups["groups"]]
    return f"{min(thresholds):.4g} to {max(thresholds):.4g}; an anomaly score above it is abnormal"


def _point_lines(points: dict[str, Any]) -> dict[str, str]:
    """Return what is printed of a detector of time points, by title."""
    realised, step = points["realised"], points["step"]
    n_blocks = len(realised["blocks"])
    if "false_alarms" in points:
        asked = AlarmRate.parse(points["false_alarms"])
        known = step if asked.is_timed else None

        def words(rate: float) -> str:
            return str(asked.like(rate, known)) if rate > 0 else "none"

        promise = f"{asked} accepted, on average over stretches like those held out; not exact"
        promise += "" if points["held"] else "; fewer than so little normal data can hold"
    else:

        def words(rate: float) -> str:
            return f"{100 * rate:.3g} %"

        promise = f"{100 * points['false_alarm_rate']:.3g} % of normal time points accepted"
        promise += "" if points["held"] else ", less than so few time points can hold"
    length = as_duration(points["n_held_out"], step)
    measured = (
        f"{words(realised['realised'])} on {length} of normal data "
        f"that nothing had seen; by stretch {words(realised['lowest'])} to "
        f"{words(realised['highest'])} ({n_blocks} stretches)"
    )
    late = 0 if points["causal"] else points["window"] - 1
    lines = {
        "calibration": f"{points['n_held_out']:,} time points in blocks held out of training, "
        f"about {points['n_independent']:,} of them independent",
        "false alarms": promise,
        "realised": measured,
        "threshold": _threshold_of_points(points),
        "known": "at once (causal)" if not late else f"up to {as_duration(late, step)} later",
    }
    for group, rate in realised.get("by_group", {}).items():
        lines[f"  {group}"] = f"realised {words(rate)}"
    return lines


def _threshold_of_points(points: dict[str, Any]) -> str:
    if "groups" not in points:
        return f"{points['threshold']:.4g}, a time point with a higher score is abnormal"
    n_own = sum(one["calibration"] == "group" for one in points["groups"])
    return f"by group, {_threshold_range(points)}; {n_own} of {len(points['groups'])} hold the rate"


def _print_label_curve(console: Console, facts: dict[str, Any]) -> None:
    """Print from how many labels on the head ranks better than the score without labels."""
    if not facts["label_curve"]:
        console.print("labels       too few abnormal ones to measure what they bring")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("abnormal labels", "AUROC label-free", "AUROC head"):
        table.add_column(title, justify="right")
    for point in facts["label_curve"]:
        table.add_row(str(point["labels"]), f"{point['label_free']:.4f}", f"{point['head']:.4f}")
    console.print(table)
    wins = facts["wins_from"]
    result = "the head does not win yet"
    if wins is not None:
        later = [point for point in facts["label_curve"] if point["labels"] >= wins]
        better = any(round(one["head"] - one["label_free"], 4) > 0 for one in later)
        verb = "wins" if better else "is as good as the score without labels, and no better,"
        result = f"the head {verb} from {wins} abnormal {'one' if wins == 1 else 'ones'} on"
    console.print(f"labels       {result}, measured on held-out rows")
