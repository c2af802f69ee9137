"""Results as Markdown tables, which read well on a terminal too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

IN_WORDS = {
    "auroc": "AUROC",
    "aucpr": "AUCPR",
    "auroc_other_half": "AUROC, other half",
    "aucpr_other_half": "AUCPR, other half",
}


def markdown(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table: the first column to the left, the others to the right."""
    table = Table(box=box.MARKDOWN, header_style="")
    for i, title in enumerate(columns):
        table.add_column(title, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """Print what `summary_statistics.summarise` found: figures, then differences and seconds."""
    methods, reference = summary["methods"], summary["reference"]
    metrics = list(summary["per_table"])
    ranked = [metric for metric in metrics if metric in ("auroc", "aucpr")]
    columns = ["method", *(IN_WORDS[metric] for metric in metrics)]
    columns += [f"rank, {IN_WORDS[metric]}" for metric in ranked]
    rows = []
    for name, found in methods.items():
        row = [name]
        row += [with_spread(found[metric]["mean"], found[metric]["spread"]) for metric in metrics]
        row += [number(found[metric]["rank"], 2) for metric in ranked]
        rows.append(row)
    markdown(console, columns, rows)
    columns = ["method", *(f"{IN_WORDS[metric]} minus that of {reference}" for metric in ranked)]
    rows = []
    for name, found in methods.items():
        row = [name, *(interval(found[metric]["difference"]) for metric in ranked)]
        rows.append([*row, number(found["seconds_fit"], 2), number(found["seconds_score"], 2)])
    markdown(console, [*columns, "seconds, fit", "seconds, score"], rows)
    if summary["left_out"]:
        console.print(f"not in every run, and left out: {', '.join(summary['left_out'])}")


def show_per_table(console: Console, summary: dict[str, Any], metric: str) -> None:
    """Print one metric, a row for each table."""
    cells = summary["per_table"][metric]
    names = list(summary["methods"])
    rows = [[table, *(number(cells[table][name], 3) for name in names)] for table in cells]
    markdown(console, [IN_WORDS[metric], *names], rows)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text, nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def with_spread(value: float, spread: float | None, digits: int = 4) -> str:
    """Return a mean with the standard deviation over seeds, where there is one."""
    said = f"{value:.{digits}f}"
    return said if spread is None else f"{said} ± {spread:.{digits}f}"


def interval(found: dict[str, float]) -> str:
    """Return a difference with its interval, each with its sign."""
    return f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"
