"""CSV files: encodings, separators, decimal marks and missing values; text left as written."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from isthmus._core import decompress, read_bytes
from isthmus.data.column_types import RowsOfFile, Where, is_number
from isthmus.data.containers import arrow_to_frame
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data.schema import Schema

# Arrow infers types from its first block, so the block should be the whole file.
_LARGEST_BLOCK = 2**31 - 1
_CHARSET = "send UTF-8, or state the encoding: Content-Type: text/csv; charset=windows-1252"
#: Cells that stand for a missing value, as Arrow and pandas have them.
NO_VALUE = (
    *("", "NA", "N/A", "n/a", "NaN", "-NaN", "nan", "-nan", "NULL", "null"),
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
)


@dataclass(frozen=True)
class CsvOptions:
    """How numbers, dates and missing values are written in a CSV file.

    Attributes
    ----------
    decimal : str
        The decimal mark, "." or ",".
    thousands : str or None
        The mark between thousands, such as "," or ".".
    date_format : str or None
        Of dates other than ISO 8601, in the terms of `datetime.strptime`: "%d.%m.%Y".
    encoding : str or None
        Of the text; None is UTF-8, or UTF-16 where the file begins with its mark.
    na : tuple of str
        Further cells that stand for a missing value, such as "-999".

    Raises
    ------
    DataError
        When a mark is none, both are the same, or the encoding is unknown.
    """

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None
    encoding: str | None = None
    na: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "na", tuple(map(str, self.na)))
        for name in ("decimal", "thousands"):
            mark = getattr(self, name)
            if mark is not None and (len(mark) != 1 or mark.isalnum()):
                raise DataError(f"got {name}={mark!r}, expected one mark such as ',' or '.'")
        if self.decimal == self.thousands:
            raise DataError(
                f"got the mark {self.decimal!r} for decimals and for thousands, expected two "
                "different ones"
            )
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise DataError(
                    f"got encoding={self.encoding!r}, which is unknown; expected one such as "
                    "'cp1252', 'latin-1' or 'utf-16'"
                ) from error

    @property
    def given(self) -> list[str]:
        """Names of the options that are not the default."""
        return [one.name for one in fields(self) if getattr(self, one.name) != one.default]

    @property
    def converts(self) -> bool:
        """Whether numbers are written in another way than Arrow reads."""
        return self.decimal != "." or self.thousands is not None


class CsvFile:
    """The content of a CSV file, compressed or not, with a header line.

    The separator is a comma; when the header has none, whichever of semicolon, tab and bar it
    has; a first line such as `sep=;` states it. Lines above the header that begin with `#` are
    comments.

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
        self, path: Path | str, content: bytes | None = None, options: CsvOptions = CsvOptions()
    ) -> None:
        self.path, self.options = path, options
        if content is None:
            content = decompress(read_bytes(Path(path)), path)
        self._content = self._as_utf8(content)
        self._skipped_lines = 0
        self.separator = self._skip_to_header()
        header = next(self._records(), None)
        if header is None:
            raise DataError(f"{path} is empty; expected a header line and rows of numbers")
        self._header = header[1]
        self.names = [name.strip() for name in self._header]
        self._check_header()

    def table(
        self,
        text: Collection[str] = (),
        verbatim: Collection[str] = (),
        *,
        as_written: bool = True,
    ) -> Any:
        """Return a pyarrow Table with the header's names.

        Parameters
        ----------
        text : collection of str
            Columns whose cells are left as they are written, unless they say "missing".
        verbatim : collection of str
            Columns whose cells are left as they are written, `NA` too; empty cells are missing.
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
        from pyarrow import csv as arrow_csv

        records = self._records()
        next(records)
        if next(records, None) is None:
            raise DataError(f"{self.path} holds a header and no rows; expected rows of numbers")

        def read(as_text: Collection[str], **options: Any) -> Any:
            options["column_types"] = {raw[name]: pa.string() for name in as_text}
            options.setdefault("null_values", [*NO_VALUE, *self.options.na])
            return arrow_csv.read_csv(
                pa.BufferReader(self._content),
                read_options=arrow_csv.ReadOptions(
                    block_size=min(len(self._content) + 1, _LARGEST_BLOCK)
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.separator, newlines_in_values=True
                ),
                convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True, **options),
            )

        raw = dict(zip(self.names, self._header, strict=True))
        text, verbatim = (sorted(raw.keys() & names) for names in (text, verbatim))
        try:
            truths: dict[str, Any] = {"true_values": [], "false_values": []} if as_written else {}
            left = self.names if self.options.converts else [*text, *verbatim]
            table = read(left, **truths).rename_columns(self.names)
            # Arrow recognises dates and times of day whatever it is asked for.
            dates = [f.name for f in table.schema if as_written and pa.types.is_temporal(f.type)]
            for names, missing in ((dates, {}), (verbatim, {"null_values": [""]})):
                if not names:
                    continue
                columns = read(names, include_columns=[raw[name] for name in names], **missing)
                for name, column in zip(names, columns.columns, strict=True):
                    table = table.set_column(self.names.index(name), name, column)
        except pa.ArrowInvalid as error:
            raise self._ragged(error) from error
        for at, name in enumerate(self.names):
            if name and name not in text and name not in verbatim:
                column = self._in_other_marks(table.column(at))
                table = table if column is None else table.set_column(at, name, column)
        return table

    def _in_other_marks(self, column: Any) -> Any:
        """Return a column of text as the options read it; None where they do not apply to it."""
        import pyarrow as pa
        from pyarrow import compute

        if column.null_count == len(column):
            return None
        format_ = self.options.date_format
        if format_ is not None and (dates := _dates_in_format(column, format_)) is not None:
            return pa.chunked_array([pa.Array.from_pandas(dates)])
        if not pa.types.is_string(column.type) or not self.options.converts:
            return None
        plain = compute.utf8_trim_whitespace(column)
        if self.options.thousands is not None:
            mark = re.escape(self.options.thousands)
            # Without this check 1.50, or 17.05.2024, with the mark "." would be 150 and 17052024.
            grouped = compute.match_substring_regex(
                plain, rf"^[+-]?[1-9][0-9]{{0,2}}({mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}([^0-9]|$)"
            )
            marked = compute.match_substring(plain, self.options.thousands)
            if compute.any(compute.and_not(marked, grouped)).as_py():
                return None
            plain = compute.replace_substring(plain, self.options.thousands, "")
        try:
            return compute.replace_substring(plain, self.options.decimal, ".").cast("float64")
        except pa.ArrowInvalid:
            return None

    def frame(
        self,
        text: Collection[str] = (),
        verbatim: Collection[str] = (),
        *,
        as_written: bool = True,
    ) -> pd.DataFrame:
        """Return the rows, see `table`."""
        table = self.table(text, verbatim, as_written=as_written)
        return arrow_to_frame(_without_nameless(table, self.path))

    def line(self, row: int) -> int | None:
        """Return the line that the given data row (from 0) begins on (from 1)."""
        for position, (line, _) in enumerate(self._records()):
            if position == row + 1:
                return line
        return None

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record that is not blank, with the line it begins on."""
        text = TextIOWrapper(BytesIO(self._content), "utf-8", newline="")
        reader = csv.reader(text, delimiter=self.separator)
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

    def _as_utf8(self, content: bytes) -> bytes:
        encoding = self.options.encoding
        if encoding is None and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            encoding = "utf-16"
        try:
            if encoding is not None:
                content = content.decode(encoding).encode()
            elif not content.isascii():
                content.decode("utf-8")
        except UnicodeError as error:
            place = getattr(error, "start", 0)
            line = content.count(b"\n", 0, place) + 1
            if encoding is not None:
                raise DataError(
                    f"{self.path} is not {encoding} text ({error}); state its encoding with "
                    "encoding= (on the command line --encoding)",
                    request_fix=_CHARSET,
                ) from error
            raise DataError(
                f"{self.path} is not UTF-8 text: byte 0x{content[place]:02x} in line {line}; "
                "state its encoding, such as encoding='cp1252' of Windows in Western Europe (on "
                "the command line --encoding cp1252), or save it again as UTF-8",
                request_fix=_CHARSET,
            ) from error
        if b"\0" in content[:1000]:
            raise DataError(
                f"{self.path} holds zero bytes, which no CSV file in UTF-8 has; state its "
                "encoding, such as encoding='utf-16-le' (on the command line --encoding utf-16-le)",
                request_fix=_CHARSET,
            )
        return content.removeprefix(b"\xef\xbb\xbf")

    def _skip_to_header(self) -> str:
        """Leave out what stands above the header, and return the separator."""
        stated, comment = None, b""
        while self._content:
            first, _, rest = self._content.partition(b"\n")
            line = first.strip()
            if stated is None and line[:4].lower() == b"sep=" and len(line) == 5:
                stated = line[4:].decode()
            elif line.startswith(b"#"):
                comment = line
            elif line:
                break
            self._content, self._skipped_lines = rest, self._skipped_lines + 1
        above = self._content.partition(b"\n")[0].decode("utf-8")
        separator = _separator(above) if stated is None else stated
        # NumPy and loggers write the header as a comment too, above the first row of numbers.
        names = comment.decode("utf-8").lstrip("# ").split(separator)
        cells = above.strip().split(separator)
        if comment and len(names) == len(cells) and all(map(is_number, cells)):
            header = separator.join(names).encode()
            self._content = header + b"\n" + self._content
            self._skipped_lines -= 1
        return separator

    def _check_header(self) -> None:
        named = [name for name in self.names if name]
        if named and all(is_number(name) for name in named) and not _are_counts(named):
            raise DataError(
                f"the first line of {self.path} holds numbers where column names belong; "
                "put a line with the column names on top"
            )
        for name, count in Counter(named).items():
            if count > 1:
                raise DataError(
                    f"{self.path} has more than one column called {name!r}; give each its own name"
                )

    def _ragged(self, error: Exception) -> DataError:
        expected = len(self.names)
        for line, record in self._records():
            if len(record) != expected:
                values = "1 value" if len(record) == 1 else f"{len(record)} values"
                return DataError(
                    f"line {line} of {self.path} has {values}, expected {expected} "
                    "as in the header; mend the line"
                )
        reason = str(error).splitlines()[0]
        return DataError(f"cannot read {self.path} as CSV: {reason}; write it again as CSV")


