"""One long table of readings, many rows for each machine or person: its columns, in order."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.checks import check_names
from isthmus.data.columns.place import Where
from isthmus.data.groups import Groups
from isthmus.data.readings import as_numbers
from isthmus.data.time_order import segments, time_numbers
from isthmus.errors import DataError


@dataclass(frozen=True)
class Cutting:
    """How a long table is cut into windows.

    Attributes
    ----------
    window, stride : int or None
        Rows in a window, and from the beginning of one to the next; without a stride the
        windows of a series share no row.
    time, group : str or None
        Columns that say when a row was taken, and of which series it is.
    channels : tuple of str or None
        Columns that are the channels; None takes all others.
    """

    window: int | None = None
    stride: int | None = None
    time: str | None = None
    group: str | None = None
    channels: tuple[str, ...] | None = None

    @property
    def given(self) -> list[str]:
        """Names of what is not None."""
        return [name for name, value in vars(self).items() if value is not None]


class LongTable:
    """A long table, checked, its rows in order: group after group, each in the order it came.

    Parameters
    ----------
    frame : DataFrame of shape (m, k)
    cutting : Cutting
    label : str or None
        Column of labels.
    source : str or Path
        What to call the table in an error.
    where : callable
        Puts a row number (from 0) into words.

    Attributes
    ----------
    rows : int array of shape (m,)
        The rows of the table in order; whatever is "in order" below follows it.
    codes : int array of shape (m,)
        The groups in order, as numbers from 0.
    groups : Groups
    channels : list of str

    Raises
    ------
    DataError
        When a column is not there or named twice, or a row is of no group.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        cutting: Cutting,
        label: str | None,
        source: str | Path,
        where: Where,
    ) -> None:
        self.time, self.group, self.label = cutting.time, cutting.group, label
        self.source, self.where = source, where
        given = check_roles(self.time, self.group, label)
        # What pandas keeps as an index is a column to everybody else.
        levels = [name for name in frame.index.names if name in given.values()]
        frame = frame.reset_index(levels) if levels else frame
        self.frame = frame.set_axis(check_names(frame, str(source)), axis=1)
        if len(frame) == 0:
            raise DataError(f"{source} holds no rows; expected rows of numbers")
        for name in (*given.values(), *(cutting.channels or ())):
            self._check_is_there(name)
        others = [name for name in self.frame.columns if name not in given.values()]
        self.channels = others if cutting.channels is None else list(cutting.channels)
        if not self.channels:
            raise DataError(f"{source} holds no columns of readings; expected at least one channel")
        self.groups = Groups(self.group)
        codes = np.zeros(len(frame), dtype=np.int64)
        if self.group is not None:
            codes = self.groups.codes(self.frame[self.group], source, where)
        self.rows = np.argsort(codes, kind="stable")
        self.codes = codes[self.rows]

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where, in order, the stretches without a gap begin, and where they end.

        Returns
        -------
        first, end : int array of shape (n_segments,)
            `end` is not part of the segment. Without a time column each group is one.
        """
        time = None
        if self.time is not None:
            time = time_numbers(self.frame[self.time], self.source, self.where)[self.rows]
        return segments(
            self.codes,
            self.rows,
            time,
            in_words=lambda row: str(self.frame[self.time].iloc[row]),
            of_group=self.groups.of,
            where=self.where,
            columns=[name for name in (self.group, self.time) if name is not None],
        )

    def numbers(self) -> np.ndarray:
        """Return the channels in order: (m, c), float64, NaN where a value is missing.

        Raises
        ------
        DataError
            Naming the columns that hold no numbers, or the first value that is none.
        """
        unsaid = unsaid_roles(self.time, self.group, self.label)
        return as_numbers(self.frame, self.channels, self.source, self.where, unsaid)[self.rows]

    def _check_is_there(self, name: str) -> None:
        names = list(self.frame.columns)
        if name in names:
            return
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise DataError(f"{self.source} has no column {name!r}; {hint}it has {shown}")


def unsaid_roles(time: str | None, group: str | None, label: str | None) -> list[str]:
    """Return what no column is named for."""
    roles = {"time": time, "group": group, "label": label}
    return [role for role, name in roles.items() if name is None]


def check_roles(time: str | None, group: str | None, label: str | None) -> dict[str, str]:
    """Return which columns are named for what, each for one thing alone.

    Raises
    ------
    DataError
        When one column is named twice.
    """
    roles = {"time": time, "group": group, "label": label}
    given = {role: name for role, name in roles.items() if name is not None}
    if len(set(given.values())) < len(given):
        said = ", ".join(f"{role}={name!r}" for role, name in given.items())
        raise DataError(f"got {said}; expected a column of its own for each")
    return given
