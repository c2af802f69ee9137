"""CSV files: encodings, separators, decimal marks and missing values; text left as written."""

from __future__ import annotations

import csv
import itertools
import shlex
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus._core import decompress, read_bytes
from isthmus.data.containers import arrow_to_frame
from isthmus.data.csv_options import (
    DEFAULT_OPTIONS,
    NO_VALUE,
    CsvOptions,
    count_cells,
    how_to_mark_missing,
    is_number,
    labels_there,
    plain_cells,
    plain_marks,
    text_of_dates,
)
from isthmus.data.formats.csv_text import (
    as_utf8,
    check_header,
    check_no_row,
    skip_to_header,
    without_nameless,
)
from isthmus.data.notation import misread_numbers
from isthmus.data.places import SourceFile, Where, describe_row
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data.schema import Schema

# Arrow infers types from its first block, so the block should be the whole file.
_LARGEST_BLOCK = 2**31 - 1
#: Last line that a header below a title is in, and lines that an error names.
_MAX_TITLE, _MAX_NAMED = 30, 5
#: From so many columns on, threads, which take a column each, cost more than they gain.
_MANY_COLUMNS = 1000
_NONE: Mapping[str, Collection[str]] = {}


class CsvFile:
    """The content of a CSV file, compressed or not, with a header line.

    The separator is the first of comma, semicolon, tab and bar that parts the header and the first
    lines alike; a first line such as `sep=;` states it. Lines above the header that begin with `#`
    are comments.

    Parameters
    ----------
    path : Path or str
        The file, or what to call the content in an error.
    content : bytes, optional
        Not compressed; nothing is read from disk then.
    options : CsvOptions

    Raises
    ------
    DataError
        When the file is empty, in another encoding, or its header is not one.
    """

    def __init__(
        self, path: Path | str, content: bytes | None = None, options: CsvOptions = DEFAULT_OPTIONS
    ) -> None:
        self.path, self.options = path, options
        #: Cells that each of `options.na` stands for, and columns that the other options read.
        self.matched: dict[str, Any] = {}
        if content is None:
            content = decompress(read_bytes(Path(path)), path)
        content = as_utf8(content, path, options.encoding)
        self._content, self._skipped_lines, self.separator = skip_to_header(content, path)
        header = next(self._records(), None)
        if header is None:
            raise DataError(f"{path} is empty; expected a header line and rows of numbers")
        self._header = header[1]
        self.names = [name.strip() for name in self._header]
        check_header(self.names, path)

    def table(
        self,
        text: Collection[str] = (),
        verbatim: Collection[str] = (),
        *,
        present: Mapping[str, Collection[str]] = _NONE,
        as_written: bool = True,
    ) -> Any:
        """Return a pyarrow Table with the header's names.

        Parameters
        ----------
        text : collection of str
            Columns whose cells are left as they are written, unless they say "missing".
        verbatim : collection of str
            Columns whose cells are left as they are written, `NA` too; empty cells are missing.
        present : mapping of str to collection of str
            Of columns of `text`, the cells that are values there though they are among `NO_VALUE`.
        as_written : bool
            Leave all columns that do not hold numbers alone as they are written; otherwise those
            of dates and of truth values are converted too. A date in the format of the options is
            always converted.

        Raises
        ------
        DataError
            When there are no rows, or a row is longer or shorter than the header.
        """
        import pyarrow as pa
        from pyarrow import compute

        records = self._records()
        next(records)
        if next(records, None) is None:
            raise DataError(f"{self.path} holds a header and no rows; expected rows of numbers")
        self._check_quotes()

        read, raw = self._read, self._raw_names
        text, verbatim = (sorted(raw.keys() & names) for names in (text, verbatim))
        try:
            truths: dict[str, Any] = {"true_values": [], "false_values": []} if as_written else {}
            left = self.names if self.options.converts else [*text, *verbatim]
            table = read(left, **truths).rename_columns(self.names)
            for option in self.options.given:
                if option == "na":
                    others = [raw[name] for name in self.names if name not in verbatim]
                    cells = read(self.names, include_columns=others, null_values=[])
                    self.matched["na"] = count_cells(cells, self.options.na)
                elif option != "encoding":
                    self.matched[option] = 0
            # Arrow recognises dates and times of day whatever it is asked for.
            dates = [f.name for f in table.schema if as_written and pa.types.is_temporal(f.type)]
            whole = [field.name for field in table.schema if pa.types.is_integer(field.type)]
            again: list[tuple[list[str], dict[str, Any]]] = [(dates, {})]
            if whole and b"0x" in self._content.lower():  # Arrow reads 0x10 as 16, but not by 1.5
                cells = read(whole, include_columns=[raw[name] for name in whole])
                hexadecimal = [compute.match_substring_regex(one, "[xX]") for one in cells.columns]
                found = [compute.any(one).as_py() for one in hexadecimal]
                again.append(([*itertools.compress(whole, found)], {}))
            again.append((verbatim, {"null_values": [""]}))
            columns, place = table.columns, {name: at for at, name in enumerate(self.names)}
            for name in text:
                values = set(present.get(name, ())) - set(self.options.na)
                if not values.isdisjoint(NO_VALUE):
                    missing = [*(set(NO_VALUE) - values), *self.options.na]
                    again.append(([name], {"null_values": missing}))
            for names, missing_cells in again:
                if not names:
                    continue
                included = [raw[name] for name in names]
                read_again = read(names, include_columns=included, **missing_cells)
                for name, column in zip(names, read_again.columns, strict=True):
                    columns[place[name]] = column
        except pa.ArrowInvalid as error:
            raise self._ragged(error) from error
        as_text = {*text, *verbatim}
        for at, name in enumerate(self.names):
            if name and name not in as_text:
                column = self._in_other_marks(columns[at], name)
                columns[at] = self._without_na(columns[at] if column is None else column)
        return pa.table(columns, names=self.names)

    def cells(self, name: str) -> pd.Series:
        """Return the cells of a column as they are written."""
        found = self._read([name], include_columns=[self._raw_names[name]], null_values=[])
        return arrow_to_frame(found.rename_columns([name]))[name]

    @property
    def _raw_names(self) -> dict[str, str]:
        """The names in the header by those without spaces around them."""
        return dict(zip(self.names, self._header, strict=True))

    def _read(self, as_text: Collection[str], **options: Any) -> Any:
        """Return a pyarrow Table, its columns called as in the header."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        raw = self._raw_names
        options["column_types"] = {raw[name]: pa.string() for name in as_text}
        options.setdefault("null_values", [*NO_VALUE, *self.options.na])
        return arrow_csv.read_csv(
            pa.BufferReader(self._content),
            read_options=arrow_csv.ReadOptions(
                block_size=min(len(self._content) + 1, _LARGEST_BLOCK),
                use_threads=len(self.names) < _MANY_COLUMNS,
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True, **options),
        )

    def warnings(self, frame: pd.DataFrame, *, fitting: bool) -> list[str]:
        """Return a warning about each option that applies to nothing, and about misread numbers.

        Where a column's type is decided already, not `fitting`, a cell that is written in another
        way is an error, and a short file may well hold none; a missing value is a number then.
        """
        cells = {f"na={one!r}": n for one, n in self.matched.get("na", {}).items()}
        values, found = self.options.notation, self.matched
        columns = {f"{one}={values[one]!r}": n for one, n in found.items() if one != "na"}
        start = self._content[: 2**16]
        misread = misread_numbers(frame, self.cells, start, self.options, fitting=fitting)
        return [f"{self.path}: {one}" for one in misread] + [
            f"{self.path}: {option} applies to none of its {what}; check how the file writes it, "
            "or leave it out"
            for what, counts in (("cells", cells), ("columns", columns))
            for option, n in counts.items()
            if not n and (fitting or what == "cells")
            # thousands="." needs decimal=",", also in a column of whole numbers.
            if not (option == "decimal=','" and found.get("thousands"))
        ]

    def _without_na(self, column: Any) -> Any:
        """Return a column of numbers without those that stand for a missing value."""
        import pyarrow as pa
        from pyarrow import compute

        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            return column
        for text in self.options.na:
            plain = text.strip().replace(self.options.decimal, ".")
            if not is_number(plain):
                continue
            try:
                number = pa.scalar(float(plain)).cast(column.type)
            except pa.ArrowInvalid:  # no such value in a column of integers
                continue
            found = compute.fill_null(compute.equal(column, number), False)
            if n := compute.sum(found).as_py():
                self.matched["na"][text] += n
                column = compute.if_else(found, pa.scalar(None, column.type), column)
        return column

    def _in_other_marks(self, column: Any, name: str) -> Any:
        """Return a column of text as the options read it; None where they do not apply to it.

        Raises
        ------
        DataError
            When a point in a number may be the decimal mark or part thousands.
        """
        import pyarrow as pa
        from pyarrow import compute

        if column.null_count == len(column):
            return None
        half = (len(column) - column.null_count) / 2
        if self.options.date_format is not None and (text := text_of_dates(column)) is not None:
            dates, found = self.options.dates_in(text)
            enough = half if text is column else 2 * half
            self.matched["date_format"] += int(found.sum() >= enough)
            if found.sum() == 2 * half:
                return pa.chunked_array([pa.Array.from_pandas(dates)])
            if text is not column and found.sum() >= half:
                raise self._no_date(name, text, found)
        if not pa.types.is_string(column.type) or not self.options.converts:
            return None
        thousands, decimal = self.options.thousands, self.options.decimal
        given = plain_cells(column)
        plain, grouped = self.options.without_marks(given)
        try:
            numbers = compute.replace_substring(plain, decimal, ".").cast("float64")
        except pa.ArrowInvalid:
            found = self.options.numbers_in(column)
            if found.sum() >= half:  # an error names the others, where the column is used
                self._count_columns(given.filter(pa.array(found)))
            return None
        # A point in a number is its decimal mark where it cannot part thousands.
        if thousands == ".":
            mixed = compute.any(grouped).as_py()
            pattern = r"\." if mixed else "$^"
        else:
            pattern = r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$"
        row = compute.index(compute.match_substring_regex(plain, pattern), True).as_py()
        if row >= 0 and decimal != ".":
            raise self._ambiguous(name, row, given[row].as_py())
        self._count_columns(given)
        return numbers

    def _count_columns(self, cells: Any) -> None:
        """Count a column, whose numbers are `cells`, for each option that applies to it."""
        from pyarrow import compute

        thousands = plain_marks(self.options.thousands or "")
        marks = {"decimal": (self.options.decimal,), "thousands": (thousands,)}
        for option, texts in (marks | {"unit": self.options.unit}).items():
            if option in self.matched:
                has = (compute.any(compute.match_substring(cells, text)) for text in texts)
                self.matched[option] += int(any(one.as_py() for one in has))

    def _no_date(self, name: str, cells: Any, found: np.ndarray) -> DataError:
        """Return the error about the first whole number that is no date among others that are."""
        row = int(np.flatnonzero(~found & cells.is_valid().to_numpy())[0])
        cell = cells[row].as_py()
        return DataError(
            f"column {name!r} of {self.path} holds {cell!r} in "
            f"{describe_row(row, self.line(row))}, which is no date in the format "
            f"{self.options.date_format!r}, as other rows are; correct it, or "
            f"{how_to_mark_missing(self.options, cell)} if it is missing; if these are names, "
            f"pass category=[{name!r}] (on the command line --category {shlex.quote(name)})"
        )

    def _ambiguous(self, name: str, row: int, cell: str) -> DataError:
        either = f"{cell.replace('.', '')} or {float(cell):g}"
        fix = (
            "where the point parts thousands pass thousands='.' (on the command line "
            f"--thousands .), otherwise write {cell.replace('.', self.options.decimal)}"
        )
        if self.options.thousands is not None:
            fix = f"write it with the decimal mark {self.options.decimal!r}"
        return DataError(
            f"column {name!r} of {self.path} holds {cell!r} in "
            f"{describe_row(row, self.line(row))}, which may be {either} with "
            f"decimal={self.options.decimal!r}; {fix}; pass category=[{name!r}] (--category) if "
            "these are names"
        )

    def frame(
        self,
        text: Collection[str] = (),
        verbatim: Collection[str] = (),
        *,
        present: Mapping[str, Collection[str]] = _NONE,
        as_written: bool = True,
    ) -> pd.DataFrame:
        """Return the rows, see `table`."""
        table = self.table(text, verbatim, present=present, as_written=as_written)
        return arrow_to_frame(without_nameless(table, self.path))

    def line(self, row: int) -> int | None:
        """Return the line that the given data row (from 0) begins on (from 1)."""
        for position, (line, _) in enumerate(self._records()):
            if position == row + 1:
                return line
        return None

    def _check_quotes(self) -> None:
        """Refuse a quote that is never closed: all rows behind it would be one cell."""
        if self._content.count(b'"') % 2 == 0:
            return
        line, record = deque(self._records(after=["end"]), maxlen=1)[0]
        if record != ["end"]:
            raise DataError(
                f"a cell of the row in line {line} of {self.path} opens with a double quote "
                "that is not closed before the end of the file; close it, or take it away"
            )

    def _records(self, after: Sequence[str] = ()) -> Iterator[tuple[int, list[str]]]:
        """Yield each record that is not blank, with the line it begins on, then `after`."""
        text = TextIOWrapper(BytesIO(self._content), "utf-8", newline="")
        reader = csv.reader(itertools.chain(text, after), delimiter=self.separator)
        begins = self._skipped_lines + 1
        try:
            for record in reader:
                if record:
                    yield begins, record
                begins = self._skipped_lines + reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"cannot read {self.path} near line {begins}: {error}; write it again as CSV"
            ) from error

    def _ragged(self, error: Exception) -> DataError:
        expected = len(self.names)
        records = []
        names_of: dict[int, int] = {}  # by number of values, the first line of names alone
        for line, record in self._records():
            records.append((line, len(record)))
            if not any(is_number(cell) for cell in record):
                names_of.setdefault(len(record), line)
        odd = [(line, n) for line, n in records if n != expected]
        if odd:
            line, n = odd[0]
            has = f"line {line} of {self.path} has {n} value{'s' * (n != 1)}, expected {expected} "
            [(usual, n_usual)] = Counter(n for _, n in records).most_common(1)
            header = names_of.get(usual, _MAX_TITLE)
            if usual > expected and 2 * n_usual > len(records) and header < _MAX_TITLE:
                return DataError(
                    f"{has}as in line {records[0][0]}; delete the lines above the header, which "
                    f"seems to be line {header}"
                )
            others = ", ".join(str(line) for line, _ in odd[1:_MAX_NAMED])
            others += ", ..." * (len(odd) > _MAX_NAMED)
            more = f"; others have lines {others} ({len(odd):,} in all)" if len(odd) > 1 else ""
            one = " (where each is one cell, put a first line sep=; above the header)"
            return DataError(
                f"{has}as in the header{more}; mend the line{'s' * (len(odd) > 1)}"
                f"{one if expected == 1 else ''}"
            )
        reason = str(error).splitlines()[0]
        return DataError(f"cannot read {self.path} as CSV: {reason}; write it again as CSV")


def read_csv_file(
    path: Path | str,
    content: bytes | None = None,
    *,
    label: str | None = None,
    normal: str | None = None,
    keys: Sequence[str] = (),
    text: Sequence[str] = (),
    schema: Schema | None = None,
    as_written: bool = True,
    features: Collection[str] | None = None,
    fitting: bool = True,
    options: CsvOptions = DEFAULT_OPTIONS,
) -> tuple[pd.DataFrame, Where]:
    """Read a CSV file with a header line, compressed or not; or content that lies in memory.

    Parameters
    ----------
    path : Path or str
        The file, or what to call the content in an error.
    content : bytes, optional
        Not compressed.
    label : str, optional
        Column of labels, whose cells stay as they are written.
    normal : str, optional
        The label that means normal, see `labels_there`.
    keys : sequence of str
        Columns whose cells stay as they are written, `NA` too.
    text : sequence of str
        Other columns whose cells stay as they are written.
    schema : Schema, optional
        Of the model that the rows are for: columns that are no numbers by it are left as they are
        written, those it does not have are taken for keys, and a text such as `NA` is no missing
        value where it is a category of the column.
    as_written : bool
        Whether without a schema too only numbers are converted; otherwise dates and truth values
        are.
    features : collection of str, optional
        Columns that something is learned of; numbers that were misread are looked for in these
        alone. By default all.
    fitting : bool
        Whether no model has fixed yet what a column holds, as a schema does.
    options : CsvOptions

    Returns
    -------
    frame : DataFrame
        Numbers where a column holds nothing else, and text.
    where : callable
        Puts a row number (from 0) into words, with the line of the file.

    Raises
    ------
    DataError
        When the file is empty, ragged or in another encoding, or a column has no name.
    """
    file = CsvFile(path, content, options)
    text, verbatim = list(text), [*keys, *([] if label is None else [label])]
    present: dict[str, Collection[str]] = {}
    if schema is not None and schema.columns is not None:
        types = dict(zip(schema.columns, schema.types, strict=True))
        text += [name for name, column in types.items() if column.type in ("category", "boolean")]
        verbatim += [name for name in file.names if name not in types]
        present |= {name: column.texts for name, column in types.items()}
    read = file.frame(text, verbatim, present=present, as_written=as_written)
    frame = check_no_row(read, path, file.line)
    if label in frame and label not in keys:
        for one in options.na:
            file.matched["na"][one] += int((frame[label] == one).sum())
        frame[label] = labels_there(frame[label], path, normal, options.na)
    held, matched = None if content is None else file, file.matched
    learned = frame if features is None else frame[[one for one in frame if one in features]]
    for message in file.warnings(learned, fitting=fitting and schema is None):
        warnings.warn(message, stacklevel=2)

    def again(read: Callable[[CsvFile], Any]) -> Any:
        try:  # the file once more, whose text is not held in memory
            return read(held or CsvFile(path, options=options))
        except (DataError, OSError):  # it is there no longer
            return None

    def line(row: int) -> int | None:
        return again(lambda now: now.line(row))

    def cells(name: str) -> pd.Series | None:
        return again(lambda now: now.cells(name) if name in now.names else None)

    return frame, SourceFile(line, {"applied": matched} if matched else None, options, cells)
