"""A CSV file into an Arrow table, and a row back to its line in the file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

from isthmus.data._bytes import gunzip, read_bytes
from isthmus.errors import DataError

# Arrow infers types from its first block, so the block should be the whole file.
_LARGEST_BLOCK = 2**31 - 1


class CsvFile:
    """The content of a CSV file, gzipped or not, with a header line.

    The separator is a comma; when the header has none, whichever of semicolon, tab and
    bar it has.

    Parameters
    ----------
    path : Path or str
        The file, or what to call the content in an error.
    content : bytes, optional
        Not gzipped; nothing is read from disk then.

    Raises
    ------
    DataError
        When the file is empty, not UTF-8, or its header is not one.
    """

    def __init__(self, path: Path | str, content: bytes | None = None) -> None:
        self.path = path
        self._content = gunzip(read_bytes(Path(path)), path) if content is None else content
        self._check_encoding()
        first_line = self._content.lstrip(b"\xef\xbb\xbf\r\n").split(b"\n", 1)[0]
        self.separator = _separator(first_line.decode("utf-8"))
        header = next(self._records(), None)
        if header is None:
            raise DataError(f"{path} is empty; expected a header line and rows of numbers")
        self.names = [name.strip() for name in header[1]]
        self._check_header()

    def table(self) -> Any:
        """Return a pyarrow Table with the header's names.

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
        block = min(len(self._content) + 1, _LARGEST_BLOCK)
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(self._content),
                read_options=arrow_csv.ReadOptions(block_size=block),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.separator, newlines_in_values=True
                ),
                convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True),
            )
        except pa.ArrowInvalid as error:
            raise self._ragged(error) from error
        return table.rename_columns(self.names)

    def line(self, row: int) -> int | None:
        """Return the line that the given data row (from 0) begins on (from 1)."""
        for position, (line, _) in enumerate(self._records()):
            if position == row + 1:
                return line
        return None

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record that is not blank, with the line it begins on."""
        text = TextIOWrapper(BytesIO(self._content), "utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=self.separator)
        begins = 1
        try:
            for record in reader:
                if record:
                    yield begins, record
                begins = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"cannot read {self.path} near line {begins}: {error}; write it again as CSV"
            ) from error

    def _check_encoding(self) -> None:
        try:
            if not self._content.isascii():
                self._content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self._content.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{self.path} is not UTF-8 text: byte 0x{self._content[error.start]:02x} in "
                f"line {line}; save it again as UTF-8"
            ) from error

    def _check_header(self) -> None:
        named = [name for name in self.names if name]
        if named and all(_is_number(name) for name in named) and not _are_counts(named):
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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_counts(names: list[str]) -> bool:
    """Tell numbered columns (0, 1, 2 ... or 1990, 1991 ...) from a row of data."""
    return all(name.isdecimal() for name in names) and len(set(names)) == len(names)
