"""Instances in JSON: nested lists, or objects by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.schema import Schema
from isthmus.serve.errors import Refusal
from isthmus.serve.limits import Limits, check_rows


def read_json(content: bytes) -> dict[str, Any]:
    """Return the object that a body of JSON is.

    Raises
    ------
    Refusal
        400 when it is not JSON, NaN and infinity included, or no object with `instances`.
    """
    # Of the extra, which a queue of labels is read without.
    from pydantic_core import from_json

    try:
        plain = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(
            400,
            f"a body that is not JSON ({str(error)[:200]})",
            'JSON, such as {"instances": [...]}',
            "mend the body; what is missing in a table is null, not NaN",
        ) from error
    if not isinstance(plain, dict) or not isinstance(plain.get("instances"), list):
        raise Refusal(
            400,
            "JSON without a list of instances",
            'an object such as {"instances": [...]}',
            "put the instances into a list, also when there is one",
        )
    return plain


def from_lists(instances: list[Any], schema: Schema, limits: Limits) -> Any:
    """Return instances that came as JSON: nested lists, or objects by column."""
    check_rows(len(instances), limits)
    if schema.kind == "table" and schema.columns is not None:
        return _table(instances, schema)
    try:
        # An object array first would be slow; NumPy names what is ragged or no number.
        values = np.asarray(instances, dtype=None if schema.kind != "table" else np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _not_numbers(schema) from error
    if values.dtype.kind not in "fiu":
        raise _not_numbers(schema)
    if schema.kind == "images" and values.size:
        if schema.dtype != "uint8":
            return values.astype(np.float64)
        # 7.0 is a whole number in JSON; what lies in [0, 1] may be scaled pixels instead.
        whole = values.dtype.kind in "iu" or (values.max() > 1 and not (values % 1).any())
        if whole and values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8)
    return values.astype(np.float64) if schema.kind == "series" else values


def _table(instances: list[Any], schema: Schema) -> pd.DataFrame:
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
                    f"a value in column {name[:100]!r} of instance {at} that no cell holds",
                    "text, true or false, null, or a number of 64 bits",
                    "write one such value a column",
                )
    return pd.DataFrame(rows)


def _not_numbers(schema: Schema) -> Refusal:
    return Refusal(
        422,
        "instances that are not lists of numbers of one length",
        f"each of shape {list(schema.shape)}",
        "GET /schema says what an instance is",
    )
