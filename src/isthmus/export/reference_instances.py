"""Reference instances of an export, and instances as plain JSON values; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from isthmus.data import Column, Schema, as_plain
from isthmus.data.formats import read_npz
from isthmus.errors import ExportError
from isthmus.export.inputs import (
    WHOLE_INPUT,
    columns_by_name,
    feed,
    inputs_of,
    unseen_category_text,
)
from isthmus.export.runtime import FILE_DIGESTS

REFERENCES_FILE = "known.npz"


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
    raw = columns_by_name(schema, X)
    cells = [
        _cells(column, values[:, at].astype(np.float64), None if raw is None else raw[name])
        for at, (name, column) in enumerate(zip(schema.columns, schema.types, strict=True))
    ]
    return [dict(zip(schema.columns, row, strict=True)) for row in zip(*cells, strict=True)]


def _cells(column: Column, values: np.ndarray, raw: pd.Series | None) -> list[Any]:
    """Return the cells of one column, from the schema's numbers and the raw values."""
    if column.type == "date":
        return _iso_dates(column, values)
    if column.type == "boolean":
        return [None if np.isnan(value) else bool(value) for value in values]
    if column.type == "number":
        return [None if np.isnan(value) else value for value in values.tolist()]
    categories, found = column.categories, list[Any]()
    for at, position in enumerate(values):
        if np.isnan(position):
            found.append(None)
        elif position < len(categories):
            found.append(categories[int(position)])
        else:
            found.append(
                unseen_category_text(categories) if raw is None else as_plain(raw.iloc[at])
            )
    return found


def _iso_dates(column: Column, values: np.ndarray) -> list[str | None]:
    """Return seconds since 1970 as ISO 8601, in the time zone of the column if it has one."""
    there = ~np.isnan(values)
    whole = np.full(len(values), np.datetime64("NaT", "us"))
    whole[there] = np.rint(values[there] * 1e6).astype(np.int64).astype("datetime64[us]")
    dates = pd.Series(whole)
    zone = getattr(pd.api.types.pandas_dtype(column.dtype), "tz", None)
    if zone is not None:
        dates = dates.dt.tz_localize("UTC").dt.tz_convert(zone)
    return [None if pd.isna(date) else date.isoformat() for date in dates]


