"""A request's body into instances, by its content type. Nothing is unpickled or read from disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.data.schema import Schema
from isthmus.serve.errors import Refusal
from isthmus.serve.file_bodies import read_csv, read_image, read_npy, read_parquet
from isthmus.serve.json_bodies import from_lists, read_json
from isthmus.serve.limits import Limits

JSON = "application/json"
NPY = "application/x-npy"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
PNG, JPEG = "image/png", "image/jpeg"


def content_types(schema: Schema) -> list[str]:
    """Return what a body of such instances may be."""
    if schema.kind == "images":
        return [JSON, NPY, PNG, JPEG]
    return [JSON, NPY, CSV, PARQUET] if schema.kind == "table" else [JSON, NPY]


def read_instances(content: bytes, content_type: str, schema: Schema, limits: Limits) -> Any:
    """Return the instances of a body.

    Parameters
    ----------
    content : bytes
    content_type : str
        As the header has it.
    schema : Schema
        Of the instances.
    limits : Limits

    Returns
    -------
    array of shape (n, ...) or DataFrame of n rows
        To be checked against the schema.

    Raises
    ------
    Refusal
        400 when the body is not what its content type says, 413 when it is more than the limits
        allow, 415 when such a body does not hold such instances, 422 when the values do not fit.
    """
    called = content_type.partition(";")[0].strip().lower()
    allowed = content_types(schema)
    if called not in allowed:
        raise Refusal(
            415,
            f"the content type {called[:100]!r}" if called else "no content type",
            f"one of {', '.join(allowed)}, for {schema.kind}",
            "say what the body is in the header Content-Type",
        )
    if not content:
        raise Refusal(
            400, "an empty body", f"instances as {called}", "send the instances in the body"
        )
    readers: dict[str, Callable[[bytes, Schema, Limits], Any]] = {
        JSON: _json, NPY: read_npy, CSV: read_csv, PARQUET: read_parquet, PNG: read_image,
        JPEG: read_image,
    }  # fmt: skip
    return readers[called](content, schema, limits)


def _json(content: bytes, schema: Schema, limits: Limits) -> Any:
    return from_lists(read_json(content)["instances"], schema, limits)
