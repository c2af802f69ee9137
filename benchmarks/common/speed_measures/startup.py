"""Seconds until the command has told what it can do, and until the library is there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_most, values

PYTHON = "Python alone"


def ours(options: dict[str, Any]) -> Facts:
    return {
        "help": _seconds(["-m", "isthmus", "--help"], options["starts"]),
        "import": _seconds(["-c", "import isthmus"], options["starts"]),
    }


def python_alone(options: dict[str, Any]) -> Facts:
    return {"value": _seconds(["-c", "pass"], options["starts"])}


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    bare = values(found, PYTHON)
    lines = []
    for name, title, most in (
        ("help", "isthmus --help, s", 0.25),
        ("import", "import isthmus, s", 0.1),
    ):
        ours = values(found, OURS, name)
        met = at_most(ours, most)
        notes = ["the whole process counts"]
        lines.append(
            Row(title, ours, f"≤ {most:g} s", PYTHON, bare, met=met, notes=notes, digits=3)
        )
    return lines


def _seconds(words: list[str], starts: int) -> float:
    found = []
    for _ in range(1 + starts):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])  # the first may still read files from the disk


MEASURE = Measure(
    "startup",
    {OURS: Side(ours, peer=False), PYTHON: Side(python_alone, peer=False)},
    rows,
    tuned=False,
)
