"""What a measure is: who takes part in it, each in a process of its own, and what it must show.

Whatever runs in the peers' environment may import here only what is in it too: NumPy and the
standard library at the top of a file, everything else where it is used.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: The side that the others are compared with.
OURS = "isthmus"
Facts = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of those compared.

    Attributes
    ----------
    measure : callable
        From the options to plain facts, `"value"` among them: the figure that is compared.
    peer : bool
        Whether it runs in the peers' environment rather than in that of isthmus.
    """

    measure: Callable[[dict[str, Any]], Facts]
    peer: bool = True


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    title : str
        What is measured, with its unit.
    ours, theirs : list of float
        One value a round, in the same order; `theirs` may be empty.
    peer, must : str
    ratio : list of float
        How many times better isthmus is, or how many times as much it takes: one a round.
    met : bool or None
        None where there is nothing to compare with.
    notes : list of str
        What has to be known to read the figures.
    digits : int
    """

    title: str
    ours: list[float]
    must: str
    peer: str = ""
    theirs: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    met: bool | None = None
    notes: list[str] = field(default_factory=list)
    digits: int = 2


@dataclass(frozen=True)
class Measure:
    """Something to measure.

    Attributes
    ----------
    name : str
    sides : dict of str to Side
        In the order in which they take their turns; `OURS` among them.
    rows : callable
        From the facts of every side that was measured, one a round, to lines of the table.
    images : bool
        Whether it needs the training and test images.
    codes : bool
        Whether it needs codes of those images.
    tuned : bool
        Whether its processes may get the settings of the `isthmus` command from outside.
    """

    name: str
    sides: dict[str, Side]
    rows: Callable[[dict[str, list[Facts]]], list[Row]]
    images: bool = False
    codes: bool = False
    tuned: bool = True


def values(found: dict[str, list[Facts]], side: str, name: str = "value") -> list[float]:
    """Return one figure of a side, a value a round; none where it was not measured."""
    return [facts[name] for facts in found.get(side, [])]


def paired(above: list[float], below: list[float]) -> list[float]:
    """Divide round by round: what slows a machine down for a while slows both sides."""
    return [a / b for a, b in zip(above, below, strict=False)]


def at_least(found: list[float], wanted: float) -> bool | None:
    """Return whether the median is so large; None where there is none."""
    return statistics.median(found) >= wanted if found else None


def at_most(found: list[float], wanted: float) -> bool | None:
    """Return whether the median is so small; None where there is none."""
    return statistics.median(found) <= wanted if found else None
