"""What is written of each row: the columns that `isthmus predict` and `encode` write in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.codes import RESIDUAL, ROW_HASH, rows_to_arrow
from isthmus.data.predictions import decision_counts, prediction_columns


@dataclass(frozen=True)
class Columns:
    """Outputs of the graph, and the columns that are made of them.

    Attributes
    ----------
    outputs : tuple of str
        What to ask the graph for; it computes nothing else.
    schema : pyarrow.Schema
        Of the columns.
    classes : tuple
        That probabilities are of.
    """

    outputs: tuple[str, ...]
    schema: pa.Schema
    classes: tuple[object, ...] = ()

    def of(self, found: Mapping[str, np.ndarray]) -> list[pa.Array]:
        """Return the columns for what the graph gave, in the order of the schema."""
        if "code" in self.outputs:
            values: list[np.ndarray] = list(found["code"].T)
            values += [found[name] for name in (ROW_HASH, RESIDUAL) if name in found]
        else:
            values = list(prediction_columns(found, self.classes).values())
        return [
            rows_to_arrow(column) if column.ndim == 2 else pa.array(column, type=field.type)
            for column, field in zip(values, self.schema, strict=True)
        ]

    @property
    def for_heads(self) -> bool:
        """Whether row hashes and residuals stand beside the codes."""
        return RESIDUAL in self.schema.names

    def counts(self, found: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Return how many rows have each decision; of codes there are none."""
        return decision_counts(found)


def code_columns(names: Sequence[str], n_residuals: int = 0) -> Columns:
    """Return the columns of `isthmus encode`: the code's numbers by name, and more for heads.

    Parameters
    ----------
    names : sequence of str
    n_residuals : int, default=0
        Length of an instance's residual; 0 for codes alone.
    """
    fields: list[tuple[str, pa.DataType]] = [(name, pa.float32()) for name in names]
    if not n_residuals:
        return Columns(("code",), pa.schema(fields))
    fields += [(ROW_HASH, pa.uint64()), (RESIDUAL, pa.list_(pa.float32(), n_residuals))]
    return Columns(("code", "reconstruction"), pa.schema(fields))


def decision_columns(facts: Mapping[str, Any], head: str) -> Columns:
    """Return the columns of `isthmus predict`.

    Parameters
    ----------
    facts : mapping
        Of an export with this one head.
    head : str
    """
    types = {one["what"]: one for one in facts["outputs"]}
    unused = ("code", *(("anomaly_score", "verdict") if "class" in types else ()))
    outputs = tuple(name for name in types if name not in unused)
    classes = tuple(facts["heads"][head].get("classes", ()))
    none = {name: np.empty((0, *types[name]["shape"]), types[name]["dtype"]) for name in outputs}
    columns = prediction_columns(none, classes)
    schema = pa.schema([(name, _arrow(column.dtype)) for name, column in columns.items()])
    return Columns(outputs, schema, classes)


def _arrow(dtype: np.dtype[Any]) -> pa.DataType:
    return pa.string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)
