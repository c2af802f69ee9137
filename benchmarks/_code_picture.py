"""Accuracy against the seconds that learning took, every recipe and control on one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

RECIPES = ("fast", "default", "thorough", "reconstruction", "reference")


#: Where a name stands beside its mark, in points, so that near ones stay apart.
BESIDE = {"supervised": (-9, -4, "right"), "thorough": (0, -16, "center"), "raw": (-8, -4, "right")}
TICKS = (40, 60, 80, 90, 95, 98, 99, 99.5)


def draw(records: list[dict[str, Any]], data: str, path: Path) -> None:
    """Draw test accuracy with all labels and with 100 of them.

    Seconds are on a logarithmic scale, and so is what is missing from 100 %.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title, pick in (
        (panels[0], "best head, all labels", _best),
        (panels[1], "100 labels: spreading head", _hundred),
    ):
        wrong = []
        for source in dict.fromkeys(record["source"] for record in records):
            some = [r for r in records if r["source"] == source and pick(r) is not None]
            if not some:
                continue
            # Raw features cost nothing, which a log scale cannot show; a median, because whatever
            # else a machine does makes some runs slower.
            seconds = np.median([max(record["seconds"], 0.5) for record in some])
            wrong.append(100 - np.mean([pick(record) for record in some]))
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
        axes.set_xlabel(f"seconds to learn, {_threads(records)}")
        axes.set_ylim(1.4 * max(wrong), 0.7 * min(wrong))
        shown = [tick for tick in TICKS if 0.7 * min(wrong) <= 100 - tick <= 1.4 * max(wrong)]
        axes.set_yticks([100 - tick for tick in shown], [f"{tick:g}" for tick in shown])
        axes.minorticks_off()
        axes.set_title(f"{data}: {title}")
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _threads(records: list[dict[str, Any]]) -> str:
    threads = sorted({record["threads"] for record in records})
    return f"{' or '.join(map(str, threads))} thread{'s' if threads != [1] else ''}"


def _best(record: dict[str, Any]) -> float | None:
    heads = record["heads"]
    found = heads.get("best") or heads.get("supervised")
    return None if found is None else 100 * found["test"]


def _hundred(record: dict[str, Any]) -> float | None:
    found = record["few"].get("100", {})
    values = found.get("spreading")  # the supervised network's seconds are those with all labels
    return None if values is None else 100 * float(np.mean(values))
