"""Tables: CSV and Parquet files and DataFrames into features and labels."""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import gunzip, read_bytes
from isthmus.data.column_types import Place, Where, recognise
from isthmus.data.columns import check_no_infinity, match_columns
from isthmus.data.dataset import Dataset
from isthmus.data.labels import labels_from_text
from isthmus.data.schema import Schema, check_names
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
            of dates and of truth values are converted too.

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
            table = read([*text, *verbatim], **truths).rename_columns(self.names)
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
        return table

    def frame(
        self,
        text: Collection[str] = (),
        verbatim: Collection[str] = (),
        *,
        as_written: bool = True,
    ) -> tuple[pd.DataFrame, Where]:
        """Return the rows, and what puts a row number (from 0) into words, see `table`."""

        def where(row: int) -> str:
            line = self.line(row)
            return f"row {row + 1}" if line is None else f"row {row + 1} (line {line} of the file)"

        table = self.table(text, verbatim, as_written=as_written)
        return arrow_to_frame(_without_nameless(table, self.path)), where

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


def read_csv_file(
    path: Path | str,
    content: bytes | None = None,
    *,
    label: str | None = None,
    keys: Sequence[str] = (),
    schema: Schema | None = None,
    as_written: bool = True,
) -> tuple[pd.DataFrame, Where]:
    """Read a CSV file with a header line, gzipped or not; or content that lies in memory.

    Parameters
    ----------
    path : Path or str
        The file, or what to call the content in an error.
    content : bytes, optional
        Not gzipped.
    label : str, optional
        Column of labels, whose cells stay as they are written.
    keys : sequence of str
        Columns whose cells stay as they are written, `NA` too.
    schema : Schema, optional
        Of the model that the rows are for: columns that are no numbers by it are left as they are
        written, and those it does not have are taken for keys.
    as_written : bool
        Whether without a schema too only numbers are converted; otherwise dates and truth values
        are.

    Returns
    -------
    frame : DataFrame
        Numbers where a column holds nothing else, and text.
    where : callable
        Puts a row number (from 0) into words, with the line of the file.

    Raises
    ------
    DataError
        When the file is empty, ragged or not UTF-8, or a column has no name.
    """
    file = CsvFile(path, content)
    text, verbatim = ([] if label is None else [label]), list(keys)
    if schema is not None and schema.columns is not None:
        types = dict(zip(schema.columns, schema.types, strict=True))
        text += [name for name, column in types.items() if column.type != "number"]
        verbatim += [name for name in file.names if name not in types and name != label]
    return file.frame(text, verbatim, as_written=as_written)


def read_parquet_file(path: Path) -> pd.DataFrame:
    """Read a Parquet file.

    Raises
    ------
    DataError
        When the file is damaged or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot read {path} as Parquet: {reason}; write it again") from error
    return arrow_to_frame(table)


def arrow_to_frame(table: Any) -> pd.DataFrame:
    """Turn an Arrow table into a DataFrame that keeps types where values are missing."""
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            column = table.column(position).cast(pa.float64())
            table = table.set_column(position, field.name, column)
    return table.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)


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


def load_csv(
    path: Path,
    label: str | None = None,
    *,
    keys: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    schema: Schema | None = None,
) -> Dataset:
    """Load a CSV file with a header line, gzipped or not.

    Empty cells and `NA`, `NaN`, `null` count as missing. A nameless first column that only
    numbers the rows, as pandas writes its index, is left out, and so is a nameless column
    that is empty.

    Parameters
    ----------
    path : Path
    label : str or None
        Column that holds the labels.
    keys, columns, drop, schema
        See `dataset_from_frame`. Keys, labels and the columns that are no numbers by the schema
        are read as they are written.

    Raises
    ------
    DataError
        See `dataset_from_frame`; also when the file is empty, ragged or not UTF-8.
    """
    frame, where = read_csv_file(path, label=label, keys=keys, schema=schema)
    options: dict[str, Any] = {"keys": keys, "columns": columns, "drop": drop, "schema": schema}
    return dataset_from_frame(frame, label, path.name, source=path, where=where, **options)


def load_parquet(
    path: Path,
    label: str | None = None,
    *,
    keys: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    schema: Schema | None = None,
) -> Dataset:
    """Load a Parquet file.

    Parameters
    ----------
    path : Path
    label : str or None
        Column that holds the labels.
    keys, columns, drop, schema
        See `dataset_from_frame`.

    Raises
    ------
    DataError
        See `dataset_from_frame`; also when the file is damaged or not Parquet.
    """
    frame = read_parquet_file(path)
    options: dict[str, Any] = {"keys": keys, "columns": columns, "drop": drop, "schema": schema}
    return dataset_from_frame(frame, label, path.name, source=path, **options)


def read_table(path: Path) -> pd.DataFrame:
    """Read a `.csv`, `.tsv` or `.parquet` file as it is."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return read_parquet_file(path)
    return read_csv_file(path)[0]


