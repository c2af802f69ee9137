"""Instances as JSON holds them, in the form that a service takes; needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.columns import Column
from isthmus.data.columns.column import as_plain
from isthmus.data.schema import Schema
from isthmus.export.inputs import never_seen, own_columns


def as_given(schema: Schema, rebuilt: Any) -> Any:
    """Return reconstructions in the form that instances were given in.

    Parameters
    ----------
    schema : Schema
    rebuilt : array or DataFrame of n instances
        As `Preprocessor.from_network` gives them.

    Returns
    -------
    array or DataFrame of n instances
        Images as whole numbers where they were uint8 at fit, else within [0, 1]; a table with
        names as a DataFrame.

    Examples
    --------
    >>> schema = Schema.learn(np.zeros((2, 1, 3), dtype=np.uint8))
    >>> as_given(schema, np.array([[[-0.2, 7.6, 255.4]]]))
    array([[[  0,   8, 255]]], dtype=uint8)
    """
    if schema.kind == "images":
        if schema.dtype == "uint8":
            return np.rint(np.clip(rebuilt, 0, 255)).astype(np.uint8)
        return np.clip(rebuilt, 0, 1)
    if schema.kind == "table" and schema.columns is not None and isinstance(rebuilt, np.ndarray):
        return pd.DataFrame(rebuilt, columns=list(schema.columns))
    return rebuilt


def plain_instances(schema: Schema, X: Any) -> list[Any]:
    """Return instances as plain values, each as `POST /predict` takes it.

    Parameters
    ----------
    schema : Schema
    X : array or DataFrame of n instances

    Returns
    -------
    list of n
        Nested lists; of a table with names objects by column: dates in ISO 8601, truth values,
        categories as they were at fit, and None where a value is missing.

    Raises
    ------
    DataError
        When a table with names does not fit the schema.

    Examples
    --------
    >>> frame = pd.DataFrame({"width": [1.5, None], "day": pd.to_datetime(["2024-05-17", None])})
    >>> plain_instances(Schema.learn(frame), frame)
    [{'width': 1.5, 'day': '2024-05-17T00:00:00'}, {'width': None, 'day': None}]
    """
    if schema.kind != "table" or schema.columns is None:
        plain: list[Any] = np.asarray(X).tolist()
        return plain
    values = schema.check(X)
    raw = own_columns(schema, X)
    cells = [
        _cells(column, values[:, at].astype(np.float64), None if raw is None else raw[name])
        for at, (name, column) in enumerate(zip(schema.columns, schema.types, strict=True))
    ]
    return [dict(zip(schema.columns, row, strict=True)) for row in zip(*cells, strict=True)]


def _cells(column: Column, values: np.ndarray, raw: pd.Series | None) -> list[Any]:
    """Return the cells of one column from what the schema makes of them, and as they came."""
    if column.type == "date":
        return _dates(column, values)
    if column.type == "boolean":
        return [None if np.isnan(value) else bool(value) for value in values]
    if column.type == "number":
        return [None if np.isnan(value) else value for value in values.tolist()]
    known, found = column.categories, list[Any]()
    for at, position in enumerate(values):
        if np.isnan(position):
            found.append(None)
        elif position < len(known):
            found.append(known[int(position)])
        else:
            found.append(never_seen(known) if raw is None else as_plain(raw.iloc[at]))
    return found


def _dates(column: Column, values: np.ndarray) -> list[str | None]:
    """Return seconds since 1970 as ISO 8601: in the column's own zone, without one where none."""
    there = ~np.isnan(values)
    whole = np.full(len(values), np.datetime64("NaT", "us"))
    whole[there] = np.rint(values[there] * 1e6).astype(np.int64).astype("datetime64[us]")
    dates = pd.Series(whole)
    zone = getattr(pd.api.types.pandas_dtype(column.dtype), "tz", None)
    if zone is not None:
        dates = dates.dt.tz_localize("UTC").dt.tz_convert(zone)
    return [None if pd.isna(date) else date.isoformat() for date in dates]
