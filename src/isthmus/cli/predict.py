"""`isthmus predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import DEFAULTS, DataOptions, warnings_as_lines, with_option_groups
from isthmus.cli.labelled_data import input_columns
from isthmus.cli.options import (
    LOCAL,
    BundlePath,
    Data,
    Json,
    Part,
    Scoring,
    check_in_chunks,
    console_for,
    refuse_ray,
    run_scoring,
    write_json_facts,
)
from isthmus.cli.row_choices import NONE, RowChoices
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.data import Dataset
    from isthmus.detection import AnomalyDetector

#: Rows that are printed with an explanation.
MAX_EXPLAINED = 5
#: Rows that are named without one.
MAX_NAMED = 10


@with_option_groups
def predict(
    bundle: BundlePath,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the predictions: .csv, .parquet or .xlsx. For several files a folder "
            "NAME.parquet.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Name of the head; by default the one fitted last.")
    ] = None,
    part: Part = "test",
    reading: DataOptions = DEFAULTS,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain the decisions of a detector.")
    ] = False,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Of a classifier that is calibrated: add the set of classes that holds the class "
            "in all but this share of instances."
        ),
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Hold --alpha within each class.")
    ] = False,
    by: Annotated[
        str,
        typer.Option(
            help="Of a long table: point, a row of output for each row; or window. By default "
            "point, where the detector was fitted on a long table, and window with --explain.",
        ),
    ] = "auto",
    alarms: Annotated[
        Path | None,
        typer.Option(help="File for the alarms of a series: .csv, .parquet or .xlsx."),
    ] = None,
    choices: RowChoices = NONE,
    with_input: Annotated[
        bool,
        typer.Option(
            "--with-input", help="Of a table: also write its columns, before the decisions."
        ),
    ] = False,
    scoring: Scoring = LOCAL,
    json: Json = None,
) -> None:
    """Predict the class of each instance, or whether it is normal.

    A classifier writes the columns prediction, probability, the probability of each class and, if
    it rejects instances of no class, p_value: the share of instances of its classes that are at
    least as far from them. With --alpha also set, the classes that the instance may be of, with
    | between them, and set_size; isthmus classify --calibration makes sets possible.

    A detector writes prediction (1 normal, -1 abnormal), anomaly_score (higher is more abnormal)
    and p_value: the share of normal instances whose anomaly score is at least as high. With
    --explain also reason_1, share_1 to reason_3, share_3: the values with the largest residuals,
    and their shares of the squared residual, of windows of series also share_NAME of each channel,
    all steps together; head: what labels add to the score, if there were
    any; nearest_normal: the normal row with the nearest code, by its number among the rows that
    the detector was fitted on, counting from 0 (rows that isthmus label added come after these).

    Both write reconstruction_error.

    --max-error adds which predictions of a classifier can be accepted, --select-fdr which rows a
    detector selects at a false-discovery rate, --adaptive verdicts by a threshold that follows the
    rows in the order of the file.

    Of a long table a detector that was fitted on one writes a row for each row of the table, in its
    order, with the columns of time, group and keys: anomaly_score, p_value, verdict (normal,
    abnormal, or empty where no window covers the row), n_filled (how many readings were missing
    and are filled) and the share of each channel. --alarms
    writes a row for each alarm: first, last, peak, the time at which it could be known, the worst
    channel. --by window predicts each window, with its group, its first and its last time.

    The column --label is no feature. Of data with two parts the test part is predicted.

    --with-input writes the columns of the input too, after those that identify a row.

    Several files (a folder, "events/*.parquet") are read in chunks and need not fit into memory;
    so is one file with --lazy, --resume or --engine ray. The output is then a folder with a
    Parquet file for each chunk; --resume continues it after an interruption.
    """
    from isthmus.cli.results import TABLES, check_suffix, write_table

    for path in (output, alarms):
        if path is not None:
            check_suffix(path, *TABLES)
    if with_input and output is None:
        raise DataError("got --with-input and no output to write them to; name one with -o")
    if by_class and alpha is None:
        raise DataError(
            "got --by-class, which holds --alpha within each class; add --alpha, or leave it out"
        )
    if by not in ("auto", "point", "window"):
        raise DataError(f"got --by {by}, expected point or window")
    of_windows = False if by == "window" or explain else None
    choices.check()
    if reading.in_chunks(data, lazy=scoring.lazy):
        of_points = ["--by point"] * (by == "point") + ["--alarms"] * (alarms is not None)
        check_in_chunks(data, output, [*choices.given, *of_points], with_input=with_input)
    loaded = reading.open(data, bundle, lazy=scoring.lazy, head=head, by_point=of_windows)
    if not loaded.in_memory:
        folder = run_scoring(
            "predict",
            bundle,
            loaded,
            output,
            head=head,
            explain=explain,
            alpha=alpha,
            by_class=by_class,
            scoring=scoring,
            json=json,
        )
        if explain:
            from isthmus.scoring import most_abnormal

            keys = reading.keys or ()
            explained = most_abnormal(folder, MAX_EXPLAINED, keys)
            print_explained(explained, json, keys, kind=loaded.kind, file_of=loaded.file_of)
        return
    refuse_ray(scoring.workers, scoring.address)
    instances = loaded.part(part)
    import pandas as pd

    from isthmus.bundle import load_bundle
    from isthmus.data import decision_counts, with_identifiers
    from isthmus.data.preprocessing import describe_missing, issue_warnings
    from isthmus.detection import missing_value_facts
    from isthmus.encoding import count_empty_rows

    opened = load_bundle(bundle)
    decider: Any = opened.head(head)
    if with_input and not isinstance(instances.X, pd.DataFrame):
        raise DataError(
            f"got --with-input and {instances.kind}, expected a table with column names; of other "
            "data carry columns along with --key COLUMN"
        )
    if _decides_points(decider, instances, by, alarms, explain):
        choices.check(of_points=True)
        predict_points(decider, instances, output, alarms, json)
        return
    with warnings_as_lines():
        table = opened.predictions(instances, head, explain=explain, alpha=alpha, by_class=by_class)
        chosen = choices.choose(decider, instances, table)
        table = table.assign(**chosen.columns)
        by_group = _group_facts(decider, instances)
        missing = missing_value_facts(opened.encoder, instances.X)
        issue_warnings([describe_missing(one) for one in missing])  # also for classifiers
    n_empty, _ = count_empty_rows(opened.encoder, instances.X)
    detects = "anomaly_score" in table
    predicted = table["prediction"].to_numpy()
    counts = decision_counts({"verdict" if detects else "class": predicted})
    front = instances.identifiers()
    if with_input:
        front = _with_columns(front, instances, reading.label)
    table = with_identifiers(front, table)
    console = console_for(json)
    console.print(
        f"{len(predicted):,} instances: " + ", ".join(f"{k}: {v}" for k, v in counts.items())
    )
    console.print(_first_decisions(instances, table, reading.keys or ()), soft_wrap=True)
    sets = {} if alpha is None else set_facts(table["set_size"], alpha, by_class)
    if sets:
        console.print(describe_sets(sets))
    for line in chosen.lines:
        console.print(line, soft_wrap=True, highlight=False)
    if explain:
        explained = table.set_axis(instances.row_numbers())
        print_explained(explained, json, reading.keys or (), kind=instances.kind)
    facts = {
        "n": len(predicted),
        "counts": counts,
        "first_predictions": predicted[:10].tolist(),
        "digest": opened.encoder.digest_,
        "output": None if output is None else str(output),
    }
    if detects:
        facts |= {
            "false_alarm_rate": decider.false_alarm_rate_,
            "threshold": None if by_group else -decider.offset_,
        }
        facts |= {"groups": by_group} if by_group else {}
    if sets:
        facts["sets"] = sets
    facts |= chosen.facts
    if missing:
        facts["missing_values"] = missing
    if n_empty:
        facts["n_empty_rows"] = n_empty
    facts |= instances.reading_facts()
    if output is not None:
        write_table(output, table)
        console.print(f"predictions in {output}", soft_wrap=True)
    choices.write_state(decider, chosen)  # rows whose output is lost are not counted
    write_json_facts(json, facts)


def _with_columns(front: pd.DataFrame, data: Dataset, label: str | None) -> pd.DataFrame:
    """Return what identifies rows, then the columns of the input that it does not have."""
    columns, front = input_columns(data, label), front.reset_index(drop=True)
    return front.join(columns.drop(columns=[name for name in front if name in columns]))


def _first_decisions(data: Dataset, table: pd.DataFrame, keys: Sequence[str]) -> str:
    """Return the class of the first rows, or which rows are abnormal, in words."""
    import numpy as np

    from isthmus.data import ABNORMAL

    columns = {} if data.keys is None else {str(name): data.keys[name] for name in data.keys}
    shown = [name for name in keys if name in columns]

    def name(at: int) -> str:
        if "file" in columns:
            return str(columns["file"].iloc[at])
        named = ", ".join(f"{name} {columns[name].iloc[at]}" for name in shown)
        return f"row {data.row_numbers()[at]}" + f" ({named})" * bool(named)

    if "anomaly_score" not in table:
        first = table["prediction"].head(MAX_NAMED)
        return "first: " + ", ".join(f"{name(at)} is {label}" for at, label in enumerate(first))
    # By p-value, because the scores of one group are not those of another.
    order = np.lexsort((-table["anomaly_score"].to_numpy(), table["p_value"].to_numpy()))
    abnormal = [at for at in order.tolist() if table["prediction"].iloc[at] == ABNORMAL]
    if not abnormal:
        p_value = table["p_value"].iloc[order[0]]
        return f"the most unusual is {name(order[0])}, with a p-value of {p_value:.3g}"
    more = f" and {len(abnormal) - MAX_NAMED:,} more" * (len(abnormal) > MAX_NAMED)
    named = ", ".join(map(name, abnormal[:MAX_NAMED]))
    return f"abnormal, the most unusual first: {named}{more}"


def _group_facts(decider: Any, data: Dataset) -> dict[str, Any]:
    """Return how many instances are decided in which way, and the threshold of each group here."""
    by_group = getattr(decider, "group_calibration_", None)
    if by_group is None:
        return {}
    _, groups = decider.instances_and_groups(data)  # as they are written at fit
    thresholds = dict(zip(groups.tolist(), by_group.thresholds(groups).tolist(), strict=True))
    return by_group.counts_of(groups) | {"thresholds": thresholds}


def set_facts(sizes: pd.Series, alpha: float, by_class: bool) -> dict[str, Any]:
    """Return how large prediction sets are: mean size, and counts by size."""
    counts = {str(size): int(n) for size, n in sizes.value_counts().sort_index().items()}
    mean = float(sizes.mean())
    return {"alpha": alpha, "by_class": by_class, "mean_size": mean, "by_size": counts}


def describe_sets(facts: dict[str, Any]) -> str:
    """Return a line on prediction sets.

    Examples
    --------
    >>> describe_sets({"alpha": 0.1, "by_class": False, "mean_size": 1.2, "by_size": {"1": 4}})
    'sets at 0.1: 1.20 classes on average; 4 with 1'
    """
    sizes = ", ".join(f"{n:,} with {size}" for size, n in facts["by_size"].items())
    each = " by class" if facts["by_class"] else ""
    return f"sets at {facts['alpha']:g}{each}: {facts['mean_size']:.2f} classes on average; {sizes}"


def _decides_points(decider: Any, data: Any, by: str, alarms: Path | None, explain: bool) -> bool:
    """Return whether time points are decided on, after a check that they can be where asked."""
    can = getattr(decider, "point_calibration_", None) is not None and data.points is not None
    asked = by == "point" or alarms is not None
    if asked and (by == "window" or not can):
        raise DataError(
            "got --alarms with --by window; leave one of them out"
            if by == "window"
            else "got --by point or --alarms, which are for a long table and a detector that was "
            "fitted on one: isthmus fit TABLE --kind series --time COLUMN --detector -o BUNDLE"
        )
    if asked and explain:
        raise DataError(
            "got --explain with --by point or --alarms; the shares of the channels explain time "
            "points: leave --explain out, or pass --by window without --alarms"
        )
    return can and by != "window" and not explain


def predict_points(
    detector: AnomalyDetector,
    data: Dataset,
    output: Path | None,
    alarms: Path | None,
    json: str | None,
) -> None:
    """Decide on the time points of a long table; print, and write points and alarms."""
    from isthmus.cli.results import write_table
    from isthmus.detection import as_duration

    with warnings_as_lines():
        found = detector.decide_points(data)
        written = found.as_written()
        table, raised = written.to_frame(), detector.alarms_of(written)
    counts = {
        name: int((table["verdict"] == word).sum())
        for name, word in (("normal", "normal"), ("abnormal", "abnormal"), ("without score", ""))
    }
    console = console_for(json)
    step = found.points.step
    console.print(
        f"{len(table):,} rows: "
        + ", ".join(f"{name}: {n:,}" for name, n in counts.items() if n or name != "without score")
    )
    if n_filled := int((table["n_filled"] > 0).sum()):
        console.print(f"{n_filled:,} of them with readings that were missing and are filled")
    console.print(
        f"{len(raised):,} alarm{'' if len(raised) == 1 else 's'}" + ":" * bool(len(raised))
    )
    for _, alarm in raised.nlargest(MAX_EXPLAINED, "anomaly_score").sort_index().iterrows():
        groups = "".join(f"{alarm[name]}, " for name in found.points.group_columns)
        console.print(
            f"  {groups}{alarm['first']} to {alarm['last']} "
            f"({as_duration(alarm['n_points'], step)}): {alarm['channel']} "
            f"({alarm['share']:.0%}), anomaly score {alarm['anomaly_score']:.4g}",
            soft_wrap=True,
        )
    if len(raised) > MAX_EXPLAINED:
        console.print(f"  the {MAX_EXPLAINED} with the highest scores of {len(raised):,}")
    facts = {
        "by": "point",
        "n": len(table),
        "counts": counts,
        "n_filled": n_filled,
        "n_alarms": len(raised),
        "digest": detector.encoder_digest_,
        "output": None if output is None else str(output),
        "alarms": None if alarms is None else str(alarms),
        "points": found.points.facts(),
        "detector": detector.point_facts_,
    } | data.reading_facts()
    if output is not None:
        # Parquet holds dates, CSV what stands in the file.
        write_table(output, table if output.suffix != ".parquet" else found.to_frame())
        console.print(f"predictions in {output}", soft_wrap=True)
    if alarms is not None:
        write_table(alarms, raised if alarms.suffix != ".parquet" else detector.alarms_of(found))
        console.print(f"alarms in {alarms}", soft_wrap=True)
    write_json_facts(json, facts)


def print_explained(
    table: pd.DataFrame,
    json: str | None,
    keys: Sequence[str] = (),
    *,
    kind: str = "table",
    file_of: Callable[[int], tuple[str, int] | None] = lambda row: None,
) -> None:
    """Print a line with the keys and the explanation of each of the most abnormal rows.

    Of several files also file and row in it, by `Stream.file_of`.
    """
    from isthmus.data import VERDICT_NAMES, in_file

    console = console_for(json)
    ranked = {f"share_{rank}" for rank in (1, 2, 3)}
    names = [str(name) for name in table]
    channels = [name for name in names if name.startswith("share_") and name not in ranked]
    for row, found in table.nlargest(MAX_EXPLAINED, "anomaly_score").iterrows():
        ranks = [rank for rank in (1, 2, 3) if f"reason_{rank}" in table]
        reasons = [f"{found[f'reason_{rank}']} ({found[f'share_{rank}']:.0%})" for rank in ranks]
        if channels:  # of a window, all its steps together
            largest = found[channels].astype(float).nlargest(3)
            reasons = [
                f"{str(name).removeprefix('share_')} ({share:.0%})"
                for name, share in largest.items()
            ] + [f"most at {found['reason_1']}"]
        elif kind == "images":  # a reason is row, column and, of colours, channel
            pixels = [str(found[f"reason_{rank}"]).split(", ")[:2] for rank in ranks]
            places = dict.fromkeys(f"row {y} column {x}" for y, x in pixels)
            reasons = [f"it differs most at {', '.join(places)}"] if places else []
        word = VERDICT_NAMES[found["prediction"]]
        named = [str(found["file"])] if "file" in table and "file" not in keys else []
        named += [f"{key} {found[key]}" for key in keys if key in table]
        name = f" ({', '.join(named)})" if named else ""
        unit = "window" if kind == "series" else "row"
        place = in_file(f"row {row}", file_of(int(str(row))), unit)
        console.print(
            f"{place}{name}: {word}, anomaly score {found['anomaly_score']:.4g}, p-value "
            f"{found['p_value']:.3g}; {', '.join(reasons)}{'; ' if reasons else ''}nearest normal "
            f"row {int(found['nearest_normal'])}",
            soft_wrap=True,
        )