def dataset_from_frame(
    frame: pd.DataFrame,
    label: str | None = None,
    name: str = "data",
    *,
    source: str | Path = "the table",
    where: Where = lambda row: f"row {row + 1}, counting from 1",
    keys: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    schema: Schema | None = None,
) -> Dataset:
    """Take labels, keys and features out of a DataFrame.

    Parameters
    ----------
    frame : DataFrame of shape (n, m)
    label : str or None
        Column that becomes `y`: of any dtype; missing ones stay as None or NaN.
    name : str
        Name of the data set.
    source : str or Path
        What to call the table in an error.
    where : callable
        Puts a row number (from 0) into words.
    keys : sequence of str
        Columns that identify the rows: no features, but carried along in `keys` as they are.
    columns : sequence of str, optional
        The features, in this order; by default all columns but label, keys and those of `drop`.
    drop : sequence of str
        Columns that are left out.
    schema : Schema, optional
        Of the model that the rows are for: its columns are read as it says, whatever they look
        like, and other columns are carried along like keys.

    Returns
    -------
    Dataset
        `X` is a DataFrame of the features. Without a schema, text that is all numbers, all true
        and false or all ISO dates has become that; other text stays as it is and is a
        category (see `isthmus.data.column_types`). Missing values stay missing.

    Raises
    ------
    DataError
        When there are no rows or no columns, two columns share a name, the label column
        does not exist, or a feature is infinite or holds a value unlike its others: the
        error names the column, the first row and the value.

    Examples
    --------
    >>> frame = pd.DataFrame({"width": ["1.5", "2"], "hue": ["red", None], "kind": ["a", "b"]})
    >>> data = dataset_from_frame(frame, label="kind")
    >>> [column.type for column in data.schema.types], list(data.y)
    (['number', 'category'], ['a', 'b'])
    """
    names = check_names(frame, str(source))
    if len(frame) == 0:
        raise DataError(f"{source} holds no rows; expected at least one")
    left_out = [str(column) for column in ([] if label is None else [label]) + [*keys, *drop]]
    for column in (*left_out, *(columns or ())):
        check_is_there(str(column), names, source)
    y = None if label is None else labels_from_text(frame.iloc[:, names.index(str(label))])
    features = [name for name in names if name not in left_out]
    if columns is not None:
        features = [str(column) for column in columns]
    if not features:
        raise DataError(f"{source} holds no columns of features; expected at least one")
    keys = [str(key) for key in keys]
    if schema is None or schema.columns is None:
        X = _typed(frame, names, features, source, where)
        schema = Schema.learn(X)
    else:
        keys += [name for name in features if name not in schema.columns]
        X = _typed_as_at_fit(frame, names, schema, source, where)
    carried = None
    if keys:
        carried = frame.iloc[:, [names.index(key) for key in keys]].reset_index(drop=True)
    return Dataset(X, y, schema, name=name, keys=carried)


def check_is_there(name: str, names: Sequence[str], source: str | Path) -> None:
    """Check that a table has a column.

    Raises
    ------
    DataError
        With the columns it has, and one of a similar name.
    """
    if name in names:
        return
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise DataError(f"{source} has no column {name!r}; {hint}it has {shown}")


def _typed(
    frame: pd.DataFrame,
    names: Sequence[str],
    features: Sequence[str],
    source: str | Path,
    where: Where,
) -> pd.DataFrame:
    """Return the features with dtypes that say what they hold; categories stay as they are."""
    typed = {}
    for name in features:
        at = names.index(name)
        column, place = frame.iloc[:, at], Place(name, str(source), where)
        type_, values = recognise(column, place)
        if type_ == "number":
            check_no_infinity(values.to_numpy(dtype=np.float64, na_value=np.nan), place)
        typed[frame.columns[at]] = column if type_ == "category" else values
    return pd.DataFrame(typed, index=frame.index)


def _typed_as_at_fit(
    frame: pd.DataFrame,
    names: Sequence[str],
    schema: Schema,
    source: str | Path,
    where: Where,
) -> pd.DataFrame:
    """Return the features of a schema: its numbers as such, all else as it is, but checked."""
    frame = match_columns(frame.set_axis(list(names), axis=1), names, schema.columns or ())
    typed = {}
    for name, column in zip(frame.columns, schema.types, strict=True):
        values = column.read(frame[name], Place(name, str(source), where))
        typed[name] = values if column.type == "number" else frame[name]
    return pd.DataFrame(typed, index=frame.index)
