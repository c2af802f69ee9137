"""Preprocessing as a graph: from raw values to the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isthmus.data.preprocessing import (
    COMPRESSED_FROM,
    MAX_DEVIATIONS,
    MAX_MAGNITUDE,
    MAX_SCALED,
    CategoryInputs,
    ImagePreprocessor,
    Preprocessor,
    SeriesPreprocessor,
    TablePreprocessor,
    ValueInputs,
    asinh_scale,
)
from isthmus.errors import ExportError
from isthmus.export.graph import BATCH, GraphBuilder
from isthmus.export.inputs import Input

if TYPE_CHECKING:
    from onnx import ModelProto

#: Name of the graph's output, the network's input.
PREPROCESSED = "isthmus/input"


#: Name of a table's second output: 1 where a value is missing, float64 of shape (n, m).
MISSING_VALUES = "isthmus/missing"


def build_preprocessing_graph(
    preprocessor: Preprocessor, inputs: Sequence[Input], *, with_missing: bool = False
) -> ModelProto:
    """Return the preprocessing of a schema as a graph whose output is `PREPROCESSED`.

    Parameters
    ----------
    preprocessor : Preprocessor
    inputs : sequence of Input
        As `inputs_of` its schema gives them.
    with_missing : bool, default=False
        Add the output `MISSING_VALUES`; for tables only.

    Returns
    -------
    ModelProto
        Its output is float32 of shape (n, *network_shape), as `preprocessor.to_network` gives it.

    Raises
    ------
    ExportError
        When the preprocessing is a class from outside isthmus.
    """
    graph = GraphBuilder("prepare")
    for one in inputs:
        graph.input(one.name, one.dtype, (BATCH, *one.shape))
    if isinstance(preprocessor, ImagePreprocessor):
        value = _images(graph, preprocessor, inputs[0])
    elif isinstance(preprocessor, SeriesPreprocessor):
        value = _series(graph, preprocessor, inputs[0])
    elif isinstance(preprocessor, TablePreprocessor):
        value = _table(graph, preprocessor, inputs)
    else:
        raise ExportError(
            f"the preprocessing {type(preprocessor).__name__} cannot be exported, expected that of "
            "images, series or tables"
        )
    if with_missing:
        missing = add_missing_values(graph, inputs)
        graph.output(MISSING_VALUES, missing, np.float64, (BATCH, *preprocessor.schema.shape))
    graph.output(PREPROCESSED, value, np.float32, (BATCH, *preprocessor.network_shape))
    return graph.model()


def _images(graph: GraphBuilder, preprocessor: ImagePreprocessor, own: Input) -> str:
    value = own.name
    if own.dtype == "uint8":
        value = graph("Div", graph.cast(value, np.float32), graph.constant(np.float32(255)))
    if len(own.shape) == 2:
        return graph("Unsqueeze", value, graph.constant([1]))
    return graph("Transpose", value, perm=[0, 3, 1, 2])


def _series(graph: GraphBuilder, preprocessor: SeriesPreprocessor, own: Input) -> str:
    centred = graph("Sub", own.name, graph.constant(preprocessor.mean))
    standardised = graph("Div", centred, graph.constant(preprocessor.scale))
    if (channels := preprocessor.compressed).any():
        standardised = _compress(graph, standardised, channels)
    return graph("Transpose", graph.cast(standardised, np.float32), perm=[0, 2, 1])


def _compress(graph: GraphBuilder, u: str, channels: np.ndarray) -> str:
    """Add the compression of extreme values in these channels, as `compress` computes it."""
    start, one = graph.constant(np.float64(COMPRESSED_FROM)), graph.constant(np.float64(1))
    far = graph("Max", graph("Div", graph("Abs", u), start), one)
    beyond = graph("Mul", start, graph("Add", one, graph("Log", far)))
    applies = graph("And", graph("Greater", far, one), graph.constant(channels, np.bool_))
    return graph("Where", applies, graph("Mul", graph("Sign", u), beyond), u)


def _table(graph: GraphBuilder, preprocessor: TablePreprocessor, inputs: Sequence[Input]) -> str:
    values = [at for at, own in enumerate(preprocessor.inputs) if isinstance(own, ValueInputs)]
    blocks: list[str] = []  # of network inputs, each (n, width)
    places: list[np.ndarray] = []  # of each block's columns in the network's input
    first = np.cumsum([0, *(own.width for own in preprocessor.inputs)])
    if values:
        numbers = inputs[0].name
        if inputs[0].column is not None:
            one = graph.constant([1])
            columns = [graph("Unsqueeze", inputs[at].name, one) for at in values]
            numbers = graph("Concat", *columns, axis=1)
        missing = graph("IsNaN", numbers)
        learned = [own for own in preprocessor.inputs if isinstance(own, ValueInputs)]
        blocks.append(_numbers(graph, numbers, missing, learned))
        places.append(first[values])
        flagged = [at for at, own in enumerate(learned) if own.missing_share]
        if flagged:
            blocks.append(_flags(graph, missing, learned, flagged))
            places.append(first[[values[at] for at in flagged]] + 1)
    for at, own in enumerate(preprocessor.inputs):
        if isinstance(own, CategoryInputs):
            blocks.append(_category(graph, preprocessor, at, own, inputs[at]))
            places.append(np.arange(first[at], first[at + 1]))
    joined = graph("Concat", *blocks, axis=1) if len(blocks) > 1 else blocks[0]
    order = np.argsort(np.concatenate(places))
    if (order == np.arange(len(order))).all():
        return joined
    return graph("Gather", joined, graph.constant(order, np.int64), axis=1)


def add_missing_values(graph: GraphBuilder, inputs: Sequence[Input]) -> str:
    """Add which values of a table are missing, as 1 and 0: (n, m), float64."""
    if inputs[0].column is None:
        return graph.double(graph("IsNaN", inputs[0].name))
    columns = []
    for one in inputs:
        if one.missing is None:
            missing = graph("IsNaN", one.name)
        else:
            missing = graph(
                "LabelEncoder",
                one.name,
                domain="ai.onnx.ml",
                keys_strings=[one.missing],
                values_int64s=[1],
                default_int64=0,
            )
        columns.append(graph("Unsqueeze", graph.double(missing), graph.constant([1])))
    return graph("Concat", *columns, axis=1)


def _numbers(
    graph: GraphBuilder, numbers: str, missing: str, learned: Sequence[ValueInputs]
) -> str:
    """Fill missing values, standardise, scale by asinh: float64 of shape (n, k) to float32."""
    fill, mean, scale = (
        graph.constant([getattr(own, name) for own in learned], np.float64)
        for name in ("fill", "mean", "scale")
    )
    # NaN first: runtimes differ in what they clip it to.
    filled = graph("Where", missing, fill, numbers)
    far = graph.constant(np.float64(MAX_MAGNITUDE))
    filled = graph("Min", graph("Max", filled, graph("Neg", far)), far)
    u = graph("Div", graph("Sub", filled, mean), scale)
    return _asinh_scale(graph, u)


def _asinh_scale(graph: GraphBuilder, u: str) -> str:
    """Add 2 asinh(u / 2) of float64 values, in float32, as `asinh_scale` computes it."""
    far = graph.constant(np.float64(MAX_DEVIATIONS))
    bounded = graph.cast(graph("Min", graph("Max", u, graph("Neg", far)), far), np.float32)
    half = graph("Mul", bounded, graph.constant(np.float32(0.5)))
    value = graph("Mul", graph("Asinh", half), graph.constant(np.float32(2)))
    bound = graph.constant(np.float32(MAX_SCALED))
    return graph("Min", graph("Max", value, graph("Neg", bound)), bound)


def _flags(
    graph: GraphBuilder, missing: str, learned: Sequence[ValueInputs], flagged: Sequence[int]
) -> str:
    """Add the missing-value indicators, float32 of shape (n, n_flagged)."""
    share = np.array([learned[at].missing_share for at in flagged])
    there, not_there = asinh_scale(
        (np.array([[0.0], [1.0]]) - share) / np.sqrt(share * (1 - share))
    )
    of_flagged = graph("Gather", missing, graph.constant(flagged, np.int64), axis=1)
    return graph("Where", of_flagged, graph.constant(not_there), graph.constant(there))


def _category(
    graph: GraphBuilder, preprocessor: TablePreprocessor, at: int, own: CategoryInputs, one: Input
) -> str:
    """Add the inputs of a category, looked up by its text: (n, width)."""
    positions = preprocessor.schema.types[at].texts
    rows = asinh_scale(own.rows)
    positions[str(one.missing)] = len(rows) - 1
    place = graph(
        "LabelEncoder",
        one.name,
        domain="ai.onnx.ml",
        keys_strings=list(positions),
        values_int64s=list(positions.values()),
        default_int64=len(rows) - 2,
    )
    return graph("Gather", graph.constant(rows), place, axis=0)
