"""Request bodies as instances, by content type; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import Schema
from isthmus.data.formats import arrow_to_frame, read_csv_file
from isthmus.errors import DataError, SchemaError
from isthmus.serve.refusals import Limits, Refusal, check_rows, refusal_of

_MAGIC = b"\x93NUMPY"
JSON = "application/json"
NPY = "application/x-npy"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
PNG, JPEG = "image/png", "image/jpeg"


def read_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON body and return its object.

    Raises
    ------
    Refusal
        400 when it is not JSON (NaN and infinity are not), or no object with `instances`.
    """
    # Of the extra `serve`, which reading a queue of labels does without.
    from pydantic_core import from_json

    try:
        plain = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(
            400,
            f"a body that is not JSON ({str(error)[:200]})",
            'JSON, such as {"instances": [...]}',
            "correct the body; a missing value of a table is null, not NaN",
        ) from error
    if not isinstance(plain, dict) or not isinstance(plain.get("instances"), list):
        raise Refusal(
            400,
            "JSON without a list of instances",
            'an object such as {"instances": [...]}',
            "put the instances into a list, even a single one",
        )
    return plain


def from_lists(instances: list[Any], schema: Schema, limits: Limits) -> Any:
    """Return instances from JSON: nested lists, or objects by column."""
    check_rows(len(instances), limits)
    if schema.kind == "table" and schema.columns is not None:
        return _table_from_rows(instances, schema)
    try:
        # Directly, because an object array would be slow; NumPy rejects ragged lists and text.
        values = np.asarray(instances, dtype=None if schema.kind != "table" else np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad_numbers(schema) from error
    if values.dtype.kind not in "fiu":
        raise _bad_numbers(schema)
    if schema.kind == "images" and values.size:
        if schema.dtype != "uint8":
            return values.astype(np.float64)
        # 7.0 is a whole number in JSON; values within [0, 1] may be scaled pixels instead.
        whole = values.dtype.kind in "iu" or (values.max() > 1 and not (values % 1).any())
        if whole and values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8)
    return values.astype(np.float64) if schema.kind == "series" else values


def _table_from_rows(instances: list[Any], schema: Schema) -> pd.DataFrame:
    columns = list(schema.columns or ())
    if all(isinstance(row, dict) for row in instances):
        names = instances[0].keys()
        for at, row in enumerate(instances):
            if row.keys() != names:
                raise Refusal(
                    422,
                    f"instance {at} with other columns than the first",
                    "the same columns in every instance",
                    "write null where a value is missing",
                )
        rows = {name: [row[name] for row in instances] for name in names}
    elif all(isinstance(row, list) and len(row) == len(columns) for row in instances):
        rows = dict(zip(columns, map(list, zip(*instances, strict=True)), strict=True))
    else:
        raise Refusal(
            422,
            "instances that are not objects by column",
            f"objects with the keys {columns[:20]}"
            + (" and more" if len(columns) > 20 else "")
            + f", or lists of {len(columns)} values",
            "GET /schema says what an instance is",
        )
    for name, values in rows.items():
        for at, value in enumerate(values):
            if isinstance(value, list | dict) or (
                isinstance(value, int) and abs(value) > 2**63 - 1
            ):
                raise Refusal(
                    422,
                    f"a value in column {name[:100]!r} of instance {at} that no cell can hold",
                    "text, true or false, null, or a number of 64 bits",
                    "send one such value for each column",
                )
    return pd.DataFrame(rows)


def _bad_numbers(schema: Schema) -> Refusal:
    return Refusal(
        422,
        "instances that are not lists of numbers of one length",
        f"each of shape {list(schema.shape)}",
        "GET /schema says what an instance is",
    )


