"""Rows and places of a table: in words for errors, and taken, drawn or joined by number."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.csv_options import DEFAULT_OPTIONS, CsvOptions, how_to_mark_missing
from isthmus.data.date_notation import is_impossible_date
from isthmus.data.notation import how_to_read, options_for
from isthmus.errors import DataError, SchemaError

#: Errors that are written out, and values of a column in one of them.
MAX_LISTED, MAX_SHOWN = 20, 5
# A row (from 0) in words that a person can find it by.
Where = Callable[[int], str]


def describe_row(row: int, line: int | None = None) -> str:
    """Return the description of a row of a table, as all messages name it.

    Rows are numbered as in the column `row` of outputs and as pandas does; the lines of a file as
    editors do.

    Parameters
    ----------
    row : int
        From 0.
    line : int or None
        In a file of text the line where it begins, from 1.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_row(3)
    'row 3, counting from 0'
    >>> describe_row(3, 5)
    'row 3, counting from 0 (line 5 of the file)'
    """
    return with_line(f"row {row}, counting from 0", line)


def in_file(words: str, found: tuple[str, int] | None, unit: str = "row") -> str:
    """Return the description of a place with its file and its number there, of several files.

    Parameters
    ----------
    words : str
        Of the place in all files, such as "row 1203".
    found : (file, number in it), or None
        None where there is one file.
    unit : str
        What is counted in the file.

    Returns
    -------
    str

    Examples
    --------
    >>> in_file("row 1203", ("part2.parquet", 203)), in_file("row 3", None)
    ('row 1203 (row 203 of part2.parquet)', 'row 3')
    """
    return words if found is None else f"{words} ({unit} {found[1]} of {found[0]})"


def with_line(words: str, line: int | None) -> str:
    """Return the description of a place with its line in a file of text, where that is known."""
    return words if line is None else f"{words} (line {line} of the file)"


@dataclass(frozen=True)
class SourceFile:
    """A file of text that a table was read from; puts its rows into words, with their lines.

    Attributes
    ----------
    line : callable
        Returns the line (from 1) in which a row (from 0) begins, None where there is none.
    reading : dict or None
        What reading the file did, see `Dataset`.
    csv : CsvOptions or None
        What it was read with; None where it is no CSV file.
    cells : callable or None
        Returns the cells of a column of a CSV file as they are written, None where the file cannot
        be read again.

    Examples
    --------
    >>> SourceFile(lambda row: row + 2)(0)
    'row 0, counting from 0 (line 2 of the file)'
    """

    line: Callable[[int], int | None]
    reading: dict[str, Any] | None = None
    csv: CsvOptions | None = None
    cells: Callable[[str], pd.Series | None] | None = None

    def __call__(self, row: int) -> str:
        """Return a row (from 0) in words."""
        return describe_row(row, self.line(row))


@dataclass(frozen=True)
class Place:
    """A column, for the errors about it.

    Attributes
    ----------
    column : str
        Its name.
    table : str
        What to call its table, "" when there is but one.
    where : callable
        Puts a row number (from 0) into words.

    Examples
    --------
    >>> place = Place("width", "nuts.csv")
    >>> str(place), place.where(3)
    ("column 'width' of nuts.csv", 'row 3, counting from 0')
    """

    column: str
    table: str = ""
    where: Where = describe_row

    def __str__(self) -> str:
        return f"column {self.column!r}" + (f" of {self.table}" if self.table else "")

    def how_to_read(self, values: Sequence[str]) -> str | None:
        """Return what reads text in the column as numbers or dates, see `notation.how_to_read`.

        Parameters
        ----------
        values : sequence of str

        Returns
        -------
        str or None
        """
        return how_to_read(values, self.column, csv=self.csv)

    def left_unread(self, texts: Sequence[str], values: np.ndarray) -> np.ndarray:
        """Return which of k texts what `how_to_read(texts)` advises does not read, (k,) boolean.

        Parameters
        ----------
        texts : sequence of k str
        values : float array of shape (k,)
            What was read of them, NaN where nothing was.

        Returns
        -------
        boolean array of shape (k,)
        """
        import pyarrow as pa

        options = CsvOptions(**options_for(texts))
        cells = pa.array(values, pa.string())
        read = options.dates_in(cells)[1] if options.date_format else options.numbers_in(cells)
        return ~read

    def how_to_mark_missing(self, *values: Any) -> str:
        """Return how to say that values are missing, see `csv_options.how_to_mark_missing`.

        Parameters
        ----------
        *values : object

        Returns
        -------
        str
        """
        if self.csv is None or not values or not all(isinstance(one, str) for one in values):
            return "leave it empty"
        return how_to_mark_missing(self.csv, *values)

    @property
    def csv(self) -> CsvOptions | None:
        """What the file of the column was read with; None where it is of no CSV file."""
        return self.where.csv if isinstance(self.where, SourceFile) else None

    def how_to_take_as_names(self) -> str:
        """Return how to say that the values are names: to `load`, else in the DataFrame itself.

        Returns
        -------
        str
        """
        if not self.table:
            return f"pass a DataFrame with X[{self.column!r}].astype('category')"
        option = f"--category {shlex.quote(self.column)}"
        return f"pass category=[{self.column!r}] (on the command line {option})"

    def expected(self, type_: Literal["number", "date"]) -> str:
        """Return what a value of the column should be, as its file writes it.

        Parameters
        ----------
        type_ : {"number", "date"}

        Returns
        -------
        str
        """
        options = DEFAULT_OPTIONS if self.csv is None else self.csv
        return options.example_of(type_)

    def unread(
        self, column: pd.Series, bad: np.ndarray, type_: Literal["number", "date"]
    ) -> np.ndarray:
        """Return where values are of another type, as the options of the CSV file read them.

        Parameters
        ----------
        column : Series of shape (n,)
        bad : boolean array of shape (n,)
            Where its values are of another type without options.
        type_ : {"number", "date"}
            The type that is expected.

        Returns
        -------
        boolean array of shape (n,)
            `bad` where the options read no more of the values.
        """
        if self.csv is None or not self.csv.notation:
            return bad
        codes, values = pd.factorize(column)
        if not all(isinstance(value, str) for value in values):
            return bad
        import pyarrow as pa

        cells = pa.array(values, pa.string())
        found = self.csv.dates_in(cells)[1] if type_ == "date" else self.csv.numbers_in(cells)
        unread = np.append(~found, False)[codes]
        return unread if 0 < unread.sum() < bad.sum() else bad


def such_cells(count: int, distinct: Sequence[Any] = ()) -> str:
    """Return for an error how many cells of a column are like the one that it names, and which.

    Examples
    --------
    >>> such_cells(3), such_cells(1), such_cells(5, ["-", "k.A."])
    ('; 3 such cells in this column', '', "; 5 such cells in this column ('-', 'k.A.')")
    """
    if count <= 1:
        return ""
    named = ", ".join(map(quote, distinct[:MAX_SHOWN])) + ", ..." * (len(distinct) > MAX_SHOWN)
    return f"; {count:,} such cells in this column" + f" ({named})" * (len(distinct) > 1)


def calendar_note(value: Any) -> str:
    """Return for an error that a value is written as a date that no calendar has; else nothing."""
    impossible = isinstance(value, str) and is_impossible_date(value)
    return ", which is no date of the calendar," if impossible else ""


def quote(value: Any) -> str:
    """Return a value as an error shows it: at most 60 characters."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class ColumnErrors:
    """Collects the errors of columns, each in a `with` block of its own, to raise them together.

    Parameters
    ----------
    table : str
        What to call the table.
    heading : str, optional
        What follows the number of errors, such as "images cannot be read", where they are of other
        things than columns.

    Examples
    --------
    >>> errors = ColumnErrors("nuts.csv")
    >>> for name in ("width", "day"):
    ...     with errors:
    ...         raise DataError(f"column {name!r} holds 'oops'; correct it")
    >>> try:
    ...     errors.check()
    ... except DataError as error:
    ...     print(error)
    2 columns of nuts.csv cannot be read:
    - column 'width' holds 'oops'; correct it
    - column 'day' holds 'oops'; correct it
    """

    def __init__(self, table: str = "", heading: str | None = None) -> None:
        self.heading = heading or f"columns of {table or 'the table'} cannot be read"
        self.errors: list[DataError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Keep a `DataError` for `check`; any other goes on."""
        if isinstance(error, DataError) and not isinstance(error, MemoryError):
            self.errors += error.problems or [error]
            return True
        return False

    def check(self) -> None:
        """Raise what was collected, if anything: one error as it is, several as one.

        Raises
        ------
        SchemaError
            When one of several is one.
        DataError
            When none is. `problems` are the errors.
        """
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise self.errors[0]
        listed = "".join(f"\n- {error}" for error in self.errors[:MAX_LISTED])
        more = len(self.errors) - MAX_LISTED
        kind = SchemaError if any(isinstance(e, SchemaError) for e in self.errors) else DataError
        raise kind(
            f"{len(self.errors):,} {self.heading}:{listed}"
            + (f"\n- and {more:,} more" if more > 0 else ""),
            problems=self.errors,
        )


def as_range(rows: slice | str) -> slice:
    """Return a range of rows as a slice.

    Parameters
    ----------
    rows : slice or str
        Such as `slice(100, 200)` or "100:200", counting from 0.

    Returns
    -------
    slice

    Raises
    ------
    DataError
        When it is none.

    Examples
    --------
    >>> as_range("100:")
    slice(100, None, None)
    """
    try:
        found = rows
        if isinstance(rows, str) and ":" in rows:
            found = slice(*(int(end) if end.strip() else None for end in rows.split(":")))
        if not isinstance(found, slice):
            raise TypeError
        found.indices(0)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"got rows={shown(rows)}, expected first:end such as 0:1000, counting from 0"
        ) from error
    return found


def check_part(name: str) -> None:
    """Check the name of a part of a data set: train, test or all.

    Parameters
    ----------
    name : str

    Raises
    ------
    DataError
        When it is another one.
    """
    if name not in ("train", "test", "all"):
        raise DataError(f"got the part {name!r}, expected 'train', 'test' or 'all'")


def joined_chunks(n_rows: int, arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Concatenate arrays of at most `n_rows` rows in total, with one allocation.

    Examples
    --------
    >>> joined_chunks(4, [np.array([1, 2]), np.array([3])])
    array([1, 2, 3])
    """
    joined: np.ndarray | None = None
    n_filled = 0
    for array in arrays:
        if joined is None or array.dtype != joined.dtype:
            # The itemsize of text may grow from one chunk to the next.
            dtype = array.dtype if joined is None else np.promote_types(joined.dtype, array.dtype)
            wider = np.empty((n_rows, *array.shape[1:]), dtype)
            if joined is not None:
                wider[:n_filled] = joined[:n_filled]
            joined = wider
        joined[n_filled : n_filled + len(array)] = array
        n_filled += len(array)
    return np.empty(0) if joined is None else joined[:n_filled]


def draw_rows(n_rows: int, n: int, seed: int | Sequence[int]) -> np.ndarray:
    """Draw at most `n` of the numbers below `n_rows` without replacement; return them sorted."""
    rng = np.random.default_rng(seed)
    if 2 * n >= n_rows:
        return np.sort(rng.permutation(n_rows)[:n])
    # Takes memory for `n` rows only; every set of `n` rows is equally likely.
    rows = np.empty(0, np.int64)
    while len(rows) < n:
        rows = np.union1d(rows, rng.integers(n_rows, size=2 * (n - len(rows)) + 100))
    return np.sort(rng.choice(rows, n, replace=False))
