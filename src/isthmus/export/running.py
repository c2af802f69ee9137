"""A graph run by ONNX Runtime, a few rows at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._extras import require

if TYPE_CHECKING:
    from onnx import ModelProto

#: Rows that are run at once.
ROWS = 512


def open_session(model: ModelProto, threads: int = 0) -> Any:
    """Return a session of ONNX Runtime on the CPU, of so many threads; 0 is one a core."""
    return new_session(model.SerializeToString(), threads)


def new_session(content: bytes, threads: int = 0) -> Any:
    """Return a session for a model's file content, as `open_session` does."""
    runtime = require("onnxruntime", extra="onnx", purpose="running an exported graph")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(
    session: Any, rows: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return outputs by name for rows as `isthmus.export.inputs.feed` gives them."""
    n = len(next(iter(rows.values())))
    parts = []
    for first in range(0, n, ROWS):
        some = {name: values[first : first + ROWS] for name, values in rows.items()}
        parts.append(session.run(list(names), some))
    columns = zip(*parts, strict=True)
    return {name: np.concatenate(c) for name, c in zip(names, columns, strict=True)}
