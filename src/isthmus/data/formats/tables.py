"""Tables: files of every format and DataFrames into features, labels and keys."""

from __future__ import annotations

import functools
import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import (
    check_archive,
    decompress,
    parquet_file,
    read_bytes,
    read_parquet,
    reading,
    require,
)
from isthmus.data.array_checks import check_no_infinity
from isthmus.data.column_types import recognise
from isthmus.data.columns import Column, holds_numbers, match_columns
from isthmus.data.containers import arrow_to_frame, column_of_objects
from isthmus.data.csv_options import NO_VALUE, CsvOptions, labels_there
from isthmus.data.dataset import Dataset
from isthmus.data.formats.csv_files import read_csv_file
from isthmus.data.formats.csv_text import NO_NAME, check_header, check_no_row
from isthmus.data.labels import labels_from_text
from isthmus.data.places import ColumnErrors, Place, SourceFile, Where, describe_row, quote
from isthmus.data.schema import Schema, check_is_there, check_names
from isthmus.errors import DataError, DataWarning


def read_parquet_file(path: Path, is_exact: Callable[[str], bool] | None = None) -> pd.DataFrame:
    """Read a Parquet file.

    Parameters
    ----------
    path : Path
    is_exact : callable, optional
        Whether a column is one of the `exact` ones of `arrow_to_frame`. Default: none is.

    Raises
    ------
    DataError
        When the file is damaged or not Parquet.
    """
    with reading(f"{path} as Parquet"):
        return _exactly(read_parquet(path), is_exact)


def _exactly(table: Any, is_exact: Callable[[str], bool] | None) -> pd.DataFrame:
    exact = [] if is_exact is None else [name for name in table.schema.names if is_exact(name)]
    return arrow_to_frame(table, exact)


def is_table_file(path: Path) -> bool:
    """Return whether a file is a table by its name, such as `.csv`, `.csv.zst` or `.parquet`."""
    return _is_csv(path) or path.suffix.lower() in (*_PARQUET, *_READERS)


def _is_csv(path: Path) -> bool:
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith((".csv", ".tsv"))


def read_table(
    path: Path,
    *,
    label: str | None = None,
    normal: Any = None,
    keys: Sequence[str] = (),
    text: Sequence[str] = (),
    schema: Schema | None = None,
    csv: CsvOptions | None = None,
    **of_csv: Any,
) -> tuple[pd.DataFrame, Where]:
    """Read the file of a table.

    Parameters
    ----------
    path : Path
        For which `is_table_file` is true.
    label, keys, text, schema, **of_csv
        See `read_csv_file`; other formats hold types of their own.
    normal : str, int, float, bool or None
        The label that means normal, which is a label even where it reads `NA` or the like.
    csv : CsvOptions, optional

    Returns
    -------
    frame : DataFrame
    where : callable
        Puts a row number (from 0) into words.

    Raises
    ------
    DataError
        When the file is damaged, or options for CSV stand beside another format.
    DependencyError
        When a library for the format is not installed.
    """
    meant = normal if isinstance(normal, str) else None
    if _is_csv(path):
        return read_csv_file(
            path,
            label=label,
            normal=meant,
            keys=keys,
            text=text,
            schema=schema,
            options=csv or CsvOptions(),
            **of_csv,
        )
    if csv is not None and csv.given:
        raise DataError(
            f"got {csv.given[0]}=, which is for CSV files, and {path} is none; leave it out"
        )
    suffix = path.suffix.lower()
    of_model = None if schema is None or schema.columns is None else {*schema.columns, label}

    def is_exact(name: str) -> bool:  # what is carried along, and no feature
        return name != label and (name in keys or (of_model is not None and name not in of_model))

    if suffix in _PARQUET:
        frame = read_parquet_file(path, is_exact)
    elif suffix == ".feather":
        with reading(path, fix="write it again"):
            frame = _read_feather(path, is_exact)
    elif suffix == ".xlsx":
        with reading(path, fix="write it again"):
            frame = _read_excel(path, schema, label, is_exact)
        if label in frame:
            frame[label] = labels_there(frame[label], path, meant)
    else:
        with reading(path, fix="write it again"):
            frame = _READERS[suffix](path)
    if suffix in _JSON_LINES:
        return frame, SourceFile(functools.partial(_line_of_json, path))
    return frame, describe_row


