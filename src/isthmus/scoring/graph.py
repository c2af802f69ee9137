"""The graph that scores: the bundle's export, its parity measured on rows of the stream."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.bundle import Bundle
from isthmus.data.stream import Stream
from isthmus.errors import DataError
from isthmus.export import export_bundle

#: Rows that parity is measured on.
ROWS = 512


def graph_for(
    bundle: Bundle, head: str | None, stream: Stream, *, rebuilds: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """Export encoder and head, and with `rebuilds` what gives reconstructions.

    Returns
    -------
    graph : bytes
        `model.onnx`.
    facts : dict
        See `isthmus.export.export_bundle`.

    Raises
    ------
    ExportError
        When the head cannot be exported, or decides differently as a graph.
    DataError
        When the stream's rows do not fit the bundle.
    """
    rows = _some_rows(bundle, stream)
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        target = Path(folder) / "exported"
        facts = export_bundle(
            bundle, target, rows, [] if head is None else [head], residual=rebuilds
        )
        return (target / "model.onnx").read_bytes(), facts


def _some_rows(bundle: Bundle, stream: Stream) -> Any:
    """Return rows spread over the first part that can be used; drawn from all would read all."""
    refused: DataError | None = None
    for part in stream.parts:
        try:
            X = stream.read(part).X
            rows = np.unique(np.linspace(0, len(X) - 1, ROWS).astype(np.intp))
            some = X.iloc[rows].reset_index(drop=True) if isinstance(X, pd.DataFrame) else X[rows]
            bundle.encoder.schema_.check(some)
        except DataError as error:
            if stream.on_bad_shard == "fail":
                raise
            refused = refused or error
        else:
            return some
    raise refused or DataError(f"{stream.name} holds no rows; expected at least one")
