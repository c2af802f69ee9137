"""Accuracy against the seconds that learning took, every recipe and control on one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

RECIPES = ("fast", "default", "thorough", "reconstruction", "reference")


def draw(records: list[dict[str, Any]], data: str, path: Path) -> None:
    """Draw test accuracy with all labels and with 100 of them; seconds are on a log scale."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title, pick in (
        (panels[0], "linear head, all labels", _linear),
        (panels[1], "100 labels: spreading head", _hundred),
    ):
        for source in dict.fromkeys(record["source"] for record in records):
            some = [r for r in records if r["source"] == source and pick(r) is not None]
            if not some:
                continue
            # Raw features cost nothing, which a log scale cannot show.
            seconds = np.mean([max(record["seconds"], 0.5) for record in some])
            accuracy = np.mean([pick(record) for record in some])
            ours = source in RECIPES
            axes.plot(seconds, accuracy, "o" if ours else "s", color="C0" if ours else "0.45", ms=8)
            axes.annotate(
                source, (seconds, accuracy), xytext=(7, 4), textcoords="offset points", fontsize=9
            )
        axes.set(
            xscale="log", xlabel=f"seconds to learn, {_threads(records)}", ylabel="test accuracy, %"
        )
        axes.set_title(f"{data}: {title}")
        axes.margins(x=0.25, y=0.12)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def _threads(records: list[dict[str, Any]]) -> str:
    threads = sorted({record["threads"] for record in records})
    return f"{' or '.join(map(str, threads))} thread{'s' if threads != [1] else ''}"


def _linear(record: dict[str, Any]) -> float | None:
    heads = record["heads"]
    found = heads.get("linear") or heads.get("supervised")
    return None if found is None else 100 * found["test"]


def _hundred(record: dict[str, Any]) -> float | None:
    found = record["few"].get("100", {})
    values = found.get("spreading") or found.get("supervised")
    return None if values is None else 100 * float(np.mean(values))
