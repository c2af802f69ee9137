"""What of a long table is in no window, in numbers and in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.time_order import LONGEST_STEP

#: Groups that are left out, by name.
_NAMED = 5


@dataclass(frozen=True)
class LeftOut:
    """What windows of a table, or of several, leave out.

    Attributes
    ----------
    n_groups, n_without : int
        Groups, and those that no window is of.
    names : tuple of str
        Some of the latter.
    n_gaps, n_rows : int
        Gaps in time, and rows that they cost.
    """

    n_groups: int = 0
    n_without: int = 0
    names: tuple[str, ...] = ()
    n_gaps: int = 0
    n_rows: int = 0

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            self.n_groups + other.n_groups,
            self.n_without + other.n_without,
            (*self.names, *other.names)[:_NAMED],
            self.n_gaps + other.n_gaps,
            self.n_rows + other.n_rows,
        )

    def in_words(self, window: int) -> list[str]:
        """Return a sentence on groups and one on gaps, where there is something to say."""
        said = []
        if self.n_without:
            names = ", ".join(self.names)
            more = self.n_without - len(self.names)
            names += f" and {more} more" if more else ""
            verb = "is" if self.n_without == 1 else "are"
            said.append(
                f"{self.n_without:,} of {self.n_groups:,} groups {verb} left out, with fewer than "
                f"{window} rows without a gap: {names}"
            )
        if self.n_gaps:
            said.append(
                f"{self.n_gaps:,} gap{'s' if self.n_gaps > 1 else ''} in time (steps of more than "
                f"{LONGEST_STEP} times the usual one); no window crosses one, which leaves "
                f"{self.n_rows:,} rows out"
            )
        return said


def left_out(
    groups: np.ndarray,
    lengths: np.ndarray,
    window: int,
    stride: int,
    name: Callable[[Any], str],
) -> LeftOut:
    """Count what windows leave out of a table.

    Parameters
    ----------
    groups, lengths : int array of shape (n_segments,)
        The group of each stretch without a gap, and its rows.
    window, stride : int
    name : callable
        Puts a group into words, such as "group 'A'".

    Examples
    --------
    >>> groups, lengths = np.array([0, 0, 1]), np.array([5, 6, 3])
    >>> lost = left_out(groups, lengths, 4, 4, lambda code: f"group {code}")
    >>> lost.n_without, lost.names, lost.n_gaps, lost.n_rows
    (1, ('1',), 1, 3)
    """
    codes, n_segments = np.unique(groups, return_counts=True)
    without = np.setdiff1d(codes, groups[lengths >= window])
    split = np.isin(groups, codes[n_segments > 1])
    # What a segment has over: all of it when it is too short, otherwise less than a stride.
    over = np.where(lengths < window, lengths, (lengths - window) % stride)
    return LeftOut(
        len(codes),
        len(without),
        tuple(name(code).removeprefix("group ") for code in without[:_NAMED]),
        len(groups) - len(codes),
        int(over[split].sum()),
    )