def read_npy(content: bytes, schema: Schema, limits: Limits) -> np.ndarray:
    """Return the array of a .npy file, which must hold numbers."""
    file = BytesIO(content)
    try:
        if not content.startswith(_MAGIC):
            raise ValueError("it does not begin like one")
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(file)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise Refusal(
            400,
            "a body that is no .npy file",
            "what numpy.save writes, of format 1.0 or 2.0",
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
            f"a .npy file whose header says {n_values * dtype.itemsize} bytes of values, "
            f"with {len(content) - file.tell()}",
            "as many as the header says",
            "send the whole file",
        )
    values = np.frombuffer(content, dtype, n_values, file.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def read_csv(content: bytes, schema: Schema, limits: Limits) -> pd.DataFrame:
    """Return the rows of a CSV file."""
    header = content.lstrip(b"\xef\xbb\xbf\r\n").split(b"\n", 1)[0]
    max_columns = 10 * schema.n_features + 100
    if max(header.count(mark) for mark in (b",", b";", b"\t", b"|")) > max_columns:
        raise Refusal(
            422,
            "a header of far too many columns",
            f"{schema.n_features} columns",
            "GET /schema names them",
        )
    check_rows(max(1, content.count(b"\n") - content.count(b"\n\n") - 1), limits)
    try:
        frame, _ = read_csv_file("the body", content, schema=schema)
    except DataError as error:
        raise refusal_of(error, 400) from error
    check_rows(len(frame), limits)
    return frame


def read_parquet(content: bytes, schema: Schema, limits: Limits) -> pd.DataFrame:
    """Return the rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        check_rows(file.metadata.num_rows, limits)
        if file.metadata.num_columns > 10 * schema.n_features + 100:
            raise Refusal(
                422,
                f"{file.metadata.num_columns} columns",
                f"{schema.n_features} columns",
                "GET /schema names them",
            )
        groups = range(file.metadata.num_row_groups)
        _check_size(sum(file.metadata.row_group(at).total_byte_size for at in groups), limits)
        batches, size = [], 0
        for batch in file.iter_batches(batch_size=1024):
            size += batch.nbytes
            _check_size(size, limits)
            batches.append(batch)
        frame = arrow_to_frame(pa.Table.from_batches(batches, file.schema_arrow))
    except Refusal:
        raise
    except Exception as error:  # Arrow raises many kinds of errors on damaged files
        raise Refusal(
            400, "a damaged Parquet file", "a whole Parquet file of a flat table", "write it again"
        ) from error
    check_rows(len(frame), limits)
    return frame


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.decompressed_bytes:
        raise Refusal(
            413,
            f"a body that is {size} bytes or more when decompressed",
            f"at most {limits.decompressed_bytes}",
            "send the rows in several requests",
        )


def read_image(content: bytes, schema: Schema, limits: Limits) -> np.ndarray:
    """Return an image file as an array of one instance."""
    from isthmus.data.formats import TooManyPixelsError, decode_image

    try:
        pixels = decode_image(content, "an image", limits.pixels)
    except TooManyPixelsError as error:
        raise Refusal(
            413, str(error), f"at most {limits.pixels} pixels", "send a smaller image"
        ) from error
    except DataError as error:
        raise refusal_of(error, 400) from error
    if len(schema.shape) == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], schema.shape[2], axis=-1)
    return pixels[None]


def content_types(schema: Schema) -> list[str]:
    """Return the content types that instances of a schema can be sent as."""
    if schema.kind == "images":
        return [JSON, NPY, PNG, JPEG]
    return [JSON, NPY, CSV, PARQUET] if schema.kind == "table" else [JSON, NPY]


def read_instances(content: bytes, content_type: str, schema: Schema, limits: Limits) -> Any:
    """Return the instances in a request's body.

    Parameters
    ----------
    content : bytes
    content_type : str
        The header Content-Type.
    schema : Schema
        Of the instances.
    limits : Limits

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
    media_type = content_type.partition(";")[0].strip().lower()
    allowed = content_types(schema)
    if media_type not in allowed:
        raise Refusal(
            415,
            f"the content type {media_type[:100]!r}" if media_type else "no content type",
            f"one of {', '.join(allowed)}, for {schema.kind}",
            "name the type of the body in the header Content-Type",
        )
    if not content:
        raise Refusal(
            400, "an empty body", f"instances as {media_type}", "send the instances in the body"
        )
    readers: dict[str, Callable[[bytes, Schema, Limits], Any]] = {
        JSON: read_lists, NPY: read_npy, CSV: read_csv, PARQUET: read_parquet, PNG: read_image,
        JPEG: read_image,
    }  # fmt: skip
    return readers[media_type](content, schema, limits)


def read_lists(content: bytes, schema: Schema, limits: Limits) -> Any:
    """Return the instances of a JSON body."""
    return from_lists(read_json(content)["instances"], schema, limits)
