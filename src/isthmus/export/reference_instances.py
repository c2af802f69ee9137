"""Reference instances beside a graph, and instances as JSON; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from isthmus.data import Column, Schema, as_plain
from isthmus.errors import ExportError
from isthmus.export.inputs import ALL, feed, inputs_of, never_seen, own_columns


def restore_instances(schema: Schema, rebuilt: Any) -> Any:
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
    >>> restore_instances(schema, np.array([[[-0.2, 7.6, 255.4]]]))
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


KNOWN = "known.npz"


@dataclass(frozen=True, eq=False)
class ReferenceInstances:
    """Codes, labels and instances that a new one may be compared with.

    Attributes
    ----------
    codes : float32 array of shape (k, n_components)
    labels : array of text, shape (k,)
        "" where there is none.
    instances : array of shape (k, *shape), or of text, shape (k,)
        As the graph takes them; of a table with names a JSON object a row, see
        `isthmus.export.reference_instances.plain_instances`.
    rebuilt : bool
        Whether the instances are reconstructions of codes, and no row of the person's.
    """

    codes: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    rebuilt: bool

    @classmethod
    def of(
        cls, schema: Schema, X: Any, codes: np.ndarray, labels: Sequence[str], *, rebuilt: bool
    ) -> Self:
        """Put instances into the form that is kept."""
        if schema.kind == "table" and schema.columns is not None:
            kept = np.array(
                [json.dumps(row, allow_nan=False) for row in plain_instances(schema, X)]
            )
        else:
            kept = feed(schema, inputs_of(schema), X)[ALL]
        return cls(codes.astype(np.float32), np.array(labels, dtype=np.str_), kept, rebuilt)

    def __len__(self) -> int:
        return len(self.codes)

    def to_dict(self) -> dict[str, Any]:
        """Return what metadata and service say: how many, and whether rebuilt."""
        return {"n": len(self), "rebuilt": self.rebuilt}

    def plain(self, at: int) -> Any:
        """Return one instance as plain values, as `POST /predict` takes it."""
        if self.instances.dtype.kind == "U":
            return json.loads(str(self.instances[at]))
        return self.instances[at].tolist()

    def label(self, at: int) -> str | None:
        """Return the label of one, None where there is none."""
        return str(self.labels[at]) or None

    def to_bytes(self, digest: str) -> bytes:
        """Return the file's content, with the digest of the encoder that gave the codes."""
        file = BytesIO()
        np.savez_compressed(
            file,
            codes=self.codes,
            labels=self.labels,
            instances=self.instances,
            rebuilt=np.array(self.rebuilt),
            digest=np.array(digest),
        )
        return file.getvalue()


def read_references(
    model: Path, facts: Mapping[str, Any], schema: Schema
) -> ReferenceInstances | None:
    """Return the known instances that lie beside a graph; None where there are none.

    Parameters
    ----------
    model : path
        The graph's file.
    facts : mapping
        Its metadata.
    schema : Schema

    Raises
    ------
    ExportError
        When the file is damaged, or belongs to another graph.
    """
    file = model.with_name(KNOWN)
    # What another export has left there is none of this graph's.
    if not facts.get("known") or not file.is_file():
        return None
    try:
        with np.load(BytesIO(file.read_bytes()), allow_pickle=False) as found:
            parts = {name: found[name] for name in ("codes", "labels", "instances", "rebuilt")}
            digest = str(found["digest"])
        known = ReferenceInstances(**parts | {"rebuilt": bool(parts["rebuilt"])})
        _check(known, facts, schema)
        if digest != facts["digest"]:
            raise ValueError("its codes are of another encoder")
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise ExportError(
            f"{file} is damaged, or does not belong to {model.name} beside it "
            f"({(str(error) or type(error).__name__).splitlines()[0][:200]}); export the bundle "
            "again, or delete it"
        ) from error
    return known


def spread(groups: Sequence[Hashable], n: int, seed: int = 0) -> np.ndarray:
    """Choose n places such that every group has as many as any other, as far as it reaches.

    Parameters
    ----------
    groups : sequence of k
        Which group each place is of.
    n : int
    seed : int, default=0
        By which places are drawn within a group.

    Returns
    -------
    integer array of shape (min(n, k),)
        In their order.

    Examples
    --------
    >>> spread(["rare", "often", "often", "often", "rare", "once"], 5).tolist()
    [0, 2, 3, 4, 5]
    """
    drawn = np.random.default_rng(seed).permutation(len(groups))
    turns: dict[Hashable, int] = {}
    turn = np.empty(len(groups), dtype=np.intp)
    for at in drawn:
        turn[at] = turns.get(groups[at], 0)
        turns[groups[at]] = int(turn[at]) + 1
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")[:n]])


def _check(known: ReferenceInstances, facts: Mapping[str, Any], schema: Schema) -> None:
    """Check that all is of one length and of the graph's shapes."""
    (code,) = (one["shape"] for one in facts["outputs"] if one["what"] == "code")
    n = facts["known"]["n"]
    if known.codes.shape != (n, *code) or not np.isfinite(known.codes).all():
        raise ValueError(f"codes of shape {known.codes.shape}, expected {(n, *code)}, finite")
    if known.labels.shape != (n,) or known.labels.dtype.kind != "U":
        raise ValueError(f"labels of shape {known.labels.shape}, expected text, {(n,)}")
    named = schema.kind == "table" and schema.columns is not None
    shape = (n,) if named else (n, *schema.shape)
    if known.instances.shape != shape or known.instances.dtype.kind not in ("U" if named else "fu"):
        raise ValueError(f"instances of shape {known.instances.shape}, expected {shape}")
    if named and any(list(known.plain(at)) != list(schema.columns or ()) for at in range(n)):
        raise ValueError("rows of other columns")
