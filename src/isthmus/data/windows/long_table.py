"""Long tables of readings: roles of columns, groups, channels as numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.notation import options_for
from isthmus.data.places import (
    ColumnErrors,
    Place,
    SourceFile,
    Where,
    describe_row,
    quote,
    such_cells,
)
from isthmus.data.schema import check_is_there, check_names
from isthmus.data.windows.time_index import (
    are_dates,
    check_order,
    in_time_zone,
    jitter,
    numbers_per_second,
    read_times,
    round_step,
    segments,
    step_text,
    time_numbers,
)
from isthmus.data.windows.window_choice import WindowOptions, check_roles, missing_roles
from isthmus.errors import DataError, WindowWarning

#: Words in the name of a column of labels that say what 1 is in it.
ABNORMAL_WORDS = {
    "abnormal", "anomalies", "anomalous", "anomaly", "attack", "attacks", "defect", "failure",
    "fault", "faulty", "outlier", "outliers",
}  # fmt: skip
#: A step of 1.003 is one of 1 that is not kept exactly.
_ABOUT = 0.95
#: Largest reading: squares of larger ones, standardised, are not finite in float32.
LARGEST = 1e18


class Groups:
    """Groups of rows by the values of columns; without columns a single unnamed group.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns.

    Attributes
    ----------
    names : list
        The value of each group in the column, as it is written there; of several columns a tuple
        of values. The position is the code of the group.

    Examples
    --------
    >>> groups = Groups(["machine"])
    >>> groups.codes(pd.DataFrame({"machine": ["b", "a", "b"]}), "readings").tolist()
    [0, 1, 0]
    >>> groups.codes(pd.DataFrame({"machine": ["a", "c"]}), "readings").tolist(), groups.of(2)
    ([1, 2], "group 'c': ")
    """

    def __init__(self, columns: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self.names: list[Any] = []
        self._codes: dict[Any, int] = {}

    def codes(
        self,
        frame: pd.DataFrame,
        source: str | Path,
        where: Where = describe_row,
    ) -> np.ndarray:
        """Return the group codes of rows, int64 of shape (n,); new groups get the next codes.

        Raises
        ------
        DataError
            When a row has no group.
        """
        together = np.zeros(len(frame), dtype=np.int64)
        values: list[list[Any]] = []
        for name in self.columns:
            codes, found = pd.factorize(frame[name])
            if (codes < 0).any():
                raise DataError(
                    f"the group is missing in {where(int((codes < 0).argmax()))} (column "
                    f"{name!r} of {source}); fill it in or leave the row out"
                )
            # A database writes long whole numbers as decimals.
            values.append([int(v) if isinstance(v, Decimal) and v == int(v) else v for v in found])
            together = together * len(found) + codes
        if not self.columns:
            return together
        codes, distinct = pd.factorize(together)
        code_of = np.empty(len(distinct), dtype=np.int64)
        for at, one in enumerate(distinct.tolist()):
            name = self._name(one, values)
            code_of[at] = self._codes.setdefault(name, len(self.names))
            if code_of[at] == len(self.names):
                self.names.append(name)
        return code_of[codes]

    def of_codes(self, codes: np.ndarray) -> np.ndarray | None:
        """Return the values of groups by their codes; None without group columns."""
        if not self.columns:
            return None
        if len(self.columns) == 1:
            return pd.Index(self.names).to_numpy()[codes]
        names = np.empty(len(self.names), dtype=object)
        names[:] = self.names
        return names[codes]

    def name(self, code: Any) -> str:
        """Return "group 'A'" for messages, or an empty string without group columns."""
        if not self.columns:
            return ""
        value = self.names[code]
        values = value if len(self.columns) > 1 else (value,)
        return f"group {', '.join(quote(one) for one in values)}"

    def of(self, code: Any) -> str:
        """Return the prefix "group 'A': " for messages, or an empty string without columns."""
        return f"{self.name(code)}: " if self.columns else ""

    def _name(self, together: int, values: list[list[Any]]) -> Any:
        found = []
        for column in reversed(values):
            together, at = divmod(together, len(column))
            found.append(column[at])
        return found[0] if len(found) == 1 else tuple(reversed(found))


def as_numbers(
    frame: pd.DataFrame,
    channels: Sequence[str],
    source: str | Path,
    where: Where,
    free_roles: Sequence[str] = (),
) -> np.ndarray:
    """Convert channels to numbers: (m, c), float64, NaN where a value is missing.

    Parameters
    ----------
    frame : DataFrame of m rows
    channels : sequence of str
        Columns.
    source : str or Path
        What to call the table in an error.
    where : callable
        Returns the description of a row number (from 0).
    free_roles : sequence of str
        Roles that no column has yet, such as "label": suggested for columns without numbers.

    Returns
    -------
    float64 array of shape (m, c)

    Raises
    ------
    DataError
        When a column holds no numbers or a value is not a number; names the column and row.
    """
    values = np.empty((len(frame), len(channels)))
    not_numeric, errors = [], ColumnErrors(str(source))
    for at, name in enumerate(channels):
        with errors:
            numbers = _column(frame[name], name, source, where)
            if numbers is None:
                texts = [v for v in frame[name].dropna().unique()[:1000] if isinstance(v, str)]
                place, row = Place(name, str(source), where), int(frame[name].notna().argmax())
                are_numbers = options_for(texts).keys() - {"date_format"}
                if are_numbers and (fix := place.how_to_read(texts)):
                    raise DataError(
                        f"{place} holds {quote(frame[name].iloc[row])} in {where(row)}, expected "
                        f"numbers; {fix}, or drop it (--drop)"
                    )
                not_numeric.append(name)
                continue
            if (infinite := np.abs(numbers) > LARGEST).any():
                row = int(infinite.argmax())
                value = numbers[row]
                what = "infinite" if np.isinf(value) else f"{value:g}, too large for a network,"
                raise DataError(
                    f"the value is {what} in column {name!r}, {where(row)}, of "
                    f"{source}; put a number there, or leave it empty for missing"
                )
            values[:, at] = numbers
    with errors:
        if not_numeric:
            raise DataError(_no_numbers(frame, not_numeric, source, where, free_roles))
    errors.check()
    return values


def _column(column: pd.Series, name: str, source: str | Path, where: Where) -> np.ndarray | None:
    """Return a column as float64; None when not one of its values is a number."""
    kind = column.dtype
    if kind.kind in "mMc":  # dates would convert to meaningless numbers
        return None
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    present = column.notna().to_numpy()
    numbers = pd.to_numeric(column.astype(object).where(present, None), errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = present & np.isnan(values)
    place = Place(name, str(source), where)
    if bad.any():
        bad = place.unread(column, bad, "number")
    if bad.any() and bad.sum() == present.sum():
        return None
    if bad.any():
        row, texts = int(bad.argmax()), [v for v in column[present][:1000] if isinstance(v, str)]
        fix = place.how_to_read(texts) if texts else None
        if fix is None:
            missing = place.how_to_mark_missing(column.iloc[row])
            fix = f"put a number there; if it is missing, {missing}"
        raise DataError(
            f"{place} holds {quote(column.iloc[row])} in {where(row)}"
            f"{such_cells(int(bad.sum()))}, expected {place.expected('number')}; {fix}"
        )
    return values


def _no_numbers(
    frame: pd.DataFrame,
    without: Sequence[str],
    source: str | Path,
    where: Where,
    free_roles: Sequence[str],
) -> str:
    first = without[0]
    values = frame[first].dropna().unique().tolist()
    value = quote(values[0])
    texts = [one for one in values[:1000] if isinstance(one, str)]
    fix = Place(first, where=where).how_to_read(texts) if texts else None
    read = "" if fix is None else f"{fix}, or "
    names = ", ".join(repr(name) for name in without[:10])
    names += f" and {len(without) - 10} more" if len(without) > 10 else ""
    roles, options = (sep.join(free_roles) for sep in ("= or ", ", --"))
    say = f"say which is {roles}= (on the command line --{options}), or " if free_roles else ""
    many = len(without) > 1
    what, them = ("columns", "them") if many else ("column", "it")
    return (
        f"{what} {names} of {source} cannot be {'channels' if many else 'a channel'}: no numbers "
        f"({first!r} begins with {value}); {read}{say}drop {them} (--drop)"
    )


class LongTable:
    """A checked long table with its rows sorted by group, in table order within a group.

    Parameters
    ----------
    frame : DataFrame of shape (m, k)
    cutting : WindowOptions
    label : str or None
        Column of labels.
    source : str or Path
        What to call the table in an error.
    where : callable
        Returns the description of a row number (from 0).
    no_channels : sequence of str
        Columns that are no channels, beside those for time, group and label.

    Attributes
    ----------
    rows : int array of shape (m,)
        Row numbers of the table, sorted by group.
    codes : int array of shape (m,)
        Group code of each of `rows`.
    groups : Groups
    channels : list of str
    times : Series of m numbers or dates, or None
        In the order of the table.

    Raises
    ------
    DataError
        When a column does not exist or is named twice, or a row has no group or no time.
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
        self.time, self.label, self.cutting = cutting.time, label, cutting
        self.source, self.where = source, where
        given = check_roles(self.time, cutting.groups, label)
        # Index levels of pandas count as columns.
        levels = [name for name in frame.index.names if name in given]
        frame = frame.reset_index(levels) if levels else frame
        self.frame = frame.set_axis(check_names(frame, str(source)), axis=1)
        if len(frame) == 0:
            raise DataError(f"{source} holds no rows; expected rows of numbers")
        left_out = {*given, *no_channels}
        asked = [*given, *no_channels, *(cutting.channels or ())]
        check_is_there(asked, list(self.frame.columns), source)
        remaining = [name for name in self.frame.columns if name not in left_out]
        self.channels = remaining if cutting.channels is None else list(cutting.channels)
        if not self.channels:
            raise DataError(f"{source} holds no columns of readings; expected at least one channel")
        self.groups = Groups(cutting.groups)
        codes = self.groups.codes(self.frame, source, where)
        self.rows = np.argsort(codes, kind="stable")
        self.codes = codes[self.rows]
        self.times: pd.Series | None = None
        for name in ("resample", "time_zone") if self.time is None else ():
            if getattr(cutting, name) is not None:
                option = name.replace("_", "-")
                raise DataError(
                    f"got {name}=, which needs the column of times; pass time= as well (on the "
                    f"command line --time beside --{option})"
                )
        if self.time is not None:
            with (errors := ColumnErrors(str(source))):
                self.times = self._read_times(cutting.time_zone)
            with errors:
                if errors.errors:  # of the channels all is said too
                    self.numbers()
            errors.check()

    def _read_times(self, zone: str | None) -> pd.Series:
        column = self.frame[self.time]
        # Whether a date in text says its zone is looked at in all of them, which takes a while.
        local = zone is not None or self.cutting.resample is not None
        times = read_times(column, self.source, self.where, local=local)
        if zone is None:
            return times
        codes = np.empty_like(self.codes)
        codes[self.rows] = self.codes
        name = f"column {self.time!r} of {self.source}"
        moments, n_guessed = in_time_zone(times, zone, codes, name, self.where)
        if n_guessed:
            self.warn(
                f"{n_guessed:,} rows of {name} are in an hour that comes twice in {zone}, and only "
                "once in the table: they are taken for the first one; pass times in UTC where that "
                "matters"
            )
        return moments

    def time_cells(self) -> pd.Series | None:
        """Return the times of the table's m rows as they are written there.

        Returns
        -------
        Series of m texts, or None
            None where times are no text: numbers without a fraction, dates of a format that has
            them, or no times.
        """
        if self.time is None or pd.api.types.is_integer_dtype(self.frame[self.time].dtype):
            return None
        column = self.frame[self.time]
        if pd.api.types.infer_dtype(column, skipna=True) == "string":
            return column
        of_file = self.where.cells if isinstance(self.where, SourceFile) else None
        cells = None if of_file is None else of_file(self.time)
        return cells if cells is not None and len(cells) == len(self.frame) else None

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and end positions of the segments without a gap in time.

        Returns
        -------
        first, end : int array of shape (n_segments,)
            Positions in `rows`; `end` is exclusive. Without a time column each group is one.
        """
        time = None
        if self.times is not None:
            time = time_numbers(self.times, self.source, self.where)[self.rows]
        try:
            found = segments(
                self.codes,
                self.rows,
                time,
                describe_time=lambda row: str(self.frame[self.time].iloc[row]),
                of_group=self.groups.of,
                where=self.where,
                columns=self._sorted_by,
                fix=self._how_to_resample,
            )
        except DataError as error:
            if hint := self._how_to_widen():
                raise DataError(f"{error}; {hint}") from error
            raise
        share, n_gaps = (0.0, 0) if time is None else jitter(time, self.codes)
        if n_gaps and time is not None:
            step = float(np.median(np.diff(time)[self.codes[1:] == self.codes[:-1]]))
            verb = "is a gap" if n_gaps == 1 else "are gaps"
            self.warn(
                f"steps of time differ by {share:.0%} from the usual one, and {n_gaps:,} of them "
                f"{verb} for that; {self._how_to_resample(step * _ABOUT)}"
            )
        return found

    def check_order(self) -> np.ndarray:
        """Return the times of `rows` as numbers; they may repeat, and not decrease."""
        assert self.times is not None
        time = time_numbers(self.times, self.source, self.where)[self.rows]
        check_order(
            time,
            self.codes,
            self.rows,
            describe_time=lambda row: str(self.frame[self.time].iloc[row]),
            of_group=self.groups.of,
            where=self.where,
            sort=f"table.sort_values({self._sorted_by!r})",
            twice=True,
        )
        return time

    @property
    def _sorted_by(self) -> list[str]:
        return [*self.groups.columns, *([] if self.time is None else [self.time])]

    def _how_to_widen(self) -> str:
        """Return how a table with a row for each reading of each sensor gets a column for each.

        Empty where it is none: but for times and groups it has a name and a number, and no name
        twice at one time.
        """
        numbers = [n for n in self.channels if pd.api.types.is_numeric_dtype(self.frame[n])]
        names = [name for name in self.channels if name not in numbers]
        if len(numbers) != 1 or len(names) != 1:
            return ""
        twice = self.frame.duplicated(self._sorted_by)
        if not twice.any() or self.frame.duplicated([*self._sorted_by, *names]).any():
            return ""
        return (
            f"if {names[0]!r} names the sensor of each reading, make a column of each: "
            f"table.pivot(index={self._sorted_by!r}, columns={names[0]!r}, "
            f"values={numbers[0]!r}).reset_index()"
        )

    def _how_to_resample(self, step: float) -> str:
        assert self.times is not None
        dates = are_dates(self.times)
        every = step_text(round_step(step / numbers_per_second(self.times), dates), dates)
        return (
            f"pass resample={every!r} for the mean of each bin of {every} (on the command line "
            f"--resample {every}), or leave time out to take rows as they come"
        )

    def numbers(self) -> np.ndarray:
        """Return the channels of `rows`: (m, c), float64, NaN where a value is missing.

        Raises
        ------
        DataError
            When a column holds no numbers or a value is not a number; names the column and row.
        """
        free_roles = missing_roles(self.time, self.groups.columns, self.label)
        return as_numbers(self.frame, self.channels, self.source, self.where, free_roles)[self.rows]

    def warn(self, message: str) -> None:
        """Warn about the table, by its name."""
        warnings.warn(f"{self.source}: {message}", stacklevel=4)

    def warn_of_windows(self, message: str, of_points: str = "") -> None:
        """Warn of what windows leave out; `of_points` holds where time points are decided."""
        of_points = f"{self.source}: {of_points}" if of_points else ""
        warnings.warn(WindowWarning(f"{self.source}: {message}", of_points), stacklevel=4)


def says_abnormal(column: str | None) -> bool:
    """Return whether the name of a column says that 1 in it is an anomaly.

    Parameters
    ----------
    column : str or None

    Returns
    -------
    bool

    Examples
    --------
    >>> says_abnormal("is_anomaly"), says_abnormal("no anomaly"), says_abnormal("flow")
    (True, False, False)
    """
    words = set(re.split(r"[^a-z]+", (column or "").lower()))
    return not {"no", "not", "non"} & words and bool(ABNORMAL_WORDS & words)
