"""Instances in files that a request carries: .npy, CSV, Parquet, images. Nothing is unpickled."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd

from isthmus.data.frames import arrow_to_frame, read_csv_file
from isthmus.data.schema import Schema
from isthmus.errors import DataError
from isthmus.serve.errors import Refusal, refusal_of
from isthmus.serve.limits import Limits, check_rows

_MAGIC = b"\x93NUMPY"


def read_npy(content: bytes, schema: Schema, limits: Limits) -> np.ndarray:
    """Return the numbers of a .npy file."""
    file = BytesIO(content)
    try:
        if not content.startswith(_MAGIC):
            raise ValueError("it does not begin like one")
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
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
    if len(shape) != len(schema.shape) + 1 or tuple(shape[1:]) != tuple(schema.shape):
        inner = ", ".join(map(str, schema.shape))
        raise Refusal(
            422,
            f"an array of shape {str(tuple(shape))[:200]}",
            f"(n, {inner})",
            "send a batch of instances; one instance is X[None]",
        )
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
    most = 10 * schema.n_features + 100
    if max(header.count(mark) for mark in (b",", b";", b"\t", b"|")) > most:
        raise Refusal(
            422,
            "a header of far too many columns",
            f"{schema.n_features} columns",
            "GET /schema names them",
        )
    check_rows(max(1, content.count(b"\n") - content.count(b"\n\n") - 1), limits)
    try:
        frame, _ = read_csv_file("the body", content)
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
    except Exception as error:  # Arrow raises errors of many kinds on damaged files
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
    """Return the one instance that an image file is."""
    from isthmus.data._pixels import TooManyPixelsError, decode_image

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