def _separator(header: str) -> str:
    if "," in header:
        return ","
    counts = {mark: header.count(mark) for mark in ";\t|"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _are_counts(names: list[str]) -> bool:
    """Tell numbered columns (0, 1, 2 ... or 1990, 1991 ...) from a row of data."""
    return all(name.isdecimal() for name in names) and len(set(names)) == len(names)


def _dates_in_format(column: Any, format_: str) -> pd.Series | None:
    """Return a column as dates where all of its values are in the format; otherwise None.

    Whole numbers are dates only where they have the digits of a day, as 20240517 has.
    """
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_integer(column.type):
        column = column.cast("string")
    if not pa.types.is_string(column.type):
        return None
    if compute.any(compute.match_substring_regex(column, "^[0-9]{1,7}$")).as_py():
        return None
    cells = pd.Series(column.to_pylist(), dtype=object)
    dates = pd.to_datetime(cells, format=format_, errors="coerce")
    return None if dates.isna().sum() > column.null_count else dates


def _without_nameless(table: Any, path: Path | str) -> Any:
    keep = []
    for position, name in enumerate(table.column_names):
        if name:
            keep.append(position)
            continue
        column = table.column(position)
        if column.null_count == table.num_rows:
            continue
        if position == 0 and column.to_pylist() == list(range(table.num_rows)):
            continue
        raise DataError(f"column {position + 1} of {path} has no name; give it one in the header")
    return table.select(keep)


def read_csv_file(
    path: Path | str,
    content: bytes | None = None,
    *,
    label: str | None = None,
    keys: Sequence[str] = (),
    text: Sequence[str] = (),
    schema: Schema | None = None,
    as_written: bool = True,
    options: CsvOptions = CsvOptions(),
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
    keys : sequence of str
        Columns whose cells stay as they are written, `NA` too.
    text : sequence of str
        Other columns whose cells stay as they are written.
    schema : Schema, optional
        Of the model that the rows are for: columns that are no numbers by it are left as they are
        written, and those it does not have are taken for keys.
    as_written : bool
        Whether without a schema too only numbers are converted; otherwise dates and truth values
        are.
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
    text, verbatim = [*text, *([] if label is None else [label])], list(keys)
    if schema is not None and schema.columns is not None:
        types = dict(zip(schema.columns, schema.types, strict=True))
        text += [name for name, column in types.items() if column.type in ("category", "boolean")]
        verbatim += [name for name in file.names if name not in types and name != label]
    frame = file.frame(text, verbatim, as_written=as_written)
    held = None if content is None else file

    def line(row: int) -> int | None:
        try:  # the file once more, whose text is not held in memory
            return (held or CsvFile(path, options=options)).line(row)
        except (DataError, OSError):  # it is there no longer
            return None

    return frame, RowsOfFile(line)
