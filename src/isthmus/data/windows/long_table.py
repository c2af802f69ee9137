"""Long tables of readings: roles of columns, groups, channels as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.column_types import Where, quote
from isthmus.data.formats import check_is_there
from isthmus.data.schema import check_names
from isthmus.data.windows.time_index import segments, time_numbers
from isthmus.errors import DataError


class Groups:
    """Groups told by a column, or one without a name where there is none.

    Parameters
    ----------
    column : str or None
        Name of the column.

    Attributes
    ----------
    names : list
        Each group's value in the column; its position is the group's code.

    Examples
    --------
    >>> groups = Groups("machine")
    >>> groups.codes(pd.Series(["b", "a", "b"]), "readings").tolist()
    [0, 1, 0]
    >>> groups.codes(pd.Series(["a", "c"]), "readings").tolist(), groups.of(2)
    ([1, 2], "group 'c': ")
    """

    def __init__(self, column: str | None) -> None:
        self.column = column
        self.names: list[Any] = []
        self._codes: dict[Any, int] = {}

    def codes(
        self,
        column: pd.Series,
        source: str | Path,
        where: Where = lambda row: f"row {row + 1}",
    ) -> np.ndarray:
        """Return the codes of more rows, int64 of shape (n,); new groups get the next ones.

        Raises
        ------
        DataError
            When a row is of no group.
        """
        codes, found = pd.factorize(column)
        if (codes < 0).any():
            raise DataError(
                f"the group is missing in {where(int((codes < 0).argmax()))} (column "
                f"{self.column!r} of {source}); fill it in or leave the row out"
            )
        known = np.empty(len(found), dtype=np.int64)
        for at, value in enumerate(found):
            known[at] = self._codes.setdefault(value, len(self.names))
            if known[at] == len(self.names):
                self.names.append(value)
        return known[codes]

    def name(self, code: Any) -> str:
        """Return a group for an error, or nothing where there are none."""
        return "" if self.column is None else f"group {quote(self.names[code])}"

    def of(self, code: Any) -> str:
        """Return "group 'A': ", or nothing where there are none."""
        return "" if self.column is None else f"{self.name(code)}: "


def as_numbers(
    frame: pd.DataFrame,
    channels: Sequence[str],
    source: str | Path,
    where: Where,
    unsaid: Sequence[str] = (),
) -> np.ndarray:
    """Return the channels of some rows: (m, c), float64, NaN where a value is missing.

    Parameters
    ----------
    frame : DataFrame of m rows
    channels : sequence of str
        Columns.
    source : str or Path
        What to call the table in an error.
    where : callable
        Puts a row number (from 0) into words.
    unsaid : sequence of str
        What a column without numbers may be instead, such as "label".

    Raises
    ------
    DataError
        Naming the columns that hold no numbers, or the first value that is none.
    """
    values = np.empty((len(frame), len(channels)))
    without = []
    for at, name in enumerate(channels):
        numbers = _column(frame[name], name, source, where)
        if numbers is None:
            without.append(name)
            continue
        if (infinite := np.isinf(numbers)).any():
            row = int(infinite.argmax())
            raise DataError(
                f"the value is infinite in column {name!r}, {where(row)}, of "
                f"{source}; put a number there, or leave it empty for missing"
            )
        values[:, at] = numbers
    if without:
        raise DataError(_no_numbers(frame, without, source, unsaid))
    return values


def _column(column: pd.Series, name: str, source: str | Path, where: Where) -> np.ndarray | None:
    """Return a column as float64; None when not one of its values is a number."""
    kind = column.dtype
    if kind.kind in "mMc":  # a date converts to a number that nobody meant
        return None
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    present = column.notna().to_numpy()
    numbers = pd.to_numeric(column.astype(object).where(present, None), errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = present & np.isnan(values)
    if bad.any() and bad.sum() == present.sum():
        return None
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"column {name!r} of {source} holds {quote(column.iloc[row])} in "
            f"{where(row)}, expected a number; put a number there, or leave it empty "
            "for missing"
        )
    return values


def _no_numbers(
    frame: pd.DataFrame, without: Sequence[str], source: str | Path, unsaid: Sequence[str]
) -> str:
    first = without[0]
    value = quote(frame[first].dropna().iloc[0])
    names = ", ".join(repr(name) for name in without[:10])
    names += f" and {len(without) - 10} more" if len(without) > 10 else ""
    say = f"say which is {' or '.join(f'{role}=' for role in unsaid)}, or " if unsaid else ""
    return (
        f"{'columns' if len(without) > 1 else 'column'} {names} of {source} cannot be "
        f"{'channels' if len(without) > 1 else 'a channel'}: no numbers ({first!r} begins "
        f"with {value}); {say}drop {'them' if len(without) > 1 else 'it'}"
    )


@dataclass(frozen=True)
class WindowOptions:
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
    no_channels : sequence of str
        Columns that are no channels, beside those for time, group and label.

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
        cutting: WindowOptions,
        label: str | None,
        source: str | Path,
        where: Where,
        no_channels: Sequence[str] = (),
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
        left_out = {*given.values(), *no_channels}
        for name in (*given.values(), *no_channels, *(cutting.channels or ())):
            check_is_there(name, list(self.frame.columns), source)
        others = [name for name in self.frame.columns if name not in left_out]
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
        unsaid = missing_roles(self.time, self.group, self.label)
        return as_numbers(self.frame, self.channels, self.source, self.where, unsaid)[self.rows]


def missing_roles(time: str | None, group: str | None, label: str | None) -> list[str]:
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
