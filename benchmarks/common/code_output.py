"""The tables and the plot of the codes benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
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
    ("default", "seconds", 140, True),
    ("thorough", "linear", 99.25, False),
    ("thorough", "best", 99.5, False),
    ("thorough", "100 labels", 98.1, False),
    ("thorough", "1000 labels", 98.9, False),
    ("thorough", "one class", 98.0, False),
    ("thorough", "seconds", 1500, True),
    ("reconstruction", "reconstruction", 0.064, True),
)
MAX_MEMORY = 3e9
RECIPES = ("fast", "default", "thorough", "reconstruction", "reference")
#: Offset (points) and alignment of names that would cover another one at the usual place.
BESIDE = {"supervised": (-9, -4, "right"), "thorough": (0, -16, "center"), "raw": (-8, -4, "right")}
TICKS = (40, 60, 80, 90, 95, 98, 99, 99.5)


def show(console: Console, records: list[Record], *, mnist: bool) -> None:
    """Print mean and range over seeds of every source, and for MNIST whether goals are met."""
    sources = list(dict.fromkeys(record["source"] for record in records))
    table = Table("source", *COLUMNS, title="mean (lowest to highest) over seeds; accuracy in %")
    for source in sources:
        chosen = [record for record in records if record["source"] == source]
        table.add_row(source, *(_cell(pick, digits, chosen) for pick, digits in COLUMNS.values()))
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
            table.add_row(source, "peak memory, fit", "≤ 3 GB", words, _yes(peak <= MAX_MEMORY))
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


def draw(records: list[dict[str, Any]], data: str, path: Path) -> None:
    """Draw test accuracy with all labels and with 100 of them.

    Seconds are on a logarithmic scale, and so is what is missing from 100 %.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title, pick in (
        (panels[0], f"all labels, best of {_heads(records)}", _best),
        (panels[1], "100 labels, spreading", _hundred),
    ):
        wrong = []
        for source in dict.fromkeys(record["source"] for record in records):
            shown = [r for r in records if r["source"] == source and pick(r) is not None]
            if not shown:
                continue
            # A logarithmic scale has no zero, the seconds of raw features; a median, because
            # other work on the machine slows down single runs.
            seconds = np.median([max(record["seconds"], 0.5) for record in shown])
            wrong.append(100 - np.mean([pick(record) for record in shown]))
            ours = source in RECIPES
            axes.plot(
                seconds, wrong[-1], "o" if ours else "s", color="C0" if ours else "0.45", ms=8
            )
            x, y, side = BESIDE.get(source, (8, -4, "left"))
            axes.annotate(
                source,
                (seconds, wrong[-1]),
                xytext=(x, y),
                textcoords="offset points",
                ha=side,
                fontsize=9,
            )
        axes.set(xscale="log", yscale="log", ylabel="test accuracy, %")
        axes.set_xlabel(f"seconds to learn, {_threads(records)}, {_seeds(records)}")
        axes.set_ylim(1.4 * max(wrong), 0.7 * min(wrong))
        ticks = [tick for tick in TICKS if 0.7 * min(wrong) <= 100 - tick <= 1.4 * max(wrong)]
        axes.set_yticks([100 - tick for tick in ticks], [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_title(f"{data}: {title}")
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _threads(records: list[dict[str, Any]]) -> str:
    threads = sorted({record["threads"] for record in records})
    return f"{' or '.join(map(str, threads))} thread{'s' if threads != [1] else ''}"


def _seeds(records: list[dict[str, Any]]) -> str:
    seeds = sorted({record["seed"] for record in records})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _heads(records: list[dict[str, Any]]) -> str:
    """Name the heads that were tried: without `svm`, say, other figures are the best."""
    names = dict.fromkeys(name for record in records for name in record["heads"])
    return ", ".join(name for name in names if name not in ("best", "supervised"))


def _best(record: dict[str, Any]) -> float | None:
    heads = record["heads"]
    found = heads.get("best") or heads.get("supervised")
    return None if found is None else 100 * found["test"]


def _hundred(record: dict[str, Any]) -> float | None:
    found = record["few"].get("100", {})
    values = found.get("spreading")  # the supervised network's seconds are those with all labels
    return None if values is None else 100 * float(np.mean(values))
