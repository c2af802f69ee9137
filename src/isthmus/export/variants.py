"""Smaller variants of the networks: float16, and whole numbers of eight bits."""

from __future__ import annotations

import copy
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._extras import require
from isthmus.export.graph import as_ours
from isthmus.export.running import run

if TYPE_CHECKING:
    from onnx import ModelProto

VARIANTS = ("fp16", "int8")
#: Each timing takes the best of so many runs, on so many rows at most.
ROUNDS, TIMED_ROWS = 3, 1024


def smaller(networks: ModelProto, variant: str) -> ModelProto:
    """Return the networks with smaller numbers; what follows them stays in float64.

    Parameters
    ----------
    networks : ModelProto
        As `export_networks` gives it.
    variant : {"fp16", "int8"}
        Weights and arithmetic in float16; or weights, and inputs as they come, in eight bits
        (dynamic quantisation), of layers that are matrix products.

    Returns
    -------
    ModelProto
        With the same inputs and outputs.
    """
    if variant == "fp16":
        convert = require(
            "onnxruntime.transformers.float16", extra="onnx", purpose="the variant fp16"
        )
        models = require(
            "onnxruntime.transformers.onnx_model", extra="onnx", purpose="the variant fp16"
        )
        networks = copy.deepcopy(networks)  # it is converted in place
        small = models.OnnxModel(convert.convert_float_to_float16(networks, keep_io_types=True))
        small.topological_sort()  # the casts stand last
        return as_ours(small.model)
    quantization = require("onnxruntime.quantization", extra="onnx", purpose="the variant int8")
    onnx = require("onnx", extra="onnx", purpose="exporting")
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # it advises steps that change nothing here
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "networks.onnx", Path(folder) / "int8.onnx"
            onnx.save(networks, source)
            quantization.quantize_dynamic(
                source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True
            )
            return as_ours(onnx.load(target))
    finally:
        logger.setLevel(before)


def rows_per_second(
    sessions: Mapping[str, Any], rows: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, float]:
    """Time several graphs on the same rows, in turns; return the best of each."""
    rows = {name: values[:TIMED_ROWS] for name, values in rows.items()}
    n = len(next(iter(rows.values())))
    best = dict.fromkeys(sessions, np.inf)
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            start = time.perf_counter()
            run(session, rows, names)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: n / seconds for name, seconds in best.items()}
