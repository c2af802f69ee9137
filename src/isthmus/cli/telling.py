"""Evaluations for a person: the same plain values that go into the JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from isthmus.evaluation.controls import IN_WORDS

MOST_CLASSES_SHOWN = 30


def print_evaluation(console: Console, found: dict[str, Any]) -> None:
    """Print accuracy beside the controls, then one line a class."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"features ({found['head']} head)")
    for title in ("accuracy", "95 % interval", "log-loss"):
        table.add_column(title, justify="right")
    for name, result in {"frozen code": found["code"], **found["controls"]}.items():
        low, high = result["interval"]
        loss = result["log_loss"]
        table.add_row(
            IN_WORDS.get(name, name),
            f"{100 * result['accuracy']:.2f} %",
            f"{100 * low:.1f}-{100 * high:.1f} %",
            "" if loss is None else f"{loss:.4f}",
            style="bold" if name == "frozen code" else "",
        )
    console.print(f"{found['code']['n']:,} test instances")
    console.print(table)
    classes = Table(box=None, pad_edge=False)
    classes.add_column("class")
    for title in ("precision", "recall", "f1", "instances"):
        classes.add_column(title, justify="right")
    rows = found["code"]["per_class"]
    for row in rows[:MOST_CLASSES_SHOWN]:
        classes.add_row(
            str(row["label"]),
            *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")),
            f"{row['support']:,}",
        )
    console.print(classes)
    if len(rows) > MOST_CLASSES_SHOWN:
        console.print(f"and {len(rows) - MOST_CLASSES_SHOWN} more classes, all of them in --json")
