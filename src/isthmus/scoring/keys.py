"""What says which row is which in the output: key columns, or the row's number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from isthmus.data.stream import Piece, Stream
from isthmus.errors import DataError, ShardError

#: The column when no key was named: the number in the stream, counting from 0.
ROW = "row"


def key_schema(stream: Stream, beside: pa.Schema) -> pa.Schema:
    """Return the types of the key columns, which are those in the first file.

    Raises
    ------
    DataError
        When a key column is called like one that is written `beside` it.
    """
    types = stream.reader.key_types()
    for name in types:
        if name in beside.names:
            raise DataError(
                f"the key column {name!r} is called like a column that is written beside it "
                f"({', '.join(beside.names)}); give it another name in the files"
            )
    if not types:
        return pa.schema([(ROW, pa.int64())])
    return pa.schema([(name, _plain(type_)) for name, type_ in types.items()])


def key_arrays(schema: pa.Schema, piece: Piece, source: str) -> list[pa.Array]:
    """Return the key columns of a piece.

    Raises
    ------
    ShardError
        When a value does not fit the type in the first file.
    """
    if piece.keys is None:
        return [pa.array(piece.first_row + np.arange(len(piece)), type=pa.int64())]
    arrays = []
    for field in schema:
        try:
            arrays.append(pa.Array.from_pandas(piece.keys[field.name], type=field.type))
        except pa.ArrowException as error:
            raise ShardError(
                f"the key column {field.name!r} of {source} holds values that are no {field.type}, "
                f"as in the first file ({str(error).splitlines()[0]}); write the file again"
            ) from error
    return arrays


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    if pa.types.is_decimal(type_):
        return pa.float64()
    return pa.string() if pa.types.is_null(type_) else type_
