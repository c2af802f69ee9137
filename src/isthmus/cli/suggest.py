"""`isthmus suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.common import BundlePath, Data, Json, console_for, write_facts
from isthmus.cli.parts import Part, part_of
from isthmus.cli.reading import AS_IT_COMES, Reading, reads_data
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.heads import AnomalyDetector, CodeClassifier


@reads_data
def suggest(
    bundle: BundlePath,
    data: Data,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many rows.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the rows: .csv or .parquet.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="Name of the head; the one fitted last.")] = None,
    part: Part = "train",
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Say which rows to look at next: those in doubt, and unlike each other.

    A line a row, the most informative first. row: its number in DATA, counting from 0. For a
    detector anomaly_score, p_value and, as the reason, what the network rebuilds worst, with
    its share. For a classifier doubt, 1 less the gap between the two likeliest classes, and
    these as the reason. --label leaves that column out.
    """
    from isthmus.cli.tables import check_suffix, write_table

    if output is not None:
        check_suffix(output, ".csv", ".parquet")
    instances = part_of(
        reading.read(data, bundle),
        part,
    )
    import pandas as pd

    from isthmus.bundle import load_bundle
    from isthmus.heads import AnomalyDetector

    decider = load_bundle(bundle).head(head)
    if isinstance(decider, AnomalyDetector):
        rows = decider.suggest(instances.X, n)
        about = _of_detector(decider, instances.take(rows).X)
    else:
        rows, about = _of_classifier(decider, instances.X, n)
    table = pd.concat([pd.DataFrame({"row": rows}), about], axis=1)
    if instances.windows is not None:
        table = pd.concat([instances.windows.take(rows).to_frame(), table], axis=1)
    console = console_for(json)
    console.print(f"{len(table):,} of {len(instances):,} rows to look at, counting from 0")
    for text in _lines(table):
        console.print(text, soft_wrap=True, markup=False)
    if output is not None:
        write_table(output, table)
        console.print(f"rows in {output}", soft_wrap=True)
    plain = [_plain(row) for row in table.astype(object).to_dict("records")]
    facts: dict[str, Any] = {"n": len(table), "rows": plain}
    write_facts(json, facts | {"output": None if output is None else str(output)})


def _of_detector(detector: AnomalyDetector, X: Any) -> pd.DataFrame:
    import pandas as pd

    found = detector.explain(X)
    return pd.DataFrame(
        {
            "anomaly_score": found.anomaly_scores,
            "p_value": detector.calibrated_.p_values(found.anomaly_scores),
            "reason": [f"{name} ({share:.0%})" for ((name, share),) in found.top(1)],
        }
    )


def _of_classifier(classifier: CodeClassifier, X: Any, n: int) -> tuple[Any, pd.DataFrame]:
    import numpy as np
    import pandas as pd

    from isthmus.heads.cache import encode
    from isthmus.heads.suggest import class_doubt, most_informative

    if not hasattr(classifier, "predict_proba"):
        raise DataError(
            f"the head {type(classifier.head_).__name__} gives no probabilities, so no row is in "
            "doubt by it; name another with --head"
        )
    codes = encode(classifier.encoder_, X)
    probabilities = classifier.standardised_head_.predict_proba(codes)
    doubt = class_doubt(probabilities)
    rows = most_informative(doubt, codes, n)
    likeliest = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :2]
    reasons = [
        " or ".join(
            f"{classifier.classes_[place]} ({probabilities[row, place]:.0%})" for place in two
        )
        for row, two in zip(rows, likeliest, strict=True)
    ]
    return rows, pd.DataFrame({"doubt": doubt[rows], "reason": reasons})


def _lines(table: pd.DataFrame) -> list[str]:
    return table.to_string(index=False, float_format=lambda value: f"{value:.4f}").splitlines()


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it: NumPy's numbers as Python's, times as text."""
    values = {name: getattr(value, "item", lambda v=value: v)() for name, value in row.items()}
    simple = str | int | float | None
    return {n: value if isinstance(value, simple) else str(value) for n, value in values.items()}