def _read_excel(
    path: Path,
    schema: Schema | None = None,
    label: str | None = None,
    is_exact: Callable[[str], bool] = lambda name: False,
) -> pd.DataFrame:
    require("openpyxl", extra="excel", purpose="Excel files")
    check_archive(path)
    with pd.ExcelFile(path, engine="openpyxl") as book:
        sheet, *others = [one.title for one in book.book.worksheets]
        frame = pd.read_excel(book, dtype=object, na_filter=False)  # an empty cell is ""
        tops = [pd.read_excel(book, one, header=None, nrows=1) for one in (sheet, *others)]
    frame.columns = heads = [*map(str, frame)]
    unread = [one for one, row in zip(others, tops[1:], strict=True) if not row.empty]
    if unread:
        text = f"{path}: the sheet {sheet!r} is read, and not {', '.join(map(repr, unread[:5]))}; "
        warnings.warn(text + "save the one that is meant as a file of its own", DataWarning, 3)
    columns = [] if schema is None or schema.columns is None else schema.columns
    types: dict[str, Column] = dict(zip(columns, schema.types if schema else (), strict=False))
    for row in tops[0].values:
        names = [str(name).strip() for name in row[pd.notna(row)]]
        if types.keys() <= {*names}:  # else of a model that was fitted before this was refused
            check_header(names, path)
    nameless = [name for name in heads if name.startswith("Unnamed: ") and name not in types]
    if 2 * len(nameless) > len(heads):
        raise DataError(
            f"the first row of {path} names {len(heads) - len(nameless)} of {len(heads)} columns, "
            "expected the header; delete the rows above it, such as a title"
        )
    counts, cells = [[*range(at, len(frame) + at)] for at in (0, 1)], dict[str, Any]()
    for at, name in enumerate(heads):  # as in a CSV file
        if name in nameless and name != label:
            written = frame[name].tolist()
            if any(one != "" for one in written) and not (at == 0 and written in counts):
                raise DataError(f"column {at + 1} of {path} {NO_NAME}")
            continue
        values = types[name].texts if name in types else ()
        # Of what is carried along, only an empty cell is missing.
        as_text = name == label or is_exact(name)
        missing = {"", *(() if as_text else NO_VALUE)}.difference(values)
        cells[name] = column_of_objects(
            [None if isinstance(one, str) and one in missing else one for one in frame[name]]
        )
    return check_no_row(pd.DataFrame(cells), path)


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in _lines_of_json(path):
        with reading(f"line {number} of {path} as JSON", fix="correct the line"):
            row = json.loads(line)
        if not isinstance(row, dict):
            raise DataError(
                f"line {number} of {path} holds {quote(row)}, expected an object such as "
                '{"width": 1.5}; mend the line'
            )
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(
        {name: column_of_objects([row.get(name) for row in rows]) for name in names}
    )


