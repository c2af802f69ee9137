"""`isthmus predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import DEFAULTS, DataOptions, warnings_as_lines, with_option_groups
from isthmus.cli.options import (
    LOCAL,
    BundlePath,
    Data,
    Json,
    Part,
    Scoring,
    console_for,
    refuse_ray,
    run_scoring,
    write_json_facts,
)

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are printed with an explanation.
MAX_EXPLAINED = 5


@with_option_groups
def predict(
    bundle: BundlePath,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the predictions: .csv or .parquet. For several files a folder "
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
    scoring: Scoring = LOCAL,
    json: Json = None,
) -> None:
    """Predict the class of each instance, or whether it is normal.

    A classifier writes the columns prediction, probability, the probability of each class and, if
    it rejects instances of no class, p_value: the share of instances of its classes that are at
    least as far from them.

    A detector writes prediction (1 normal, -1 abnormal), anomaly_score (higher is more abnormal)
    and p_value: the share of normal instances whose anomaly score is at least as high. With
    --explain also reason_1, share_1 to reason_3, share_3: the values with the largest residuals,
    and their shares of the squared residual; head: what labels add to the score, if there were
    any; nearest_normal: the normal row with the nearest code, by its number among the rows that
    the detector was fitted on, counting from 0 (rows that isthmus label added come after these).

    Both write reconstruction_error.

    The column --label is no feature. Of data with two parts the test part is predicted. Of a long
    table each window is predicted, and written with its group, its first and its last time.

    Several files (a folder, "events/*.parquet") are read in chunks and need not fit into memory;
    so is one file with --lazy, --resume or --engine ray. The output is then a folder with a
    Parquet file for each chunk; --resume continues it after an interruption.
    """
    from isthmus.cli.results import check_suffix, write_table

    if output is not None:
        check_suffix(output, ".csv", ".parquet")
    loaded = reading.open(data, bundle, lazy=scoring.lazy)
    if not loaded.in_memory:
        folder = run_scoring(
            "predict",
            bundle,
            loaded,
            output,
            head=head,
            explain=explain,
            scoring=scoring,
            json=json,
        )
        if explain:
            from isthmus.scoring import most_abnormal

            print_explained(most_abnormal(folder, MAX_EXPLAINED), json)
        return
    refuse_ray(scoring.workers, scoring.address)
    instances = loaded.part(part)
    from isthmus.bundle import load_bundle
    from isthmus.data import decision_counts, with_identifiers
    from isthmus.data.preprocessing import describe_missing, issue_warnings
    from isthmus.detection import missing_value_facts

    opened = load_bundle(bundle)
    decider: Any = opened.head(head)
    with warnings_as_lines():
        table = opened.predictions(instances.X, head, explain=explain)
        missing = missing_value_facts(opened.encoder, instances.X)
        issue_warnings([describe_missing(one) for one in missing])  # also for classifiers
    detects = "anomaly_score" in table
    predicted = table["prediction"].to_numpy()
    counts = decision_counts({"verdict" if detects else "class": predicted})
    table = with_identifiers(instances.identifiers(), table)
    console = console_for(json)
    console.print(
        f"{len(predicted):,} instances: " + ", ".join(f"{k}: {v}" for k, v in counts.items())
    )
    console.print("first: " + " ".join(str(value) for value in predicted[:10]))
    if explain:
        print_explained(table.set_axis(instances.row_numbers()), json)
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
            "threshold": -decider.offset_,
        }
    if missing:
        facts["missing_values"] = missing
    facts |= instances.reading_facts()
    if output is not None:
        write_table(output, table)
        console.print(f"predictions in {output}", soft_wrap=True)
    write_json_facts(json, facts)


def print_explained(table: pd.DataFrame, json: str | None) -> None:
    """Print a line with the explanation of each of the most abnormal rows."""
    from isthmus.data import VERDICT_NAMES

    console = console_for(json)
    for row, found in table.nlargest(MAX_EXPLAINED, "anomaly_score").iterrows():
        ranks = [rank for rank in (1, 2, 3) if f"reason_{rank}" in table]
        reasons = [f"{found[f'reason_{rank}']} ({found[f'share_{rank}']:.0%})" for rank in ranks]
        word = VERDICT_NAMES[found["prediction"]]
        name = f" ({found['file']})" if "file" in table else ""
        console.print(
            f"row {row}{name}: {word}, anomaly score {found['anomaly_score']:.4g}, p-value "
            f"{found['p_value']:.3g}; {', '.join(reasons)}; nearest normal row "
            f"{found['nearest_normal']}",
            soft_wrap=True,
            markup=False,
        )
