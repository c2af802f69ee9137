"""Request bodies as instances, by content type; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import reading
from isthmus.data import Column, Schema
from isthmus.data.formats import read_csv_file, read_npy_layout
from isthmus.errors import DataError, SchemaError
from isthmus.serve.refusals import Limits, Refusal, check_rows, refusal_of
from isthmus.serve.uploads import (
    IMAGES,
    MULTIPART,
    Notes,
    Part,
    check_columns,
    decode_images,
    decode_text,
    from_base64,
    parquet_frame,
    rows_in,
    split_content_type,
    split_multipart,
)

_MAGIC = b"\x93NUMPY"
JSON = "application/json"
NPY = "application/x-npy"
CSV = "text/csv"
#: An instance a line.
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
PARQUET = "application/vnd.apache.parquet"
#: Content types of a stretch of a series.
SERIES_TYPES = (JSON, CSV, PARQUET, *NDJSON, MULTIPART)


def read_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON body and return its object.

    Raises
    ------
    Refusal
        400 when it is not JSON (NaN and infinity are not), or no object with `instances`.
    """
    plain = parse_json(content, '{"instances": [...]}')
    if not isinstance(plain, dict) or not isinstance(plain.get("instances"), list):
        series = isinstance(plain, dict) and "series" in plain
        raise Refusal(
            400,
            "JSON without a list of instances",
            'an object such as {"instances": [...]}',
            "send a series, to be decided on time point by time point, to /points"
            if series
            else "put the instances into a list, even a single one",
        )
    return plain


def parse_json(content: bytes, example: str) -> Any:
    """Parse a JSON body.

    Raises
    ------
    Refusal
        400 when it is not JSON; NaN and infinity are not.
    """
    # Of the extra `serve`, which reading a queue of labels does without.
    from pydantic_core import from_json

    try:
        return from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(
            400,
            f"a body that is not JSON ({str(error)[:200]})",
            f"JSON, such as {example}",
            "correct the body; a missing value of a table is null, not NaN",
        ) from error