def _lines_of_json(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    content = decompress(read_bytes(path), path)
    with reading(path, fix="save it as UTF-8"):
        text = content.decode("utf-8-sig")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _line_of_json(path: Path, row: int) -> int | None:
    try:
        return next(itertools.islice(_lines_of_json(path), row, None), (None, ""))[0]
    except (DataError, OSError):  # the file is there no longer
        return None


def _read_feather(path: Path, is_exact: Callable[[str], bool] | None = None) -> pd.DataFrame:
    import pyarrow.feather

    table = pyarrow.feather.read_table(path)
    # Offsets and indices are taken from the file as they are, and lead anywhere in memory.
    table.validate(full=True)
    return _exactly(table, is_exact)


_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_PARQUET = (".parquet", ".pq")
_JSON_LINES = (".jsonl", ".ndjson")
_READERS = {
    ".xlsx": _read_excel,
    **dict.fromkeys(_JSON_LINES, _read_json_lines),
    ".feather": _read_feather,
}


def image_column(path: Path) -> str | None:
    """Return the column of a Parquet file that holds images, as Hugging Face writes them.

    Returns
    -------
    str or None
        The first whose values have `bytes` and `path`; None when there is none.
    """
    if path.suffix.lower() not in _PARQUET:
        return None
    try:
        with reading(path), parquet_file(path) as file:
            return find_image_column(file.schema_arrow)
    except DataError:
        return None  # an error when it is read as a table


def find_image_column(schema: Any) -> str | None:
    """Return the first column of an Arrow schema that holds images, see `image_column`."""
    import pyarrow as pa

    for column in schema:
        type_ = column.type
        if pa.types.is_struct(type_) and {"bytes", "path"} <= {inner.name for inner in type_}:
            return column.name
    return None


def class_names(table: Any, label: str | None) -> list[str] | None:
    """Return the names of classes that Hugging Face writes beside a table."""
    try:
        stated = json.loads((table.schema.metadata or {})[b"huggingface"])
        return stated["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None


def load_table(
    path: Path,
    label: str | None = None,
    *,
    keys: Sequence[str] = (),
    category: Sequence[str] = (),
    normal: Any = None,
    schema: Schema | None = None,
    csv: CsvOptions | None = None,
    **columns: Any,
) -> Dataset:
    """Load the file of a table.

    In CSV files empty cells and `NA`, `NaN`, `null` count as missing. A nameless first column
    that only numbers the rows, as pandas writes its index, is left out, and so is a nameless
    column that is empty.

    Parameters
    ----------
    path : Path
    label : str or None
        Column that holds the labels.
    normal, csv
        See `read_table`.
    keys, category, schema, **columns
        See `dataset_from_frame`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        See `dataset_from_frame` and `read_table`.
    """
    text = [*category, *columns.get("drop", ())]  # what is dropped need not be numbers
    roles: dict[str, Any] = {"label": label, "normal": normal, "keys": keys, "text": text}
    features = columns.get("columns")
    frame, where = read_table(path, **roles, schema=schema, csv=csv, features=features)
    return dataset_from_frame(
        frame,
        label,
        path.name,
        source=path,
        where=where,
        keys=keys,
        category=category,
        schema=schema,
        **columns,
    )


def dataset_from_frame(
    frame: pd.DataFrame,
    label: str | None = None,
    name: str = "data",
    *,
    source: str | Path = "the table",
    where: Where = describe_row,
    keys: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    category: Sequence[str] = (),
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
    category : sequence of str
        Columns that are categories, though they hold numbers.
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
    asked = (*left_out, *(columns or ()), *category)
    check_is_there([str(column) for column in asked], names, source)
    for column in category:
        frame = frame.assign(**{column: frame[column].astype("category")})
    y = None if label is None else labels_from_text(frame.iloc[:, names.index(str(label))])
    features = [name for name in names if name not in left_out]
    if columns is not None:
        features = [str(column) for column in columns]
        twice = [name for name in features if name in left_out]
        if twice:
            raise DataError(
                f"got columns={list(columns)!r}, and {twice[0]!r} is the label, a key or left out; "
                "name it once"
            )
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
    of_file: dict[str, Any] = (
        {"line_of": where.line, "reading": where.reading} if isinstance(where, SourceFile) else {}
    )
    return Dataset(X, y, schema, name=name, keys=carried, **of_file)


def _typed(
    frame: pd.DataFrame,
    names: Sequence[str],
    features: Sequence[str],
    source: str | Path,
    where: Where,
) -> pd.DataFrame:
    """Return the features with dtypes that say what they hold; categories stay as they are."""
    place_of = {name: at for at, name in enumerate(names)}
    errors = ColumnErrors(str(source))
    chosen = frame.iloc[:, [place_of[name] for name in features]]
    if all(holds_numbers(chosen)):  # one column at a time, 100,000 would take half a minute
        matrix = chosen.to_numpy(np.float64)
        for at in map(int, np.flatnonzero(np.isinf(matrix).any(axis=0))):
            with errors:
                check_no_infinity(matrix[:, at], Place(features[at], str(source), where))
        errors.check()
        return chosen
    typed = {}
    series = [column for _, column in frame.items()]
    for name in features:
        at = place_of[name]
        column, place = series[at], Place(name, str(source), where)
        with errors:
            type_, values = recognise(column, place)
            if type_ == "number":
                check_no_infinity(values.to_numpy(dtype=np.float64, na_value=np.nan), place)
            typed[frame.columns[at]] = column if type_ == "category" else values
    errors.check()
    return pd.DataFrame(typed, index=frame.index)


def _typed_as_at_fit(
    frame: pd.DataFrame,
    names: Sequence[str],
    schema: Schema,
    source: str | Path,
    where: Where,
) -> pd.DataFrame:
    """Return the features of a schema: its numbers as such, all else as it is, but checked."""
    named, errors = frame.set_axis(list(names), axis=1), ColumnErrors(str(source))
    expected, types = schema.columns or (), schema.types
    with errors:
        match_columns(named, names, expected)
    if errors.errors:  # of columns that are there all else is said too
        types = tuple(one for one, name in zip(types, expected, strict=True) if name in named)
        expected = tuple(name for name in expected if name in named)
    frame = match_columns(named, names, expected)
    numbers = all(column.type == "number" for column in types)
    if (
        not errors.errors
        and numbers
        and all(holds_numbers(frame))
        and not np.isinf(frame.to_numpy(np.float64)).any()
    ):
        return frame.astype(np.float64)
    typed: dict[Any, Any] = {}
    for name, column in zip(frame.columns, types, strict=True):
        typed[name] = frame[name]
        if column.all_text and pd.api.types.infer_dtype(frame[name]) == "string":
            continue  # no text is refused, and `Schema.check` reads it
        with errors:
            values = column.read(frame[name], Place(name, str(source), where))
            if column.type == "number":
                typed[name] = values
    errors.check()
    return pd.DataFrame(typed, index=frame.index)
