"""The tables of the codes benchmark: every source, and what had to be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

Record = dict[str, Any]
Pick = Callable[[Record], float | None]

#: What MNIST has to show with a code of 128: recipe, measure, bound, and whether less is better.
GOALS: tuple[tuple[str, str, float, bool], ...] = (
    ("fast", "reconstruction", 0.080, True),
    ("fast", "best", 98.5, False),
    ("fast", "seconds", 30, True),
    ("default", "reconstruction", 0.069, True),
    ("default", "linear", 98.7, False),
    ("default", "best", 99.3, False),
    ("default", "seconds", 300, True),
    ("thorough", "linear", 99.25, False),
    ("thorough", "best", 99.5, False),
    ("thorough", "100 labels", 98.1, False),
    ("thorough", "1000 labels", 98.9, False),
    ("thorough", "one class", 98.0, False),
    ("thorough", "seconds", 1500, True),
    ("reconstruction", "reconstruction", 0.064, True),
)
MOST_MEMORY = 3e9


def show(console: Console, records: list[Record], *, mnist: bool) -> None:
    """Print every source with mean and spread over seeds, and for MNIST the goals."""
    sources = list(dict.fromkeys(record["source"] for record in records))
    table = Table("source", *COLUMNS, title="mean (lowest to highest) over seeds; accuracy in %")
    for source in sources:
        some = [record for record in records if record["source"] == source]
        table.add_row(source, *(_cell(pick, digits, some) for pick, digits in COLUMNS.values()))
    console.print(table)
    if mnist:
        console.print(_goals(records, sources))


def _goals(records: list[Record], sources: list[str]) -> Table:
    table = Table("recipe", "measure", "must show", "found", "met", title="what must be shown")
    for source, measure, bound, less in GOALS:
        if source in sources:
            pick, digits = COLUMNS[measure]
            value = _mean(pick, [r for r in records if r["source"] == source])
            met = value is not None and (value <= bound if less else value >= bound)
            words = "-" if value is None else f"{value:.{digits}f}"
            table.add_row(source, measure, f"{'≤' if less else '≥'} {bound:g}", words, _yes(met))
    for source in sources:
        peak = _mean(
            lambda r: r.get("peak_bytes_fit"), [r for r in records if r["source"] == source]
        )
        if peak is not None:
            words = f"{peak / 1e9:.2f} GB"
            table.add_row(source, "peak memory, fit", "≤ 3 GB", words, _yes(peak <= MOST_MEMORY))
    return table


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def _head(name: str) -> Pick:
    def pick(record: Record) -> float | None:
        found = record["heads"].get(name)
        return None if found is None else 100 * found["test"]

    return pick


def _few(n: int, *names: str) -> Pick:
    def pick(record: Record) -> float | None:
        found = record["few"].get(str(n), {})
        return next((100 * float(np.mean(found[name])) for name in names if name in found), None)

    return pick


def _one_class(record: Record) -> float | None:
    if "one_class_detector" in record:
        return 100 * record["one_class_detector"]
    return (
        100 * float(np.mean(list(record["one_class"].values()))) if "one_class" in record else None
    )


#: How each column is read off a record, and its decimals.
COLUMNS: dict[str, tuple[Pick, int]] = {
    "seconds": (lambda record: record["seconds"], 1),
    "reconstruction": (lambda record: record.get("reconstruction"), 4),
    "linear": (_head("linear"), 2),
    "neighbours": (_head("neighbours"), 2),
    "mlp": (_head("mlp"), 2),
    "svm": (_head("svm"), 2),
    "best": (lambda record: _head("best")(record) or _head("supervised")(record), 2),
    "100, linear": (_few(100, "linear"), 2),
    "100 labels": (_few(100, "spreading", "supervised"), 2),
    "1000, linear": (_few(1000, "linear"), 2),
    "1000 labels": (_few(1000, "spreading", "supervised"), 2),
    "one class": (_one_class, 2),
    "GB": (lambda record: record["peak_bytes"] / 1e9, 2),
}


def _mean(pick: Pick, records: list[Record]) -> float | None:
    values = [value for record in records if (value := pick(record)) is not None]
    return float(np.mean(values)) if values else None


def _cell(pick: Pick, digits: int, records: list[Record]) -> str:
    values = [value for record in records if (value := pick(record)) is not None]
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