def from_lists(
    instances: list[Any], schema: Schema, limits: Limits, notes: Notes | None = None
) -> Any:
    """Return instances from JSON: nested lists, objects by column, or image files in base64."""
    notes = notes or Notes()
    check_rows(len(instances), limits)
    if schema.kind == "table" and schema.columns is not None:
        return _table_from_rows(instances, schema, notes)
    if schema.kind == "images" and all(isinstance(one, str | dict) for one in instances):
        return decode_images([from_base64(one) for one in instances], schema, limits, notes)
    try:
        # Directly, because an object array would be slow; NumPy rejects ragged lists and text.
        values = np.asarray(instances, dtype=None if schema.kind != "table" else np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad_numbers(schema) from error
    if values.dtype.kind not in "fiu":
        raise _bad_numbers(schema)
    if values.shape == schema.shape and schema.kind != "table":
        raise Refusal(
            422,
            "one instance in the place of a list of instances",
            f"instances, each of shape {list(schema.shape)}",
            'put it into a list: {"instances": [INSTANCE]}',
        )
    if schema.kind == "images" and values.size:
        if schema.dtype != "uint8":
            return values.astype(np.float64)
        return _as_pixels(instances, values)
    return values.astype(np.float64) if schema.kind == "series" else values


def _as_pixels(instances: list[Any], values: np.ndarray) -> np.ndarray:
    """Return images as uint8, or as floats in [0, 1] where one of them is not of 0..255.

    What the numbers of an image mean follows from that image, not from others beside it. Whole
    numbers are of 0..255, also written as 7.0 where one of them is above 1; other floats are
    pixels divided by 255.
    """
    if values.dtype.kind in "iu":
        fits = values.min() >= 0 and values.max() <= 255
        return values.astype(np.uint8) if fits else values
    scaled = []
    for image in (np.asarray(one) for one in instances):
        whole = image.dtype.kind in "iu" or (image.max() > 1 and not (image % 1).any())
        if whole and (image.min() < 0 or image.max() > 255):
            return values
        scaled.append(not whole)
    if not any(scaled):
        return values.astype(np.uint8)
    of_bytes = ~np.array(scaled)
    values[of_bytes] = values[of_bytes] / 255
    return values


def _table_from_rows(instances: list[Any], schema: Schema, notes: Notes) -> pd.DataFrame:
    columns = list(schema.columns or ())
    if all(isinstance(row, dict) for row in instances):
        for at, row in enumerate(instances):
            missing = [name for name in columns if name not in row]
            if missing:
                raise Refusal(
                    422,
                    f"instance {at}, counting from 0, without {missing[:20]}",
                    f"the columns {columns[:20]}" + (" and more" if len(columns) > 20 else ""),
                    "write null where a value is missing",
                )
        others = list(dict.fromkeys(name for row in instances for name in row))
        others = [name for name in others if name not in columns]
        rows = {name: [row.get(name) for row in instances] for name in columns + others}
    elif all(isinstance(row, list) and len(row) == len(columns) for row in instances):
        others = []
        rows = dict(zip(columns, map(list, zip(*instances, strict=True)), strict=True))
    else:
        raise Refusal(
            422,
            "instances that are not objects by column",
            f"objects with the keys {columns[:20]}"
            + (" and more" if len(columns) > 20 else "")
            + f", or lists of {len(columns)} values",
            "GET /schema describes an instance",
        )
    for name, values in rows.items():
        for at, value in enumerate(values):
            if isinstance(value, list | dict) or (
                isinstance(value, int) and abs(value) > 2**63 - 1
            ):
                raise Refusal(
                    422,
                    f"a list, an object or a number of more than 64 bits in column "
                    f"{name[:100]!r} of instance {at}",
                    "text, true or false, null, or a number of 64 bits",
                    "send one such value for each column",
                )
    if others:
        notes.identify([{name: row[name] for name in others if name in row} for row in instances])
    types = dict(zip(columns, schema.types, strict=True))
    return pd.DataFrame({name: _cells(rows[name], types[name]) for name in columns})


def _cells(values: list[Any], column: Column) -> pd.Series:
    """Return the values of a column so that each means the same whatever stands beside it."""
    if column.type == "number" and not any(isinstance(value, str | bool) for value in values):
        return pd.Series(values, dtype=np.float64)
    return pd.Series(values, dtype=object)


def _bad_numbers(schema: Schema) -> Refusal:
    return Refusal(
        422,
        "instances that are not lists of numbers of one length",
        f"each of shape {list(schema.shape)}",
        "GET /schema describes an instance",
    )


def read_npy(content: bytes, schema: Schema, limits: Limits, _: Notes) -> np.ndarray:
    """Return the array of a .npy file, which must hold numbers."""
    file = BytesIO(content)
    try:
        shape, fortran, dtype = read_npy_layout(file, "the body")
    except DataError as error:
        raise Refusal(
            400,
            "a body that is not a .npy file",
            "what numpy.save writes",
            "write it with numpy.save(file, X, allow_pickle=False)",
        ) from error
    if dtype.hasobject or dtype.kind not in "fiub":
        raise Refusal(
            422,
            f"a .npy file of dtype {str(dtype)[:100]}",
            "numbers; objects are never unpickled",
            "save X.astype('float64'), or send a table as CSV, Parquet or JSON",
        )
    # A header may state any number of axes; NumPy's arrays have up to 64.
    if len(shape) > len(schema.shape) + 2:
        raise Refusal(
            422,
            f"an array of shape {str(tuple(shape))[:200]}",
            f"(n, {', '.join(map(str, schema.shape))})",
            "send a batch of instances",
        )
    try:
        schema.check_shape(tuple(shape))
    except SchemaError as error:
        raise refusal_of(error) from error
    check_rows(shape[0], limits)
    n_values = int(np.prod(shape, dtype=object))
    if n_values * dtype.itemsize != len(content) - file.tell():
        raise Refusal(
            400,
            f"a .npy file of {len(content) - file.tell()} bytes of values, whose header states "
            f"{n_values * dtype.itemsize}",
            "as many bytes as the header states",
            "send the whole file",
        )
    values = np.frombuffer(content, dtype, n_values, file.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def read_csv(content: bytes, schema: Schema, limits: Limits, notes: Notes) -> pd.DataFrame:
    """Return the rows of a CSV file."""
    check_columns(content, schema)
    check_rows(max(1, rows_in(content)), limits)
    try:
        frame, _ = read_csv_file("the body", content, schema=schema, label=notes.label)
    except DataError as error:
        raise refusal_of(error, 400) from error
    check_rows(len(frame), limits)
    return _take_identifiers(notes.take_labels(frame, schema), schema, notes)


def read_parquet(content: bytes, schema: Schema, limits: Limits, notes: Notes) -> pd.DataFrame:
    """Return the rows of a Parquet file."""
    frame = parquet_frame(content, schema, limits, check_rows)
    return _take_identifiers(notes.take_labels(frame, schema), schema, notes)


def read_image(content: bytes, schema: Schema, limits: Limits, notes: Notes) -> np.ndarray:
    """Return an image file as an array of one instance."""
    return decode_images([content], schema, limits, notes)


def read_multipart(
    content: bytes, content_type: str, schema: Schema, limits: Limits, notes: Notes
) -> Any:
    """Return the instances of uploaded files: several images, or one file of another kind."""
    parts = list(split_multipart(content, content_type, limits))
    files = [one for one in parts if one.file is not None or one.content_type in IMAGES]
    if len(files) < len(parts):
        notes.warnings.append(f"{len(parts) - len(files)} fields of the form are not files, and "
                              "were not read")  # fmt: skip
    check_rows(len(files), limits)
    types = [_type_of(one, schema) for one in files]
    if set(types) <= set(IMAGES) and schema.kind == "images":
        X = decode_images([one.content for one in files], schema, limits, notes)
        notes.identify([{} if one.file is None else {"file": one.file} for one in files])
        return X
    if len(files) > 1:
        raise Refusal(
            422,
            f"{len(files)} files",
            "one file" + (", or images alone" if schema.kind == "images" else ""),
            "send them in several requests",
        )
    charset = f"; charset={files[0].charset}" if files[0].charset else ""
    return read_instances(files[0].content, types[0] + charset, schema, limits, notes)


def _type_of(part: Part, schema: Schema) -> str:
    """Return the content type of a file: as stated, else by its content and name."""
    allowed = content_types(schema)
    if part.content_type in allowed and part.content_type != MULTIPART:
        return part.content_type
    if part.content.startswith(_MAGIC):
        return NPY
    if part.file is not None and part.file.lower().endswith((".jsonl", ".ndjson")):
        return NDJSON[0]
    if schema.kind == "table":
        return PARQUET if part.content.startswith(b"PAR1") else CSV
    return IMAGES[0] if schema.kind == "images" else part.content_type or "unknown"


def content_types(schema: Schema) -> list[str]:
    """Return the content types that instances of a schema can be sent as."""
    if schema.kind == "images":
        return [JSON, NPY, *IMAGES, *NDJSON, MULTIPART]
    return [JSON, NPY, *([CSV, PARQUET] if schema.kind == "table" else []), *NDJSON, MULTIPART]


def read_instances(
    content: bytes, content_type: str, schema: Schema, limits: Limits, notes: Notes
) -> Any:
    """Return the instances in a request's body.

    Parameters
    ----------
    content : bytes
    content_type : str
        The header Content-Type, with the charset of text in another than UTF-8.
    schema : Schema
        Of the instances.
    limits : Limits
    notes : Notes
        Filled with what the answer is to state.

    Returns
    -------
    array of shape (n, ...) or DataFrame of n rows
        Not yet checked against the schema.

    Raises
    ------
    Refusal
        400 when the body is not of its content type, 413 when it exceeds the limits, 415 when the
        content type cannot hold such instances, 422 when the values do not fit.
    """
    media_type, charset = split_content_type(content_type)
    allowed = content_types(schema)
    if media_type not in allowed:
        raise Refusal(
            415,
            f"the content type {media_type[:100]!r}" if media_type else "no content type",
            f"one of {', '.join(allowed)}, for {schema.kind}",
            "state the type of the body in the header Content-Type",
        )
    if not content:
        raise Refusal(
            400, "an empty body", f"instances as {media_type}", "send the instances in the body"
        )
    if media_type == MULTIPART:
        return read_multipart(content, content_type, schema, limits, notes)
    if media_type in (JSON, CSV, *NDJSON):
        content = decode_text(content, charset)
    readers: dict[str, Callable[[bytes, Schema, Limits, Notes], Any]] = {
        JSON: read_lists, NPY: read_npy, CSV: read_csv, PARQUET: read_parquet,
    } | dict.fromkeys(NDJSON, read_lines)  # fmt: skip
    with reading("the body", cannot_read, f"send {media_type}, written again"):
        return readers.get(media_type, read_image)(content, schema, limits, notes)


def cannot_read(message: str) -> Refusal:
    """Return the refusal of a body on which a library failed."""
    return refusal_of(DataError(message), 400)


def read_lists(content: bytes, schema: Schema, limits: Limits, notes: Notes) -> Any:
    """Return the instances of a JSON body."""
    plain = read_json(content)
    instances = plain["instances"]
    X = from_lists(instances, schema, limits, notes)
    ids = plain.get("ids")
    if ids is not None:
        fits = isinstance(ids, list) and len(ids) == len(instances)
        if not fits or not all(isinstance(one, str | int) for one in ids):
            raise Refusal(
                422,
                f"{len(ids)} ids" if isinstance(ids, list) else "ids that are not a list",
                f"{len(instances)}, one for each instance: text or whole numbers",
                '"ids": [...] beside "instances": [...]',
            )
        notes.identify([{"id": one} for one in ids])
    groups = plain.get("groups")
    if groups is not None:
        fits = isinstance(groups, list) and len(groups) == len(instances)
        if not fits or not all(one is None or isinstance(one, str | int | float) for one in groups):
            raise Refusal(
                422,
                f"{len(groups)} groups" if isinstance(groups, list) else "groups that are no list",
                f"{len(instances)}, one for each instance: text, numbers or null",
                '"groups": [...] beside "instances": [...]',
            )
        notes.groups = groups
    return X


def read_lines(content: bytes, schema: Schema, limits: Limits, notes: Notes) -> Any:
    """Return the instances of a body of JSON Lines, each as in the list of a JSON body."""
    instances = read_lines_of_json(content, limits, check_rows)
    if notes.label is not None:
        rows = [one if isinstance(one, dict) else {} for one in instances]
        if not all(notes.label in one for one in rows):
            raise Refusal(
                422,
                f"lines without the key {notes.label[:100]!r}",
                "objects that have it, null where there is no label",
                "name the key of labels in the query: ?label=KEY",
            )
        notes.labels = [one[notes.label] for one in rows]
        if notes.label not in (schema.columns or ()):
            instances = [{k: v for k, v in one.items() if k != notes.label} for one in rows]
    return from_lists(instances, schema, limits, notes)


def read_lines_of_json(
    content: bytes, limits: Limits, check: Callable[[int, Limits], None]
) -> list[Any]:
    """Return the value of each line of JSON Lines; `check` refuses too many."""
    from pydantic_core import from_json

    instances: list[Any] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                instances.append(from_json(line, allow_inf_nan=False))
            except ValueError as error:
                raise Refusal(
                    400,
                    f"line {number} that is not JSON ({str(error)[:200]})",
                    "one instance a line",
                    "correct the line; a missing value of a table is null, not NaN",
                ) from error
            check(len(instances), limits)
    return instances


def _take_identifiers(frame: pd.DataFrame, schema: Schema, notes: Notes) -> pd.DataFrame:
    """Move columns that the fit did not use from a table to the notes."""
    columns = set(schema.columns or ())
    others = [name for name in map(str, frame.columns) if name not in columns]
    if not others or schema.columns is None or not columns <= set(map(str, frame.columns)):
        return frame  # what is missing is named by the schema
    found = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if found.columns.has_duplicates:
        return frame
    plain = found[others].astype(object).where(found[others].notna(), None)
    notes.identify([
        {str(name): plain_cell(value) for name, value in row.items()}
        for row in plain.to_dict("records")
    ])  # fmt: skip
    return found[list(schema.columns)]


def plain_cell(value: Any) -> Any:
    """Return a cell as JSON can hold it: text, a number, a truth value or None."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if plain is None or isinstance(plain, str | int | float | bool) else str(plain)