@dataclass(frozen=True, eq=False)
class ReferenceInstances:
    """Codes, labels and instances to compare new instances with.

    Attributes
    ----------
    codes : float32 array of shape (k, n_components)
    labels : array of text, shape (k,)
        "" where there is none.
    instances : array of shape (k, *shape), or of text, shape (k,)
        As the graph takes them; of a table with names a JSON object a row, see
        `isthmus.export.plain_instances`.
    rebuilt : bool
        Whether the instances are reconstructions of codes and not original rows.
    """

    codes: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    rebuilt: bool

    @classmethod
    def of(
        cls, schema: Schema, X: Any, codes: np.ndarray, labels: Sequence[str], *, rebuilt: bool
    ) -> Self:
        """Build reference instances from rows, their codes and labels.

        Parameters
        ----------
        schema : Schema
        X : array or DataFrame of n instances
        codes : float32 array of shape (n, n_components)
        labels : sequence of n str
        rebuilt : bool
            Whether they are reconstructions of codes, and not the instances themselves.

        Returns
        -------
        ReferenceInstances
        """
        if schema.kind == "table" and schema.columns is not None:
            stored = np.array(
                [json.dumps(row, allow_nan=False) for row in plain_instances(schema, X)]
            )
        else:
            stored = feed(schema, inputs_of(schema), X)[WHOLE_INPUT]
        return cls(codes.astype(np.float32), np.array(labels, dtype=np.str_), stored, rebuilt)

    def __len__(self) -> int:
        return len(self.codes)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the metadata: how many, and whether rebuilt.

        Returns
        -------
        dict
        """
        return {"n": len(self), "rebuilt": self.rebuilt}

    def plain(self, at: int) -> Any:
        """Return the instance at a position as plain values, as `POST /predict` takes it.

        Parameters
        ----------
        at : int

        Returns
        -------
        list or dict
        """
        if self.instances.dtype.kind == "U":
            return json.loads(str(self.instances[at]))
        return self.instances[at].tolist()

    def label(self, at: int) -> str | None:
        """Return the label at a position, None where there is none.

        Parameters
        ----------
        at : int

        Returns
        -------
        str or None
        """
        return str(self.labels[at]) or None

    def to_bytes(self, digest: str) -> bytes:
        """Return the file's content, with the digest of the encoder that gave the codes.

        Parameters
        ----------
        digest : str

        Returns
        -------
        bytes
        """
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
    """Read the reference instances stored beside a graph; None where there are none.

    Parameters
    ----------
    model : path
        The graph's file.
    facts : mapping
        Its metadata.
    schema : Schema

    Returns
    -------
    ReferenceInstances or None

    Raises
    ------
    ExportError
        When the file is damaged, or belongs to another graph.
    """
    file = model.with_name(REFERENCES_FILE)
    # A file left there by another export does not belong to this graph.
    if not facts.get("known") or not file.is_file():
        return None
    try:
        content = file.read_bytes()
        # Exports of an earlier isthmus have no digests.
        stated = facts.get(FILE_DIGESTS, {}).get(REFERENCES_FILE)
        if stated not in (None, sha256(content).hexdigest()):
            raise ValueError("its SHA-256 is not the one in the graph")
        found, _ = read_npz(content, lambda _: True, file)
        digest = str(found["digest"])
        references = ReferenceInstances(
            found["codes"], found["labels"], found["instances"], bool(found["rebuilt"])
        )
        _check(references, facts, schema)
        if digest != facts["digest"]:
            raise ValueError("its codes are of another encoder")
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise ExportError(
            f"{file} is damaged, or does not belong to {model.name} beside it "
            f"({(str(error) or type(error).__name__).splitlines()[0][:200]}); export the bundle "
            "again, or delete it"
        ) from error
    return references


def sample_evenly(groups: Sequence[Hashable], n: int, seed: int = 0) -> np.ndarray:
    """Draw n positions, as evenly over the groups as their sizes allow.

    Parameters
    ----------
    groups : sequence of k
        The group of each position.
    n : int
    seed : int, default=0
        For the draw within a group.

    Returns
    -------
    integer array of shape (min(n, k),)
        Sorted.

    Examples
    --------
    >>> sample_evenly(["rare", "often", "often", "often", "rare", "once"], 5).tolist()
    [0, 2, 3, 4, 5]
    """
    drawn = np.random.default_rng(seed).permutation(len(groups))
    turns: dict[Hashable, int] = {}
    turn = np.empty(len(groups), dtype=np.intp)
    for at in drawn:
        turn[at] = turns.get(groups[at], 0)
        turns[groups[at]] = int(turn[at]) + 1
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")[:n]])


def _check(references: ReferenceInstances, facts: Mapping[str, Any], schema: Schema) -> None:
    """Check lengths, shapes and types against the graph's metadata."""
    (code,) = (one["shape"] for one in facts["outputs"] if one["what"] == "code")
    n = facts["known"]["n"]
    if references.codes.shape != (n, *code) or not np.isfinite(references.codes).all():
        raise ValueError(f"codes of shape {references.codes.shape}, expected {(n, *code)}, finite")
    if references.labels.shape != (n,) or references.labels.dtype.kind != "U":
        raise ValueError(f"labels of shape {references.labels.shape}, expected text, {(n,)}")
    named = schema.kind == "table" and schema.columns is not None
    shape = (n,) if named else (n, *schema.shape)
    if references.instances.shape != shape or references.instances.dtype.kind not in (
        "U" if named else "fu"
    ):
        raise ValueError(f"instances of shape {references.instances.shape}, expected {shape}")
    if named and any(list(references.plain(at)) != list(schema.columns or ()) for at in range(n)):
        raise ValueError("rows of other columns")
