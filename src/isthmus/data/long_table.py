"""One long table of readings, many rows for each machine or person: its columns, in order."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.checks import check_names
from isthmus.data.columns.place import Where, quote
from isthmus.data.time_order import check_order, gaps, time_numbers
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
        roles = {"time": self.time, "group": self.group, "label": label}
        given = {role: name for role, name in roles.items() if name is not None}
        # What pandas keeps as an index is a column to everybody else.
        levels = [name for name in frame.index.names if name in given.values()]
        frame = frame.reset_index(levels) if levels else frame
        self.frame = frame.set_axis(check_names(frame, str(source)), axis=1)
        if len(frame) == 0:
            raise DataError(f"{source} holds no rows; expected rows of numbers")
        for name in (*given.values(), *(cutting.channels or ())):
            self._check_is_there(name)
        if len(set(given.values())) < len(given):
            said = ", ".join(f"{role}={name!r}" for role, name in given.items())
            raise DataError(f"got {said}; expected a column of its own for each")
        others = [name for name in self.frame.columns if name not in given.values()]
        self.channels = others if cutting.channels is None else list(cutting.channels)
        if not self.channels:
            raise DataError(f"{source} holds no columns of readings; expected at least one channel")
        codes = self._group_codes()
        self.rows = np.argsort(codes, kind="stable")
        self.codes = codes[self.rows]

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where, in order, the stretches without a gap begin, and where they end.

        Returns
        -------
        first, end : int array of shape (n_segments,)
            `end` is not part of the segment. Without a time column each group is one.
        """
        new = np.ones(len(self.rows), dtype=bool)
        new[1:] = self.codes[1:] != self.codes[:-1]
        if self.time is not None:
            time = time_numbers(self.frame[self.time], self.source, self.where)[self.rows]
            keys = [name for name in (self.group, self.time) if name is not None]
            check_order(
                time,
                self.codes,
                self.rows,
                in_words=lambda row: str(self.frame[self.time].iloc[row]),
                of_group=self.of_group,
                where=self.where,
                sort=f"table.sort_values({keys!r})",
            )
            new |= gaps(time, self.codes)
        first = np.flatnonzero(new)
        return first, np.append(first[1:], len(self.rows))

    def numbers(self) -> np.ndarray:
        """Return the channels in order: (m, c), float64, NaN where a value is missing.

        Raises
        ------
        DataError
            Naming the columns that hold no numbers, or the first value that is none.
        """
        values = np.empty((len(self.frame), len(self.channels)))
        without = []
        for at, name in enumerate(self.channels):
            numbers = self._as_numbers(name)
            if numbers is None:
                without.append(name)
                continue
            if (infinite := np.isinf(numbers)).any():
                row = int(infinite.argmax())
                raise DataError(
                    f"the value is infinite in column {name!r}, {self.where(row)}, of "
                    f"{self.source}; put a number there, or leave it empty for missing"
                )
            values[:, at] = numbers
        if without:
            raise DataError(self._no_numbers(without))
        return values[self.rows]

    def group_name(self, code: Any) -> str:
        """Return the group of this code for an error, or nothing where there are no groups."""
        return "" if self.group is None else f"group {quote(self._groups[code])}"

    def of_group(self, code: Any) -> str:
        """Return "group 'A': ", or nothing where there are no groups."""
        return "" if self.group is None else f"{self.group_name(code)}: "

    def _check_is_there(self, name: str) -> None:
        names = list(self.frame.columns)
        if name in names:
            return
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise DataError(f"{self.source} has no column {name!r}; {hint}it has {shown}")

    def _group_codes(self) -> np.ndarray:
        if self.group is None:
            return np.zeros(len(self.frame), dtype=np.int64)
        codes, self._groups = pd.factorize(self.frame[self.group])
        if (codes < 0).any():
            raise DataError(
                f"the group is missing in {self.where(int((codes < 0).argmax()))} (column "
                f"{self.group!r} of {self.source}); fill it in or leave the row out"
            )
        return codes

    def _as_numbers(self, name: str) -> np.ndarray | None:
        """Return a column as float64; None when not one of its values is a number."""
        column = self.frame[name]
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
                f"column {name!r} of {self.source} holds {quote(column.iloc[row])} in "
                f"{self.where(row)}, expected a number; put a number there, or leave it empty "
                "for missing"
            )
        return values

    def _no_numbers(self, without: list[str]) -> str:
        first = without[0]
        value = quote(self.frame[first].dropna().iloc[0])
        names = ", ".join(repr(name) for name in without[:10])
        names += f" and {len(without) - 10} more" if len(without) > 10 else ""
        roles = [role for role in ("time", "group", "label") if getattr(self, role) is None]
        say = f"say which is {' or '.join(f'{role}=' for role in roles)}, or " if roles else ""
        return (
            f"{'columns' if len(without) > 1 else 'column'} {names} of {self.source} cannot be "
            f"{'channels' if len(without) > 1 else 'a channel'}: no numbers ({first!r} begins "
            f"with {value}); {say}drop {'them' if len(without) > 1 else 'it'}"
        )
