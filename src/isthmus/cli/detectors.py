"""What the commands on detectors share: options, labels as a column has them, what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from isthmus.data import Dataset
    from isthmus.heads import AnomalyDetector

Normal = Annotated[
    str | None,
    typer.Option(
        "--normal",
        help="Value of the label column that means normal: any other is abnormal, and an empty "
        "cell that nobody looked.",
    ),
]
FalseAlarmRate = Annotated[
    str | None,
    typer.Option(
        "--false-alarm-rate",
        help="Share of normal instances that may be called abnormal; auto is 0.01, or the "
        "smallest that the rows can hold.",
    ),
]


def detector_labels(data: Dataset, source: str, normal: str | None) -> np.ndarray | None:
    """Return labels as a detector takes them: 1, -1 and 0; None when the data has none.

    Raises
    ------
    DataError
        When the column holds other values and `normal` does not say what they mean, or no
        row has the value that it names.
    """
    if data.y is None:
        if normal is not None:
            raise DataError(
                f"got --normal {normal}, and {source} has no labels; name their column with "
                "--label COLUMN"
            )
        return None
    from isthmus.heads.detector_labels import check_detector_labels

    if normal is not None:
        return _translated(data, source, normal)
    try:
        return check_detector_labels(data.y, len(data))
    except DataError as error:
        raise DataError(
            f"{source}: {error}; or name the value that means normal with --normal VALUE"
        ) from error


def detector_facts(detector: AnomalyDetector) -> dict[str, Any]:
    """Return what is known about a fitted detector as plain values."""
    from isthmus.heads.detector_parts import label_counts

    return {
        "n": len(detector.memory_.y),
        "labels": label_counts(detector.memory_.y),
        "method": detector.method_,
        "false_alarm_rate": detector.false_alarm_rate_,
        "threshold": -detector.offset_,
        "calibration": detector.calibration_,
        "n_calibration": detector.n_calibration_,
        "label_curve": detector.label_curve_,
        "wins_from": detector.wins_from_,
        "head_weight": detector.head_weight_,
        "frozen": {
            "encoder_digest": detector.encoder_digest_,
            "unchanged": detector.encoder_digest_ == detector.encoder_.digest_,
        },
    }


def tell_detector(console: Console, facts: dict[str, Any]) -> None:
    """Print what `detector_facts` gives."""
    labels = facts["labels"]
    how = {
        "split": " that nothing was trained on",
        "cross": ", each scored by a model that did not see it",
    }[facts["calibration"]]
    lines = {
        "rows": f"{facts['n']:,}: {labels['normal']:,} labelled normal, {labels['abnormal']:,} "
        f"abnormal, {labels['unknown']:,} that nobody looked at",
        "calibration": f"{facts['calibration']}, {facts['n_calibration']:,} rows{how}",
        "false alarms": f"{100 * facts['false_alarm_rate']:.3g} % of normal instances",
        "method": facts["method"],
        "threshold": f"{facts['threshold']:.4g}, an anomaly score above it is abnormal",
    }
    for name, value in lines.items():
        console.print(f"{name:<13}{value}", soft_wrap=True, markup=False)
    if labels["abnormal"]:
        _tell_labels(console, facts)


def _tell_labels(console: Console, facts: dict[str, Any]) -> None:
    """Print from how many labels on the head is better than none."""
    if not facts["label_curve"]:
        console.print("labels       too few abnormal ones to measure what they bring")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("abnormal labels", "AUROC label-free", "AUROC head"):
        table.add_column(title, justify="right")
    for point in facts["label_curve"]:
        table.add_row(str(point["labels"]), f"{point['label_free']:.4f}", f"{point['head']:.4f}")
    console.print(table)
    wins = facts["wins_from"]
    told = "the head does not win yet"
    if wins is not None:
        told = f"the head wins from {wins} abnormal {'one' if wins == 1 else 'ones'} on"
    console.print(f"labels       {told}, measured on held-out rows")


def refuse_windows(data: Dataset, source: str, normal: str) -> None:
    """Refuse to translate labels of windows, each of which is taken from several rows."""
    if data.windows is not None:
        raise DataError(
            f"got --normal {normal} for the long table {source}, where the label of a window is "
            "taken from its rows: write 1 (normal), -1 (abnormal) or 0 (nobody looked) into the "
            "column, so that one abnormal row makes its window abnormal"
        )


def _translated(data: Dataset, source: str, normal: str) -> np.ndarray:
    from isthmus.heads.detector_labels import check_normal, translate_labels

    refuse_windows(data, source, normal)
    labels, names = translate_labels(data.y, normal)
    check_normal(normal, names, source)
    return labels
