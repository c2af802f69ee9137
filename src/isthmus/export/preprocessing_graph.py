"""Preprocessing as a graph: from a person's units to what the network works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isthmus.data.preprocessing import (
    BOUND,
    FARTHEST,
    LARGEST,
    CategoryInputs,
    ImagePreprocessor,
    Preprocessor,
    SeriesPreprocessor,
    TablePreprocessor,
    ValueInputs,
    asinh_scale,
)
from isthmus.errors import ExportError
from isthmus.export.graph import BATCH, GraphPart
from isthmus.export.inputs import Input

if TYPE_CHECKING:
    from onnx import ModelProto

#: What the network takes.
NETWORK_INPUT = "isthmus/input"


def add_preprocessing(preprocessor: Preprocessor, inputs: Sequence[Input]) -> ModelProto:
    """Return the preprocessing of a schema as a graph that gives `NETWORK_INPUT`.

    Parameters
    ----------
    preprocessor : Preprocessor
    inputs : sequence of Input
        As `inputs_of` its schema gives them.

    Returns
    -------
    ModelProto
        Its output is float32 of shape (n, *network_shape), as `preprocessor.to_network` gives it.

    Raises
    ------
    ExportError
        When it is a preprocessing that has no graph.
    """
    part = GraphPart("prepare")
    for one in inputs:
        part.input(one.name, one.dtype, (BATCH, *one.shape))
    if isinstance(preprocessor, ImagePreprocessor):
        value = _images(part, preprocessor, inputs[0])
    elif isinstance(preprocessor, SeriesPreprocessor):
        value = _series(part, preprocessor, inputs[0])
    elif isinstance(preprocessor, TablePreprocessor):
        value = _table(part, preprocessor, inputs)
    else:
        raise ExportError(
            f"the preprocessing {type(preprocessor).__name__} cannot be exported, expected that of "
            "images, series or tables"
        )
    part.output(NETWORK_INPUT, value, np.float32, (BATCH, *preprocessor.network_shape))
    return part.model()


def _images(part: GraphPart, preprocessor: ImagePreprocessor, own: Input) -> str:
    value = own.name
    if own.dtype == "uint8":
        value = part("Div", part.cast(value, np.float32), part.constant(np.float32(255)))
    if len(own.shape) == 2:
        return part("Unsqueeze", value, part.constant([1]))
    return part("Transpose", value, perm=[0, 3, 1, 2])


def _series(part: GraphPart, preprocessor: SeriesPreprocessor, own: Input) -> str:
    centred = part("Sub", own.name, part.constant(preprocessor.mean))
    standardised = part("Div", centred, part.constant(preprocessor.scale))
    return part("Transpose", part.cast(standardised, np.float32), perm=[0, 2, 1])


def _table(part: GraphPart, preprocessor: TablePreprocessor, inputs: Sequence[Input]) -> str:
    values = [at for at, own in enumerate(preprocessor.inputs) if isinstance(own, ValueInputs)]
    blocks: list[str] = []  # of network inputs, each (n, width)
    places: list[np.ndarray] = []  # where they belong
    first = np.cumsum([0, *(own.width for own in preprocessor.inputs)])
    if values:
        numbers = inputs[0].name
        if inputs[0].column is not None:
            one = part.constant([1])
            columns = [part("Unsqueeze", inputs[at].name, one) for at in values]
            numbers = part("Concat", *columns, axis=1)
        missing = part("IsNaN", numbers)
        learned = [own for own in preprocessor.inputs if isinstance(own, ValueInputs)]
        blocks.append(_numbers(part, numbers, missing, learned))
        places.append(first[values])
        flagged = [at for at, own in enumerate(learned) if own.missing_share]
        if flagged:
            blocks.append(_flags(part, missing, learned, flagged))
            places.append(first[[values[at] for at in flagged]] + 1)
    for at, own in enumerate(preprocessor.inputs):
        if isinstance(own, CategoryInputs):
            blocks.append(_category(part, preprocessor, at, own, inputs[at]))
            places.append(np.arange(first[at], first[at + 1]))
    together = part("Concat", *blocks, axis=1) if len(blocks) > 1 else blocks[0]
    order = np.argsort(np.concatenate(places))
    if (order == np.arange(len(order))).all():
        return together
    return part("Gather", together, part.constant(order, np.int64), axis=1)


def _numbers(part: GraphPart, numbers: str, missing: str, learned: Sequence[ValueInputs]) -> str:
    """Fill, standardise and tame: float64 of shape (n, k) to float32."""
    fill, mean, scale = (
        part.constant([getattr(own, name) for own in learned], np.float64)
        for name in ("fill", "mean", "scale")
    )
    # NaN first: what Clip makes of it is not the same everywhere.
    filled = part("Where", missing, fill, numbers)
    far = part.constant(np.float64(LARGEST))
    filled = part("Min", part("Max", filled, part("Neg", far)), far)
    u = part("Div", part("Sub", filled, mean), scale)
    return _tame(part, u)


def _tame(part: GraphPart, u: str) -> str:
    """As `tame`: 2 asinh(u / 2) of float64, in float32."""
    far = part.constant(np.float64(FARTHEST))
    bounded = part.cast(part("Min", part("Max", u, part("Neg", far)), far), np.float32)
    half = part("Mul", bounded, part.constant(np.float32(0.5)))
    value = part("Mul", part("Asinh", half), part.constant(np.float32(2)))
    bound = part.constant(np.float32(BOUND))
    return part("Min", part("Max", value, part("Neg", bound)), bound)


def _flags(
    part: GraphPart, missing: str, learned: Sequence[ValueInputs], flagged: Sequence[int]
) -> str:
    """Return the inputs that say where a value is missing, float32 of shape (n, n_flagged)."""
    share = np.array([learned[at].missing_share for at in flagged])
    there, not_there = asinh_scale(
        (np.array([[0.0], [1.0]]) - share) / np.sqrt(share * (1 - share))
    )
    of_flagged = part("Gather", missing, part.constant(flagged, np.int64), axis=1)
    return part("Where", of_flagged, part.constant(not_there), part.constant(there))


def _category(
    part: GraphPart, preprocessor: TablePreprocessor, at: int, own: CategoryInputs, one: Input
) -> str:
    """Look each text up among the categories, and its inputs up in a table: (n, width)."""
    known = preprocessor.schema.types[at].texts
    rows = asinh_scale(own.rows)
    known[str(one.missing)] = len(rows) - 1
    place = part(
        "LabelEncoder",
        one.name,
        domain="ai.onnx.ml",
        keys_strings=list(known),
        values_int64s=list(known.values()),
        default_int64=len(rows) - 2,
    )
    return part("Gather", part.constant(rows), place, axis=0)
