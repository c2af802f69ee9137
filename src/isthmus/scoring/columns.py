"""What is written of each row: the columns that `isthmus predict` and `encode` write in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.codes import RESIDUAL, ROW_HASH, rows_to_arrow

_ARROW = {"str": pa.string(), "bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64()}


@dataclass(frozen=True)
class Columns:
    """Outputs of the graph, and the columns that are made of them.

    Attributes
    ----------
    outputs : tuple of str
        What to ask the graph for; it computes nothing else.
    schema : pyarrow.Schema
        Of the columns.
    """

    outputs: tuple[str, ...]
    schema: pa.Schema

    def of(self, found: Mapping[str, np.ndarray]) -> list[pa.Array]:
        """Return the columns for what the graph gave, in the order of the schema."""
        if "code" in self.outputs:
            values: list[np.ndarray] = list(found["code"].T)
            values += [found[name] for name in (ROW_HASH, RESIDUAL) if name in found]
        else:
            values = _decided(found)
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
        if "class" in found:
            labels, counts = np.unique(found["class"], return_counts=True)
            return {str(name): int(count) for name, count in zip(labels, counts, strict=True)}
        if "verdict" in found:
            n_abnormal = int((found["verdict"] == -1).sum())
            return {"normal": len(found["verdict"]) - n_abnormal, "abnormal": n_abnormal}
        return {}


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
    types = {one["what"]: one["dtype"] for one in facts["outputs"]}
    number = pa.float64()
    fields: list[tuple[str, pa.DataType]] = []
    if "class" in types:
        fields.append(("prediction", _ARROW[types["class"]]))
        if "probabilities" in types:
            fields.append(("probability", number))
            fields += [(f"probability_{name}", number) for name in facts["heads"][head]["classes"]]
        fields += [("p_value", number)] if "p_value" in types else []
    else:
        fields = [("prediction", pa.int64()), ("anomaly_score", number), ("p_value", number)]
    fields.append(("reconstruction_error", number))
    unused = ("code", *(("anomaly_score", "verdict") if "class" in types else ()))
    return Columns(tuple(name for name in types if name not in unused), pa.schema(fields))


def _decided(found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    values = [found["class"] if "class" in found else found["verdict"]]
    if "probabilities" in found:
        values += [found["probabilities"].max(axis=1), *found["probabilities"].T]
    names = ("anomaly_score", "p_value", "reconstruction_error")
    return values + [found[name] for name in names if name in found]
